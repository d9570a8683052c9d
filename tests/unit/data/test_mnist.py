"""MNIST files, packed and unpacked, whole and damaged; small files made here, and the real ones where they are."""

import gzip
import hashlib
import re
import tempfile
from pathlib import Path

import pytest
import small_images
import torch
from refused import message_of
from small_images import MNIST_COUNTS, mnist_files
from small_images import MNIST_NAMES as NAMES
from torchvision import datasets

from snntrain.data import MNIST, FashionMNIST, download
from snntrain.data.mnist import UNPACKED_SHA256

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published file")

TRAIN, TEST = MNIST_COUNTS.values()


@pytest.fixture
def files(monkeypatch) -> dict[str, bytes]:
    return mnist_files(monkeypatch)


def write(folder: Path, files: dict[str, bytes], *, packed: bool) -> Path:
    """The files, packed or not, in the folder where torchvision puts them."""
    ready = {f"{name}.gz": small_images.packed(content) for name, content in files.items()} if packed else files
    return small_images.write(folder / "MNIST" / "raw", ready)


def mnist(root: Path, kind: type[MNIST] = MNIST, **more) -> MNIST:
    data = kind(str(root), num_classes=10, sample_shape=[1, 28, 28], **more)
    data.prepare_data()
    data.setup()
    return data


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}
    assert found
    return found


def refusal(root: Path, error: type[Exception] = ValueError, **more) -> str:
    return message_of(error, mnist, root, **more)


@pytest.mark.parametrize("packed", [True, False])
def test_both_layouts_give_the_pictures_and_labels_of_the_files(tmp_path, files, packed):
    write(tmp_path, files, packed=packed)
    before = listing(tmp_path)
    data = mnist(tmp_path, val_fraction=0.25)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 18, "val": 6, "test": TEST}
    test = data.splits["test"]
    assert test.images.shape == (TEST, 1, 28, 28) and test.images.dtype == torch.uint8
    assert test.images.numpy().tobytes() == files[NAMES[2]][16:]
    assert test.labels.tolist() == list(files[NAMES[3]][8:])
    x, y, _ = next(iter(data.test_dataloader()))
    assert torch.equal(x, test.images / 255) and torch.equal(y, test.labels) and y.dtype == torch.int64
    held_out = torch.cat([data.splits[name].images for name in ("train", "val")]).flatten(1).tolist()
    source = torch.frombuffer(bytearray(files[NAMES[0]][16:]), dtype=torch.uint8).reshape(TRAIN, -1).tolist()
    assert sorted(held_out) == sorted(source)
    assert torch.equal(mnist(tmp_path, val_fraction=0.25, seed=2).splits["val"].images, data.splits["val"].images)
    assert listing(tmp_path) == before


def test_a_missing_folder_is_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"MNIST: download must be True or False, got 'yes'"):
        mnist(tmp_path, download="yes")
    said = refusal(tmp_path / "nowhere", FileNotFoundError)
    assert f"{NAMES[0]}.gz" in said and str(tmp_path / "nowhere" / "MNIST" / "raw") in said


