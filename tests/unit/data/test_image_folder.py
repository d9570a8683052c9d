"""Class folders of pictures: both layouts, what is read from them, and every wrong folder refused by name."""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refused import message_of
from torchvision.datasets import ImageFolder as TorchvisionFolder
from torchvision.transforms import v2

from snntrain.data import Augmentation, ImageFolder

CLASSES = ("bird", "cat", "dog")
SHIFT = Augmentation([{"name": "RandomCrop", "size": 16, "padding": 2}])
CROP = Augmentation([{"name": "RandomResizedCrop", "size": 16}, "RandomHorizontalFlip"])


def write(folder: Path, count: int = 10, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Path:
    """`count` smooth pictures per class, of different sizes, as PNG and JPEG; gray and with transparency among them."""
    random = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            height, width = (int(side) for side in random.integers(20, 60, 2))
            small = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
            picture = picture.convert(("RGB", "RGB", "L", "RGBA")[number % 4])
            picture.save(folder / name / (f"{number}.png" if number % 4 else f"{number}.JPEG"))
    return folder


def made(folder: Path, **more: Any) -> ImageFolder:
    data = ImageFolder(str(folder), **{"num_classes": 3, "size": 16, "sample_shape": [3, 16, 16], **more})
    data.setup()
    return data


def everything(split) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return split.__getitems__(list(range(len(split))))


def test_a_single_tree_is_split_per_class_and_the_same_for_every_seed(tmp_path):
    write(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is warned about in a clean folder
        data = made(tmp_path, split=0.2, val_fraction=0.25)
    assert data.CLASSES == CLASSES
    assert {name: torch.bincount(split.labels).tolist() for name, split in data.splits.items()} == {
        "train": [6] * 3,
        "val": [2] * 3,
        "test": [2] * 3,
    }
    places = torch.cat([split.index for split in data.splits.values()])
    assert sorted(places.tolist()) == list(range(30))
    other = made(tmp_path, split=0.2, val_fraction=0.25, seed=7)
    assert all(torch.equal(data.splits[name].index, other.splits[name].index) for name in data.splits)


@pytest.mark.parametrize("crop_ratio", [0.875, 1.0])
def test_pictures_are_those_that_torchvision_reads_resizes_and_crops(tmp_path, crop_ratio):
    write(tmp_path)
    data = made(tmp_path, crop_ratio=crop_ratio)
    theirs = TorchvisionFolder(str(tmp_path))
    prepare = v2.Compose([v2.Resize(round(16 / crop_ratio)), v2.CenterCrop(16), v2.PILToTensor()])
    for split in data.splits.values():
        for x, label, place in zip(*everything(split), strict=True):
            picture, expected = theirs[place]
            assert torch.equal(x, prepare(picture) / 255) and int(label) == expected


@pytest.mark.parametrize("augment", [None, SHIFT])
def test_pictures_that_have_the_right_size_are_not_resampled(tmp_path, augment):
    random = np.random.default_rng(3)
    for name in CLASSES:
        (tmp_path / name).mkdir()
        for number in range(6):
            noise = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.png")
    data = made(tmp_path, augment=augment)
    for split in data.splits.values():
        for x, path in zip(everything(split)[0], (split.where(place) for place in range(len(split))), strict=True):
            assert np.array_equal(x.permute(1, 2, 0) * 255, np.asarray(Image.open(path)))
    if augment is None:  # training, whose keys carry the epoch, as well
        x, _, _ = data.splits["train"].__getitems__([(0, 3)])
        assert np.array_equal(x[0].permute(1, 2, 0) * 255, np.asarray(Image.open(data.splits["train"].where(3))))


def test_pictures_of_16_bits_keep_their_values_and_cannot_be_told_from_those_of_8(tmp_path):
    ramp = np.linspace(0, 255, 60 * 60).astype(np.uint8).reshape(60, 60)
    for number in range(12):
        for name in CLASSES:
            (tmp_path / name).mkdir(exist_ok=True)
            deep = number % 2 == 1
            Image.fromarray(ramp.astype(np.uint16) * 257 if deep else ramp).save(tmp_path / name / f"{number}.png")
    for augment in (None, CROP):
        data = made(tmp_path, augment=augment)
        x = torch.cat([everything(split)[0] for split in data.splits.values()])
        assert x.shape == (36, 3, 16, 16) and (x - x[0]).abs().max() < 0.01 and x.max() > 0.9
        x, _, _ = data.splits["train"].__getitems__([(0, place) for place in range(8)])
        assert x.shape == (8, 3, 16, 16) and x.min() >= 0 and x.max() <= 1


def test_what_is_assumed_about_pictures_is_told_and_gray_ones_have_one_channel(tmp_path):
    data = made(write(tmp_path), background="white", sample_shape=[1, 16, 16])
    said = data.assumed()
    assert "color, 8 bits" in said["pictures"] and "with transparency" in said["pictures"]
    assert said["transparency"] == "on white (data.background)" and "data.crop_ratio=0.875" in said["size"]
    assert data.splits["test"][0][0].shape == (1, 16, 16)


def test_normalized_pictures_are_shifted_and_scaled_by_imagenets_numbers(tmp_path):
    write(tmp_path)
    x, expected = (made(tmp_path, normalize=on).splits["val"][0][0] for on in (True, False))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(x, v2.Normalize(mean.tolist(), std.tolist())(expected))


def test_imagenets_layout_is_split_by_folder(tmp_path):
    write(tmp_path / "train", 8)
    write(tmp_path / "val", 3, seed=1)
    with pytest.warns(UserWarning, match=r"has no test/: val/ is validated and tested on"):
        data = made(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 24, "val": 9, "test": 9}
    assert str(data.splits["val"].paths[0]).startswith(str(tmp_path / "val/bird"))
    write(tmp_path / "test", 2, seed=2)
    assert len(made(tmp_path).splits["test"]) == 6


def test_without_a_validation_folder_a_part_of_each_class_of_training_validates(tmp_path):
    write(tmp_path / "train", 10)
    write(tmp_path / "test", 2, seed=1)
    data = made(tmp_path, val_fraction=0.3)
    assert torch.bincount(data.splits["val"].labels).tolist() == [3, 3, 3] and len(data.splits["train"]) == 21


def test_a_random_resized_crop_is_cut_from_the_whole_picture_and_depends_on_seed_epoch_and_index_alone(tmp_path):
    """In training alone, and the same for any number of workers."""
    for split in ("train", "test"):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(6):  # black, but for a white left edge that no center crop shows
                pixels = np.zeros((20, 60), dtype=np.uint8)
                pixels[:, :8] = 255
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")

    def epoch(workers: int) -> dict[int, torch.Tensor]:
        data = made(tmp_path, augment=CROP, batch_size=4, num_workers=workers)
        loader = data.train_dataloader()
        list(loader)
        loader.batch_sampler.sampler.set_epoch(1)
        return {int(i): x for xs, _, index in loader for x, i in zip(xs, index, strict=True)}

    alone, found = epoch(0), epoch(2)
    assert any(x.max() == 1 for x in alone.values())
    assert made(tmp_path).splits["train"][0][0].max() == 0
    assert made(tmp_path, augment=CROP).splits["test"][0][0].max() == 0
    assert found.keys() == alone.keys() and all(torch.equal(found[i], alone[i]) for i in alone)
    assert len({x.numpy().tobytes() for x in alone.values()}) > 5


def test_the_fingerprint_changes_with_the_files(tmp_path):
    write(tmp_path)
    before = made(tmp_path).fingerprint()
    times = (tmp_path / "cat/7.png").stat()
    content = (tmp_path / "cat/7.png").read_bytes()
    (tmp_path / "cat/7.png").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(tmp_path / "cat/7.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert made(tmp_path).fingerprint() != before
    (tmp_path / "cat/7.png").write_bytes(content)
    assert made(tmp_path).fingerprint() == before and list(before) == [str(tmp_path)]
    (tmp_path / "cat/9.png").unlink()
    assert made(tmp_path).fingerprint() != before


def refusal(folder: Path, error: type[Exception] = ValueError, **more: Any) -> str:
    return message_of(error, made, folder, **more)


def test_an_empty_class_folder_and_what_is_no_picture_are_refused_by_name(tmp_path):
    write(tmp_path)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel/notes.txt").write_text("none yet")
    assert f"no picture in {tmp_path / 'eel'}" in refusal(tmp_path, num_classes=4)
    shutil.rmtree(tmp_path / "eel")
    (tmp_path / "dog/page.jpg").write_text("<html>not found</html>")
    (tmp_path / "cat/empty.png").write_bytes(b"")
    said = refusal(tmp_path)
    assert f"{tmp_path / 'cat/empty.png'} is not a picture (it is empty), {tmp_path / 'dog/page.jpg'} is not a" in said


def test_other_files_are_left_out_with_a_warning_that_names_them(tmp_path):
    write(tmp_path)
    (tmp_path / "dog/notes.txt").write_text("good dogs")
    (tmp_path / "dog/.DS_Store").write_text("")
    with pytest.warns(UserWarning, match=f"left out.*: {tmp_path / 'dog/notes.txt'}$"):
        assert sum(map(len, made(tmp_path).splits.values())) == 30


def test_a_truncated_picture_is_named_when_it_is_read(tmp_path):
    write(tmp_path)
    content = (tmp_path / "bird/0.JPEG").read_bytes()
    (tmp_path / "bird/0.JPEG").write_bytes(content[:-60])
    data = made(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path}/bird/0\.JPEG cannot be decoded \(.*truncated"):
        for split in data.splits.values():
            everything(split)


def test_the_first_picture_of_a_gif_and_of_a_webp_is_taken(tmp_path):
    """One has a palette of its own pixels' colors, the other is saved without loss: both keep every value."""
    random = np.random.default_rng(0)
    first, second = (Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8)) for _ in range(2))
    for name in ("bird", "cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(4):
            first.save(tmp_path / name / f"{number}.gif", save_all=True, append_images=[second])
            first.save(tmp_path / name / f"{number}.webp", lossless=True, save_all=True, append_images=[second])
    data = made(tmp_path, crop_ratio=1.0)
    assert "24 of several pictures, the first taken" in data.assumed()["pictures"]
    expected = torch.from_numpy(np.asarray(first)).float().expand(3, 16, 16) / 255
    pictures = [x for split in data.splits.values() for x in everything(split)[0]]
    assert len(pictures) == 24 and all(torch.equal(x, expected) for x in pictures)


def test_a_tree_without_a_folder_train_is_refused_where_there_must_be_one(tmp_path):
    write(tmp_path / "one")
    said = refusal(tmp_path / "one", FileNotFoundError, split="folder")
    assert "one has no folder train" in said and "data.split=0.2" in said
    assert "split must be a finite number > 0 and < 1, or 'folder', got 'folders'" in refusal(
        tmp_path / "one", split="folders"
    )
    for name in ("train", "val", "test"):
        write(tmp_path / "three" / name, 4)
    assert len(made(tmp_path / "three", split="folder").splits["test"]) == 12


def test_folders_that_do_not_fit_are_refused(tmp_path):
    assert "nowhere is not a folder" in refusal(tmp_path / "nowhere", FileNotFoundError)
    (tmp_path / "bare").mkdir()
    assert "bare holds no folders" in refusal(tmp_path / "bare", FileNotFoundError)
    write(tmp_path / "a/train")
    assert "has train/ but neither val/ nor test/" in refusal(tmp_path / "a", FileNotFoundError)
    write(tmp_path / "a/val", classes=("bird", "cat", "fish"))
    assert "differ in their classes: dog, fish" in refusal(tmp_path / "a")
    assert "num_classes must be 3, which is what the data has, got 5" in refusal(tmp_path / "a", num_classes=5)
    write(tmp_path / "one", 1)
    assert "class bird has 1 sample(s), too few for a test split" in refusal(tmp_path / "one")
    assert "sample_shape must be [3, 16, 16], or [1, 16, 16] for gray" in refusal(
        tmp_path / "a", sample_shape=[3, 224, 224]
    )
