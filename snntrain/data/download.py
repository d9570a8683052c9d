"""Downloads that resume where they stopped, are verified, and unpack completely or not at all."""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import tarfile
import urllib.error
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from snntrain.data.damage import decoding
from snntrain.data.source import Source, SourceFile, find
from snntrain.download import DiskError, receive, size_of
from snntrain.error import one_line
from snntrain.files import naming, replacing, write_json
from snntrain.process import lock

ATTEMPTS = 5  # connections per address before giving up; each goes on where the last one broke
HARMLESS = 2**30  # bytes that any archive may unpack to
MOST_TO_ONE = 100  # how often its own size a larger one may; those of the data sets take up to five times as much


def fetch(name: str, root: Path | str, given: Sequence[Path] = (), say: Callable[[str], None] = print) -> None:
    """Put a data set's files into place: verify what is there, download what is missing, unpack archives.

    Args:
        name: the data set, as in snntrain.data.source.
        root: paths.data.
        given: files brought by hand; where there are any, nothing is downloaded.
        say: called with one line for each step.

    Raises: ValueError for an unknown name, a file that does not belong to the data set or is corrupt; OSError, its text
    one sentence, if a download or the disk fails.
    """
    source = find(name)
    folder = Path(root) / source.folder
    if not source.files:
        say(f"{source.name}: nothing to download, it comes with a package.")
        return
    brought = {_owner(source, path): path for path in given}
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _bring(source, folder, brought, say)


def _bring(source: Source, folder: Path, brought: dict[SourceFile, Path], say: Callable[[str], None]) -> None:
    for number, file in enumerate(source.files):
        path = folder / file.name
        if file in brought:
            _take(brought[file], path)
            say(f"{path}: taken from {brought[file]}, {_verdict(file)}")
        elif path.is_file() and (file.md5 is None or md5(path) == file.md5):
            say(f"{path}: there, {_verdict(file)}")
        elif not path.is_file() and _unpacked(path):
            say(f"{path}: its content is there")
            continue
        elif brought:
            say(f"{path}: {'corrupt' if path.is_file() else 'missing'}, {' or '.join(file.urls)}")
            continue
        else:
            if path.is_file():
                say(f"{path}: corrupt, downloaded again")
            try:
                download(file, path)
            except OSError as error:
                later = [folder / other.name for other in source.files[number + 1 :]]
                missing = [one.name for one in later if not one.is_file() and not _unpacked(one)]
                raise OSError(f"{error} Missing as well: {', '.join(missing)}." if missing else str(error)) from error
            say(f"{path}: downloaded, {_verdict(file)}")
        if file.unpack and not _unpacked(path):
            say(f"{path}: unpacked, {unpack(path):,} files")


def download(file: SourceFile, path: Path) -> None:
    """Download a file from the first of its addresses that works.

    Each address goes on with the part that an earlier one, or an earlier call, left beside the file.

    Raises: OSError naming every address, what went wrong there and what to do.
    """
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(TextColumn("{task.description}", markup=False), *columns) as bar:
        for url in file.urls:
            try:
                _transfer_verified(file, url, part, bar)
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{url} failed ({one_line(error)})")
                if url == file.urls[-1] or isinstance(error, DiskError):
                    kept = f" {decimal(size_of(part))} of it are kept in {part}." if part.is_file() else ""
                    raise OSError(
                        f"data: the download of {', that of '.join(failures)}. Run it again to go on, or put "
                        f"{file.name} into {part.parent} by hand.{kept}"
                    ) from error
            else:
                os.replace(part, path)
                return


def _transfer_verified(file: SourceFile, url: str, part: Path, bar: Progress) -> None:
    resumed = size_of(part) > 0
    _transfer(file, url, part, bar)
    if file.md5 and resumed and md5(part) != file.md5:  # the part belonged to another file
        part.unlink()
        _transfer(file, url, part, bar)
    if file.md5 and (received := md5(part)) != file.md5:
        part.unlink()
        raise OSError(f"its MD5 is {received}, expected {file.md5}")


