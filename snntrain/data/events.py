"""Recordings of event cameras and silicon cochleas: one file → one structured array of events."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from snntrain.arguments import choice, integer, refuse
from snntrain.registry import did_you_mean

#: tonic's own layout, so that its transforms take our events: place, microseconds, ON (True) or OFF.
EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])

#: What other programs call the four fields.
ALIASES = {
    "x": ("x", "xs", "x_position", "units", "addr"),
    "y": ("y", "ys", "y_position"),
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}

#: Microseconds per unit.
TIME_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "ns": 1e-3}

#: Where an AEDAT 2 address holds x, y and polarity, as (shift, bits); the file does not say which camera wrote it.
#: Bit 31 marks what is no event (a pixel of a DAVIS frame). The mirror is that of the camera's own viewer, jAER.
CAMERAS = {
    "dvs128": {"x": (8, 7), "y": (1, 7), "p": (0, 1), "mirror": None},
    "davis346": {"x": (12, 10), "y": (22, 9), "p": (11, 1), "mirror": (345, 259)},
}

SensorSize = int | Sequence[int]


class BadRecording(ValueError):
    """A file that is not a recording one may train on; the text names it and the reason."""


def read_events(
    path: Path | str,
    *,
    sensor_size: SensorSize | None = None,
    columns: str = "xytp",
    time_unit: str = "us",
    camera: str = "dvs128",
    unsorted: str = "refuse",
) -> np.ndarray:
    """Read one recording.

    Formats, by ending: `.bin` (N-MNIST's and N-Caltech101's 40-bit events), `.npy` and `.npz` (structured, [n, 4], or
    in .npz one array per field), `.h5`/`.hdf5` (datasets x, y, t, p at the root or in one group, or one structured
    dataset), `.aedat` (AEDAT 2.0 and 3.1), `.aedat4` (needs the package aedat). Field names may differ: see ALIASES.

    Args:
        path: the file.
        sensor_size: [height, width], or the number of channels of a sensor without rows, whose events need neither y
            nor p; None: not checked.
        columns: order of the columns of an [n, 4] array.
        time_unit: of .npy, .npz and .h5 files: us, ms, s or ns; the other formats say it themselves.
        camera: which camera wrote an AEDAT 2.0 file: dvs128 or davis346.
        unsorted: what to do where time goes back: "refuse", or "sort" the events by time, keeping the order of equal
            times. Refusing is the default because time that goes back usually means two recordings in one file, or a
            clock that has wrapped around, and sorting would interleave them.

    Returns: [n] of dtype EVENT, n ≥ 1, in the order of time.
    Raises: ValueError naming the file and the reason: unknown ending, truncated, empty, not numbers, outside the
        sensor, time going back; ImportError naming the package that a format needs.
    """
    path = Path(path)
    choice("read_events", "time_unit", time_unit, tuple(TIME_UNITS))
    choice("read_events", "camera", camera, tuple(CAMERAS))
    choice("read_events", "unsorted", unsorted, ("refuse", "sort"))
    if sorted(columns) != sorted("xytp"):
        raise refuse("read_events", "columns", "an order of the letters x, y, t, p such as 'xytp'", columns)
    is_line = sensor_size is not None and np.ndim(sensor_size) == 0
    fields = READERS[ending(path)](path, columns, camera)
    try:
        scale = TIME_UNITS[time_unit] if path.suffix.lower() in UNIT_OPEN else 1.0
        return checked(_structured(fields, scale, is_line), sensor_size, unsorted)
    except ValueError as error:
        raise BadRecording(f"data: {path}: {error}") from None


def ending(path: Path) -> str:
    """The ending that says how to read a file.

    Raises: ValueError if it is not one of a recording.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise BadRecording(
            f"data: {path}: {suffix or 'no ending'} is not a format of recordings.{did_you_mean(suffix, READERS)} "
            f"Known: {', '.join(READERS)}."
        )
    return suffix


def checked(events: np.ndarray, sensor_size: SensorSize | None, unsorted: str = "refuse") -> np.ndarray:
    """Events that one may frame: at least one, on the sensor, in the order of time.

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
    """(height, width); a sensor without rows has height 1."""
    if np.ndim(sensor_size) == 0:
        return 1, integer("sensor", "sensor_size", sensor_size, at_least=1)
    if len(sensor_size) != 2:
        raise refuse("sensor", "sensor_size", "[height, width] or a number of channels", sensor_size)
    return tuple(integer("sensor", "sensor_size", size, at_least=1) for size in sensor_size)


def describe(sensor_size: SensorSize) -> str:
    """A sensor's size in words."""
    height, width = extent(sensor_size)
    return f"{width} channels" if np.ndim(sensor_size) == 0 else f"{height}×{width} (height × width)"


