"""Reads AEDAT 2.0, 3.1 and 4, the files of jAER, cAER and DV. Their header usually names the camera.

Source: https://docs.inivation.com, file formats; jAER's classes DVS128 and DavisBaseCamera for what the bits of an
AEDAT 2.0 address mean.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snntrain.data.damage import check_readable, decoding


@dataclass(frozen=True)
class Camera:
    """How to decode a camera's AEDAT 2.0 addresses.

    x counts from the left and y from the bottom of the picture, as in jAER; in the address x counts from the right.

    Attributes:
        height, width: of the sensor.
        x, y: (shift, bits).
        polarity: (shift, value of the bit for ON).
        foreign: bits that are never set by this camera.
        skipped: an address with one of these bits is not a pixel's event but a frame, an inertial measurement or a
            trigger.
        unused: bits that are 0 in a pixel's event.
    """

    height: int
    width: int
    x: tuple[int, int]
    y: tuple[int, int]
    polarity: tuple[int, int]
    foreign: int
    skipped: int
    unused: int


def _davis(height: int, width: int) -> Camera:
    return Camera(height, width, (12, 10), (22, 9), (11, 1), foreign=0, skipped=1 << 31 | 1 << 10, unused=0x3FF)


#: Its ON events have a 0 (jAER: type = 1 - address & 1). Bit 15 marks a trigger.
_DVS128 = Camera(128, 128, x=(1, 7), y=(8, 7), polarity=(0, 0), foreign=0xFFFF0000, skipped=1 << 15, unused=0)

CAMERAS = {
    "dvs128": _DVS128,
    "davis128": _davis(128, 128),
    "davis208": _davis(192, 208),
    "davis240": _davis(180, 240),
    "davis346": _davis(260, 346),
    "davis640": _davis(480, 640),
}

#: jAER's early names of some cameras.
_EARLY = {"tmpdiff128": "dvs128", "sbret10": "davis240"}


def camera_named(chip: str) -> str | None:
    """The camera with the chip that a file names, such as eu.seebetter.ini.chips.davis.DAVIS240C; None: unknown."""
    last = chip.strip().rpartition(".")[2].lower()
    if last in _EARLY:
        return _EARLY[last]
    found = re.match(r"(dvs|davis)_?(\d+)", last)
    name = "".join(found.groups()) if found and not re.search("stereo|cochlea|array|multi", last) else ""
    return name if name in CAMERAS else None


def read_aedat(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read the polarity events of an AEDAT 2.0 or 3.1 file.

    Args:
        columns: unused; all readers have the same signature.
        camera: which camera wrote it, one of CAMERAS; None: the one that the header names.

    Raises: ValueError for another version, an unknown camera, one that contradicts the header, or addresses that the
        camera does not have.
    """
    content = path.read_bytes()
    lines, start = comment_lines(content, mark=b"#", last=b"!END-HEADER")
    version = next((found for line in lines if (found := re.search(r"!AER-DAT(\d+)\.(\d+)", line))), None)
    if version is None:
        raise ValueError("it has no AEDAT header (its first line is not #!AER-DAT2.0 or #!AER-DAT3.1).")
    body = content[start:]
    if version[1] == "2":
        return _aedat2(body, _camera(_stated(lines, r"(?i)#\s*(?:AE)?chip:\s*(\S+)"), camera))
    if version[1] == "3":
        chip = _stated(lines, r"#\s*Source\s+\d+:\s*(\S+)")
        known = None if chip is None and camera is None else _camera(chip, camera, needed=False)
        return _aedat3(body, known)
    raise ValueError(f"AEDAT {version[1]}.{version[2]} is not a version that a .aedat file is read in: 2.0 or 3.1.")


def comment_lines(content: bytes, *, mark: bytes, last: bytes) -> tuple[list[str], int]:
    """The comment lines at the beginning, and the offset where they end.

    An event may begin with the byte that marks a comment too, so a line counts as one only if it is text.

    Args:
        mark: what comments begin with.
        last: what the last line holds, if the file says so.
    """
    lines, at = [], 0
    while content.startswith(mark, at):
        end = content.find(b"\n", at, at + 65_536) + 1
        line = content[at:end].rstrip(b"\r\n")
        if not end or re.search(rb"[\x00-\x08\x0b-\x1f]", line):
            break
        lines.append(line.decode("utf-8", errors="replace"))
        at = end
        if last in line:
            break
    return lines, at


def _stated(lines: list[str], pattern: str) -> str | None:
    return next((found[1] for line in lines if (found := re.match(pattern, line))), None)


def _camera(chip: str | None, chosen: str | None, needed: bool = True) -> str | None:
    """The camera that wrote a file, according to its header and to data.camera, which must agree."""
    known = None if chip is None else camera_named(chip)
    if chosen is not None:
        if known is not None and known != chosen:
            raise ValueError(
                f"its header says that {chip} wrote it, but data.camera is {chosen}. Set data.camera to null or to "
                f"{known}."
            )
        return chosen
    if known is None and needed:
        what = "does not say which camera wrote it" if chip is None else f"says {chip}, whose addresses are not known"
        raise ValueError(f"its header {what}. Set data.camera to one with the same addresses: {', '.join(CAMERAS)}.")
    return known


