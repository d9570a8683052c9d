"""CIFAR-10 and -100 from small files in the original format: pickles in a folder, or the archive of that folder."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from small_images import CIFAR_COUNT, cifar_archive, cifar_files, loaded, write
from torchvision import datasets

from snntrain.data import CIFAR10, CIFAR100, Augmentation

KINDS = {"CIFAR10": CIFAR10, "CIFAR100": CIFAR100}


@pytest.fixture(params=KINDS)
def name(request) -> str:
    return request.param


@pytest.fixture
def contents(name, monkeypatch) -> dict[str, bytes]:
    return cifar_files(monkeypatch, name)


def folder_of(root: Path, name: str) -> Path:
    return root / getattr(datasets, name).base_folder


def test_pictures_and_labels_are_those_of_the_files(tmp_path, name, contents):
    write(folder_of(tmp_path, name), contents)
    data = loaded(KINDS[name], tmp_path, val_fraction=0.2)
    theirs = getattr(datasets, name)
    whole = CIFAR_COUNT * len(theirs.train_list)
    assert {key: len(split) for key, split in data.splits.items()} == {
        "train": whole - round(0.2 * whole),
        "val": round(0.2 * whole),
        "test": CIFAR_COUNT,
    }
    source = [pickle.loads(contents[file]) for file, _ in theirs.train_list]
    pixels = np.concatenate([batch["data"] for batch in source]).reshape(-1, 3, 32, 32)
    labels = [label for batch in source for label in batch.get("labels") or batch["fine_labels"]]
    seen = []
    for split in (data.splits["train"], data.splits["val"]):
        x, y, index = split.__getitems__(list(range(len(split))))
        assert torch.equal(x, torch.from_numpy(pixels[index]).float() / 255)
        assert y.tolist() == [labels[i] for i in index]
        seen += index.tolist()
    assert sorted(seen) == list(range(whole))
    x, y, index = next(iter(data.test_dataloader()))
    test = pickle.loads(contents[theirs.test_list[0][0]])
    assert torch.equal(x, torch.from_numpy(test["data"]).reshape(-1, 3, 32, 32).float() / 255)
    assert data.CLASSES[3] == "kind 3" and index.tolist() == list(range(CIFAR_COUNT))


def test_training_files_that_are_there_are_used_if_the_rest_may_be_missing(tmp_path, name, contents):
    theirs = getattr(datasets, name)
    there = {file: content for file, content in contents.items() if file not in ("data_batch_2", "data_batch_4")}
    write(folder_of(tmp_path, name), there)
    if name == "CIFAR10":
        with pytest.raises(FileNotFoundError, match="data_batch_2"):
            loaded(KINDS[name], tmp_path)
        with pytest.warns(UserWarning, match="only 3 of 5 training files of CIFAR10 are in .*not those of"):
            data = loaded(KINDS[name], tmp_path, partial=True)
    else:
        data = loaded(KINDS[name], tmp_path, partial=True)
    names = [file for file, _ in theirs.train_list if file in there]
    expected = np.concatenate([pickle.loads(contents[file])["data"] for file in names]).reshape(-1, 3, 32, 32)
    x, _, index = data.splits["train"].__getitems__(list(range(len(data.splits["train"]))))
    assert torch.equal(x, torch.from_numpy(expected[index]).float() / 255)
    assert sum(len(data.splits[split]) for split in ("train", "val")) == CIFAR_COUNT * len(names)
    assert set(data.fingerprint()) == {*names, theirs.test_list[0][0], theirs.meta["filename"]}
    (folder_of(tmp_path, name) / names[0]).write_bytes(b"damaged")
    with pytest.raises(ValueError, match=f"{names[0]} is corrupt"):
        loaded(KINDS[name], tmp_path, partial=True)
    (folder_of(tmp_path, name) / theirs.test_list[0][0]).unlink()
    with pytest.raises(FileNotFoundError, match=theirs.test_list[0][0]):
        loaded(KINDS[name], tmp_path, partial=True)


def test_normalized_batches_are_shifted_and_scaled_per_channel_after_augmentation(tmp_path, name, contents):
    write(folder_of(tmp_path, name), contents)
    augment = Augmentation([{"name": "RandomCrop", "size": 32, "padding": 4}, "RandomHorizontalFlip"])
    plain = loaded(KINDS[name], tmp_path, augment=augment).splits
    data = loaded(KINDS[name], tmp_path, augment=augment, normalize=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.MEAN, data.STD))
    for split, keys in (("train", [(0, 1), (0, 2)]), ("val", [0, 1]), ("test", [5])):
        x, expected = (some[split].__getitems__(keys)[0] for some in (data.splits, plain))
        torch.testing.assert_close(x, (expected - mean) / std)
    assert 0.4 < mean.mean() < 0.5 and 0.24 < std.mean() < 0.28
    with pytest.raises(ValueError, match=f"{name}: normalize must be True or False"):
        loaded(KINDS[name], tmp_path, normalize="yes_please")


def test_a_pickle_that_would_run_a_program_is_corrupt_and_not_read(tmp_path, name, contents):
    folder = write(folder_of(tmp_path, name), contents)
    culprit = folder / getattr(datasets, name).train_list[0][0]
    culprit.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ValueError, match=f"{culprit} is corrupt, its MD5"):
        loaded(KINDS[name], tmp_path)
    assert not Path("pwned").exists()


def test_an_archive_put_there_by_hand_is_unpacked(tmp_path, name, contents, monkeypatch):
    path = tmp_path / getattr(datasets, name).filename
    path.write_bytes(cifar_archive(monkeypatch, name, contents))
    data, folder = loaded(KINDS[name], tmp_path), folder_of(tmp_path, name)
    assert len(data.splits["test"]) == CIFAR_COUNT
    assert {file.name for file in folder.iterdir()} == set(contents)
    path.write_bytes(b"half an archive")
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=f"{path} is not a file of {name}: its MD5 is"):
        loaded(KINDS[name], tmp_path)
