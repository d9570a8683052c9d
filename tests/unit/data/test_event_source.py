"""Sources of a stream: files, a folder that grows, packets on stdin, and cameras whose packages are replaced."""

import io
import sys
import threading
import time
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from snntrain.data.event_fields import EVENT
from snntrain.data.event_packets import PacketWriter
from snntrain.data.event_source import LOOKS, Piece, pieces_of
from snntrain.data.events import read_events
from snntrain.error import UsageError

SENSOR = [20, 32]
EVENTS = np.array([(1, 2, 100, True), (31, 19, 2_500, False)], EVENT)


def open_source(source: object, idle: float = 5 * LOOKS) -> list[Piece]:
    read = partial(read_events, sensor_size=SENSOR)
    return list(pieces_of(str(source), SENSOR, read, period=10_000, idle=idle))


def test_a_recording_is_one_piece(tmp_path):
    np.save(tmp_path / "a.npy", EVENTS)
    (piece,) = open_source(tmp_path / "a.npy")
    assert (piece.name, piece.problem, piece.arrival) == ("a.npy", "", None)
    assert piece.events.tolist() == EVENTS.tolist()


def test_a_folder_gives_what_is_there_and_what_is_added_once_it_is_whole(tmp_path):
    np.save(tmp_path / "b.npy", EVENTS)
    (tmp_path / "a.npy").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no recording")

    def add() -> None:
        content = io.BytesIO()
        np.save(content, np.repeat(EVENTS, 500))
        with (tmp_path / "c.npy").open("wb") as file:
            for part in range(0, len(content.getvalue()), 4_000):
                file.write(content.getvalue()[part : part + 4_000])
                file.flush()
                time.sleep(LOOKS / 4)

    writer = threading.Timer(LOOKS, add)
    writer.start()
    pieces = open_source(tmp_path, idle=20 * LOOKS)
    writer.join()
    whole = {piece.name: len(piece.events) for piece in pieces if piece.events is not None}
    assert list(whole.items()) == [("b.npy", 2), ("c.npy", 1_000)]  # a slow writer may make c a problem at first
    assert "cannot be read" in next(piece.problem for piece in pieces if piece.name == "a.npy")


def test_a_folder_without_recordings_ends(tmp_path):
    assert open_source(tmp_path) == []


def stdin_of(content: bytes) -> types.SimpleNamespace:
    return types.SimpleNamespace(buffer=io.BytesIO(content))


def packets(sensor: object = SENSOR, ends: bool = True) -> bytes:
    file = io.BytesIO()
    writer = PacketWriter(file, sensor)
    writer.write(EVENTS)
    if ends:
        writer.end()
    return file.getvalue()


def test_packets_on_stdin_are_pieces_that_came_now(monkeypatch):
    monkeypatch.setattr(sys, "stdin", stdin_of(packets()))
    before = time.monotonic()
    (piece,) = open_source("-")
    assert piece.events.tolist() == EVENTS.tolist() and before <= piece.arrival <= time.monotonic()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (packets(ends=False), "it was cut off after 1 packets, without an end"),
        (b"", "nothing came, where the header"),
        (b"\x89PNG and much more of it", "it is no stream of packets"),
        (packets([32, 20]), r"a sensor of 32×20 \(height × width\), but the net expects 20×32"),
    ],
)
def test_a_pipe_that_cannot_be_read_on_is_a_problem_and_no_crash(monkeypatch, content, named):
    monkeypatch.setattr(sys, "stdin", stdin_of(content))
    last = open_source("-")[-1]
    assert last.events is None
    with pytest.raises(ValueError, match=named):
        raise ValueError(last.problem)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("nowhere.raw", "source=nowhere.raw is no recording and no folder. Give one, - for packets on stdin, or a"),
        ("dv", r"source=dv needs the package dv_processing. Install it: pip install dv-processing"),
        ("metavision:0042", "source=metavision:0042 needs the package metavision_core. Install it: Prophesee's"),
    ],
)
def test_what_is_missing_is_named(source, named):
    with pytest.raises(UsageError, match=named):
        open_source(source)


def test_a_file_of_another_ending_is_refused(tmp_path):
    (tmp_path / "clip.avi").write_bytes(b"")
    with pytest.raises(UsageError, match=r"clip.avi: .avi is not a format of recordings"):
        open_source(tmp_path / "clip.avi")


def of_dv(batches: list[np.ndarray | None], size: tuple[int, int], as_function: bool) -> types.ModuleType:
    """dv-processing, as far as it is used: 2 has a function, 1.7 a class."""

    class Camera:
        def getEventResolution(self) -> tuple[int, int]:
            return size

        def isRunning(self) -> bool:
            return bool(batches)

        def getNextEventBatch(self) -> types.SimpleNamespace | None:
            batch = batches.pop(0)
            return None if batch is None else types.SimpleNamespace(numpy=lambda: batch)

    package = types.ModuleType("dv_processing")
    opened = {"camera": types.SimpleNamespace(open=Camera)} if as_function else {"CameraCapture": Camera}
    package.io = types.SimpleNamespace(**opened)
    return package


@pytest.mark.parametrize("as_function", [True, False])
def test_the_events_of_dv_processing_are_taken(monkeypatch, as_function):
    theirs = np.dtype([("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "u1")])
    batch = np.array([(100, 1, 2, 1), (2_500, 31, 19, 0)], theirs)
    monkeypatch.setitem(sys.modules, "dv_processing", of_dv([None, batch, batch], (32, 20), as_function))
    first, second = open_source("dv")
    assert first.events.tolist() == second.events.tolist() == EVENTS.tolist()
    monkeypatch.setitem(sys.modules, "dv_processing", of_dv([], (640, 480), as_function))
    with pytest.raises(UsageError, match=r"source=dv has a sensor of 480×640 \(height × width\), but the net expects"):
        open_source("dv")


def test_the_events_of_metavision_are_taken_and_its_own_errors_named(monkeypatch):
    theirs = np.dtype({"names": ["x", "y", "p", "t"], "formats": ["<u2", "<u2", "<i2", "<i8"]})
    asked = []

    class EventsIterator:
        def __init__(self, path: str, mode: str, delta_t: int) -> None:
            asked.append((path, mode, delta_t))
            if path == "gone":
                raise OSError("Camera not found")

        def get_size(self) -> tuple[int, int]:
            return 20, 32

        def __iter__(self):
            yield np.array([(1, 2, 1, 100), (31, 19, 0, 2_500)], theirs)

    package = types.ModuleType("metavision_core.event_io")
    package.EventsIterator = EventsIterator
    monkeypatch.setitem(sys.modules, "metavision_core", types.ModuleType("metavision_core"))
    monkeypatch.setitem(sys.modules, "metavision_core.event_io", package)
    (piece,) = open_source("metavision:0042")
    assert piece.events.tolist() == EVENTS.tolist() and asked == [("0042", "delta_t", 10_000)]
    with pytest.raises(UsageError, match="source=metavision:gone: no camera could be opened: Camera not found"):
        open_source("metavision:gone")


def test_what_a_camera_raises_while_it_runs_is_raised_where_it_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "dv_processing", of_dv([np.zeros(1)], (32, 20), True))
    with pytest.raises(IndexError):
        open_source("dv")


def test_names_are_not_taken_for_cameras_where_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dv").mkdir()
    np.save("dv/a.npy", EVENTS)
    assert [piece.name for piece in open_source("dv")] == ["a.npy"]
