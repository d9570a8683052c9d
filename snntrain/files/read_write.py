"""Read and write files: they are written whole or not at all, and a damaged one is named.

Every OSError names its file, also where Python leaves the name out (a full disk, a broken write).
"""

import contextlib
import csv
import errno
import json
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from snntrain.error import DamagedFile, UsageError
from snntrain.tree import DEEPEST, values_in

MOST_BYTES = 64 * 2**20
"""A larger text file in a run folder is not ours, and is not read into memory."""

MOST_VALUES = 1_000_000
"""Readers return no larger tree: with YAML aliases one kilobyte can describe one that exceeds any memory."""

_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# --- out -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it if the block succeeds and is removed if it fails.

    The content is on the disk before the name is, so neither a kill nor a power cut leaves half a file. In a run folder
    its SHA-256 is recorded, see snntrain.files.checksums.

    Raises: OSError naming `path`.
    """
    from snntrain.files import checksums  # which writes its own file with this function

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush_to_disk(temporary)
            checksums.expect(path, temporary)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # a disk that refused the file may refuse this too
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write bytes so that a reader sees the old file or the new one, never half of one."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write text, in the same way."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, in the same way."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, which replaces it if the block succeeds and is removed if it fails.

    If a process is killed between the two moves, the old one lies beside it as .<name>.<process>.old.
    """
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{state}") for state in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        if folder.is_dir():
            os.replace(folder, old)
        try:
            os.replace(new, folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.replace(old, folder)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if folder.is_dir():
            shutil.rmtree(old, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)  # Windows flushes only what is open for writing
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot flush
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Add the name of the file to errors of the disk, which the system leaves out.

    Args:
        path: the file that the block writes.
        temporary: its temporary name, which means nothing to the user. HDF5 and torch write such files from C and raise
            a RuntimeError of many lines on a full disk, which becomes an OSError too.
    """
    try:
        yield
    except OSError as error:
        number = errno.ENOSPC if error.errno is None and _FULL.search(str(error)) else error.errno
        is_unnamed = error.filename is None and number in _OF_THE_DISK
        if is_unnamed or (temporary is not None and error.filename == str(temporary)):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    except RuntimeError as error:
        if temporary is None or not _FULL.search(str(error)):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # others come from sockets as well
_FULL = re.compile(r"No space left on device|errno = 28\b")


# --- in --------------------------------------------------------------------------------------------------------------


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Raises: FileNotFoundError; DamagedFile for one that cannot be read, or holds more than `most` bytes.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
            raise DamagedFile(f"{path} is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no ordinary file'}.")
        if status.st_size > most:
            raise DamagedFile(f"{path} has {status.st_size:,} bytes, more than the {most:,} that such a file can have.")
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise DamagedFile(f"{path} cannot be read: it is a link to nowhere.") from error
        raise
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}.") from error


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a UTF-8 file.

    Raises: as read_bytes; DamagedFile for bytes that are no UTF-8.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{path} is damaged: byte {error.start} is not UTF-8 text.") from error


def read_json(path: Path, kind: type = dict) -> Any:
    """The value of a JSON file, which must be of a kind: dict or list.

    Raises: as read_text; DamagedFile for what is no JSON or of another kind.
    """
    text = read_text(path)
    with damage(path):
        return _checked(json.loads(text), kind, path)


def read_yaml(path: Path, kind: type = dict) -> Any:
    """The value of a YAML file, of a kind as for read_json; it can neither run code nor grow beyond memory by aliases.

    Raises: as read_text; DamagedFile for what is no YAML, of another kind, or too large.
    """
    text = read_text(path)
    with damage(path):
        return _checked(yaml.load(text, Loader=_YAML_LOADER), kind, path)


# What a parser raises whose file is damaged.
_OF_DAMAGE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, EOFError),
    *(yaml.YAMLError, csv.Error, zipfile.BadZipFile, zlib.error),
)


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn the errors that damaged content causes in the block into a DamagedFile that names the file."""
    try:
        yield
    except UsageError:
        raise
    except _OF_DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(".")
        raise DamagedFile(f"{path} is damaged ({reason}).") from error
    except (RecursionError, MemoryError) as error:
        raise DamagedFile(f"{path} is damaged: its content is nested too deeply or too large.") from error


def _checked(value: Any, kind: type, path: Path) -> Any:
    if not isinstance(value, kind):
        names = {dict: "a mapping", list: "a list"}
        raise DamagedFile(f"{path} is damaged: it holds {type(value).__name__}, not {names.get(kind, kind.__name__)}.")
    if values_in(value) > MOST_VALUES:
        raise DamagedFile(f"{path} is damaged: it has more than {MOST_VALUES:,} values or {DEEPEST} levels.")
    return value


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by their last change; those that no longer exist come last."""

    def age(path: Path) -> float:
        try:
            return -path.stat().st_mtime
        except OSError:
            return 0.0

    return sorted(paths, key=age)
