"""Frame caches: what was put in comes out or nothing does, whatever was killed, cut, changed or full in between."""

import errno
import json
import os
import pickle
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from snntrain.data import cache as module
from snntrain.data.cache import Caching, FrameCache, open_cache

COUNT, SHAPE = 40, (4, 2, 8, 8)
BYTES = 4 * 2 * 8 * 8
KEY = {"data": "abc", "framing": {"mode": "time", "T": 4, "size": [8, 8]}}


def sample(place: int) -> np.ndarray:
    return np.random.default_rng(place).integers(0, 256, SHAPE, dtype=np.uint8)


def opened(
    root: Path, mode: str = "disk", limit_gb: float = 1.0, count: int = COUNT, some: Callable = tuple, **key
) -> FrameCache | None:
    caching = Caching(cache=mode, cache_gb=limit_gb)
    return open_cache(caching, root, {**KEY, **key}, count=count, shape=SHAPE, dtype=np.uint8, some=some)


def filled(root: Path, mode: str = "disk", **more) -> FrameCache:
    cache = opened(root, mode, **more)
    for place in range(COUNT):
        cache.put(place, sample(place))
    return cache


def whole(cache: FrameCache) -> set[int]:
    """The places of the samples that it has; none of them is wrong."""
    found = {place: cache.get(place) for place in range(cache.count)}
    found = {place: frames for place, frames in found.items() if frames is not None}
    assert all(np.array_equal(frames, sample(place)) for place, frames in found.items())
    return set(found)


def refusal(function, *arguments, **named) -> str:
    """The warning of a cache that is not to be."""
    with pytest.warns(UserWarning, match="^data: ") as said:
        assert function(*arguments, **named) is None
    (warning,) = said
    return str(warning.message)


