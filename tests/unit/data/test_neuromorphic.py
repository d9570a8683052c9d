"""The public event data sets, from small files in their own formats and layouts."""

import ast
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from event_files import (
    stream,
    write_aedat4,
    write_asl,
    write_bin,
    write_gesture,
    write_heidelberg,
)
from hydra.utils import instantiate
from omegaconf import OmegaConf
from refused import message_of

from snntrain.config.schema import register_schema
from snntrain.data import neuromorphic
from snntrain.data.framing import Framing
from snntrain.data.neuromorphic import (
    ASLDVS,
    CIFAR10DVS,
    NMNIST,
    SHD,
    SSC,
    DVSGesture,
    NCaltech101,
    NeuromorphicDataModule,
)

CONF = Path(__file__).resolve().parents[3] / "conf"
YAMLS = {
    "nmnist": NMNIST,
    "dvs_gesture": DVSGesture,
    "cifar10_dvs": CIFAR10DVS,
    "ncaltech101": NCaltech101,
    "asl_dvs": ASLDVS,
    "shd": SHD,
    "ssc": SSC,
}


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNNTRAIN_CACHE", str(tmp_path / "caches"))


def module(kind: type[NeuromorphicDataModule], root: Path, classes: int = 10, **more) -> NeuromorphicDataModule:
    line = kind.SENSOR == 700
    framing = more.pop("framing", None) or Framing(3, kind.SENSOR, polarity="merge" if line else "channels")
    arguments = {"num_classes": classes, "sample_shape": list(framing.shape[1:]), "val_fraction": 0.25, "batch_size": 8}
    return kind(str(root), framing, **(arguments | more))


def loaded(kind: type[NeuromorphicDataModule], root: Path, classes: int = 10, **more) -> NeuromorphicDataModule:
    data = module(kind, root, classes, **more)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "data: only ")
        data.prepare_data()
        data.setup()
    return data


def refusal(error: type[Exception], data: NeuromorphicDataModule) -> str:
    return message_of(error, lambda: (data.prepare_data(), data.setup()))


def digits(root: Path, per_class: int = 4) -> Path:
    for part in ("Train", "Test"):
        for digit in range(10):
            for number in range(per_class):
                write_bin(root / "NMNIST" / part / str(digit) / f"{number:05}.bin", event(part, digit, number))
    return root


def event(*what: object, **more) -> np.ndarray:
    return stream(int.from_bytes(repr(what).encode()[-7:], "big"), **more)


def check_frames(data: NeuromorphicDataModule, split: str, expected: Callable[[int, int], np.ndarray]) -> None:
    """Every sample of a split is framed from the events that were written; expected: (index, label) → events."""
    part = data.splits[split]
    x, labels, index = part.__getitems__(range(len(part)))
    assert len(x) and x.dtype == torch.float32
    for sample, label, place in zip(x, labels.tolist(), index.tolist(), strict=True):
        assert np.array_equal(sample.numpy(), data.framing(expected(place, label)))


def test_nmnist_is_read_from_its_digit_folders(tmp_path):
    digits(tmp_path)
    (tmp_path / "NMNIST" / "Train" / "0" / "._00000.bin").write_bytes(b"resource fork")
    data = loaded(NMNIST, tmp_path, partial=True)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 30, "val": 10, "test": 40}
    for split, part in (("train", "Train"), ("val", "Train"), ("test", "Test")):
        check_frames(data, split, lambda place, label, part=part: event(part, label, place - 4 * label))
    assert data.splits["test"].labels.tolist() == [digit for digit in range(10) for _ in range(4)]
    reader = data.splits["test"].frame  # a spawned worker opens the data set anew
    assert np.array_equal(pickle.loads(pickle.dumps(reader))(5), reader(5))
    said = data.assumed()
    assert said["sensor"] == "34×34 (height × width)" and said["time going back"] == "refused (data.unsorted)"
    assert re.fullmatch(r"0\.0\d+ to 0\.\d+ s in 16 recordings", said["durations"])
    assert said["frames"] == "3 of mode time; OFF and ON a channel each"


