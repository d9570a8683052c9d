"""Where a frame cache keeps its bytes: in memory that forked processes share, or in files."""

import contextlib
import mmap
import os
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

#: Bytes of the index for a sample: lower and upper half of its offset, its length, its checksum.
ENTRY = 16


class MemoryStore:
    """Samples in memory that forked processes share, each at a place of its own, so that nobody waits."""

    def __init__(self, count: int, most: int) -> None:
        # Anonymous, because /dev/shm is small in containers; the system allocates pages on the first write.
        self._slot = -(-most // mmap.PAGESIZE) * mmap.PAGESIZE if most > mmap.PAGESIZE else most
        self._map = mmap.mmap(-1, count * self._slot)
        self.index = mmap.mmap(-1, count * ENTRY)

    def read(self, offset: int, length: int) -> bytes:
        return self._map[offset : offset + length]

    def put(self, place: int, content: bytes, checksum: int, limit: int) -> bool:
        """Keep a sample. Its memory was found to be free when the cache was opened."""
        offset = place * self._slot
        self._map[offset : offset + len(content)] = content
        self.index[place * ENTRY : (place + 1) * ENTRY] = _entry(offset, len(content), checksum)
        return True


class DiskStore:
    """Samples in a file to which processes append, and an index that they map."""

    def __init__(self, folder: Path, count: int) -> None:
        self._samples, self._places = OpenFile(folder / "samples.bin"), OpenFile(folder / "index.bin")
        size = count * ENTRY
        # A map beyond the end of its file, or of a hole on a full tmpfs, kills the process that reads it.
        os.ftruncate(self._places.number, min(os.fstat(self._places.number).st_size, size))
        kept = os.fstat(self._places.number).st_size
        self._places.write(bytes(size - kept), kept)
        self.index = mmap.mmap(self._places.number, size, access=mmap.ACCESS_READ)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._samples.number, length, offset)

    def put(self, place: int, content: bytes, checksum: int, limit: int) -> bool:
        """Append a sample unless it is there already; False if that would exceed the limit."""
        entry = slice(place * ENTRY, (place + 1) * ENTRY)
        fcntl.lockf(self._places.number, fcntl.LOCK_EX)  # of the process: it excludes forked ones, too
        try:
            low, high, length, kept = np.frombuffer(self.index[entry], "<u4").tolist()
            if (length, kept) == (len(content), checksum) and self.read(low | high << 32, length) == content:
                return True
            end = os.fstat(self._samples.number).st_size
            if end + len(content) + len(self.index) > limit:
                return False
            self._samples.write(content, end)
            self._places.write(_entry(end, len(content), checksum), entry.start)
            return True
        finally:
            fcntl.lockf(self._places.number, fcntl.LOCK_UN)


class OpenFile:
    """Keeps a file open for reading and writing as long as the object lives."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, content: bytes, offset: int) -> None:
        # Not through a map: on a full disk that would kill the process instead of raising an error.
        rest = memoryview(content)
        while rest:  # a disk that is filling up writes only a part
            written = os.pwrite(self.number, rest, offset)
            rest, offset = rest[written:], offset + written

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.number)


def _entry(offset: int, length: int, checksum: int) -> bytes:
    return np.array([offset & 0xFFFF_FFFF, offset >> 32, length, checksum], "<u4").tobytes()
