"""SVHN from small .mat files: pictures [32, 32, 3, n], labels 1 … 10 of which 10 is the digit 0."""

import pytest
import torch
from small_images import loaded, svhn_arrays, svhn_files, write

from snntrain.data import SVHN


@pytest.fixture
def files(tmp_path, monkeypatch) -> None:
    """The two files in tmp_path/SVHN."""
    write(tmp_path / "SVHN", svhn_files(monkeypatch))


def test_pictures_and_digits_are_those_of_the_files(tmp_path, files):
    data, arrays = loaded(SVHN, tmp_path), svhn_arrays()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 36, "val": 4, "test": 12}
    for name, source in (("train", "train"), ("val", "train"), ("test", "test")):
        x, y, index = data.splits[name].__getitems__(range(len(data.splits[name])))
        for picture, label, place in zip(x, y, index, strict=True):
            pixels = arrays[source]["X"][..., place].transpose(2, 0, 1)
            assert torch.equal(picture, torch.from_numpy(pixels.copy()) / 255)
            assert int(label) == arrays[source]["y"][place, 0] % 10  # 10 stands for 0
    assert data.splits["train"].labels.dtype == torch.int64


def test_files_beside_the_folder_are_found_as_well(tmp_path, files):
    for path in (tmp_path / "SVHN").iterdir():
        path.rename(tmp_path / path.name)
    assert len(loaded(SVHN, tmp_path).splits["test"]) == 12