def test_a_single_file_without_a_label_is_read_as_those_of_the_set(tmp_path):
    digits(tmp_path, per_class=4)
    data = loaded(NMNIST, tmp_path, partial=True)
    alone = data.unlabeled(tmp_path / "NMNIST" / "Test")
    assert len(alone) == 40 and all(torch.equal(alone[n][0], data.splits["test"][n][0]) for n in range(40))
    assert alone.labels.tolist() == [-1] * 40
    events = stream(5, size=(128, 128))
    write_gesture(tmp_path / "gesture" / "wave.npy", events)
    gesture = module(DVSGesture, tmp_path, 11, framing=Framing(3, (128, 128), mode="window", window=20))
    whole_ms = events.copy()
    whole_ms["t"] = events["t"] // 1000 * 1000
    (frames,) = gesture.unlabeled(tmp_path / "gesture").read([0])
    assert np.array_equal(frames.numpy(), gesture.framing(whole_ms))
    for kind in (NCaltech101, ASLDVS, SHD, SSC):
        with pytest.raises(ValueError, match=f"{kind.__name__} does not say how a file becomes a sample"):
            module(kind, tmp_path, len(getattr(kind, "CLASSES", range(10)))).unlabeled(tmp_path)


def test_a_partial_set_is_refused_or_used_with_a_warning_that_counts_it(tmp_path):
    digits(tmp_path)
    said = refusal(ValueError, module(NMNIST, tmp_path))
    for text in ("only 40 of 60,000 recordings of NMNIST's train set", str(tmp_path / "NMNIST" / "Train")):
        assert text in said
    assert "data.partial=true" in said and "scripts/fetch_data.py name=NMNIST" in said
    data = module(NMNIST, tmp_path, partial=True)
    with pytest.warns(UserWarning) as warned:
        data.setup()
    texts = [str(one.message) for one in warned]
    assert any("only 40 of 60,000" in text for text in texts) and any("only 40 of 10,000" in text for text in texts)


def test_a_whole_set_is_used_without_a_warning(tmp_path, monkeypatch):
    digits(tmp_path)
    whole = {name: part._replace(count=40) for name, part in NMNIST.PARTS.items()}
    monkeypatch.setattr(NMNIST, "PARTS", whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = module(NMNIST, tmp_path)
        data.setup()
    assert len(data.splits["test"]) == 40


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "it is truncated"),
        (lambda path: path.write_bytes(b""), "it holds no events"),
        (lambda path: write_bin(path, stream(0, size=(40, 40))), "outside the sensor"),
        (lambda path: write_bin(path, stream(0)[::-1]), "time goes back"),
    ],
)
def test_a_damaged_recording_is_named(tmp_path, damage, reason):
    digits(tmp_path)
    path = tmp_path / "NMNIST" / "Test" / "7" / "00002.bin"
    damage(path)
    with pytest.warns(UserWarning, match="only 40"):
        said = refusal(ValueError, module(NMNIST, tmp_path, partial=True))
    assert str(path) in said and reason in said


def test_gestures_are_read_with_their_times_in_milliseconds(tmp_path):
    for part in ("Train", "Test"):
        for user in (1, 2, 11):
            for label in range(11):
                folder = tmp_path / "DVSGesture" / f"ibmGesture{part}" / f"user{user:02}_led"
                write_gesture(folder / f"{label}.npy", event(part, user, label, size=(128, 128)))
    data = loaded(DVSGesture, tmp_path, 11, partial=True)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 22, "val": 11, "test": 33}

    def expected(place: int, label: int) -> np.ndarray:
        names = sorted((f"user{user:02}", f"{k}.npy", user, k) for user in (1, 2, 11) for k in range(11))
        _, _, user, k = names[place]
        assert k == label
        events = event("Test", user, k, size=(128, 128))
        events["t"] -= events["t"] % 1000
        return events

    check_frames(data, "test", expected)


def test_the_last_tenth_of_each_class_of_cifar10_dvs_is_the_test_set(tmp_path):
    pytest.importorskip("aedat")
    for label, name in enumerate(CIFAR10DVS.CLASSES):
        for number in range(10):
            path = tmp_path / "CIFAR10DVS" / name / f"cifar10_{name}_{number}.aedat4"
            write_aedat4(path, event(label, number, size=(128, 128)))
    data = loaded(CIFAR10DVS, tmp_path, partial=True)
    assert data.splits["test"].index.tolist() == [10 * label + 9 for label in range(10)]
    assert data.splits["test"].labels.tolist() == list(range(10))
    both = torch.cat([data.splits[name].index for name in ("train", "val")]).sort().values.tolist()
    assert both == [10 * label + number for label in range(10) for number in range(9)]
    for split in data.splits:
        check_frames(data, split, lambda place, label: event(label, place % 10, size=(128, 128)))


