"""Event recordings written in the original file formats, each from the format's own description."""

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from refused import message_of
from scipy.io import savemat

from snntrain.data.events import read_events

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])


def stream(seed: int, n: int = 50, size: tuple[int, int] = (34, 34), duration: int = 100_000) -> np.ndarray:
    """Random events on a sensor of (height, width), in the order of time."""
    random = np.random.default_rng(seed)
    events = np.zeros(n, EVENT)
    events["x"], events["y"] = random.integers(0, size[1], n), random.integers(0, size[0], n)
    events["t"], events["p"] = np.sort(random.integers(0, duration, n)), random.random(n) < 0.5
    return events


def refusal(path: Path, error: type[Exception] = ValueError, **options: Any) -> str:
    """The error with which read_events refuses a file: one line that names it."""
    said = message_of(error, read_events, path, **options)
    assert str(path) in said
    return said


def write_bin(path: Path, events: np.ndarray) -> Path:
    """N-MNIST's 40 bits: x 8, y 8, polarity 1, time 23, big-endian."""
    words = [
        (int(e["x"]) << 32 | int(e["y"]) << 24 | int(e["p"]) << 23 | int(e["t"])).to_bytes(5, "big") for e in events
    ]
    return _write(path, b"".join(words))


def write_aedat2(
    path: Path,
    events: np.ndarray,
    chip: str = "ch.unizh.ini.jaer.chip.retina.DVS128",
    width: int = 128,
    stated: bool = True,
) -> Path:
    """jAER's AEDAT 2.0: comments, then big-endian pairs of address and time.

    A DVS128 has y in bits 8 to 14, 127 - x in 1 to 7, and OFF in bit 0; a DAVIS has y in 22 to 30, width - 1 - x in 12
    to 21, and ON in bit 11.
    """
    x, y, on = (events[name].astype(np.uint32) for name in "xyp")
    address = y << 8 | (127 - x) << 1 | 1 - on if "DVS128" in chip else y << 22 | (width - 1 - x) << 12 | on << 11
    pairs = np.stack([address, events["t"].astype(np.uint32)], 1).astype(">u4")
    header = f"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n{f'# AEChip: {chip}' if stated else '#'}\r\n"
    return _write(path, header.encode() + pairs.tobytes())


def write_aedat3(path: Path, events: np.ndarray, per_packet: int = 20) -> Path:
    """AEDAT 3.1 as in DVS128 Gesture: packets of polarity events, here with a packet of special events between them."""
    content = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n" + _packet(0, np.array([[2, 7]], "<u4"))
    for start in range(0, len(events), per_packet):
        part = events[start : start + per_packet]
        x, y, p = (part[name].astype(np.uint32) << shift for name, shift in (("x", 17), ("y", 2), ("p", 1)))
        valid = np.stack([x | y | p | 1, part["t"].astype(np.uint32)], 1)
        content += _packet(1, np.concatenate([valid, [[0, 5]]]))  # the last one is marked invalid
    return _write(path, content)


def _packet(kind: int, pairs: np.ndarray) -> bytes:
    return (
        struct.pack("<HHIIIIII", kind, 1, 8, 4, 0, len(pairs), len(pairs), len(pairs)) + pairs.astype("<u4").tobytes()
    )


def write_aedat4(path: Path, events: np.ndarray, size: tuple[int, int] = (128, 128)) -> Path:
    """AEDAT 4.0, uncompressed: flatbuffers put together by hand."""
    attributes = "".join(
        f'<attr key="{key}" type="string">{value}</attr>'
        for key, value in (("compression", "NONE"), ("typeIdentifier", "EVTS"))
    )
    sizes = "".join(
        f'<attr key="{key}" type="int">{value}</attr>' for key, value in (("sizeX", size[1]), ("sizeY", size[0]))
    )
    info = (
        '<dv version="2.0"><node name="outInfo" path="/outInfo/"><node name="0" path="/outInfo/0/">'
        f'{attributes}<node name="info" path="/outInfo/0/info/">{sizes}</node></node></node></dv>'
    ).encode()
    text = struct.pack("<I", len(info)) + info + b"\0"
    # vtable: its size, the table's size, places of the fields compression (absent), data table (absent), infoNode.
    header = _prefixed(b"IOHE", struct.pack("<HHHHH", 10, 8, 0, 0, 4) + b"\0\0", text)
    elements = np.zeros(len(events), np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "?"), ("_", "V3")]))
    for name in "txyp":
        elements[name] = events[name]
    packet = _prefixed(
        b"EVTS", struct.pack("<HHH", 6, 8, 4) + b"\0\0", struct.pack("<I", len(events)) + elements.tobytes()
    )
    return _write(path, b"#!AER-DAT4.0\r\n" + header + struct.pack("<ii", 0, len(packet)) + packet)


def _prefixed(identifier: bytes, vtable: bytes, field: bytes) -> bytes:
    """A flatbuffer, its size in front: root offset, identifier, vtable, a table of one reference, what it refers to."""
    table = struct.pack("<iI", len(vtable), 4)
    body = struct.pack("<I", 8 + len(vtable)) + identifier + vtable + table + field
    return struct.pack("<I", len(body)) + body


