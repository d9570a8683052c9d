"""Keeps framed samples, so that they are made only once: on disk for all runs, or in memory for one.

A cache on disk is a folder named by the hash of its key, which holds everything that the frames depend on. Another data
set, framing or FORMAT gets another folder.

    key.json        the key, for people to read
    expected.json   how many bytes it will take once it is full, predicted from some of the samples
    samples.bin     the samples in the order in which they were made, see snntrain.data.sparse_frames
    index.bin       uint32 [n, 4]: lower and upper half of the offset in samples.bin, length, and CRC-32 (1 in place of
                    0), or 0 if the sample is missing
    in_use          locked by every process that has the cache open; its modification time is that of the last opening

A sample is written before its entry in the index and is used only if its checksum is right, so whatever a kill, a full
disk or a bad sector leaves unfinished is made again. Processes fill a cache together; each waits only while another
appends a sample.
"""

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.filesize import decimal

from snntrain.arguments import choice, integer, real
from snntrain.cache_folder import is_writable, writable
from snntrain.data.cache_store import ENTRY, DiskStore, MemoryStore, OpenFile
from snntrain.data.sparse_frames import packed, unpacked
from snntrain.files import write_json
from snntrain.process import lock

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

FORMAT = 2  # change it when the same data and settings give other frames, or are stored in other files
MODES = ("disk", "memory", "off")
_GB = 10**9


