"""Downloads that go on where they stopped."""

import contextlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from snntrain.arguments import invalid
from snntrain.error import one_line
from snntrain.files import naming

_CHUNK = 1 << 18
_TIMEOUT = 60  # seconds without a byte


def download_url(url: str, dst: str | Path) -> int:
    """Download a file, going on with what of it is there.

    A file shorter than the server's is taken as its beginning. Where the server cannot send parts, the download starts
    again.

    Args:
        url: http or https.
        dst: path of the file; its folder must exist.

    Returns: total size in bytes.
    Raises: ValueError for another scheme; OSError naming the address, what went wrong and what is kept, if the network
    or the disk fails, or if the sizes do not agree. What has arrived stays in dst.
    """
    if not str(url).startswith(("http://", "https://")):
        raise invalid("download_url", "url", "an http or https address", url)
    path = Path(dst)
    try:
        total = receive(str(url), path)
        if total is not None and size_of(path) < total:
            raise OSError(f"the connection ended before byte {total:,}")
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"download_url: the download of {url} failed ({one_line(error)}). {size_of(path):,} bytes are kept in "
            f"{path}; call it again to go on, or bring the file by hand."
        ) from error
    if total is not None and size_of(path) > total:
        raise OSError(
            f"download_url: {path} has {size_of(path):,} bytes, but {url} has {total:,}: it is not the beginning of "
            "that file. Delete it and call again."
        )
    return size_of(path)


class DiskError(OSError):
    """An error of the disk, not of the network: another attempt would not help."""


def size_of(path: Path) -> int:
    """Bytes in a file, 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def receive(url: str, path: Path, note: Callable[[int, int | None], None] | None = None) -> int | None:
    """Open one connection, and append what is missing to a file.

    Args:
        note: is called with the size of the file so far, and the total.

    Returns: the total size, which the file reaches if the connection did not end early and the file was the beginning
    of this one; None if the server does not tell it.
    Raises: DiskError naming the file; OSError or http.client.HTTPException for the network.
    """
    have = size_of(path)
    headers = {"User-Agent": "snntrain"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            total = _total(error.headers.get("Content-Range"))
            if error.code == 416 and total is not None:  # "range not satisfiable": nothing is missing, or it is another
                return total
        raise
    with response:
        goes_on = response.status == 206
        done = have if goes_on else 0
        content_range, length = response.headers.get("Content-Range"), response.headers.get("Content-Length")
        if goes_on and content_range and not content_range.startswith(f"bytes {have}-"):
            raise OSError(f"the server sent another part than that from byte {have}: {content_range!r}")
        total = _total(content_range) if goes_on else None
        if total is None and length:
            total = done + int(length)
        if not goes_on and have and have == total:
            return total
        with _disk(path):
            file = path.open("ab" if goes_on else "wb")
        with file:
            while chunk := response.read(_CHUNK):
                with _disk(path):
                    file.write(chunk)
                    file.flush()
                done += len(chunk)
                if note is not None:
                    note(done, total)
    return total


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Mark errors of the disk, so that they are not taken for errors of the network, and name the file."""
    try:
        with naming(path):
            yield
    except OSError as error:
        raise DiskError(error.errno, error.strerror, error.filename) from error


def _total(content_range: str | None) -> int | None:
    """N of 'bytes a-b/N' or 'bytes */N'; None if the server does not say."""
    size = (content_range or "").rpartition("/")[2]
    return int(size) if size.isdigit() else None