def as_events(array: np.ndarray) -> np.ndarray:
    """A structured array with the fields x, t and perhaps y, p, of any integer types and shape, as [n] of EVENT.

    Raises: ValueError where a value does not fit.
    """
    return _structured({name: array[name] for name in array.dtype.names}, 1.0, is_line=True)


def _structured(fields: Mapping[str, np.ndarray], scale: float, is_line: bool) -> np.ndarray:
    named = {}
    for field, aliases in ALIASES.items():
        found = [name for name in fields if str(name).lower() in aliases]
        if len(found) > 1:
            raise ValueError(f"{' and '.join(found)} are both names of the field {field}. Keep one of them.")
        if found:
            named[field] = np.asarray(fields[found[0]]).reshape(-1)
    missing = [field for field in EVENT.names if field not in named and not (is_line and field in "yp")]
    if missing:
        raise ValueError(
            f"it has no field {missing[0]} (also called {', '.join(ALIASES[missing[0]][1:])}). It has: "
            f"{', '.join(map(str, fields)) or 'nothing'}."
        )
    lengths = {name: len(values) for name, values in named.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"its fields have different lengths ({listing}): it is truncated.")
    events = np.zeros(lengths["x"], EVENT)
    events["p"] = True
    for name, values in named.items():
        events[name] = _fitting(name, values, scale)
    return events


def _fitting(name: str, values: np.ndarray, scale: float) -> np.ndarray:
    """Values as the field's integers, refused rather than changed where they do not fit."""
    kind = values.dtype.kind
    if kind not in "buif":
        raise ValueError(f"{name} holds {values.dtype}, not numbers.")
    if kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite.")
    if name == "p":
        if not np.isin(values, (-1, 0, 1)).all():
            strange = values[~np.isin(values, (-1, 0, 1))][0]
            raise ValueError(f"polarity must be 0 or 1, or -1 or 1, got {strange}. Is data.columns right?")
        return values > 0
    if name == "t" and scale != 1.0:
        return np.rint(values.astype(np.float64) * scale).astype(np.int64)
    if kind == "f" and (values != np.rint(values)).any():
        remedy = "Set data.time_unit to ms or s." if name == "t" else "Is data.columns right?"
        raise ValueError(f"{name} holds fractions such as {values[values != np.rint(values)][0]:g}. {remedy}")
    bounds = np.iinfo(EVENT[name])
    for value in (values.min(), values.max()) if len(values) else ():
        if not bounds.min <= value <= bounds.max:
            raise ValueError(f"{name} holds {value:.0f}, which is no {'place' if name in 'xy' else 'time'}.")
    return values


def _read_bin(path: Path, columns: str, camera: str) -> Mapping[str, np.ndarray]:
    from tonic.io import read_mnist_file

    content = path.read_bytes()
    if len(content) % 5:  # tonic would stop at arrays of different lengths, or drop the rest
        raise BadRecording(f"data: {path}: it is truncated: {len(content)} bytes are not a multiple of 5 per event.")
    return _fields(read_mnist_file(io.BytesIO(content), dtype=EVENT, is_stream=True))


def _read_numpy(path: Path, columns: str, camera: str) -> Mapping[str, np.ndarray]:
    try:
        content = np.load(path, allow_pickle=False)
    except Exception as error:  # zipfile, zlib, EOF and value errors: whatever a damaged file provokes
        raise BadRecording(f"data: {path}: it cannot be read ({_line(error)}). It may be truncated.") from error
    if isinstance(content, np.ndarray):
        return _columns(path, content, columns)
    with content:
        try:
            arrays = {name: content[name] for name in content.files}
        except Exception as error:
            raise BadRecording(f"data: {path}: it cannot be read ({_line(error)}). It may be truncated.") from error
    return _columns(path, next(iter(arrays.values())), columns) if len(arrays) == 1 else arrays


def _columns(path: Path, array: np.ndarray, columns: str) -> Mapping[str, np.ndarray]:
    if array.dtype.names:
        return _fields(array)
    if array.ndim != 2 or array.shape[1] != 4:
        raise BadRecording(
            f"data: {path}: its array must be structured or of shape [n, 4], got {list(array.shape)} {array.dtype}."
        )
    return {name: array[:, column] for column, name in enumerate(columns)}


def _fields(array: np.ndarray) -> Mapping[str, np.ndarray]:
    return {name: array[name] for name in array.dtype.names}