def _aedat2(body: bytes, name: str) -> Mapping[str, np.ndarray]:
    camera = CAMERAS[name]
    if len(body) % 8:
        raise ValueError(f"it is truncated: {len(body)} bytes are not a multiple of 8 per event.")
    pairs = np.frombuffer(body, ">u4").reshape(-1, 2).astype(np.int64)
    is_skipped = (pairs[:, 0] & camera.skipped) != 0
    wrong = np.where(is_skipped, camera.foreign, camera.foreign | camera.unused)
    odd = (pairs[:, 0] & wrong).nonzero()[0]
    if len(odd):
        raise ValueError(
            f"event {odd[0]} has the address {pairs[odd[0], 0]:#010x}, which a {name} does not have. Set data.camera "
            f"to the camera that wrote it: {', '.join(CAMERAS)}."
        )
    pairs = pairs[~is_skipped]
    x, y = ((pairs[:, 0] >> shift) & ((1 << bits) - 1) for shift, bits in (camera.x, camera.y))
    check_on_sensor({"x": x, "y": y}, camera.height, camera.width, f"a {name}")
    shift, on = camera.polarity
    return {"x": camera.width - 1 - x, "y": y, "t": pairs[:, 1], "p": (pairs[:, 0] >> shift & 1) == on}


def _aedat3(body: bytes, name: str | None) -> Mapping[str, np.ndarray]:
    packets, at = [np.zeros((0, 2), np.int64)], 0
    while at + 28 <= len(body):
        kind = int.from_bytes(body[at : at + 2], "little")
        size, _, overflow, _, number = np.frombuffer(body, "<u4", 5, at + 4).tolist()
        at, end = at + 28, at + 28 + size * number
        if end > len(body):
            break
        if kind == 1:  # polarity events; the others are triggers, frames, inertial measurements
            if size != 8:
                raise ValueError(f"it is damaged: a packet has polarity events of {size} bytes; they have 8.")
            pairs = np.frombuffer(body, "<u4", 2 * number, at).reshape(-1, 2).astype(np.int64)
            pairs[:, 1] += overflow << 31
            packets.append(pairs[pairs[:, 0] & 1 == 1])  # bit 0: valid
        at = end
    if at != len(body):
        raise ValueError("it is truncated: it ends inside a packet.")
    address, t = np.concatenate(packets).T
    fields = {"x": address >> 17 & 0x7FFF, "y": address >> 2 & 0x7FFF, "t": t, "p": address >> 1 & 1}
    if name is not None:
        check_on_sensor(fields, CAMERAS[name].height, CAMERAS[name].width, f"a {name}, which its header names")
    return fields


def read_aedat4(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read the first stream of events in an AEDAT 4 file.

    Args: as in read_aedat; the file itself states the size of the sensor.
    Raises: ValueError for a file that cannot be decoded or has events outside of that sensor; ImportError.
    """
    try:
        import aedat
    except ImportError as error:
        raise ImportError(
            f"data: {path}: reading .aedat4 needs the package aedat. Install it: pip install aedat."
        ) from error
    check_readable(path)
    with decoding(lambda reason: ValueError(f"it cannot be read ({reason}). It may be truncated.")):
        decoder = aedat.Decoder(str(path))
        streams = {number: one for number, one in decoder.id_to_stream().items() if one["type"] == "events"}
        if not streams:
            raise ValueError("it has no stream of events")
        first = min(streams)
        packets = [packet["events"] for packet in decoder if packet["stream_id"] == first]
    if not packets:
        return {"x": np.zeros(0, int), "y": np.zeros(0, int), "t": np.zeros(0, int), "p": np.zeros(0, bool)}
    events = np.concatenate(packets)
    fields: dict[str, Any] = {name: events[name] for name in events.dtype.names}
    stream = streams[first]
    if stream.get("height") and stream.get("width"):
        where = f"the sensor of {stream['height']}×{stream['width']} pixels (height × width) that the file states"
        check_on_sensor(fields, stream["height"], stream["width"], where)
    return fields


def check_on_sensor(
    fields: Mapping[str, np.ndarray],
    height: int,
    width: int,
    sensor: str,
    *,
    remedy: str = "It is damaged, or of another camera: see data.camera.",
) -> None:
    """Refuse events outside of the sensor."""
    for name, size in (("x", width), ("y", height)):
        if len(fields[name]) and not 0 <= fields[name].min() <= fields[name].max() < size:
            wrong = fields[name][(fields[name] < 0) | (fields[name] >= size)][0]
            raise ValueError(f"an event has {name} = {wrong}, which is outside of {sensor}. {remedy}")
