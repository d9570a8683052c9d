"""Hashes of folders: changed by what is in them, not by where they are."""

import hashlib
import os
import shutil
from pathlib import Path

from snntrain.data.fingerprint import content_hash, listing_hash


def folder(root: Path, **files: str) -> Path:
    for name, content in {"a": "one", "b": "two", **files}.items():
        (root / "class").mkdir(parents=True, exist_ok=True)
        (root / "class" / name).write_text(content)
        os.utime(root / "class" / name, (5, 5))
    return root


def listing(root: Path) -> str:
    return listing_hash(root, root.rglob("?"))


def contents(root: Path) -> str:
    return content_hash(root, root.rglob("?"))


def test_a_listing_is_names_sizes_and_times(tmp_path):
    first = listing(folder(tmp_path / "1"))
    assert listing(folder(tmp_path / "2")) == first and len(first) == 64
    others = [listing(folder(tmp_path / "3", c="")), listing(folder(tmp_path / "4", a="ones"))]
    os.utime(tmp_path / "1" / "class" / "a", (5, 6))
    others.append(listing(tmp_path / "1"))
    shutil.move(tmp_path / "2" / "class" / "a", tmp_path / "2" / "class" / "z")
    others.append(listing(tmp_path / "2"))
    assert len({first, *others}) == 5


def test_contents_are_names_and_bytes_wherever_they_lie_and_however_old(tmp_path):
    first = contents(folder(tmp_path / "1"))
    shutil.copytree(tmp_path / "1", tmp_path / "2", copy_function=shutil.copyfile)
    assert contents(tmp_path / "2") == first and len(first) == 64
    assert len({first, *(contents(folder(tmp_path / name, a=name)) for name in ("two", "six"))}) == 3


def test_a_byte_that_changes_without_a_trace_changes_the_hash(tmp_path):
    path = folder(tmp_path / "1") / "class" / "a"
    first, before = contents(tmp_path / "1"), path.stat()
    path.write_text("onE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and contents(tmp_path / "1") != first


def test_the_hash_of_many_files_is_that_of_each_of_them_in_order(tmp_path):
    """Written out: the files are read by several threads."""
    for number in range(700):
        (tmp_path / f"{number}").write_text(f"{number}")
    expected = hashlib.sha256()
    for name in sorted(map(str, range(700))):
        expected.update(name.encode() + b"\0" + hashlib.sha256(name.encode()).digest())
    assert content_hash(tmp_path, tmp_path.iterdir()) == expected.hexdigest()
