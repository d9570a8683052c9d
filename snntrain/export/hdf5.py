"""HDF5 files that are looked through before anything is made of them: no bombs, no loops, nothing of other files."""

import contextlib
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

from snntrain.error import DamagedFile
from snntrain.export.error import ExportError
from snntrain.files import damage

MOST_BYTES = 2**31
"""Of all datasets, unpacked: more than a net for a chip can have."""

_MOST_OBJECTS, _MOST_TO_ONE, _HARMLESS = 100_000, 1100, 2**16  # deflate packs 1032 to one at best


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A file, open for reading, whose datasets can all be read.

    Whatever its content does to the code of the block is damage as well.

    Raises: ExportError for a file that is not there; DamagedFile naming the file, and the dataset where it is one.
    """
    if not path.is_file():
        raise ExportError(f"export: {path} does not exist.")
    with damage(path):
        _check_heaps(path)
        try:
            file = h5py.File(path, "r", locking=False)
        except OSError as error:
            raise DamagedFile(f"{path} is no HDF5 file, or a damaged one ({_reason(error)}).") from error
        with file:
            try:
                _look_through(file, path)
                yield file
            except (OSError, RuntimeError) as error:  # what libhdf5 says of broken structures
                raise DamagedFile(f"{path} is damaged ({_reason(error)}).") from error


def _check_heaps(path: Path) -> None:
    """Texts of any length lie in heaps, lists of objects one after the other; libhdf5 walks one without an end where an
    object has no size.

    Raises: DamagedFile.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(b"GCOL\1")
        while start >= 0:
            (size,) = struct.unpack_from("<Q", content[start + 8 : start + 16].ljust(8, b"\0"))
            at, end = start + 16, min(start + size, len(content))
            while at + 16 <= end:
                index, _, length = struct.unpack_from("<HHxxxxQ", content, at)
                if not index and not length:
                    raise DamagedFile(f"{path} is damaged: the heap at byte {start} holds an object without a size.")
                at += 16 + -(-length // 8) * 8 if index else length
            start = content.find(b"GCOL\1", start + 1)


def _look_through(file: h5py.File, path: Path) -> None:
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    seen = {h5py.h5o.get_info(file.id).addr}
    total = objects = 0
    while waiting:
        place, group = waiting.pop()
        for name in group:
            here = f"{place}/{name}"
            objects += 1
            if objects > _MOST_OBJECTS:
                raise DamagedFile(f"{path} is damaged: it has more than {_MOST_OBJECTS:,} groups and datasets.")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise DamagedFile(f"{path}: {here} is a link to another place or file, which is not followed.")
            with _naming(path, here):
                node = group[name]
                if isinstance(node, h5py.Dataset):
                    total += _check_size(node)
                    if total > MOST_BYTES:
                        raise DamagedFile(f"{path}: up to {here} it declares more than {MOST_BYTES:,} bytes.")
                    node[()]
                elif isinstance(node, h5py.Group):
                    address = h5py.h5o.get_info(node.id).addr
                    if address in seen:
                        raise ValueError("it is a group that was met before, perhaps one that contains itself")
                    seen.add(address)
                    waiting.append((here, node))


def _check_size(node: h5py.Dataset) -> int:
    """Bytes of a dataset. Raises: ValueError for one that declares far more than is stored, or lies elsewhere."""
    if node.external or node.is_virtual:
        raise ValueError("it lies in another file, which is not read")
    declared, stored = node.nbytes, node.id.get_storage_size()
    if node.chunks:  # one is unpacked as a whole, however little of it the dataset needs
        chunk = node.dtype.itemsize
        for size in node.chunks:
            chunk *= size
        declared = max(declared, chunk)
    if declared > _HARMLESS and declared > _MOST_TO_ONE * stored:
        raise ValueError(f"it declares {declared:,} bytes and holds {stored:,}")
    return declared


@contextlib.contextmanager
def _naming(path: Path, place: str) -> Iterator[None]:
    try:
        yield
    except DamagedFile:
        raise
    except Exception as error:  # h5py passes on what libhdf5 says as errors of many kinds
        raise DamagedFile(f"{path} is damaged: {place}: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
