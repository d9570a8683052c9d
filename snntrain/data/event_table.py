"""Reads recordings stored as tables of text: .csv."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from snntrain.data.damage import decoding
from snntrain.data.event_arrays import by_column
from snntrain.data.event_fields import ALIASES

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NAMES = {alias for aliases in ALIASES.values() for alias in aliases}


def read_csv(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read a table of numbers, one event a line, whose cells are divided by a comma, semicolon, tab or spaces.

    The first line may name the columns; then others than those of an event are ignored. Without names, there are four.
    Lines that begin with # or % are comments.

    Args:
        columns: the order of four columns without names.
        camera: unused; all readers have the same signature.

    Raises: ValueError for a file that is no such table.
    """
    content = path.read_bytes()
    if b"\0" in content:
        raise ValueError("it is no text: it holds bytes of value 0.")
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    rows = [line for line in lines if line.strip() and line.lstrip()[0] not in "#%"]
    if not rows:
        return by_column(np.zeros((0, 4)), columns)
    divider = next((one for one in ",;\t" if one in rows[0]), None)
    first = [cell.strip().strip('"') for cell in rows[0].split(divider)]
    names = None if all(map(_NUMBER.fullmatch, first)) else first
    if names is not None:
        rows = rows[1:]
    used = None if names is None else [place for place, name in enumerate(names) if name.lower() in _NAMES]
    if used == []:
        raise ValueError(f"its first line names no field of an event. It has: {', '.join(names)[:200]}.")
    if not rows:
        return {names[place]: np.zeros(0) for place in used}
    table = _numbers(rows, divider, used)
    if names is None:
        return by_column(table, columns)
    return {names[place]: table[:, at] for at, place in enumerate(used)}


def _numbers(rows: list[str], divider: str | None, used: list[int] | None) -> np.ndarray:
    """The columns that are used, as int64, because a float64 cannot hold every time in ns, or else as float64."""
    reading = {"delimiter": divider, "usecols": used, "ndmin": 2, "comments": None}
    try:
        return np.loadtxt(rows, np.int64, **reading)
    except ValueError:
        with decoding(lambda reason: ValueError(f"it is no table of numbers ({reason}). It may be truncated.")):
            return np.loadtxt(rows, np.float64, **reading)
