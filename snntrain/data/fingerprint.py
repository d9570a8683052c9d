"""What identifies a data set of many files."""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from snntrain.files import write_text


def listing_hash(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 of the files' names under `root`, sizes and times of change; nothing is read."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        line = f"{path.relative_to(root).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def content_hash(root: Path, paths: Iterable[Path], remembered: Path) -> str:
    """SHA-256 of the files' names under `root` and contents: the same wherever they lie.

    They are read once: as long as the listing stays as it was, the hash is looked up. A file of the same size and the
    same time of change is taken for the same file.

    Args:
        remembered: folder for what was looked up; one that cannot be written to makes it slow, not wrong.
    """
    paths = sorted(paths)
    where = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    note = remembered / f"content_{where}_{listing_hash(root, paths)[:24]}"
    with contextlib.suppress(OSError):
        found = note.read_text(encoding="ascii")
        if len(found) == 64:
            return found
    digest = hashlib.sha256()
    for path in paths:
        name = path.relative_to(root).as_posix().encode(errors="surrogateescape")
        digest.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    with contextlib.suppress(OSError):
        write_text(note, digest.hexdigest())
    return digest.hexdigest()
