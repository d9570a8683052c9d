"""checksums.json: the SHA-256 of every file of a run folder, so that damage is found before a file is used.

    checksum   of the rest of checksums.json
    format     see FORMAT
    written    file → the hashes that it may have. snntrain.files adds the hash of a new file before the file replaces
               the old one, so a kill at any moment leaves a file with one of the two.
    found      file → hash of what other libraries wrote (logs), as it was when the run ended. A run that continues
               appends to such files, so `begin` forgets them.

A file without an entry, or one that was removed, is not verified.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from snntrain import files
from snntrain.error import DamagedFile
from snntrain.process import lock

NAME, LOCK = "checksums.json", ".checksums.lock"
FORMAT = 1
UNVERIFIED = "unverified: written before run folders had a checksums.json, so damage to its files would go unseen"

_SECONDS_TO_WAIT = 60  # for another writer, which needs milliseconds

# File that this process has hashed → (what changes with the file, its hash).
_hashed: dict[Path, tuple[tuple[int, ...], str]] = {}
_appended: set[Path] = set()


@dataclass
class _Entries:
    written: dict[str, list[str]] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        content = {"format": FORMAT, "written": self.written, "found": self.found}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return json.dumps({"checksum": digest, **content}, sort_keys=True) + "\n"  # unindented: ten times faster

    def possible(self) -> dict[str, list[str]]:
        """File → the hashes that it may have."""
        return {**self.written, **{name: [digest] for name, digest in self.found.items()}}


# --- writing ---------------------------------------------------------------------------------------------------------


def begin(folder: Path) -> None:
    """Cover a run folder from now on; the logs of an earlier part of the run may be appended to again."""
    with _changing(folder) as entries:
        entries.found.clear()


def expect(path: Path, temporary: Path) -> None:
    """Record that `temporary` is about to replace `path`; does nothing outside run folders."""
    path = _absolute(path)
    folder = None if path.name == NAME else covering(path)
    if folder is None or _is_passing(folder, path):
        return
    digest = digest_of(temporary)
    with _changing(folder) as entries:
        name = path.relative_to(folder).as_posix()
        before = _lies_there(path, entries.possible().get(name, []))
        entries.found.pop(name, None)
        entries.written[name] = [*(known for known in before if known != digest), digest]
    _hashed[path] = _identity(temporary), digest  # the move changes none of it


def register(folder: Path, below: str = "") -> None:
    """Record the files that other libraries wrote.

    Args:
        folder: a run folder; one without checksums.json is left alone.
        below: only files in this folder inside it.
    """
    folder = _absolute(folder)
    if not (folder / NAME).is_file():
        return
    with _changing(folder) as entries:
        for path in _files(folder, folder / below):
            name = path.relative_to(folder).as_posix()
            if name not in entries.written and path not in _appended:
                entries.found[name] = _digest_once(path)


@contextlib.contextmanager
def appending(path: Path) -> Iterator[None]:
    """Keep a file that grows inside the block out of checksums.json until the block has ended."""
    path = _absolute(path)
    _appended.add(path)
    try:
        folder = covering(path)
        if folder is not None:
            with _changing(folder) as entries:
                entries.found.pop(path.relative_to(folder).as_posix(), None)
        yield
    finally:
        _appended.discard(path)
        folder = covering(path)
        if folder is not None and path.is_file():
            with _changing(folder) as entries:
                entries.found[path.relative_to(folder).as_posix()] = _digest_once(path)


def covering(path: Path) -> Path | None:
    """The nearest folder above a file that has a checksums.json of ours."""
    for folder in _absolute(path).parents:
        if (folder / NAME).is_file():
            with contextlib.suppress(DamagedFile):  # another program's; verify finds ours if it is damaged
                _read(folder)
                return folder
            return None
    return None


@contextlib.contextmanager
def _changing(folder: Path) -> Iterator[_Entries]:
    """The entries of a folder, which are written when the block ends; only one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.naming(folder / NAME), lock(folder / LOCK, seconds=_SECONDS_TO_WAIT):
        entries = _read(folder) or _Entries()
        before = entries.text()
        yield entries
        if entries.text() != before or not (folder / NAME).is_file():
            files.write_text(folder / NAME, entries.text())


def _lies_there(path: Path, listed: list[str]) -> list[str]:
    """The hashes that the present file may have; they are computed only if the entries do not tell."""
    if not path.is_file():
        return []
    if len(listed) == 1:
        return listed
    known = _digest_once(path)
    is_damaged = listed and known not in listed  # and it stays damaged if this write fails
    return listed if is_damaged else [known]


def _files(folder: Path, start: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(start):
        here = Path(place)
        folders[:] = [name for name in folders if not (here / name / NAME).is_file()]  # another run's
        for path in (here / name for name in names):
            if path.name != NAME and not _is_passing(folder, path) and path.is_file():
                yield path


def _is_passing(folder: Path, path: Path) -> bool:
    """Whether a file exists only while a process works: its owner's note, a lock, half of another file."""
    return path.name.startswith(".") and (path.parent == folder or path.name.endswith(".tmp"))


# --- reading ---------------------------------------------------------------------------------------------------------


def verify(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Compare the files of a run folder with checksums.json.

    Args:
        folder: the run folder.
        names: of files as seen from the folder; None: all.

    Returns: False for a folder without a checksums.json, see UNVERIFIED.
    Raises: DamagedFile naming the first file that is damaged.
    """
    entries = _read(folder)
    if entries is None:
        return False
    possible = entries.possible()
    for name in sorted(possible if names is None else possible.keys() & set(names)):
        if _is_damaged(folder / name, possible[name]):
            now = (_read(folder) or _Entries()).possible().get(name)  # it may just have been written again
            if now is not None and _is_damaged(folder / name, now):
                raise DamagedFile(
                    f"{folder / name} is damaged: it is not what was written, by its SHA-256 in {NAME}. Use a copy of "
                    f"it, or another run; if you changed it on purpose, delete {folder / NAME}."
                )
    return True


def _is_damaged(path: Path, possible: list[str]) -> bool:
    try:
        if path.exists() and not path.is_file():  # a device or a pipe never ends
            return True
        return digest_of(path) not in possible
    except FileNotFoundError:
        return False  # It was removed; the reader that needs it reports that.
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(folder: Path) -> _Entries | None:
    """The entries of a folder, None if it has no checksums.json. Raises: DamagedFile."""
    path = folder / NAME
    try:
        text = files.read_text(path)
    except FileNotFoundError:
        return None
    with files.damage(path):
        content = json.loads(text)
        version, written, found = content["format"], content["written"], content["found"]
        if isinstance(version, int) and version > FORMAT:
            raise DamagedFile(f"{path} has format {version}, which this snntrain does not know. Update it.")
        entries = _Entries({str(name): list(hashes) for name, hashes in written.items()}, dict(found))
        is_inside = all(_is_inside(name) for name in entries.possible())
    if entries.text() != text or not is_inside:
        raise DamagedFile(
            f"{path} is damaged: its own checksum does not agree. Use a copy of it; if you delete it, the run folder "
            "counts as unverified."
        )
    return entries


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_once(path: Path) -> str:
    """The hash of a file that this process may have computed before."""
    known = _hashed.get(path)
    if known is None or known[0] != _identity(path):
        known = _hashed[path] = _identity(path), digest_of(path)
    return known[1]


def _identity(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