def write_npz(path: Path, events: np.ndarray, names: Sequence[str] = "xytp") -> Path:
    """One array for each field."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: events[field] for name, field in zip(names, "xytp", strict=True)})
    return path


def write_npy(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def write_h5(path: Path, events: np.ndarray, group: str = "events", names: Sequence[str] = "xytp") -> Path:
    """One recording: a dataset for each field."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, field in zip(names, "xytp", strict=True):
            file[f"{group}/{name}"] = events[field]
    return path


def write_heidelberg(path: Path, samples: Sequence[tuple[np.ndarray, np.ndarray, int]], classes: Sequence[str]) -> Path:
    """SHD's and SSC's layout: (times in s, channels, label) of every sample in one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, column, kind in (("times", 0, np.float16), ("units", 1, np.uint16)):
            data = file.create_dataset(f"spikes/{name}", len(samples), h5py.vlen_dtype(kind))
            for number, sample in enumerate(samples):
                data[number] = sample[column].astype(kind)
        file["labels"] = np.array([sample[2] for sample in samples], np.uint16)
        file["extra/keys"] = np.array(classes, "S")
        file["extra/speaker"] = np.zeros(len(samples), np.uint16)
    return path


def write_asl(path: Path, events: np.ndarray, height: int = 180) -> Path:
    """ASL-DVS's .mat files: columns ts, x, y counted from below, pol."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"ts": events["t"], "x": events["x"], "y": height - 1 - events["y"], "pol": events["p"].astype(np.int64)}
    savemat(path, {name: values.reshape(-1, 1) for name, values in fields.items()})
    return path


def write_gesture(path: Path, events: np.ndarray) -> Path:
    """A sample of DVS128 Gesture as tonic offers it: columns x, y, p and t in ms."""
    return write_npy(path, np.stack([events["x"], events["y"], events["p"], events["t"] // 1000], 1).astype(np.int64))


def write_mat(path: Path, events: np.ndarray, structure: str = "") -> Path:
    """MATLAB's columns x, y, ts, p, as variables or in a structure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        name: events[field].astype(np.float64).reshape(-1, 1)
        for name, field in zip(("x", "y", "ts", "p"), "xytp", strict=True)
    }
    savemat(path, {structure: fields} if structure else fields, do_compression=True)
    return path


def write_csv(path: Path, events: np.ndarray, names: str = "", order: str = "xytp", divider: str = ",") -> Path:
    """A line for each event."""
    rows = [divider.join(str(int(event[field])) for field in order) for event in events]
    return _write(path, "\n".join([*filter(None, [names]), *rows, ""]).encode())


def write_dat(path: Path, events: np.ndarray, header: str = "% Version 2\n% Height 34\n% Width 34\n") -> Path:
    """DAT 2: time 32 bits; x 14, y 14, polarity 4."""
    t, x, y, p = (events[name].astype(np.uint32) for name in "txyp")
    return _write(path, header.encode() + b"\x0c\x08" + np.stack([t, p << 28 | y << 14 | x], 1).astype("<u4").tobytes())


def write_evt2(path: Path, events: np.ndarray, header: str = "% evt 2.0\n% geometry 34x34\n") -> Path:
    """EVT 2.0: the upper 28 bits of the time where they change, a trigger, then the events with the lower 6."""
    words, upper = [], None
    for x, y, t, p in events.tolist():
        if t >> 6 != upper:
            upper = t >> 6
            words += [0x8 << 28 | upper & 0xFFF_FFFF, 0xA << 28 | 1]
        words.append(int(p) << 28 | (t & 63) << 22 | x << 11 | y)
    return _write(path, header.encode() + np.array(words, "<u4").tobytes())


def write_evt3(path: Path, events: np.ndarray, header: str = "% format EVT3;height=34;width=34\n") -> Path:
    """EVT 3.0: times, y and x where they change; events of one time, row and polarity side by side become vectors."""
    words, upper, lower, row = [], None, None, None
    at, rows = 0, events.tolist()
    while at < len(rows):
        x, y, t, p = rows[at]
        if t >> 12 != upper:
            upper, lower = t >> 12, 0
            words.append(0x8 << 12 | upper & 0xFFF)
        if t & 0xFFF != lower:
            lower = t & 0xFFF
            words += [0x6 << 12 | lower, 0x8 << 12 | upper & 0xFFF]  # the upper time is repeated, as cameras do
        if y != row:
            row = y
            words.append(y)
        side = [one for one in rows[at : at + 20] if one[1:] == rows[at][1:] and x <= one[0] < x + 20]
        run = [one for one, other in zip(side, rows[at:], strict=False) if one == other]
        if len(run) > 1 and all(a[0] < b[0] for a, b in pairwise(run)):
            bits = sum(1 << one[0] - x for one in run)
            words += [0x3 << 12 | int(p) << 11 | x, 0x4 << 12 | bits & 0xFFF, 0x5 << 12 | bits >> 12]
            at += len(run)
        else:
            words.append(0x2 << 12 | int(p) << 11 | x)
            at += 1
    return _write(path, header.encode() + np.array(words, "<u2").tobytes())


def write_es(path: Path, events: np.ndarray, size: tuple[int, int] = (34, 34)) -> Path:
    """Event Stream 2.0: the time since the last event in 7 bits and the polarity, x, and y from the bottom."""
    content, before = b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", size[1], size[0]), 0
    for x, y, t, p in events.tolist():
        content += b"\xff" * ((t - before) // 127)
        content += struct.pack("<BHH", (t - before) % 127 << 1 | int(p), x, size[0] - 1 - y)
        before = t
    return _write(path, content)


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
