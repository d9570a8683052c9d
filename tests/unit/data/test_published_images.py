"""What MNIST, CIFAR and SVHN have in common: files with published checksums, missing, corrupt or downloaded."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from small_images import cifar_archive, cifar_files, loaded, mnist_files, packed, svhn_files, write
from torchvision import datasets

from snntrain import data as data_sets
from snntrain.data import DataModule

NAMES = ("MNIST", "CIFAR10", "CIFAR100", "SVHN")


@dataclass
class Small:
    """A small data set.

    Attributes:
        files: path under paths.data → content of the files that are read.
        downloads: name → content of what is downloaded; default: the files.
    """

    name: str
    files: dict[str, bytes]
    downloads: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.downloads = self.downloads or {Path(path).name: content for path, content in self.files.items()}

    def build(self, root: Path, **more: bool) -> DataModule:
        return loaded(getattr(data_sets, self.name), root, **more)


@pytest.fixture(params=NAMES)
def small(request, monkeypatch) -> Small:
    name = request.param
    if name == "MNIST":
        files = {f"MNIST/raw/{file}.gz": packed(content) for file, content in mnist_files(monkeypatch).items()}
        return Small(name, files)
    if name == "SVHN":
        return Small(name, {f"SVHN/{file}": content for file, content in svhn_files(monkeypatch).items()})
    contents, theirs = cifar_files(monkeypatch, name), getattr(datasets, name)
    files = {f"{theirs.base_folder}/{file}": content for file, content in contents.items()}
    return Small(name, files, {theirs.filename: cifar_archive(monkeypatch, name, contents)})


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {Path(path).name: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def test_the_fingerprint_is_a_hash_of_each_file(tmp_path, small):
    write(tmp_path, small.files)
    assert small.build(tmp_path).fingerprint() == hashes(small.files)


def test_a_missing_file_is_named_with_what_brings_it(tmp_path, small):
    for missing in small.files:
        folder = tmp_path / missing.replace("/", "_")
        write(folder, {path: content for path, content in small.files.items() if path != missing})
        with pytest.raises(FileNotFoundError) as refused:
            small.build(folder)
        text, file = str(refused.value), Path(missing).name
        source = file if file in small.downloads else next(iter(small.downloads))
        place = folder if small.name.startswith("CIFAR") else (folder / missing).parent
        md5 = hashlib.md5(small.downloads[source]).hexdigest()
        for part in (f"{file} is not in {place}", f"Download {source} (http", f" MD5 {md5})", "data.download=true"):
            assert part in text
        assert re.search(r"http\S+, [\d.]+ [kM]B, MD5", text)
        others = [Path(other).name for other in small.files if other != missing]
        assert others and not any(other in text.replace(str(folder), "") for other in others)


def test_a_corrupt_file_is_named(tmp_path, small):
    corrupt, content = next(iter(small.files.items()))
    write(tmp_path, small.files | {corrupt: content[:-1]})
    with pytest.raises(ValueError) as refused:
        small.build(tmp_path)
    text = str(refused.value)
    assert f"{tmp_path / corrupt} is corrupt" in text and "its MD5 is" in text and "Delete it, then" in text


def test_what_is_missing_is_downloaded_when_asked_for(tmp_path, small, monkeypatch, web_server):
    web_server.files = small.downloads
    theirs = getattr(datasets, small.name)
    if small.name == "MNIST":
        monkeypatch.setattr(theirs, "mirrors", [f"{web_server.address}/"])
    elif small.name == "SVHN":
        listed = {split: (f"{web_server.address}/{row[1]}", *row[1:]) for split, row in theirs.split_list.items()}
        monkeypatch.setattr(theirs, "split_list", listed)
    else:
        monkeypatch.setattr(theirs, "url", f"{web_server.address}/{theirs.filename}")
    data = small.build(tmp_path, download=True)
    assert data.fingerprint() == hashes(small.files) and len(data.splits["test"]) > 0
    assert sorted(name for name, _ in web_server.requests) == sorted(small.downloads)
