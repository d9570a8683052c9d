"""CIFAR-10 and -100 from small files in the original format: pickles in a folder, or the archive of that folder."""

import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.data import CIFAR10, CIFAR100
from snntrain.error import UsageError
from snntrain.run.build import build_data

COUNT = 30  # pictures per file
KINDS = {"CIFAR10": CIFAR10, "CIFAR100": CIFAR100}


@pytest.fixture(params=KINDS)
def name(request) -> str:
    return request.param


@pytest.fixture
def contents(name, monkeypatch) -> dict[str, bytes]:
    """Files like Krizhevsky's, and the checksums torchvision expects of them."""
    theirs, random = getattr(datasets, name), np.random.default_rng(0)
    key, classes = ("labels", 10) if name == "CIFAR10" else ("fine_labels", 100)
    made = {}
    for file, _ in (*theirs.train_list, *theirs.test_list):
        pixels = random.integers(0, 256, (COUNT, 3072), dtype=np.uint8)
        made[file] = pickle.dumps({"data": pixels, key: random.integers(0, classes, COUNT).tolist()}, protocol=2)
    made[theirs.meta["filename"]] = pickle.dumps({theirs.meta["key"]: [f"kind {n}" for n in range(classes)]})
    sums = {file: hashlib.md5(content).hexdigest() for file, content in made.items()}
    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(theirs, listed, [[file, sums[file]] for file, _ in getattr(theirs, listed)])
    monkeypatch.setattr(theirs, "meta", theirs.meta | {"md5": sums[theirs.meta["filename"]]})
    return made


def write(root: Path, name: str, contents: dict[str, bytes]) -> Path:
    folder = root / getattr(datasets, name).base_folder
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    return folder


def archive(folder: Path, name: str, contents: dict[str, bytes], monkeypatch) -> Path:
    """The folder as an archive, and torchvision expecting its checksum."""
    theirs = getattr(datasets, name)
    inside = write(folder / "packing", name, contents)
    path = folder / theirs.filename
    with tarfile.open(path, "w:gz") as packed:
        packed.add(inside, arcname=inside.name)
    monkeypatch.setattr(theirs, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def made(root: Path, name: str, *overrides: str):
    return build_data(check(compose([f"data={name.lower()}", f"paths.data={root}", *overrides])))


def test_pictures_and_labels_are_those_of_the_files(tmp_path, name, contents):
    write(tmp_path, name, contents)
    data = made(tmp_path, name, "data.val_fraction=0.2")
    theirs = getattr(datasets, name)
    whole = COUNT * len(theirs.train_list)
    assert {key: len(split) for key, split in data.splits.items()} == {
        "train": whole - round(0.2 * whole),
        "val": round(0.2 * whole),
        "test": COUNT,
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
    assert data.CLASSES[3] == "kind 3" and index.tolist() == list(range(COUNT))


def test_the_fingerprint_is_a_hash_of_each_file(tmp_path, name, contents):
    write(tmp_path, name, contents)
    found = made(tmp_path, name).fingerprint()
    assert found == {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}


def test_normalized_batches_are_shifted_and_scaled_per_channel_after_augmentation(tmp_path, name, contents):
    write(tmp_path, name, contents)
    plain = made(tmp_path, name, "data/augment=cifar").splits
    data = made(tmp_path, name, "data/augment=cifar", "data.normalize=true")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.MEAN, data.STD))
    for split, keys in (("train", [(0, 1), (0, 2)]), ("val", [0, 1]), ("test", [5])):
        x, expected = (some[split].__getitems__(keys)[0] for some in (data.splits, plain))
        torch.testing.assert_close(x, (expected - mean) / std)
    assert 0.4 < mean.mean() < 0.5 and 0.24 < std.mean() < 0.28


def test_a_missing_file_is_named_with_what_brings_it(tmp_path, name, contents):
    theirs = getattr(datasets, name)
    missing = theirs.test_list[0][0]
    write(tmp_path, name, {file: content for file, content in contents.items() if file != missing})
    with pytest.raises(UsageError) as refused:
        made(tmp_path, name)
    said = str(refused.value)
    parts = (
        f"{theirs.base_folder}/{missing} is not in {tmp_path}",
        theirs.url,
        theirs.tgz_md5,
        "MB",
        "data.download=true",
    )
    assert all(part in said for part in parts), said


def test_a_corrupt_file_is_named(tmp_path, name, contents):
    folder = write(tmp_path, name, contents)
    culprit = folder / getattr(datasets, name).train_list[0][0]
    culprit.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")  # a pickle that would run a program
    with pytest.raises(UsageError, match=f"{culprit} is corrupt, its MD5"):
        made(tmp_path, name)
    assert not Path("pwned").exists()


def test_an_archive_put_there_by_hand_is_unpacked(tmp_path, name, contents, monkeypatch):
    path = archive(tmp_path, name, contents, monkeypatch)
    data = made(tmp_path, name)
    assert len(data.splits["test"]) == COUNT
    assert {file.name for file in (tmp_path / getattr(datasets, name).base_folder).iterdir()} == set(contents)
    path.write_bytes(b"half an archive")
    for file in (tmp_path / getattr(datasets, name).base_folder).iterdir():
        file.unlink()
    with pytest.raises(UsageError, match=f"{path} is not a file of {name}: its MD5 is"):
        made(tmp_path, name)


def test_it_is_downloaded_when_asked_for(tmp_path, name, contents, monkeypatch, web_server):
    served = tmp_path / "server"
    served.mkdir()
    path = archive(served, name, contents, monkeypatch)
    web_server.files[path.name] = path.read_bytes()
    monkeypatch.setattr(getattr(datasets, name), "url", f"{web_server.address}/{path.name}")
    assert len(made(tmp_path / "data", name, "data.download=true").splits["test"]) == COUNT


@pytest.mark.parametrize(
    "override", ["data.num_classes=11", "data.sample_shape=[1,32,32]", "data.normalize=yes_please"]
)
def test_facts_that_are_not_those_of_the_data_are_refused(tmp_path, name, override):
    with pytest.raises(UsageError, match=override.split("=")[0].split(".")[1]):
        made(tmp_path, name, override)