def _transfer(file: SourceFile, url: str, part: Path, bar: Progress) -> None:
    task = bar.add_task(file.name, total=file.size)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            total = receive(url, part, lambda done, total: bar.update(task, completed=done, total=total))
            if total is None or size_of(part) == total:
                return
            if size_of(part) < total:
                raise OSError(f"the connection ended after {decimal(size_of(part))} of {decimal(total)}")
            part.unlink()
            raise OSError("the server's file is shorter than the part that was here")
        except (OSError, http.client.HTTPException) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if final or attempt == ATTEMPTS or isinstance(error, DiskError):
                raise


def unpack(archive: Path) -> int:
    """Unpack a .zip or .tar.gz, and archives inside it, into its folder; files that are there already are replaced.

    Everything is unpacked into a temporary folder first and then moved, so that no file is ever there in part.

    Returns: the number of files.
    Raises: ValueError naming a damaged archive.
    """
    temporary = archive.with_name(f".{archive.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # left by an unpacking that was killed
    try:
        inside = temporary / "new"
        _extract(archive, inside)
        for inner in sorted(path for path in inside.rglob("*") if path.suffix == ".zip" and path.is_file()):
            _extract(inner, inner.parent)
            inner.unlink()
        sizes = {
            path.relative_to(inside).as_posix(): path.stat().st_size
            for path in sorted(inside.rglob("*"))
            if path.is_file()
        }
        _list(archive).unlink(missing_ok=True)
        for number, entry in enumerate(sorted(inside.iterdir())):
            place = archive.parent / entry.name
            if place.exists():
                os.replace(place, temporary / f"old-{number}")
            os.replace(entry, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_json(_list(archive), sizes)
    return len(sizes)


def _extract(archive: Path, folder: Path) -> None:
    with decoding(
        lambda reason: ValueError(f"data: {archive} cannot be unpacked ({reason}). Move it away and fetch it again.")
    ):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                _check_unpacked(sum(member.file_size for member in content.infolist()), archive)
                content.extractall(folder)
        else:
            total = 0
            with tarfile.open(archive) as content:
                for member in content:
                    total += member.size
                    _check_unpacked(total, archive)
                    content.extract(member, folder, filter="data")


def _check_unpacked(total: int, archive: Path) -> None:
    size = archive.stat().st_size
    if total > HARMLESS and total > MOST_TO_ONE * size:
        raise ValueError(f"its {size:,} bytes would become {total:,} or more, which is no data set")


def _list(archive: Path) -> Path:
    return archive.with_name(f".{archive.name}.unpacked")


def _unpacked(archive: Path) -> bool:
    """Whether everything unpacked from an archive is still beside it, each file with its size."""
    try:
        sizes = json.loads(_list(archive).read_text(encoding="utf-8"))
        return all((archive.parent / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def md5(path: Path) -> str:
    """The MD5 of a file, in hexadecimal."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _verdict(file: SourceFile) -> str:
    return "its MD5 is right" if file.md5 else "nobody published its MD5"


def _owner(source: Source, path: Path) -> SourceFile:
    """Which file of the source a file brought by hand is, judged by its content and not its name."""
    if not path.is_file():
        raise ValueError(f"{path} is not a file.")
    received = md5(path)
    for file in source.files:
        if received == file.md5 or (file.md5 is None and path.name == file.name):
            return file
    expected = ", ".join(f"{file.name} with MD5 {file.md5}" for file in source.files)
    raise ValueError(f"{path} is not a file of {source.name}: its MD5 is {received}, expected {expected}.")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing the same files. The system releases the lock when the process ends."""
    alone = lock(folder / ".fetching", seconds=0)
    try:
        alone.acquire()
    except TimeoutError as error:
        raise OSError(f"data: another process is fetching into {folder}. Wait for it.") from error
    try:
        yield
    finally:
        alone.release()


def _take(path: Path, place: Path) -> None:
    if place.exists() and place.samefile(path):
        return
    with replacing(place) as temporary:
        shutil.copyfile(path, temporary)
