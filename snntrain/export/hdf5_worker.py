"""Looks through HDF5 files in a process of its own, since libhdf5 may crash or never end on damaged ones.

For each line on stdin, the path of a file as JSON, it writes a line: what is wrong with the file as JSON, or null.
"""

import contextlib
import json
import math
import mmap
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py

try:
    import resource
except ImportError:  # on Windows, where check_heaps and size_of alone keep a file from using up the memory
    resource = None

MOST_BYTES = 2**31  # of all datasets, unpacked: more than a net for a chip can have
_MOST_OBJECTS, _MOST_TO_ONE, _HARMLESS = 100_000, 1100, 2**16  # deflate packs 1032 to one at best


class Damaged(Exception):
    """The text says what is wrong, and where in the file."""


def look_through(path: Path) -> None:
    """Read every dataset of a file once. Raises: Damaged, or whatever h5py raises."""
    check_heaps(path)
    with h5py.File(path, "r") as file:
        waiting: list[tuple[str, h5py.Group]] = [("", file)]
        seen = {h5py.h5o.get_info(file.id).addr}
        total = objects = 0
        while waiting:
            place, group = waiting.pop()
            for name in group:
                here = f"{place}/{name}"
                objects += 1
                if objects > _MOST_OBJECTS:
                    raise Damaged(f"it has more than {_MOST_OBJECTS:,} groups and datasets")
                with naming(here):
                    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                        raise Damaged("it is a link to another place or file, which is not followed")
                    node = group[name]
                    if isinstance(node, h5py.Dataset):
                        total += size_of(node)
                        if total > MOST_BYTES:
                            raise Damaged(f"up to here the file declares more than {MOST_BYTES:,} bytes")
                        node[()]
                    elif isinstance(node, h5py.Group):
                        address = h5py.h5o.get_info(node.id).addr
                        if address in seen:
                            raise Damaged("it is a group that was met before, perhaps one that contains itself")
                        seen.add(address)
                        waiting.append((here, node))


def check_heaps(path: Path) -> None:
    """Texts of any length lie in heaps, lists of objects one after the other; libhdf5 walks one without an end where an
    object has no size. Raises: Damaged.
    """
    if not path.stat().st_size:
        raise Damaged("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(b"GCOL\1")
        while start >= 0:
            (size,) = struct.unpack_from("<Q", content[start + 8 : start + 16].ljust(8, b"\0"))
            at, end = start + 16, min(start + size, len(content))
            while at + 16 <= end:
                index, _, length = struct.unpack_from("<HHxxxxQ", content, at)
                if not index and not length:
                    raise Damaged(f"the heap at byte {start} holds an object without a size")
                at += 16 + -(-length // 8) * 8 if index else length
            start = content.find(b"GCOL\1", start + 1)


def size_of(node: h5py.Dataset) -> int:
    """Bytes of a dataset. Raises: Damaged for one that declares far more than is stored, or lies elsewhere."""
    if node.external or node.is_virtual:
        raise Damaged("it lies in another file, which is not read")
    declared, stored = node.nbytes, node.id.get_storage_size()
    if node.chunks:  # one is unpacked as a whole, however little of it the dataset needs
        declared = max(declared, node.dtype.itemsize * math.prod(node.chunks))
    if declared > _HARMLESS and declared > _MOST_TO_ONE * stored:
        raise Damaged(f"it declares {declared:,} bytes and holds {stored:,}")
    return declared


@contextlib.contextmanager
def naming(place: str) -> Iterator[None]:
    """Let what goes wrong in the block name the place."""
    try:
        yield
    except Exception as error:  # h5py passes on what libhdf5 says as errors of many kinds
        raise Damaged(f"{place}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """One line."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def main() -> None:
    """Answer until stdin ends."""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        resource.setrlimit(resource.RLIMIT_AS, (3 * MOST_BYTES, resource.RLIM_INFINITY))
    for line in sys.stdin:
        try:
            answer = None
            look_through(Path(json.loads(line)))
        except Exception as error:  # all that a file provokes is the answer
            answer = reason(error)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