@pytest.mark.parametrize("mode", ["disk", "memory"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float32", "bool"])
def test_what_is_put_in_comes_out(tmp_path, mode, dtype):
    source = np.random.default_rng(1)
    samples = [(source.normal(size=SHAPE) * 3).astype(dtype) for _ in range(3)] + [np.zeros(SHAPE, dtype)]
    cache = open_cache(Caching(cache=mode), tmp_path, KEY, count=6, shape=SHAPE, dtype=dtype)
    for place, frames in enumerate(samples):
        assert cache.get(place) is None
        cache.put(place, frames)
    assert len(cache) == 4 and cache.get(5) is None
    for place, frames in enumerate(samples):
        found = cache.get(place)
        assert found.dtype == frames.dtype and np.array_equal(found, frames)
        with pytest.raises(ValueError, match="read-only"):
            found[...] = 1


@pytest.mark.parametrize("mode", ["disk", "memory"])
def test_frames_of_another_kind_are_refused(tmp_path, mode):
    cache = opened(tmp_path, mode)
    for frames in (sample(0).astype(np.int16), sample(0)[1:]):
        with pytest.raises(ValueError, match=r"do not fit the cache, which holds \[4, 2, 8, 8\], uint8"):
            cache.put(0, frames)
    cache.put(0, np.asfortranarray(sample(0)))
    assert whole(cache) == {0}


def test_a_cache_on_disk_is_found_again_and_takes_the_room_of_its_samples(tmp_path):
    filled(tmp_path)
    cache = opened(tmp_path)
    assert whole(cache) == set(range(COUNT))
    assert {path.name: path.stat().st_size for path in cache.folder.glob("*.bin")} == {
        "samples.bin": COUNT * (BYTES + 1),
        "index.bin": COUNT * 16,
    }
    assert json.loads((cache.folder / "key.json").read_text())["framing"]["T"] == 4


def test_samples_that_are_missing_take_no_room(tmp_path):
    cache = open_cache(Caching(), tmp_path, KEY, count=100_000, shape=SHAPE, dtype=np.uint8)
    cache.put(99_999, sample(1))
    assert cache.folder.joinpath("samples.bin").stat().st_size == BYTES + 1


def sparse(place: int, events: int = 20) -> np.ndarray:
    source = np.random.default_rng(place)
    frames = np.zeros(SHAPE, np.uint8)
    frames.flat[source.permutation(frames.size)[:events]] = source.integers(1, 9, events)
    return frames


@pytest.mark.parametrize(("mode", "each", "times"), [("disk", 1 + 2 * 20, 8.98), ("memory", BYTES + 1, 0.968)])
def test_the_size_is_predicted_from_some_samples_before_any_is_kept(tmp_path, mode, each, times):
    """A byte for the step and one for the value of each pixel with events, and one to say so; in memory whole pages."""
    asked = []
    cache = opened(tmp_path, mode, some=lambda: [asked.append(1) or sparse(place, 10 + place) for place in (0, 20)])
    assert len(asked) == 2 and cache.expected == pytest.approx(COUNT * (16 + each), rel=0.05)
    assert f"{times} times less than the frames once it is full; it has 0 of 40 samples" in cache.describe()
    for place in range(COUNT):
        cache.put(place, sparse(place))
    assert all(np.array_equal(cache.get(place), sparse(place)) for place in range(COUNT))
    if mode == "disk":
        again = opened(tmp_path, some=lambda: pytest.fail("a full cache has a size"))
        assert again.expected == sum(path.stat().st_size for path in cache.folder.glob("*.bin"))
        assert "samples" not in again.describe()


def test_frames_that_take_more_than_was_expected_stop_at_the_limit(tmp_path):
    cache = opened(tmp_path, limit_gb=0.5 * SIZE_GB, some=lambda: [sparse(0)])
    with pytest.warns(UserWarning, match="more than the 1.06e-05 GB of data.cache_gb, although") as said:
        for place in range(COUNT):
            cache.put(place, sample(place))
    assert len(said) == 1 and 15 < len(whole(cache)) < 20
    assert sum(path.stat().st_size for path in cache.folder.glob("*.bin")) <= 0.5 * SIZE_GB * 1e9


def test_a_sample_that_is_put_twice_is_kept_once(tmp_path):
    cache = filled(tmp_path)
    for place in range(COUNT):
        cache.put(place, sample(place))
    assert cache.folder.joinpath("samples.bin").stat().st_size == COUNT * (BYTES + 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mode": "ram"}, r"data: cache must be one of 'disk', 'memory', 'off', got 'ram'"),
        ({"limit_gb": 0}, r"data: cache_gb must be a finite number > 0, got 0"),
        ({"count": 0}, r"data: count must be an integer ≥ 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused_and_off_is_no_cache(tmp_path, changed, message):
    assert opened(tmp_path, "off") is None and not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, **changed)


@pytest.mark.parametrize(
    "change", [{"data": "abd"}, {"framing": {**KEY["framing"], "T": 5}}, {"count": 41}, "another format"]
)
def test_other_data_other_frames_and_another_format_are_another_cache(tmp_path, change, monkeypatch):
    old = filled(tmp_path)
    if change == "another format":
        monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
        change = {}
    new = opened(tmp_path, **change)
    assert new.folder != old.folder and whole(new) == set() and whole(old) == set(range(COUNT))


@pytest.mark.parametrize("content", ['{"format": 0}', "{", "", None])
def test_a_folder_whose_key_is_not_its_own_is_made_anew(tmp_path, content):
    """Of an older version, half written, or gone: then nothing says what its samples are."""
    folder = filled(tmp_path).folder
    key = folder / "key.json"
    key.unlink() if content is None else key.write_text(content)
    cache = opened(tmp_path)
    assert cache.folder == folder and whole(cache) == set()
    assert json.loads(key.read_text())["format"] == module.FORMAT


@pytest.mark.parametrize(
    ("name", "place"), [("samples.bin", 7 * (BYTES + 1) + 100), *(("index.bin", 7 * 16 + at) for at in (0, 7, 8, 12))]
)
def test_a_changed_byte_is_found_and_the_sample_made_again(tmp_path, name, place):
    content = np.fromfile(filled(tmp_path).folder / name, np.uint8)
    content[place] ^= 1
    content.tofile(opened(tmp_path).folder / name)
    cache = opened(tmp_path)
    assert whole(cache) == set(range(COUNT)) - {7}
    cache.put(7, sample(7))
    assert whole(cache) == whole(opened(tmp_path)) == set(range(COUNT))


@pytest.mark.parametrize("name", ["samples.bin", "index.bin"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.2])
def test_a_file_of_another_length_is_mended(tmp_path, name, share):
    """Cut off, a mapped file would end the process; what is left is used, the rest made again."""
    path = filled(tmp_path).folder / name
    os.truncate(path, int(share * path.stat().st_size))
    cache = opened(tmp_path)
    assert whole(cache) == set(range(int(min(share, 1) * COUNT)))
    for place in range(COUNT):
        cache.put(place, sample(place))
    assert whole(opened(tmp_path)) == set(range(COUNT))


class Process:
    """Another process that has the cache open and puts samples into it, then stays until it is killed."""

    def __init__(self, root: Path, places: Iterable[int], count: int = COUNT) -> None:
        self.told, to_tell = Pipe(duplex=False)
        self.number = os.fork()
        if self.number == 0:
            try:
                cache = opened(root, count=count)
                to_tell.send("open")
                for place in places:
                    cache.put(place, sample(place))
                to_tell.send(len(cache))
                signal.pause()
            finally:
                os._exit(1)
        assert self.told.poll(60) and self.told.recv() == "open"

    def kill(self) -> None:
        os.kill(self.number, signal.SIGKILL)
        os.waitpid(self.number, 0)


def test_what_a_killed_process_leaves_is_used_and_continued(tmp_path):
    writer = Process(tmp_path, range(30_000), count=30_000)
    cache = opened(tmp_path, count=30_000)
    while len(cache) < 300:
        time.sleep(0.002)
    writer.kill()
    del cache
    cache = opened(tmp_path, count=30_000)
    found = whole(cache)
    assert 300 <= len(found) < 30_000 and found == set(range(len(found)))
    cache.put(len(found), sample(len(found)))
    assert len(whole(opened(tmp_path, count=30_000))) == len(found) + 1


def test_a_sample_without_its_end_is_not_served(tmp_path, monkeypatch):
    """What is on the disk after a kill between any two writes."""
    cache, write = opened(tmp_path), os.pwrite

    class Killed(BaseException):
        pass

    for left in (0, 1):
        calls = iter(range(3))  # the sample, then its entry in the index

        def stop(file, data, offset, calls=calls, left=left):
            if next(calls) < left:
                return write(file, data, offset)
            write(file, bytes(data)[: len(data) // 2], offset)
            raise Killed

        monkeypatch.setattr(os, "pwrite", stop)
        with pytest.raises(Killed):
            cache.put(left, sample(left))
        assert whole(opened(tmp_path)) == set()
    monkeypatch.setattr(os, "pwrite", write)
    for place in range(COUNT):
        cache.put(place, sample(place))
    assert whole(cache) == set(range(COUNT))


def test_processes_fill_a_cache_together(tmp_path):
    writers = [Process(tmp_path, range(COUNT - 1, first - 1, -1)) for first in (0, 0, 20)]
    cache = opened(tmp_path)
    for place in range(COUNT):
        cache.put(place, sample(place))
    for writer in writers:
        assert writer.told.poll(60) and writer.told.recv() == COUNT
        writer.kill()
    assert whole(cache) == whole(opened(tmp_path)) == set(range(COUNT))


@pytest.mark.parametrize("mode", ["disk", "memory"])
def test_forked_workers_share_a_cache(tmp_path, mode):
    cache = opened(tmp_path, mode)
    child = os.fork()
    if child == 0:
        cache.put(5, sample(5))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert whole(cache) == {5}


def test_spawned_workers_open_it_themselves(tmp_path):
    cache = opened(tmp_path)
    other = pickle.loads(pickle.dumps(cache))
    cache.put(1, sample(1))
    other.put(2, sample(2))
    assert whole(cache) == whole(other) == {1, 2}
    memory = filled(tmp_path, "memory")
    assert whole(memory) == set(range(COUNT)) and whole(pickle.loads(pickle.dumps(memory))) == set()


def test_a_full_disk_ends_in_one_warning_and_keeps_what_was_written(tmp_path, monkeypatch):
    cache, write, written = opened(tmp_path), os.pwrite, []

    def full(file, data, offset):
        if sum(written) >= 10 * (BYTES + 1 + 16) + 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(write(file, data[:300], offset))  # a disk takes what still fits
        return written[-1]

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.warns(UserWarning) as said:
        for place in range(COUNT):
            cache.put(place, sample(place))
    (warning,) = said
    for text in (str(cache.folder), "No space left on device", "GB free", "data.cache"):
        assert text in str(warning.message)
    assert whole(cache) == set(range(10))
    monkeypatch.setattr(os, "pwrite", write)
    assert whole(opened(tmp_path)) == set(range(10))


def test_a_really_full_disk(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        cache = opened(tmp_path, count=1000)
        with pytest.warns(UserWarning, match="No space left on device"):
            for place in range(1000):
                cache.put(place, sample(place))
        found = whole(cache)
        assert 20 < len(found) < 128 and found == set(range(len(found)))
        del cache
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


SIZE_GB = COUNT * (BYTES + 1 + 16) / 1e9  # of random frames, which cannot be packed


def four_caches(root: Path) -> dict[str, Path]:
    """Of the data a, b, c, d; d was opened first, then a, b, c."""
    folders = {}
    for number, data in enumerate("abcd"):
        folders[data] = filled(root, data=data).folder
        os.utime(folders[data] / "in_use", (1000 + number % 3, 1000 + number % 3 - 10 * (data == "d")))
    return folders


def test_old_caches_make_room_the_least_recently_used_first(tmp_path):
    folders = four_caches(tmp_path)
    cache = opened(tmp_path, data="e", limit_gb=4.01 * SIZE_GB)
    assert {data for data, folder in folders.items() if folder.exists()} == {"a", "b", "c"}
    opened(tmp_path, data="a")  # uses it: b is the oldest now
    opened(tmp_path, data="f", limit_gb=3.01 * SIZE_GB)
    assert {data for data, folder in folders.items() if folder.exists()} == {"a"} and cache.folder.exists()


def test_a_cache_that_is_open_is_not_removed(tmp_path):
    folders = four_caches(tmp_path)
    user = Process(tmp_path, [])  # of the data abc
    own = opened(tmp_path, data="d")
    cache = opened(tmp_path, data="e", limit_gb=3.01 * SIZE_GB)
    assert not any(folders[data].exists() for data in "abc") and whole(own) == set(range(COUNT))
    said = refusal(opened, tmp_path, data="f", limit_gb=3.01 * SIZE_GB)
    assert "Caches that are open take 6.35e-05 GB of that already" in said and "data.cache_gb" in said
    user.kill()  # whoever is killed uses nothing any more
    assert opened(tmp_path, data="f", limit_gb=3.01 * SIZE_GB) is not None
    assert cache.folder.exists() and own.folder.exists()


@pytest.mark.parametrize("mode", ["disk", "memory"])
def test_data_larger_than_the_limit_is_not_cached_and_the_warning_names_its_size(tmp_path, mode):
    said = refusal(opened, tmp_path, mode, limit_gb=0.5 * SIZE_GB)
    assert "take about 2.12e-05 GB, more than the 1.06e-05 GB of data.cache_gb" in said
    assert not list(tmp_path.glob("frames_*"))


def test_more_than_the_free_memory_is_not_cached_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    said = refusal(opened, tmp_path, "memory")
    assert "2.12e-05 GB of memory, but only 1e-05 GB are free" in said and "data.cache=disk" in said


def test_a_folder_that_cannot_be_made_is_named_in_the_warning(tmp_path):
    (tmp_path / "file").write_text("")
    said = refusal(opened, tmp_path / "file" / "cache")
    assert f"{tmp_path / 'file' / 'cache'} cannot be opened (Not a directory)" in said and "SNNTRAIN_CACHE" in said
