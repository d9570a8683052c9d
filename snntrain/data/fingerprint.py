"""What identifies a data set of many files."""

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import track

from snntrain.files import naming
from snntrain.terminal import terminal

#: More files than this take seconds to read: what is being done is shown.
SILENT = 5_000
#: Files for a thread at a time: one by one, handing them out takes longer than reading them.
AT_ONCE = 256


def listing_hash(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 of the files' names under `root`, sizes and times of change; nothing is read."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        line = f"{path.relative_to(root).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def content_hash(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 of the files' names under `root` and contents: the same wherever they lie.

    All of them are read each time. A note of an earlier hash could only be found by sizes and times, which stay as they
    are when a disk or a person changes a byte: the run's record and the cached frames would then be of other data.
    """
    paths = sorted(paths)
    digest = hashlib.sha256()
    parts = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashed = track(
            pool.map(_hashes, parts),
            f"reading {len(paths):,} files",
            len(parts),
            console=terminal(file=sys.stderr),
            transient=True,
            disable=len(paths) <= SILENT or not sys.stderr.isatty(),
        )
        for part, contents in zip(parts, hashed, strict=True):
            for path, content in zip(part, contents, strict=True):
                name = path.relative_to(root).as_posix().encode(errors="surrogateescape")
                digest.update(name + b"\0" + content)
    return digest.hexdigest()


def _hashes(paths: Sequence[Path]) -> list[bytes]:
    return [_hash(path) for path in paths]


def _hash(path: Path) -> bytes:
    with naming(path), path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").digest()
