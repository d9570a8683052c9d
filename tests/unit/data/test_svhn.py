"""SVHN from small .mat files: pictures [32, 32, 3, n], labels 1 … 10 of which 10 is the digit 0."""

import hashlib

import numpy as np
import pytest
import scipy.io
import torch
from torchvision import datasets

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.error import UsageError
from snntrain.run.build import build_data

COUNTS = {"train": 40, "test": 12}


@pytest.fixture
def files(tmp_path, monkeypatch) -> dict[str, dict[str, np.ndarray]]:
    """The two files in tmp_path/SVHN, and the checksums torchvision expects of them."""
    random, made = np.random.default_rng(1), {}
    (tmp_path / "SVHN").mkdir()
    listed = dict(datasets.SVHN.split_list)
    for split, count in COUNTS.items():
        pixels = random.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        made[split] = {"X": pixels, "y": random.integers(1, 11, (count, 1), dtype=np.uint8)}
        path = tmp_path / "SVHN" / f"{split}_32x32.mat"
        scipy.io.savemat(path, made[split], do_compression=True)
        listed[split] = [*listed[split][:2], hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return made


def svhn(root, *overrides: str):
    return build_data(check(compose(["data=svhn", f"paths.data={root}", *overrides])))


def test_pictures_and_digits_are_those_of_the_files(tmp_path, files):
    data = svhn(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 36, "val": 4, "test": 12}
    for name, source in (("train", "train"), ("val", "train"), ("test", "test")):
        x, y, index = data.splits[name].__getitems__(range(len(data.splits[name])))
        for picture, label, place in zip(x, y, index, strict=True):
            pixels = files[source]["X"][..., place].transpose(2, 0, 1)
            assert torch.equal(picture, torch.from_numpy(pixels.copy()) / 255)
            assert int(label) == files[source]["y"][place, 0] % 10  # 10 stands for 0
    assert data.splits["train"].labels.dtype == torch.int64


def test_files_beside_the_folder_are_found_as_well(tmp_path, files):
    for path in (tmp_path / "SVHN").iterdir():
        path.rename(tmp_path / path.name)
    assert len(svhn(tmp_path).splits["test"]) == 12


def test_a_missing_file_is_named(tmp_path, files):
    (tmp_path / "SVHN/test_32x32.mat").unlink()
    with pytest.raises(UsageError) as refused:
        svhn(tmp_path)
    said = str(refused.value)
    for part in ("test_32x32.mat is not in", str(tmp_path / "SVHN"), "http://ufldl.stanford.edu/", "64.3 MB", "MD5"):
        assert part in said
    assert "train_32x32.mat" not in said


def test_a_truncated_file_is_corrupt(tmp_path, files):
    path = tmp_path / "SVHN/train_32x32.mat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=f"{path} is corrupt, its MD5"):
        svhn(tmp_path)


def test_the_fingerprint_is_a_hash_of_each_file(tmp_path, files):
    found = svhn(tmp_path).fingerprint()
    assert found == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "SVHN").iterdir()}
