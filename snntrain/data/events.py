"""Reads a recording of an event camera or silicon cochlea: one file → one structured array of events."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snntrain.arguments import choice, integer, invalid
from snntrain.data.aedat import CAMERAS, read_aedat, read_aedat4
from snntrain.data.event_arrays import by_column, read_h5, read_numpy
from snntrain.data.event_fields import EVENT, TIME_UNITS, structured
from snntrain.data.event_matlab import read_mat
from snntrain.data.event_stream import read_es
from snntrain.data.event_table import read_csv
from snntrain.data.prophesee import read_dat, read_raw
from snntrain.data.tonic_package import import_tonic
from snntrain.files import naming
from snntrain.registry import did_you_mean

SensorSize = int | Sequence[int]


class BadRecording(ValueError):
    """Raised for a file that is not a usable recording; the text names it and the reason."""


def read_events(
    path: Path | str,
    *,
    sensor_size: SensorSize | None = None,
    columns: str = "xytp",
    time_unit: str = "us",
    camera: str | None = None,
    unsorted: str = "refuse",
) -> np.ndarray:
    """Read one recording.

    Formats, by ending: `.bin` (N-MNIST's and N-Caltech101's 40-bit events; needs the package tonic), `.npy` and `.npz`
    (structured, [n, 4], or in .npz one array per field), `.h5`/`.hdf5` (datasets x, y, t, p at the root or in one
    group, or one structured dataset), `.mat` (MATLAB's variables, or one structure of them), `.csv` (a line per event),
    `.aedat` (AEDAT 2.0 and 3.1), `.aedat4` (needs the package aedat), `.dat` and `.raw` (Prophesee's DAT 2, EVT 2.0 and
    EVT 3.0), `.es` (Event Stream; needs the package faery). Field names may differ: see ALIASES.

    Args:
        sensor_size: [height, width], or the number of channels of a sensor with one row, whose events need neither y
            nor p; None: not checked.
        columns: order of the columns of an [n, 4] array, or a table without names.
        time_unit: of .npy, .npz, .h5, .mat and .csv files: us, ms, s or ns; the other formats state it.
        camera: which camera wrote an AEDAT 2.0 file, one of CAMERAS; None: the one that its header names. A header that
            names another one is an error.
        unsorted: what to do if time goes back: "refuse", or "sort" the events by time, keeping the order of equal
            times. The default is to refuse, because it usually means two recordings in one file or a clock that has
            wrapped around, which sorting would interleave.

    Returns: [n] of dtype EVENT, n ≥ 1, in the order of time.
    Raises: ValueError naming the file and the reason: unknown ending, truncated, empty, not numbers, outside the
        sensor, time going back; ImportError naming the package that a format needs; OSError for a disk that fails.
    """
    path = Path(path)
    options("read_events", columns=columns, time_unit=time_unit, camera=camera, unsorted=unsorted)
    is_line = sensor_size is not None and np.ndim(sensor_size) == 0
    suffix = ending(path)
    try:
        with naming(path):
            fields = READERS[suffix](path, columns, camera)
        unit = time_unit if suffix in UNIT_OPEN else "us"
        return checked(structured(fields, unit, is_line), sensor_size, unsorted)
    except ValueError as error:
        raise BadRecording(f"data: {path}: {error}") from None


def options(owner: object, *, columns: str, time_unit: str, camera: str | None, unsorted: str) -> dict[str, Any]:
    """The options of read_events, once they are checked in the name of their owner."""
    if sorted(str(columns)) != sorted("xytp"):
        raise invalid(owner, "columns", "an order of the letters x, y, t, p such as 'xytp'", columns)
    return {
        "columns": columns,
        "time_unit": choice(owner, "time_unit", time_unit, tuple(TIME_UNITS)),
        "camera": None if camera is None else choice(owner, "camera", camera, tuple(CAMERAS)),
        "unsorted": choice(owner, "unsorted", unsorted, ("refuse", "sort")),
    }


def ending(path: Path) -> str:
    """The ending of a recording's file, in lower case.

    Raises: ValueError for one that no reader takes.
    """
    suffix = path.suffix.lower()
    if suffix in UNREAD:
        raise BadRecording(
            f"data: {path}: {suffix} is {UNREAD[suffix]}, which is not read here. Convert it to .npz with the arrays "
            "x, y, t (in µs) and p."
        )
    if suffix not in READERS:
        raise BadRecording(
            f"data: {path}: {suffix or 'no ending'} is not a format of recordings.{did_you_mean(suffix, READERS)} "
            f"Known: {', '.join(READERS)}."
        )
    return suffix


def checked(events: np.ndarray, sensor_size: SensorSize | None, unsorted: str = "refuse") -> np.ndarray:
    """The events, if there are any, all on the sensor and in the order of time.

    Raises: ValueError saying what is wrong.
    """
    if len(events) == 0:
        raise ValueError("it holds no events. Remove it.")
    if sensor_size is not None:
        height, width = extent(sensor_size)
        for name, size in (("x", width), ("y", height)):
            low, high = int(events[name].min()), int(events[name].max())
            if low < 0 or high >= size:
                place = f"{name} = {low if low < 0 else high}"
                raise ValueError(
                    f"an event at {place} lies outside the sensor, whose size is {describe(sensor_size)}. Set "
                    "data.framing.sensor_size to that of the camera, or remove the recording."
                )
    steps = np.diff(events["t"])
    if not (steps < 0).any():
        return events
    if unsorted == "sort":
        return events[np.argsort(events["t"], kind="stable")]
    first = int(np.argmax(steps < 0))
    before, after = events["t"][first : first + 2].tolist()
    raise ValueError(
        f"time goes back from {before} to {after} µs at event {first + 1}. Correct the recording, or set "
        "data.unsorted=sort to sort its events by time."
    )


def extent(sensor_size: SensorSize) -> tuple[int, int]:
    """(height, width); a sensor that is a row of channels has height 1."""
    if np.ndim(sensor_size) == 0:
        return 1, integer("sensor", "sensor_size", sensor_size, at_least=1)
    if len(sensor_size) != 2:
        raise invalid("sensor", "sensor_size", "[height, width] or a number of channels", sensor_size)
    return tuple(integer("sensor", "sensor_size", size, at_least=1) for size in sensor_size)


def describe(sensor_size: SensorSize) -> str:
    """A sensor's size in words, such as "128×128 (height × width)"."""
    height, width = extent(sensor_size)
    return f"{width} channels" if np.ndim(sensor_size) == 0 else f"{height}×{width} (height × width)"


def as_events(array: np.ndarray) -> np.ndarray:
    """A structured array with the fields x, t and perhaps y, p, of any integer types and shape, as [n] of EVENT.

    Raises: ValueError where a value does not fit.
    """
    return structured({name: array[name] for name in array.dtype.names}, "us", is_line=True)


def _read_bin(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    tonic_io = import_tonic("io", f"data: {path}: reading .bin")
    content = path.read_bytes()
    if len(content) % 5:  # tonic would fail on arrays of different lengths, or drop the rest
        raise ValueError(f"it is truncated: {len(content)} bytes are not a multiple of 5 per event.")
    return by_column(tonic_io.read_mnist_file(io.BytesIO(content), dtype=EVENT, is_stream=True), columns)


READERS: dict[str, Callable[[Path, str, str | None], Mapping[str, np.ndarray]]] = {
    ".bin": _read_bin,
    ".npy": read_numpy,
    ".npz": read_numpy,
    ".h5": read_h5,
    ".hdf5": read_h5,
    ".aedat": read_aedat,
    ".aedat4": read_aedat4,
    ".dat": read_dat,
    ".raw": read_raw,
    ".es": read_es,
    ".mat": read_mat,
    ".csv": read_csv,
}
#: Formats of recordings that are not read here.
UNREAD = {".bag": "a recording of ROS"}
#: Formats whose files do not state their unit of time.
UNIT_OPEN = (".npy", ".npz", ".h5", ".hdf5", ".mat", ".csv")
