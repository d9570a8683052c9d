"""Hashes that identify a data set of many files."""

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import track

from snntrain.files import naming
from snntrain.terminal import terminal

#: Reading more files than this takes seconds, so a progress bar is shown.
SILENT = 5_000
#: Files that a thread gets at a time; handing them out one by one takes longer than reading them.
AT_ONCE = 256


def listing_hash(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 of the files' names under `root`, their sizes and modification times, without reading the files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        line = f"{path.relative_to(root).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def content_hash(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 of the files' names under `root` and of their contents; it does not depend on where `root` is.

    All files are read every time. A stored hash could only be looked up by sizes and times, which need not change when
    a byte does. The run's record and the cached frames would then belong to other data.
    """
    paths = sorted(paths)
    digest = hashlib.sha256()
    parts = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashed = track(
            pool.map(_hashes, parts),
            f"reading {len(paths):,} files",
            len(parts),
            console=terminal(stderr=True),
            transient=True,
            disable=len(paths) <= SILENT or not sys.stderr.isatty(),
        )
        for part, contents in zip(parts, hashed, strict=True):
            for path, content in zip(part, contents, strict=True):
                name = path.relative_to(root).as_posix().encode(errors="surrogateescape")
                digest.update(name + b"\0" + content)
    return digest.hexdigest()


def _hashes(paths: Sequence[Path]) -> list[bytes]:
    found = []
    for path in paths:
        with naming(path), path.open("rb", buffering=0) as file:
            found.append(hashlib.file_digest(file, "sha256").digest())
    return found