class _NoRoomError(Exception):
    """Raised if there is not enough room for the cache; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Caching:
    """Where framed samples are kept: arguments of every data set of events."""

    cache: str = "disk"
    """disk, for all runs; memory, gone with the process; or off."""
    cache_gb: float = 20.0
    """10⁹ bytes that the caches of all data sets in one folder may take together, or this one in memory."""

    def check(self, owner: object) -> None:
        """Refuse values out of range, in an error that names the data set."""
        choice(owner, "cache", self.cache, MODES)
        real(owner, "cache_gb", self.cache_gb, above=0)
        if self.cache == "disk" and fcntl is None:
            raise ValueError(
                "data.cache=disk shares files under locks of POSIX, which this system does not have. Set data.cache to "
                "memory or off."
            )


def open_cache(
    caching: Caching,
    root: Path,
    key: Mapping[str, Any],
    *,
    count: int,
    shape: Sequence[int],
    dtype: np.dtype | type | str,
    some: Callable[[], Iterable[np.ndarray]] = tuple,
) -> "FrameCache | None":
    """Open the cache of a data set's frames. If it cannot be opened, a warning says why and the result is None.

    Args:
        caching: where, and how large; the least recently used caches of other data and framings are removed for it.
        root: folder of all caches, see frames_folder.
        key: what the frames depend on: hash of the data, settings of the framing. Plain containers.
        count: samples, ≥ 1.
        shape, dtype: of one sample.
        some: makes a few of the samples, from whose packed sizes that of all is predicted; it is called only if some
            are missing. Without any, they are taken to be as large as they can be.
    """
    caching.check("data")
    integer("data", "count", count, at_least=1)
    if caching.cache == "off":
        return None
    limit = int(caching.cache_gb * _GB)
    try:
        cache = FrameCache(count, tuple(shape), np.dtype(dtype))
        if caching.cache == "disk":
            cache.open_on_disk(root, key, limit, some)
        else:
            cache.open_in_memory(limit, some)
        return cache
    except _NoRoomError as reason:
        _warn(f"{reason} Frames are made again in every epoch.")
    except OSError as error:
        _warn(
            f"the frame cache in {root} cannot be opened ({error.strerror or error}). Frames are made again in every "
            "epoch. Make the folder writable, set SNNTRAIN_CACHE to one that is, or set data.cache to memory or off."
        )
    return None


def frames_folder(data: Path) -> Path:
    """The folder for the caches of a data folder.

    $SNNTRAIN_CACHE/frames; without that variable <data>/cache, or snntrain/frames in the user's cache folder if the
    data folder is not writable. If no place is writable, a temporary folder.
    """
    if not os.environ.get("SNNTRAIN_CACHE") and data.is_dir() and is_writable(data):
        return data / "cache"
    return writable("frames") or data / "cache"


class FrameCache:
    """Keeps samples by their position in the source, once it is opened on disk or in memory.

    Forked loader workers share it. A spawned worker opens the files on disk itself, or keeps samples of its own.

    Attributes:
        expected: bytes that it takes once it is full, predicted or, of a full one, as they are.
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.count, self.shape, self.dtype = count, shape, dtype
        self.folder: Path | None = None
        self.sample_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self.expected = self._limit = 0

    def describe(self) -> str:
        """Its size in words."""
        place, times = "in memory" if self.folder is None else "on disk", self.count * self.sample_bytes / self.expected
        some = "" if len(self) == self.count else f" once it is full; it has {len(self):,} of {self.count:,} samples"
        return f"about {decimal(self.expected)} {place}, {times:.3g} times less than the frames{some}"

    def open_in_memory(self, limit: int, some: Callable[[], Iterable[np.ndarray]]) -> None:
        """Keep samples as long as the process lives."""
        free = psutil.virtual_memory().available
        most = self.sample_bytes + 1  # small samples are not packed more densely in memory
        self.expected, self._limit = self._predicted(some, min(most, mmap.PAGESIZE)), limit
        if self.expected > limit:
            raise _NoRoomError(_needs_more(self.expected, limit))
        if self.expected > free:
            raise _NoRoomError(
                f"all frames take {_gb(self.expected)} of memory, but only {_gb(free)} are free: use data.cache=disk."
            )
        self._open()

    def open_on_disk(
        self, root: Path, key: Mapping[str, Any], limit: int, some: Callable[[], Iterable[np.ndarray]]
    ) -> None:
        """Keep samples in a folder, as the module's docstring describes it."""
        whole = {"format": FORMAT, "count": self.count, "shape": list(self.shape), "dtype": self.dtype.str, **key}
        name = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]
        self.folder, self._limit = root / f"frames_{name}", limit
        root.mkdir(parents=True, exist_ok=True)
        with lock(root / "lock"):
            is_there = _describes(self.folder, whole)
            if not is_there and not _remove(self.folder):
                raise _NoRoomError(
                    f"the frame cache {self.folder} is damaged and cannot be removed: another process has it open, "
                    "or it is another user's."
                )
            if is_there:
                self._open()
            if is_there and len(self) == self.count:
                self.expected = _written(self.folder)
            else:
                self.expected = max(_written(self.folder), self._predicted(some))
            _make_room(root, self.folder, self.expected, limit)
            self.folder.mkdir(exist_ok=True)
            write_json(self.folder / "expected.json", self.expected)
            if not is_there:
                write_json(self.folder / "key.json", whole)
                self._open()
        os.utime(self.folder / "in_use")

    def get(self, place: int) -> np.ndarray | None:
        """The sample, read-only; None if it is missing or damaged."""
        low, high, length, checksum = self._index[place].tolist()
        if not checksum:
            return None
        content = self._store.read(low | high << 32, length)
        if not self._verified[place]:
            if len(content) != length or _checksum(content) != checksum:
                return None
            self._verified[place] = True
        try:
            return unpacked(content, self.shape, self.dtype)
        except (ValueError, IndexError):
            return None

    def put(self, place: int, frames: np.ndarray) -> None:
        """Keep a sample. If the disk is full, warn and keep no more samples.

        Raises: ValueError if it is not of the cache's shape and dtype.
        """
        if frames.shape != self.shape or frames.dtype != self.dtype:
            raise ValueError(
                f"data: frames of shape {list(frames.shape)}, {frames.dtype}, do not fit the cache, which holds "
                f"{list(self.shape)}, {self.dtype}."
            )
        if self._is_full[0]:
            return
        content = packed(frames)
        try:
            if not self._store.put(place, content, _checksum(content), self._limit):
                self._is_full[0] = 1
                _warn(
                    f"the frames take more than the {_gb(self._limit)} of data.cache_gb, although {_gb(self.expected)} "
                    "were expected: raise it to cache all of them. The others are made again in every epoch."
                )
        except OSError as error:
            self._is_full[0] = 1
            _warn(
                f"the frame cache {self.folder} cannot be written ({error.strerror}; {_gb(_free_space(self.folder))} "
                f"free, all frames take about {_gb(self.expected)}). Its frames are used, the others are made again in "
                "every epoch. Make room there, or set data.cache to memory or off."
            )

    def __len__(self) -> int:
        """How many samples are kept."""
        return int(np.count_nonzero(self._index[:, 3]))

    def _predicted(self, some: Callable[[], Iterable[np.ndarray]], multiple: int = 1) -> int:
        """Bytes of all samples and the index, from some of the samples, each rounded up to a multiple."""
        sizes = [-(-len(packed(frames)) // multiple) * multiple for frames in some()]
        each = sum(sizes) / len(sizes) if sizes else self.sample_bytes + 1
        return round(self.count * (each + ENTRY))

    def _open(self) -> None:
        if self.folder is None:
            self._store = MemoryStore(self.count, self.sample_bytes + 1)
        else:  # The files stay open and locked as long as the object lives, also in forked workers.
            self._in_use = OpenFile(self.folder / "in_use")
            fcntl.flock(self._in_use.number, fcntl.LOCK_SH)
            self._store = DiskStore(self.folder, self.count)
        self._index = np.frombuffer(self._store.index, "<u4").reshape(self.count, 4)  # as all processes see it
        self._verified = np.zeros(self.count, dtype=bool)  # by this process
        self._is_full = mmap.mmap(-1, 1)  # shared by forked workers, so that only one of them warns

    def __getstate__(self) -> dict[str, Any]:
        opened = ("_in_use", "_store", "_index", "_verified", "_is_full")
        return {name: value for name, value in self.__dict__.items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def _checksum(content: bytes) -> int:
    return zlib.crc32(content) or 1


def _describes(folder: Path, key: Mapping[str, Any]) -> bool:
    try:
        return json.loads((folder / "key.json").read_text(encoding="utf-8")) == json.loads(json.dumps(key))
    except (OSError, ValueError):
        return False


def _remove(folder: Path) -> bool:
    """Remove a cache unless a process has it open; True if it is gone. Call it from one process at a time."""
    if not folder.is_dir():
        return True
    with contextlib.suppress(OSError):  # locked, or owned by another user
        in_use = OpenFile(folder / "in_use")
        fcntl.flock(in_use.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / "key.json").unlink(missing_ok=True)  # first, so that a half-removed folder is not taken for a cache
        shutil.rmtree(folder)
    return not folder.exists()


def _make_room(root: Path, own: Path, needed: int, limit: int) -> None:
    """Remove other caches, the least recently used first, until there is room for this one."""
    if needed > limit:
        raise _NoRoomError(_needs_more(needed, limit))
    others = [folder for folder in root.glob("frames_*") if folder != own]
    taken = {folder: _size(folder) for folder in sorted(others, key=_last_use)}
    for folder in list(taken):
        if sum(taken.values()) + needed > limit and _remove(folder):
            del taken[folder]
    if sum(taken.values()) + needed > limit:
        raise _NoRoomError(
            f"{_needs_more(needed, limit)} Caches that are open take {_gb(sum(taken.values()))} of that already."
        )


def _size(folder: Path) -> int:
    """Bytes that a cache has or, if they are more, expects to have once it is full."""
    expected = 0
    with contextlib.suppress(OSError, ValueError, TypeError):
        expected = int(json.loads((folder / "expected.json").read_text(encoding="utf-8")))
    return max(expected, _written(folder))


def _written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.bin"))


def _last_use(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return (folder / "in_use").stat().st_mtime
    return 0.0


def _free_space(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0.0


def _needs_more(needed: int, limit: int) -> str:
    return f"the frames take about {_gb(needed)}, more than the {_gb(limit)} of data.cache_gb: raise it to cache them."


def _gb(number: float) -> str:
    return f"{number / _GB:.3g} GB"


def _warn(text: str) -> None:
    warnings.warn(f"data: {text}", stacklevel=3)
