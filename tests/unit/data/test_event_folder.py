"""A folder of own recordings: read whole, or refused by name."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from event_files import EVENT, stream, write_aedat2, write_bin, write_h5, write_npy
from refused import message_of

from snntrain.data.event_augmentation import EventAugmentation
from snntrain.data.event_folder import EventFolder
from snntrain.data.events import read_events
from snntrain.data.framing import Framing

CLASSES = ("left", "right", "still")


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNNTRAIN_CACHE", str(tmp_path / "caches"))


def fill(folder: Path, per_class: int = 6, write: Callable = write_bin, suffix: str = ".bin", classes=CLASSES) -> Path:
    for label, name in enumerate(classes):
        for number in range(per_class):
            write(folder / name / f"{number}{suffix}", stream(100 * label + number, n=40 + number))
    return folder


def folders(root: Path, names=("train", "test"), **more) -> Path:
    for name in names:
        fill(root / name, **more)
    return root


def event_folder(root: Path, **more) -> EventFolder:
    arguments = {"framing": Framing(4, [34, 34]), "num_classes": 3, "sample_shape": [2, 34, 34], "batch_size": 4}
    data = EventFolder(str(root), **(arguments | {"val_fraction": 0.3} | more))
    data.prepare_data()
    data.setup()
    return data


def refusal(root: Path, error: type[Exception] = ValueError, **more) -> str:
    return message_of(error, event_folder, root, **more)


@pytest.mark.parametrize(
    ("write", "suffix"), [(write_bin, ".bin"), (write_npy, ".npy"), (write_h5, ".h5"), (write_aedat2, ".aedat")]
)
def test_frames_labels_and_places_of_the_recordings_come_in_batches(tmp_path, write, suffix):
    data = event_folder(folders(tmp_path / "own", write=write, suffix=suffix))
    assert data.CLASSES == CLASSES
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 12, "val": 6, "test": 18}
    batches = list(data.test_dataloader())
    x, labels, index = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert x.shape == (18, 4, 2, 34, 34) and x.dtype == torch.float32
    assert labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6 and index.tolist() == list(range(18))
    for place in range(18):
        events = stream(100 * (place // 6) + place % 6, n=40 + place % 6)
        assert np.array_equal(x[place].numpy(), Framing(4, [34, 34])(events))
    assert len(list(data.train_dataloader())) == 3


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAINING", "testing"), ("train", "Test", "Validation")])
def test_the_folders_of_the_splits_are_known_in_any_case(tmp_path, names):
    data = event_folder(folders(tmp_path / "own", names))
    assert len(data.splits["test"]) == 18
    assert len(data.splits["val"]) == (18 if len(names) == 3 else 6)


def test_a_part_of_each_class_is_drawn_for_testing_and_recorded(tmp_path):
    root = fill(tmp_path / "own", per_class=10)
    data, other = event_folder(root, split=0.2), event_folder(root, split=0.2, seed=7)
    record = data.splits_record()
    assert record == other.splits_record()
    assert {name: part["count"] for name, part in record.items()} == {"train": 18, "val": 6, "test": 6}
    assert sorted(place for part in record.values() for place in part["index"]) == list(range(30))
    assert torch.bincount(data.splits["test"].labels).tolist() == [2, 2, 2]
    split = data.splits["test"]
    for place, label in zip(split.index.tolist(), split.labels.tolist(), strict=True):
        assert label == place // 10
        assert split.recordings[place] == root / CLASSES[label] / f"{place % 10}.bin"


def test_recordings_may_lie_deeper_and_hidden_files_and_those_beside_the_classes_are_left_out(tmp_path):
    root = folders(tmp_path / "own")
    write_bin(root / "train" / "left" / "monday" / "7.bin", stream(7))
    for name in (".DS_Store", "README", "train/LICENSE.txt", "train/left/.0.bin.swp", "train/.git/config"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("not a recording")
    splits = event_folder(root).splits
    assert len(splits["train"]) + len(splits["val"]) == 19


def test_durations_that_are_unlikely_are_told_with_the_key(tmp_path):
    data = event_folder(folders(tmp_path / "own", write=write_npy, suffix=".npy"), time_unit="s")
    said = data.assumed()
    assert said["unit of time"] == "s (data.time_unit)"
    assert said["durations"].endswith("in 12 recordings: is that right? See data.time_unit.")


def test_a_class_that_is_too_small_to_be_divided_is_called_by_its_name(tmp_path):
    root = fill(tmp_path / "own")
    for path in sorted((root / "right").iterdir())[1:]:
        path.unlink()
    assert "class right has 1 sample(s), too few for a test split" in refusal(root, split=0.3)


def damaged(root: Path, damage: Callable[[Path], object]) -> Path:
    damage(root / "train" / "right" / "3.bin")
    return root / "train" / "right" / "3.bin"


DAMAGE = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-2]), "it is truncated"),
    "empty": (lambda path: path.write_bytes(b""), "it holds no events"),
    "another sensor": (lambda path: write_bin(path, stream(1, size=(128, 128))), "outside the sensor"),
    "time goes back": (lambda path: write_bin(path, stream(1)[::-1]), "time goes back"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("cache", ["off", "disk"])
def test_a_recording_that_one_may_not_train_on_is_refused_by_name(tmp_path, kind, cache):
    root = folders(tmp_path / "own")
    event_folder(root, cache=cache)  # good so far, and perhaps in a cache
    damage, reason = DAMAGE[kind]
    path = damaged(root, damage)
    said = refusal(root, cache=cache)
    assert str(path) in said and reason in said
    # Without the check beforehand it is named when it is read.
    data = event_folder(root, cache=cache, verify=False)
    with pytest.raises(ValueError) as raised:
        [*data.train_dataloader(), *data.val_dataloader()]
    assert str(path) in str(raised.value) and reason in str(raised.value)


def test_recordings_in_which_time_goes_back_can_be_sorted(tmp_path):
    def whole(name: str, **more) -> torch.Tensor:
        data = event_folder(tmp_path / name, framing=Framing(4, [34, 34], "count"), **more)
        parts = [split.__getitems__(range(len(split))) for split in (data.splits["train"], data.splits["val"])]
        x, _, index = (torch.cat(column) for column in zip(*parts, strict=True))
        return x[index.argsort()]

    folders(tmp_path / "sorted")
    damaged(folders(tmp_path / "own"), lambda path: write_bin(path, stream(103, n=43)[::-1]))
    assert torch.equal(whole("own", unsorted="sort"), whole("sorted"))


@pytest.mark.parametrize("where", ["train", "test"])
def test_an_empty_class_folder_is_refused_by_name(tmp_path, where):
    root = folders(tmp_path / "own")
    (root / where / "waving").mkdir()
    said = refusal(root)
    assert f"{root / where / 'waving'} holds no recording" in said


def test_a_class_that_a_split_lacks_is_refused_by_name(tmp_path):
    root = folders(tmp_path / "own")
    write_bin(root / "train" / "waving" / "0.bin", stream(0))
    assert f"{root / 'test'} has no class folder waving" in refusal(root)
    write_bin(root / "test" / "zooming" / "0.bin", stream(0))
    write_bin(root / "test" / "waving" / "0.bin", stream(0))
    assert f"{root / 'train'} has no class folder zooming" in refusal(root)


def test_mixed_formats_are_refused_by_name_unless_they_are_listed(tmp_path):
    root = folders(tmp_path / "own")
    np.save(root / "train" / "left" / "9.npy", stream(9))
    said = refusal(root)
    assert "0.bin and " in said and "9.npy" in said and "data.formats=[.bin,.npy]" in said
    both = event_folder(root, formats=[".bin", "NPY"])
    assert len(both.splits["train"]) + len(both.splits["val"]) == 19
    with pytest.warns(UserWarning, match="1 files of .* are not of data.formats: left out"):
        assert len(event_folder(root, formats=["bin"]).splits["test"]) == 18


def test_a_file_that_is_no_recording_is_refused_by_name(tmp_path):
    root = folders(tmp_path / "own")
    (root / "test" / "left" / "notes.txt").write_text("monday")
    said = refusal(root)
    assert "notes.txt: .txt is not a format of recordings" in said


def test_missing_folders_are_named(tmp_path):
    assert f"there is no folder {tmp_path / 'own'}" in refusal(tmp_path / "own", FileNotFoundError)
    fill(tmp_path / "own")
    said = refusal(tmp_path / "own", FileNotFoundError)
    assert "has no folder train (it has left, right, still)" in said and "data.split=0.2" in said
    (tmp_path / "bare").mkdir()
    assert "has no class folders" in refusal(tmp_path / "bare", split=0.5)
    folders(tmp_path / "twice", ("train", "Training", "test"))
    assert "are both the train split" in refusal(tmp_path / "twice")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"num_classes": 4}, "num_classes must be 3, which is what the data has, got 4"),
        ({"sample_shape": [2, 17, 17]}, r"sample_shape must be [2, 34, 34], which is what the data has"),
        ({"split": 1.5}, "split must be a finite number > 0 and < 1, or 'folder', got 1.5"),
        ({"split": "ratio"}, "split must be a finite number > 0 and < 1, or 'folder', got 'ratio'"),
        ({"formats": [".bim"]}, "formats must be a list of endings among .bin"),
        ({"columns": "xyt"}, "columns must be an order of the letters"),
        ({"framing": {"T": 4}}, "framing must be a Framing"),
        ({"cache": "ram"}, "cache must be one of 'disk', 'memory', 'off'"),
        ({"unsorted": "keep"}, "unsorted must be one of 'refuse', 'sort'"),
    ],
)
def test_arguments_are_checked(tmp_path, option, reason):
    assert reason in refusal(folders(tmp_path / "own"), **option)


def test_events_that_no_window_holds_are_reported(tmp_path):
    root = folders(tmp_path / "own")
    framing = Framing(4, [34, 34], "window", window=10)
    paths = sorted((root / "train").rglob("*.bin"))
    late = total = 0
    for path in paths:
        t = read_events(path)["t"]
        late, total = late + int((t >= t[0] + 40_000).sum()), total + len(t)
    for verify in (True, False):
        with pytest.warns(UserWarning) as warned:
            event_folder(root, framing=framing, verify=verify)
        said = " ".join(str(one.message) for one in warned)
        assert f"({late:,} of {total:,}, train recordings) come after T·window = 40 ms" in said


def test_cached_frames_are_used_until_a_byte_changes_even_without_a_trace(tmp_path, monkeypatch):
    root = folders(tmp_path / "own")

    def first(**more) -> torch.Tensor:
        return torch.cat([x for x, *_ in event_folder(root, **more).test_dataloader()])

    fresh = first()
    monkeypatch.setattr(Framing, "__call__", lambda framing, events: pytest.fail("framed though it was cached"))
    assert torch.equal(first(), fresh)
    monkeypatch.undo()
    monkeypatch.setenv("SNNTRAIN_CACHE", str(tmp_path / "caches"))
    path = root / "test" / "left" / "0.bin"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[0] ^= 1  # x of the first event
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = first()
    assert np.array_equal(changed[0].numpy(), Framing(4, [34, 34])(read_events(path)))
    assert not torch.equal(changed[0], fresh[0]) and torch.equal(changed[1:], fresh[1:])
    assert first(framing=Framing(4, [34, 34], binary=True)).max() == 1


def test_augmented_events_pass_by_the_cache_and_validation_sees_them_as_they_are(tmp_path):
    root = folders(tmp_path / "own")
    augment = EventAugmentation([{"name": "drop_events", "p": 0.5}])
    plain, augmented = event_folder(root), event_folder(root, augment=augment)
    for name in ("val_dataloader", "test_dataloader"):
        for (x, *_), (y, *_) in zip(getattr(plain, name)(), getattr(augmented, name)(), strict=True):
            assert torch.equal(x, y)
    split = augmented.splits["train"]
    one, two, again = (split.__getitems__([(epoch, 0), (epoch, 5)])[0] for epoch in (0, 1, 0))
    whole = plain.splits["train"].__getitems__([0, 5])[0]
    assert torch.equal(one, again) and not torch.equal(one, two)
    assert all((part.sum((1, 2, 3, 4)) == (whole.sum((1, 2, 3, 4)) / 2).floor()).all() for part in (one, two))


def test_augmented_frames_come_from_the_cache(tmp_path, monkeypatch):
    root = folders(tmp_path / "own")
    data = event_folder(root, augment=EventAugmentation([{"name": "frame_roll", "pixels": 3}]))
    first = [x for x, *_ in data.train_dataloader()]
    monkeypatch.setattr(Framing, "__call__", lambda framing, events: pytest.fail("framed though it was cached"))
    assert all(torch.equal(x, y) for x, (y, *_) in zip(first, data.train_dataloader(), strict=True))


def test_a_worker_that_is_spawned_gets_the_reader(tmp_path):
    data = event_folder(folders(tmp_path / "own"), augment=EventAugmentation(["flip_left_right"]))
    split = pickle.loads(pickle.dumps(data.splits["train"].frame))
    path = data.splits["train"].recordings[0]
    assert np.array_equal(split(path), data.splits["train"].frame(path))


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path):
    one, two = (event_folder(folders(tmp_path / name)).fingerprint() for name in "ab")
    assert one == two and set(one) == {"train recordings", "test recordings"}
    write_bin(tmp_path / "b" / "test" / "left" / "0.bin", np.array([(1, 1, 1, True)], EVENT))
    three = event_folder(tmp_path / "b").fingerprint()
    assert three["train recordings"] == one["train recordings"] and three["test recordings"] != one["test recordings"]


def test_the_real_recordings_are_all_there(shared_data):
    data = event_folder(shared_data / "NMNIST", framing=Framing(10, [34, 34]), num_classes=10, val_fraction=0.1)
    counts = {name: len(split) for name, split in data.splits.items()}
    assert counts["train"] + counts["val"] == 500 and counts["test"] == 200
    assert "".join(data.CLASSES) == "0123456789"
    for x, _, index in data.test_dataloader():
        sizes = [data.splits["test"].recordings[place].stat().st_size // 5 for place in index.tolist()]
        assert x.sum((1, 2, 3, 4)).tolist() == sizes
