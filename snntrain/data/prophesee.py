"""Reads DAT, EVT 2.0 and EVT 3.0, the files of Prophesee's cameras.

The package expelliarmus reads them too. Its times of EVT 3.0 are wrong, because it counts each turn of the lower clock
although the upper one counts it already, and it trusts the files. The tests compare everything else with it.

Source: https://docs.prophesee.ai, file formats and encoding formats.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from snntrain.data.aedat import check_on_sensor, comment_lines

#: Types of words: a pixel's event OFF and ON, upper time, trigger, others, continued.
EVT2_WORDS = (0x0, 0x1, 0x8, 0xA, 0xE, 0xF)
#: y, x, base x, 12 pixels, 8 pixels, lower time, continued, upper time, trigger, others, continued.
EVT3_WORDS = (0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xA, 0xE, 0xF)
#: Types of a DAT file that holds events of pixels.
DAT_EVENTS = (0x00, 0x0C)


def read_dat(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read a DAT file of version 2.

    Args:
        columns, camera: unused; all readers have the same signature.

    Raises: ValueError for another version or type, a truncated file, or events outside of the sensor that it states.
    """
    content = path.read_bytes()
    stated, start = _header(content)
    version = stated.get("version")
    if version != "2":
        found = "no version" if version is None else f"version {version}"
        raise ValueError(f"its header states {found} of DAT. Version 2 is read here; convert it to that.")
    kind, size = content[start : start + 1], content[start + 1 : start + 2]
    if len(size) and (kind[0] not in DAT_EVENTS or size[0] != 8):
        raise ValueError(f"it holds records of type {kind[0]:#04x} and {size[0]} bytes, which are no events of pixels.")
    body = memoryview(content)[start + 2 :]
    if not len(size) or len(body) % 8:
        raise ValueError(f"it is truncated: {len(body)} bytes are not a multiple of 8 per event.")
    pairs = np.frombuffer(body, "<u4").reshape(-1, 2)
    place = pairs[:, 1]
    fields = {
        "x": place & 0x3FFF,
        "y": place >> 14 & 0x3FFF,
        "t": _unwrapped(pairs[:, 0].astype(np.int64), 1 << 32),
        "p": place >> 28,
    }
    _check_sensor(fields, stated)
    return fields


