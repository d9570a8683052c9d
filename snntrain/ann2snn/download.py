"""Downloads that go on where they stopped."""

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from snntrain.arguments import refuse
from snntrain.files import naming

_CHUNK = 1 << 16
_TIMEOUT = 60


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
        raise refuse("download_url", "url", "an http or https address", url)
    path = Path(dst)
    try:
        total = _receive(str(url), path)
        if total is not None and _size(path) < total:
            raise OSError(f"the connection ended before byte {total:,}")
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"download_url: the download of {url} failed ({reason}). {_size(path):,} bytes are kept in {path}; call it "
            "again to go on, or bring the file by hand."
        ) from error
    if total is not None and _size(path) > total:
        raise OSError(
            f"download_url: {path} has {_size(path):,} bytes, but {url} has {total:,}: it is not the beginning of that "
            "file. Delete it and call again."
        )
    return _size(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(url: str, path: Path) -> int | None:
    """Append what is missing to the file; returns the total size, None if the server does not tell it."""
    have = _size(path)
    headers = {"User-Agent": "snntrain"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            total = _total(error.headers.get("Content-Range"))
            if error.code == 416 and total is not None:  # nothing is missing, or the file is not this one
                return total
        raise
    with response:
        if response.status == 206:
            content_range = response.headers.get("Content-Range") or ""
            if not content_range.startswith(f"bytes {have}-"):
                raise OSError(f"the server sent another part than that from byte {have}: {content_range!r}")
            total = _total(content_range)
        else:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            if have and have == total:
                return total
        with path.open("ab" if response.status == 206 else "wb") as file:
            while chunk := response.read(_CHUNK):
                with naming(path):
                    file.write(chunk)
    return total


def _total(content_range: str | None) -> int | None:
    """N of 'bytes a-b/N' or 'bytes */N'; None if it is not told."""
    size = (content_range or "").rpartition("/")[2]
    return int(size) if size.isdigit() else None
