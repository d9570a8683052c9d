"""Where the events of a stream come from: recordings, a folder that grows, packets in a pipe, or a camera."""

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snntrain.data.damage import is_systems
from snntrain.data.event_cameras import CAMERAS, Camera
from snntrain.data.event_packets import BadPacket, read_header, read_packets
from snntrain.data.events import READERS, BadRecording, SensorSize, describe, ending, extent
from snntrain.error import UsageError, one_line

#: s between two looks into a folder. A file that is found unchanged so many times is taken to be whole.
LOOKS, _UNCHANGED = 0.1, 2
#: Pieces that wait between the thread that reads a live source and the network; then the source has to wait, too.
WAITING = 64


@dataclass(frozen=True)
class Piece:
    """Some events of a source, or what is wrong with it.

    Attributes:
        name: of the recording, pipe or camera.
        events: a whole recording, or of a live source what came last; None: there is a problem.
        problem: what cannot be used, and why; '': nothing.
        arrival: when the events of a live source came, in seconds of time.monotonic(); None: a recording's.
    """

    name: str
    events: np.ndarray | None
    problem: str = ""
    arrival: float | None = None


def pieces_of(
    source: str, sensor: SensorSize, read: Callable[[Path], np.ndarray], *, period: int, idle: float
) -> Iterator[Piece]:
    """The pieces of a source, which is opened at once and read as they are asked for.

    Args:
        source: a recording, a folder, '-' for packets on stdin, 'dv' or 'metavision' for a camera.
        sensor: that the network expects.
        read: recording → events.
        period: µs of events that a camera should give at a time.
        idle: s that a folder may stay as it is before the stream ends, > 0.

    Raises: UsageError for a source that does not exist or has another sensor.
    """
    if source == "-":
        return _in_a_thread(_from_stdin(sensor))
    if source.partition(":")[0] in CAMERAS and not Path(source).exists():
        camera = Camera(source, period)
        _check_sensor(source, camera.sensor, sensor)
        return _in_a_thread(Piece(source, events, arrival=time.monotonic()) for events in camera)
    place = Path(source)
    if place.is_dir():
        return _from_folder(place, read, idle)
    if not place.is_file():
        raise UsageError(
            f"source={source} is no recording and no folder. Give one, - for packets on stdin, or a camera: "
            f"{' or '.join(CAMERAS)}."
        )
    try:
        ending(place)
    except BadRecording as error:
        raise UsageError(str(error).removeprefix("data: ")) from None
    return iter([_recording(place, read)])


def _recording(path: Path, read: Callable[[Path], np.ndarray]) -> Piece:
    try:
        return Piece(path.name, read(path))
    except (ValueError, OSError) as error:
        if is_systems(error) and not isinstance(error, OSError):
            raise
        return Piece(path.name, None, one_line(error).removeprefix("data: ").removeprefix(f"{path}: "))


def _from_folder(folder: Path, read: Callable[[Path], np.ndarray], idle: float) -> Iterator[Piece]:
    """Recordings in the order of their names, and then those that are added, once they have stopped growing.

    One that cannot be read is read again if it changes.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    unchanged: Counter[Path] = Counter()
    done: dict[Path, tuple[int, int] | None] = {}
    last_news = time.monotonic()
    while time.monotonic() - last_news < idle:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in READERS or path.name[0] == "." or not path.is_file():
                continue
            size = _size(path)
            if path in done and done[path] in (None, size):
                continue
            if sizes.get(path) != size:
                sizes[path], unchanged[path], last_news = size, 0, time.monotonic()
                continue
            unchanged[path] += 1
            if unchanged[path] >= _UNCHANGED:
                piece = _recording(path, read)
                done[path] = size if piece.problem else None
                yield piece
                last_news = time.monotonic()
        time.sleep(LOOKS)


def _size(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # removed since
        return -1, 0
    return found.st_size, found.st_mtime_ns


def _from_stdin(sensor: SensorSize) -> Iterator[Piece]:
    file = sys.stdin.buffer
    try:
        height, width = read_header(file)
        if (height, width) != extent(sensor):
            raise BadPacket(
                f"its header tells a sensor of {height}×{width} (height × width), but the net expects "
                f"{describe(sensor)}."
            )
        for events in read_packets(file, height, width):
            yield Piece("stdin", events, arrival=time.monotonic())
    except BadPacket as error:
        yield Piece("stdin", None, str(error))


def _check_sensor(source: str, found: tuple[int, int], sensor: SensorSize) -> None:
    if found != extent(sensor):
        raise UsageError(
            f"source={source} has a sensor of {found[0]}×{found[1]} (height × width), but the net expects "
            f"{describe(sensor)}."
        )


def _in_a_thread(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces, read while the network computes. What is raised there is raised here."""
    waiting: queue.Queue[Piece | BaseException | None] = queue.Queue(WAITING)

    def read() -> None:
        try:
            for piece in pieces:
                waiting.put(piece)
            waiting.put(None)
        except BaseException as error:  # handed to the thread that waits
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    while (piece := waiting.get()) is not None:
        if isinstance(piece, BaseException):
            raise piece
        yield piece