def read_raw(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read the pixels' events of a RAW file in the encoding EVT 2.0 or 3.0.

    A recording may begin in the middle of the camera's stream: events before the first word that states their time, or
    their row, are left out.

    Args and raises: as read_dat.
    """
    content = path.read_bytes()
    stated, start = _header(content)
    name = stated.get("format", "").partition(";")[0].upper().removeprefix("EVT") or stated.get("evt", "")
    kind = {"2": "<u4", "2.0": "<u4", "3": "<u2", "3.0": "<u2"}.get(name)
    if kind is None:
        found = f"says that it is encoded as EVT {name}" if name else "does not say how it is encoded"
        raise ValueError(f"its header {found}. EVT 2.0 and EVT 3.0 are read here; convert it to one of them.")
    body, width = memoryview(content)[start:], np.dtype(kind).itemsize
    if len(body) % width:
        raise ValueError(f"it is truncated: {len(body)} bytes are not a multiple of {width} per word.")
    words = np.frombuffer(body, kind)
    fields = _evt2(words) if width == 4 else _evt3(words)
    _check_sensor(fields, stated)
    return fields


def _evt2(words: np.ndarray) -> Mapping[str, np.ndarray]:
    """Words of 32 bits: type 4, then upper time 28, or lower time 6, x 11, y 11."""
    kinds = (words >> 28).astype(np.uint8)
    _check_kinds(kinds, EVT2_WORDS, "2.0")
    tells_time = kinds == 0x8
    before = _latest(tells_time)
    events = ((kinds <= 0x1) & (before >= 0)).nonzero()[0]
    upper = np.zeros(len(words), np.int64)
    upper[tells_time] = _unwrapped((words[tells_time] & 0x0FFF_FFFF).astype(np.int64), 1 << 28)
    of_events = words[events]
    return {
        "x": of_events >> 11 & 0x7FF,
        "y": of_events & 0x7FF,
        "t": upper[before[events]] << 6 | of_events >> 22 & 0x3F,
        "p": kinds[events],
    }


def _evt3(words: np.ndarray) -> Mapping[str, np.ndarray]:
    """Words of 16 bits: type 4, then a part of an event that holds until the next word of this type.

    A single event has its x in a word of its own. Those of up to 12 neighbors are bits, beginning at a base x, which
    moves on by as many pixels as a word has bits.
    """
    kinds = (words >> 12).astype(np.uint8)
    _check_kinds(kinds, EVT3_WORDS, "3.0")
    upper_at, lower_at, row_at, base_at = (_latest(kinds == kind) for kind in (0x8, 0x6, 0x0, 0x3))
    is_single, is_vector = kinds == 0x2, (kinds == 0x4) | (kinds == 0x5)
    known = (upper_at >= 0) & (row_at >= 0)
    chosen = (known & (is_single | is_vector & (base_at >= 0))).nonzero()[0]

    tells_time = kinds == 0x8
    upper = np.zeros(len(words), np.int64)
    upper[tells_time] = _unwrapped((words[tells_time] & 0xFFF).astype(np.int64), 1 << 12)
    changed = tells_time.copy()
    changed[tells_time] = np.diff(upper[tells_time], prepend=-1) != 0
    lower_at, changed_at = lower_at[chosen], _latest(changed)[chosen]
    # The camera repeats the upper time. When that moves on, the lower one is 0 until the camera states it.
    lower = np.where(lower_at > changed_at, words[lower_at] & 0xFFF, 0)
    time = (upper[upper_at[chosen]] << 12) + lower

    single, base = is_single[chosen], base_at[chosen]
    passed = np.cumsum(np.where(kinds == 0x4, 12, np.where(kinds == 0x5, 8, 0)), dtype=np.int64)
    own = np.where(kinds[chosen] == 0x4, 12, 8)
    first = np.where(single, words[chosen] & 0x7FF, (words[base] & 0x7FF) + passed[chosen] - own - passed[base])
    on = np.where(single, words[chosen], words[base]) >> 11 & 1
    pattern = np.where(single, 1, words[chosen] & np.where(kinds[chosen] == 0x4, 0xFFF, 0xFF).astype(np.uint16))
    event, bit = (pattern.astype(np.uint16)[:, None] >> np.arange(12, dtype=np.uint16) & 1).nonzero()
    return {
        "x": first[event] + bit,
        "y": words[row_at[chosen]][event] & 0x7FF,
        "t": time[event],
        "p": on[event],
    }


def _latest(mask: np.ndarray) -> np.ndarray:
    """For each place that of the last True up to and including it, or -1."""
    places = np.where(mask, np.arange(len(mask), dtype=np.int64 if len(mask) >> 31 else np.int32), -1)
    return np.maximum.accumulate(places, out=places)


def _unwrapped(times: np.ndarray, turn: int) -> np.ndarray:
    """Times of a clock that begins at 0 again after a turn. Going back by less than half a turn is none."""
    return times + turn * np.cumsum(np.diff(times, prepend=times[:1]) < -turn // 2)


def _check_kinds(kinds: np.ndarray, known: tuple[int, ...], encoding: str) -> None:
    strange = (~np.isin(kinds, known)).nonzero()[0]
    if len(strange):
        raise ValueError(
            f"word {strange[0]} has the type {kinds[strange[0]]:#x}, which EVT {encoding} does not have. It is "
            "damaged, or its header names another encoding than its own."
        )


def _header(content: bytes) -> tuple[dict[str, str], int]:
    """What the lines "% key value" at the beginning state, and the offset where they end."""
    lines, start = comment_lines(content, mark=b"% ", last=b"% end")
    if not lines:
        raise ValueError("it has no header of Prophesee's, which is of lines that begin with %.")
    pairs = (line[1:].strip().partition(" ") for line in lines)
    return {key.lower(): value.strip() for key, _, value in pairs}, start


def _check_sensor(fields: Mapping[str, np.ndarray], stated: Mapping[str, str]) -> None:
    """Refuse events outside of the sensor, if the header states its size, in one of the three ways that it may."""
    found = re.search(r"height=(\d+);width=(\d+)", stated.get("format", ""))
    height, width = found.groups() if found else (stated.get("height", ""), stated.get("width", ""))
    if not found and (named := re.fullmatch(r"(\d+)x(\d+)", stated.get("geometry", ""))):
        width, height = named.groups()
    if height.isdecimal() and width.isdecimal():
        where = f"the sensor of {height}×{width} pixels (height × width) that its header states"
        check_on_sensor(fields, int(height), int(width), where, remedy="It is damaged.")
