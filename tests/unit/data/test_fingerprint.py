"""Hashes of folders: changed by what is in them, not by where they are."""

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


def contents(root: Path, remembered: Path) -> str:
    return content_hash(root, root.rglob("?"), remembered)


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
    memory = tmp_path / "memory"
    first = contents(folder(tmp_path / "1"), memory)
    shutil.copytree(tmp_path / "1", tmp_path / "2", copy_function=shutil.copyfile)
    assert contents(tmp_path / "2", memory) == first and len(first) == 64
    assert len({first, *(contents(folder(tmp_path / name, a=name), memory) for name in ("two", "six"))}) == 3


def test_contents_are_read_again_only_when_the_listing_changed(tmp_path, monkeypatch):
    memory, read, seen = tmp_path / "memory", Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda path: seen.append(path.name) or read(path))
    root = folder(tmp_path / "1")
    first = contents(root, memory)
    assert contents(root, memory) == first and sorted(seen) == ["a", "b"]
    (root / "class" / "a").write_text("on3")
    assert contents(root, memory) != first and len(seen) == 4
    for note in memory.iterdir():
        note.write_text("cut off")
    assert contents(root, memory) != first and len(seen) == 6


def test_where_nothing_can_be_remembered_the_hash_is_the_same(tmp_path):
    (tmp_path / "file").write_text("")
    root = folder(tmp_path / "1")
    assert contents(root, tmp_path / "file" / "no") == contents(root, tmp_path / "memory")