DAMAGE = {
    "one byte short": lambda content: content[:-1],
    "one byte long": lambda content: content + b"\0",
    "half": lambda content: content[: len(content) // 2],
    "header only": lambda content: content[:8],
    "three bytes": lambda content: content[:3],
    "empty": lambda content: b"",
    "another magic number": lambda content: b"\0\0\x01\x01" + content[4:],
    "another type": lambda content: b"\0\0\x0d" + content[3:],
    "text": lambda content: b"<html>404 not found</html>" * 40,
}


@pytest.mark.parametrize("name", NAMES[:2])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_unpacked_file_is_corrupt(tmp_path, files, name, damage):
    raw = write(tmp_path, {**files, name: damage(files[name])}, packed=False)
    said = refusal(tmp_path)
    assert f"{raw / name} is corrupt (" in said and "is corrupt ()" not in said
    assert "Delete it" in said and f"{name}.gz" in said


@pytest.mark.parametrize("packed", [True, False])
def test_a_label_that_is_no_class_is_named_with_its_place(tmp_path, files, monkeypatch, packed):
    content = bytearray(files[NAMES[3]])
    content[8 + 4] = 200
    raw = write(tmp_path, {**files, NAMES[3]: bytes(content)}, packed=packed)
    if packed:  # of a file that is as it was published, were it published so
        checksum = hashlib.md5((raw / f"{NAMES[3]}.gz").read_bytes()).hexdigest()
        monkeypatch.setattr(datasets.MNIST, "resources", [*datasets.MNIST.resources[:3], (f"{NAMES[3]}.gz", checksum)])
    assert re.search(rf"{raw / NAMES[3]}(\.gz)? has the label 200 at index 4; labels must be below", refusal(tmp_path))


def test_unpacked_files_are_told_from_the_published_ones(tmp_path, files, shared_data):
    write(tmp_path, files, packed=False)
    with pytest.warns(UserWarning, match="is not the published file: its SHA-256 is another one") as warned:
        data = mnist(tmp_path)
    assert len(warned) == 4 and data.assumed()["files"].startswith("not the published ones: train-images-idx3-ubyte")
    for (kind, name), expected in UNPACKED_SHA256.items():
        packed = (shared_data / kind / "raw" / f"{name}.gz").read_bytes()
        assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == expected


def test_pictures_and_labels_of_different_numbers_are_refused(tmp_path, files):
    write(tmp_path, {**files, NAMES[3]: files[NAMES[1]]}, packed=False)
    assert f"t10k-images-idx3-ubyte holds {TEST} pictures, but" in refusal(tmp_path)


def test_a_failing_disk_is_not_taken_for_a_corrupt_file(tmp_path, files):
    raw = write(tmp_path, files, packed=True)
    (raw / f"{NAMES[0]}.gz").unlink()
    (raw / f"{NAMES[0]}.gz").symlink_to("/proc/self/mem")  # reading its beginning is an input/output error
    said = refusal(tmp_path, OSError)
    assert "Input/output error" in said and f"{NAMES[0]}.gz" in said and "elete" not in said and "corrupt" not in said


def test_the_packed_file_comes_first_and_needs_no_temporary_folder(tmp_path, files, monkeypatch):
    """It can be verified."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    raw = write(tmp_path, files, packed=True)
    (raw / NAMES[0]).write_bytes(b"leftover of an interrupted unpacking")
    assert len(mnist(tmp_path).splits["test"]) == TEST


def test_nothing_is_fetched_where_nothing_is_missing(tmp_path, files, monkeypatch):
    write(tmp_path, files, packed=True)
    before = listing(tmp_path)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody answers there
    assert len(mnist(tmp_path, download=True).splits["test"]) == TEST
    assert listing(tmp_path) == before


def test_missing_files_are_fetched_from_the_first_mirror_that_has_them(tmp_path, files, monkeypatch, web_server):
    served = write(tmp_path / "server", files, packed=True)
    web_server.files = {f"second/{path.name}": path.read_bytes() for path in served.iterdir()}
    web_server.files[f"first/{NAMES[0]}.gz"] = b"another file"
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{web_server.address}/{one}/" for one in ("first", "second")])
    data = mnist(tmp_path / "data", download=True)
    assert data.splits["test"].labels.tolist() == list(files[NAMES[3]][8:])
    asked = [name for name, _ in web_server.requests]
    assert asked == [f"{mirror}/{name}.gz" for name in NAMES for mirror in ("first", "second")]


def test_a_download_that_breaks_off_goes_on_at_the_next_mirror(tmp_path, files, monkeypatch, web_server):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    served = write(tmp_path / "server", files, packed=True)
    web_server.files = {f"{mirror}/{path.name}": path.read_bytes() for path in served.iterdir() for mirror in "ab"}
    web_server.limits = [100]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{web_server.address}/{mirror}/" for mirror in "ab"])
    assert len(mnist(tmp_path / "data", download=True).splits["test"]) == TEST
    assert web_server.requests[:2] == [(f"a/{NAMES[0]}.gz", None), (f"b/{NAMES[0]}.gz", "bytes=100-")]


def test_a_download_that_fails_names_every_mirror_and_all_missing_files(tmp_path, files, monkeypatch):
    raw = write(tmp_path, {name: content for name, content in files.items() if "images" in name}, packed=True)
    mirrors = ["http://127.0.0.1:9/", "http://127.0.0.1:9/second/"]  # nobody answers there
    monkeypatch.setattr(datasets.MNIST, "mirrors", mirrors)
    said = refusal(tmp_path, OSError, download=True)
    failed = ", that of ".join(rf"{mirror}{NAMES[1]}\.gz failed \(.*refused.*\)" for mirror in mirrors)
    remedy = rf"put {NAMES[1]}\.gz into {raw} by hand\. Missing as well: {NAMES[3]}\.gz\."
    assert re.fullmatch(rf"data: the download of {failed}\. Run it again to go on, or {remedy}", said)


def test_both_data_sets_have_ten_named_classes_and_folders_of_their_own(tmp_path):
    shoes = FashionMNIST(str(tmp_path), 10, [1, 28, 28])
    assert shoes.CLASSES[7] == "Sneaker" and len(shoes.CLASSES) == 10
    assert "".join(MNIST.CLASSES) == "0123456789"
    assert shoes.raw == tmp_path / "FashionMNIST" / "raw"


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_the_real_files_are_read_where_they_lie(shared_data, kind):
    before = listing(shared_data / kind.__name__)
    data = mnist(shared_data, kind, val_fraction=1 / 12)
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 55_000, "val": 5_000, "test": 10_000}
    labels = torch.cat([data.splits[name].labels for name in ("train", "val")])
    counts = torch.bincount(labels).tolist()
    # Fashion-MNIST is balanced; MNIST's counts are those of LeCun et al.'s training set.
    published = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert counts == (published if kind is MNIST else [6000] * 10)
    x, _ = data.splits["test"][0]
    assert x.shape == (1, 28, 28) and x.min() >= 0 and x.max() == 1.0
    assert all(name.endswith(".gz") and len(digest) == 64 for name, digest in data.fingerprint().items())
    assert listing(shared_data / kind.__name__) == before
