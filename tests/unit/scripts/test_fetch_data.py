"""scripts/fetch_data.py against a web server of this process: whole, interrupted, wrong; and files brought by hand."""

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tonic import datasets as event_datasets
from torchvision import datasets as image_datasets

from snntrain.data import download

PICTURES = {"cifar-10-batches-py/data_batch_1": os.urandom(300_000), "cifar-10-batches-py/readme.html": b"<html>"}


def tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture
def fetch(tmp_path, monkeypatch, script) -> Callable[..., tuple[int, str, str]]:
    """Run the script in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    return partial(script, "fetch_data.py")


@pytest.fixture
def cifar(web_server, monkeypatch) -> bytes:
    """A small CIFAR-10 archive on the server, and torchvision expecting it there."""
    content = tar(PICTURES)
    web_server.files["cifar.tar.gz"] = content
    monkeypatch.setattr(image_datasets.CIFAR10, "url", f"{web_server.address}/cifar.tar.gz")
    monkeypatch.setattr(image_datasets.CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    return content


def found(folder: Path) -> dict[str, bytes]:
    """Every file that is not hidden."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_an_archive_is_downloaded_verified_and_unpacked(tmp_path, web_server, cifar, fetch):
    code, out, err = fetch("name=cifar10")
    assert (code, err) == (0, "")
    assert "downloaded, its MD5 is right" in out and "unpacked, 2 files" in out
    assert found(tmp_path / "data") == {"cifar-10-python.tar.gz": cifar, **PICTURES}
    code, out, _ = fetch("name=cifar10")
    assert code == 0 and "there, its MD5 is right" in out and "unpacked" not in out
    assert len(web_server.requests) == 1


def test_a_broken_download_goes_on_where_it_stopped(tmp_path, web_server, cifar, fetch, monkeypatch):
    web_server.limits = [100_000, 50_000]
    code, _, _ = fetch("name=cifar10", "paths.data=elsewhere")
    assert code == 0 and found(tmp_path / "elsewhere").keys() == {"cifar-10-python.tar.gz", *PICTURES}
    assert [wanted for _, wanted in web_server.requests] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_download_that_was_given_up_is_kept_and_gone_on_with_by_the_next_command(
    tmp_path, web_server, cifar, fetch, monkeypatch
):
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    web_server.limits = [100_000, 1]
    code, _, err = fetch("name=cifar10")
    assert code == 1 and err.count("\n") == 1
    assert (
        "failed (the connection ended after 100.0 kB of" in err and f"put {image_datasets.CIFAR10.filename} into" in err
    )
    assert (tmp_path / "data/cifar-10-python.tar.gz.part").read_bytes() == cifar[:100_001]
    assert fetch("name=cifar10")[0] == 0
    assert web_server.requests[-1] == ("cifar.tar.gz", "bytes=100001-")
    assert found(tmp_path / "data") == {"cifar-10-python.tar.gz": cifar, **PICTURES}


@pytest.mark.parametrize("case", ["of another file", "whole", "too long", "no ranges"])
def test_whatever_part_was_there_the_file_comes_out_right(tmp_path, web_server, cifar, fetch, case):
    part = tmp_path / "data/cifar-10-python.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes({"of another file": b"x" * 1000, "whole": cifar, "too long": cifar + b"x"}.get(case, cifar[:9]))
    web_server.knows_ranges = case != "no ranges"
    assert fetch("name=cifar10")[0] == 0
    assert found(tmp_path / "data") == {"cifar-10-python.tar.gz": cifar, **PICTURES}
    if case == "whole":
        assert web_server.requests == [("cifar.tar.gz", f"bytes={len(cifar)}-")]


def test_a_file_of_another_content_is_refused_and_not_kept(tmp_path, web_server, cifar, fetch):
    web_server.files["cifar.tar.gz"] = b"<html>sold out</html>"
    code, _, err = fetch("name=cifar10")
    assert code == 1 and "MD5 is" in err and image_datasets.CIFAR10.tgz_md5 in err and err.count("\n") == 1
    assert found(tmp_path / "data") == {}


def test_an_address_that_is_gone_is_tried_once(web_server, cifar, fetch):
    web_server.files.clear()
    code, _, err = fetch("name=cifar10")
    assert code == 1 and "HTTP Error 404" in err and len(web_server.requests) == 1


def test_archives_inside_archives_are_unpacked_where_they_lie(tmp_path, web_server, fetch, monkeypatch):
    content = zipped({"airplane.zip": zipped({"airplane/0.aedat4": b"a"}), "deer.zip": zipped({"deer/0.aedat4": b"b"})})
    web_server.files["dvs.zip"] = content
    monkeypatch.setattr(event_datasets.CIFAR10DVS, "url", f"{web_server.address}/dvs.zip")
    monkeypatch.setattr(event_datasets.CIFAR10DVS, "file_md5", hashlib.md5(content).hexdigest())
    assert fetch("name=cifar10_dvs")[0] == 0
    assert found(tmp_path / "data/CIFAR10DVS") == {
        "CIFAR10DVS.zip": content,
        "airplane/0.aedat4": b"a",
        "deer/0.aedat4": b"b",
    }