def _read_h5(path: Path, columns: str, camera: str) -> Mapping[str, np.ndarray]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "spikes" in file and "labels" in file:
                raise BadRecording(f"data: {path}: it holds many samples, in SHD's layout. Use data=shd or data=ssc.")
            nodes = list(file.values())
            group = nodes[0] if len(nodes) == 1 and isinstance(nodes[0], h5py.Group) else file
            arrays = {name: node[()] for name, node in group.items() if isinstance(node, h5py.Dataset)}
    except OSError as error:
        raise BadRecording(f"data: {path}: it cannot be read ({_line(error)}). It may be truncated.") from error
    only = next(iter(arrays.values())) if len(arrays) == 1 else None
    return arrays if only is None else _columns(path, only, columns)


def _read_aedat(path: Path, columns: str, camera: str) -> Mapping[str, np.ndarray]:
    from tonic.io import read_aedat_header_from_file

    try:
        version, start, _ = read_aedat_header_from_file(str(path))
    except Exception as error:  # a header without a version leaves a name unbound
        raise BadRecording(f"data: {path}: it has no AEDAT header ({_line(error)}).") from error
    body = path.read_bytes()[start:]
    if 2 <= version < 3:
        return _aedat2(path, body, camera)
    if 3 <= version < 4:
        return _aedat3(path, body)
    raise BadRecording(f"data: {path}: AEDAT {version:g} is not a version that a .aedat file is read in: 2.0 or 3.1.")


# The addresses are taken apart here because tonic 1.7.0's read_dvs_128 and read_dvs_ibm do not run: they expect two
# values from its reader of headers, which gives three (its issue 302); it also takes every packet for events.
def _aedat2(path: Path, body: bytes, camera: str) -> Mapping[str, np.ndarray]:
    body = b"" if body == b"\n" else body  # the reader of headers stops a byte early where nothing follows
    if len(body) % 8:
        raise BadRecording(f"data: {path}: it is truncated: {len(body)} bytes are not a multiple of 8 per event.")
    pairs = np.frombuffer(body, ">u4").reshape(-1, 2).astype(np.int64)
    pairs = pairs[pairs[:, 0] >> 31 == 0]
    layout = CAMERAS[camera]
    x, y, p = (pairs[:, 0] >> shift & (1 << bits) - 1 for shift, bits in (layout[name] for name in "xyp"))
    if layout["mirror"]:
        x, y = layout["mirror"][0] - x, layout["mirror"][1] - y
    return {"x": x, "y": y, "t": pairs[:, 1], "p": p}


def _aedat3(path: Path, body: bytes) -> Mapping[str, np.ndarray]:
    packets, at = [np.zeros((0, 2), np.int64)], 0
    while at + 28 <= len(body):
        kind = int.from_bytes(body[at : at + 2], "little")
        size, _, overflow, _, number = np.frombuffer(body, "<u4", 5, at + 4).tolist()
        at, end = at + 28, at + 28 + size * number
        if end > len(body):
            break
        if kind == 1:  # polarity events; the others are triggers, frames, inertial measurements
            pairs = np.frombuffer(body, "<u4", 2 * number, at).reshape(-1, 2).astype(np.int64)
            pairs[:, 1] += overflow << 31
            packets.append(pairs[pairs[:, 0] & 1 == 1])  # bit 0: valid
        at = end
    if at != len(body) and body != b"\n":
        raise BadRecording(f"data: {path}: it is truncated: it ends inside a packet.")
    address, t = np.concatenate(packets).T
    return {"x": address >> 17 & 0x7FFF, "y": address >> 2 & 0x7FFF, "t": t, "p": address >> 1 & 1}


def _read_aedat4(path: Path, columns: str, camera: str) -> Mapping[str, np.ndarray]:
    from tonic.io import read_aedat4

    try:
        return _fields(read_aedat4(str(path)))
    except ImportError as error:
        raise ImportError(
            f"data: {path}: reading .aedat4 needs the package aedat. Install it: pip install aedat."
        ) from error
    except Exception as error:  # the decoder's own errors are plain Exceptions
        raise BadRecording(f"data: {path}: it cannot be read ({_line(error)}). It may be truncated.") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


READERS: dict[str, Callable[[Path, str, str], Mapping[str, np.ndarray]]] = {
    ".bin": _read_bin,
    ".npy": _read_numpy,
    ".npz": _read_numpy,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
    ".aedat": _read_aedat,
    ".aedat4": _read_aedat4,
}
#: Formats whose files do not say in which unit they count time.
UNIT_OPEN = (".npy", ".npz", ".h5", ".hdf5")