def test_ncaltech_is_moved_into_the_corner_and_split_by_class(tmp_path):
    def picture(name: str, number: int) -> np.ndarray:
        events = event(name, number, size=(50, 60))
        events["x"] += 100
        return events

    names = ("BACKGROUND_Google", "Faces_easy", "accordion")
    for name in names:
        for number in range(10):
            write_bin(tmp_path / "NCALTECH101" / "Caltech101" / name / f"image_{number:04}.bin", picture(name, number))
    data = loaded(NCaltech101, tmp_path, 3, partial=True, split=0.2)
    assert names == data.CLASSES
    assert torch.bincount(data.splits["test"].labels).tolist() == [2, 2, 2]

    def expected(place: int, label: int) -> np.ndarray:
        events = picture(names[label], place % 10)
        for axis in "xy":
            events[axis] -= events[axis].min()
        return events

    for split in data.splits:
        check_frames(data, split, expected)


def test_letters_of_asl_dvs_are_numbered_without_those_that_move(tmp_path):
    letters = ("a", "i", "k", "y")
    for letter in letters:
        for number in range(6):
            write_asl(
                tmp_path / "ASLDVS" / letter / f"{letter}_{number:04}.mat", event(letter, number, size=(180, 240))
            )
    data = loaded(ASLDVS, tmp_path, 24, partial=True, split=0.2)
    assert len(data.CLASSES) == 24 and not {"j", "z"} & set(data.CLASSES)
    assert data.splits["test"].labels.tolist() == [0, 8, 9, 23]
    for split in data.splits:
        check_frames(data, split, lambda place, label: event(data.CLASSES[label], place % 6, size=(180, 240)))


def spoken(path: Path, classes: list[str], count: int, label: Callable[[int], int] = lambda number: number) -> None:
    samples = []
    for number in range(count):
        events = event(path.stem, number, size=(1, 700))
        samples.append((events["t"] / 1e6, events["x"], label(number) % len(classes)))
    write_heidelberg(path, samples, classes)


def heard(stem: str, number: int) -> np.ndarray:
    events = event(stem, number, size=(1, 700))
    events["t"] = ((events["t"] / 1e6).astype(np.float16).astype(np.float64) * 1e6).astype(np.int64)
    events["p"] = True
    return events


def test_shd_is_read_from_its_two_files(tmp_path):
    names = [f"word{number}" for number in range(20)]
    for part in ("train", "test"):
        spoken(tmp_path / "SHD" / f"shd_{part}.h5", names, 60)
    framing = Framing(5, 700, polarity="merge", downsample=5)
    data = loaded(SHD, tmp_path, 20, framing=framing)
    assert tuple(names) == data.CLASSES and data.sample_shape == (140,)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 40, "val": 20, "test": 60}
    assert next(iter(data.train_dataloader()))[0].shape == (8, 5, 140)
    for split, stem in (("train", "shd_train"), ("val", "shd_train"), ("test", "shd_test")):
        check_frames(data, split, lambda place, label, stem=stem: heard(stem, place))


def test_ssc_has_a_validation_set_of_its_own(tmp_path):
    names = [f"word{number}" for number in range(35)]
    for part, count in (("train", 40), ("valid", 36), ("test", 35)):
        spoken(tmp_path / "SSC" / f"ssc_{part}.h5", names, count)
    data = loaded(SSC, tmp_path, 35)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 40, "val": 36, "test": 35}
    check_frames(data, "val", lambda place, label: heard("ssc_valid", place))


def test_a_damaged_file_of_spikes_is_named(tmp_path):
    for part in ("train", "test"):
        spoken(tmp_path / "SHD" / f"shd_{part}.h5", [str(number) for number in range(20)], 40)
    path = tmp_path / "SHD" / "shd_test.h5"
    for content in (path.read_bytes()[:-5000], b"<html>404 not found</html>"):
        path.write_bytes(content)
        said = refusal(ValueError, module(SHD, tmp_path, 20))
        assert f"{path} is damaged" in said and "Unpack it again from shd_test.h5.zip" in said and "elete" not in said
    spoken(path, [str(number) for number in range(21)], 21)
    assert f"{path}, sample 20 has the label 20" in refusal(ValueError, module(SHD, tmp_path, 20))
    assert "num_classes must be 21" in refusal(ValueError, module(SHD, tmp_path, 22, val_fraction=0.5))


def test_a_file_of_spikes_that_points_out_of_itself_is_refused(tmp_path):
    for part in ("train", "test"):
        spoken(tmp_path / "SHD" / f"shd_{part}.h5", [str(number) for number in range(20)], 40)
    (tmp_path / "secret").write_bytes(bytes(40))
    with h5py.File(tmp_path / "SHD" / "shd_test.h5", "a") as file:
        del file["labels"]
        file.create_dataset("labels", (40,), "u1", external=[(str(tmp_path / "secret"), 0, 40)])
    assert "labels lies in another file" in refusal(ValueError, module(SHD, tmp_path, 20))