def test_a_file_brought_by_hand_is_known_by_its_content(tmp_path, web_server, cifar, fetch):
    brought = tmp_path / "some name"
    brought.write_bytes(cifar)
    code, out, _ = fetch("name=CIFAR10", "--from", str(brought))
    assert code == 0 and f"taken from {brought}, its MD5 is right" in " ".join(out.split())
    assert found(tmp_path / "data") == {"cifar-10-python.tar.gz": cifar, **PICTURES}
    assert brought.read_bytes() == cifar and web_server.requests == []


def test_what_is_still_missing_beside_a_file_brought_by_hand_is_told(tmp_path, fetch, monkeypatch):
    packed = {"train": zipped({"shd_train.h5": b"spikes"}), "test": zipped({"shd_test.h5": b"more spikes"})}
    for split, content in packed.items():
        monkeypatch.setattr(event_datasets.SHD, f"{split}_md5", hashlib.md5(content).hexdigest())
        (tmp_path / f"{split}.zip").write_bytes(content)
    code, out, _ = fetch("name=shd", "--from", "test.zip")
    assert code == 0 and "shd_train.h5.zip: missing, https://zenkelab.org/" in out
    assert fetch("name=shd", "--from", "train.zip", "--from", "test.zip")[0] == 0
    assert (tmp_path / "data/SHD/shd_train.h5").read_bytes() == b"spikes"


def test_an_unpacking_that_was_killed_leaves_nothing_half(tmp_path, cifar, fetch, monkeypatch):
    class Killed(BaseException): ...

    real, calls = os.replace, []

    def dies_at_the_second_move(source: Path, target: Path) -> None:
        calls.append(target)
        if "unpacking" in str(source) and len(calls) > 1:
            raise Killed
        real(source, target)

    (tmp_path / "data/cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "data/cifar-10-batches-py/test_batch").write_bytes(b"leftover")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("os.replace", dies_at_the_second_move)
        download.fetch("CIFAR10", tmp_path / "data", say=lambda line: None)
    assert fetch("name=cifar10")[0] == 0
    assert found(tmp_path / "data") == {"cifar-10-python.tar.gz": cifar, **PICTURES}  # the leftover is gone as well


def test_a_damaged_archive_is_named_and_nobody_is_told_to_delete_it(tmp_path):
    whole, packed = zipped({"a": bytes(range(256)) * 400}), tar({"a": os.urandom(5000)})
    damages = {"flipped.zip": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:], "cut.tar.gz": packed[:-60]}
    damages |= {"text.zip": b"<html>404 not found</html>", "flipped.tar.gz": packed[:30] + b"\xff\xff" + packed[32:]}
    for name, content in damages.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} cannot be unpacked \(.+\). Move it away and fetch it again"):
            download.unpack(tmp_path / name)
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_would_become_far_larger_is_refused_before_it_does(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(download, "HARMLESS", 10**6)
    path = tmp_path / f"a.{kind}"
    path.write_bytes((zipped if kind == "zip" else tar)({"a": bytes(10**6 // 2), "b": bytes(2 * 10**6)}))
    with pytest.raises(ValueError, match=rf"a\.{kind} cannot be unpacked \(its [\d,]+ bytes would become 2,500,000"):
        download.unpack(path)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_content_that_was_lost_is_unpacked_again_and_an_archive_that_was_removed_is_not_missed(
    tmp_path, web_server, cifar, fetch
):
    fetch("name=cifar10")
    (tmp_path / "data/cifar-10-batches-py/data_batch_1").write_bytes(b"shorter")
    assert "unpacked, 2 files" in fetch("name=cifar10")[1]
    (tmp_path / "data/cifar-10-python.tar.gz").unlink()
    assert "its content is there" in fetch("name=cifar10")[1]
    assert len(web_server.requests) == 1


def test_two_at_once_do_not_mix(tmp_path, cifar):
    with download._alone(tmp_path), pytest.raises(OSError, match="another process is fetching into"):
        download.fetch("cifar10", tmp_path, say=lambda line: None)


WRONG = {
    "mistyped name": (["name=cfar10"], ["'cfar10' is not a data set", "Did you mean CIFAR10?"]),
    "mistyped key": (["nam=cifar10"], ["'nam=cifar10' is not a setting", "Did you mean name?"]),
    "not a setting": (["cifar10"], ["'cifar10' is not a setting"]),
    "file without a name": (["--from", "x"], ["--from needs name="]),
    "file that is not there": (["name=svhn", "--from", "no.mat"], ["no.mat is not a file"]),
    "file of another data set": (
        ["name=svhn", "--from", __file__],
        ["is not a file of SVHN: its MD5", "test_32x32.mat"],
    ),
}


@pytest.mark.parametrize(("arguments", "parts"), WRONG.values(), ids=WRONG)
def test_a_wrong_command_is_refused_in_one_line(tmp_path, fetch, arguments, parts):
    code, out, err = fetch(*arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert all(part in err for part in parts), err
    assert list(tmp_path.iterdir()) == []


def test_without_a_name_it_lists_what_there_is(fetch):
    code, out, _ = fetch()
    rows = {line.split()[0]: line for line in out.splitlines() if line.split()}
    assert code == 0 and "MIT" in rows["FashionMNIST"] and "170.5 MB" in rows["CIFAR10"]
    assert "0 of 2 files" in rows["NMNIST"]


def test_digits_need_no_download(fetch):
    code, out, _ = fetch("name=digits")
    assert code == 0 and "nothing to download" in out