def test_a_recording_that_declares_more_than_it_holds_is_refused_unread(tmp_path):
    for part in ("Train", "Test"):
        path = write_gesture(tmp_path / f"DVSGesture/ibmGesture{part}/user01_led/0.npy", event(part))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (10**8, 4)})
        file.write(bytes(64))
    data = module(DVSGesture, tmp_path, 11, partial=True)
    assert f"{path}: its header promises 3,200,000,000 bytes" in refusal(ValueError, data)


def test_a_failing_disk_is_not_taken_for_a_damaged_recording(tmp_path):
    path = next(digits(tmp_path).rglob("Test/7/*.bin"))
    data = module(NMNIST, tmp_path, partial=True)
    path.unlink()
    path.symlink_to("/proc/self/mem")  # reading its beginning is an input/output error
    said = refusal(OSError, data)
    assert "Input/output error" in said and str(path) in said


@pytest.mark.parametrize("name", YAMLS)
def test_every_yaml_builds_its_data_set_and_names_the_files_that_are_not_there(name, tmp_path):
    settings = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert settings.pop("defaults") == [{"override /encoder@_global_.encoder": "frames"}]
    settings["framing"]["T"] = 4
    settings |= {"root": str(tmp_path), "seed": 1}
    register_schema()
    settings = OmegaConf.to_container(OmegaConf.create({"data": settings}), resolve=True)["data"]
    data = instantiate(settings, _convert_="all")
    assert type(data) is YAMLS[name] and data.framing.shape[1:] == tuple(settings["sample_shape"])
    said = refusal(FileNotFoundError, data)
    for text in (str(data.folder), "https://", "MD5 ", f"scripts/fetch_data.py name={type(data).__name__}"):
        assert text in said
    assert "data.download=true" in said and len(re.findall("https://", said)) == 1


@pytest.mark.parametrize("missing", ["Train", "Test"])
def test_the_archive_that_brings_the_missing_part_is_named(tmp_path, missing):
    digits(tmp_path)
    for path in (tmp_path / "NMNIST" / missing).rglob("*.bin"):
        path.unlink()
    data = module(NMNIST, tmp_path, partial=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "data: only ")
        said = refusal(FileNotFoundError, data)
    assert f"{missing}/**/*.bin is not in {tmp_path / 'NMNIST'}" in said and f"{missing.lower()}.zip" in said


def test_missing_files_are_fetched_when_asked_for_and_only_then(tmp_path, monkeypatch):
    asked = []

    def fetch(name: str, root: Path) -> None:
        asked.append(name)
        digits(root)

    monkeypatch.setattr(neuromorphic, "fetch", fetch)
    refusal(FileNotFoundError, module(NMNIST, tmp_path))
    assert asked == []
    module(NMNIST, tmp_path, download=True).prepare_data()
    assert asked == ["NMNIST"]
    module(NMNIST, tmp_path, download=True, partial=True).prepare_data()
    assert asked == ["NMNIST"]


def test_the_sensor_is_that_of_the_data(tmp_path):
    with pytest.raises(ValueError, match=r"NMNIST: framing.sensor_size must be \[34, 34\].*use framing.downsample"):
        module(NMNIST, tmp_path, framing=Framing(3, [17, 17]))


@pytest.mark.parametrize("name", ["events", "framing", "event_augmentation", "event_folder", "neuromorphic"])
def test_importing_a_module_imports_no_package_that_only_some_data_needs(name):
    tree = ast.parse((CONF.parent / "snntrain" / "data" / f"{name}.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in top for alias in node.names} | {getattr(node, "module", "") for node in top}
    assert not {str(one).split(".")[0] for one in names} & {"tonic", "h5py", "aedat", "scipy"}


def test_the_real_partial_set_is_read(shared_data):
    data = loaded(NMNIST, shared_data, partial=True, val_fraction=0.1)
    counts = {name: len(split) for name, split in data.splits.items()}
    assert counts["train"] + counts["val"] == 500 and counts["test"] == 200
    files = sorted((shared_data / "NMNIST" / "Test").rglob("*.bin"))
    x, labels, index = data.splits["test"].__getitems__(range(200))
    assert [int(files[place].parent.name) for place in index.tolist()] == labels.tolist()
    assert x.sum((1, 2, 3, 4)).tolist() == [files[place].stat().st_size // 5 for place in index.tolist()]
