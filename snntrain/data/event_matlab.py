"""Reads recordings stored by MATLAB: .mat, as a variable for each field, or a structure of them."""

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snntrain.data.damage import decoding
from snntrain.data.event_arrays import by_column, check_ratio, read_h5
from snntrain.data.event_fields import ALIASES

_NAMES = {alias for aliases in ALIASES.values() for alias in aliases}
_COMPRESSED = 15
_AT_ONCE = 2**20


def read_mat(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read the fields of a .mat file of MATLAB 4 to 7.3: variables x, y, t, p, a structure of them, or one [n, 4].

    Args:
        columns: order of the columns of an [n, 4] array.
        camera: unused; all readers have the same signature.

    Raises: ValueError for a file that is damaged, no recording, or inflates to far more than it holds.
    """
    from scipy.io import loadmat, whosmat

    content = path.read_bytes()
    if content.startswith(b"MATLAB 7.3"):  # HDF5 behind a text
        return read_h5(path, columns, camera)
    with decoding(lambda reason: ValueError(f"it cannot be read ({reason}). It may be truncated."), _Refused):
        _check_inflated(content)
        declared = sum(8 * int(np.prod(shape, dtype=object)) for _, shape, _ in whosmat(io.BytesIO(content)))
        check_ratio(declared, len(content))
        loaded = loadmat(io.BytesIO(content))
        variables = {name: value for name, value in loaded.items() if not name.startswith("__")}
        return _recording(variables, columns)


class _Refused(ValueError):
    """Raised for a file that could be decoded and is not a recording, for the reason in the text."""


def _recording(variables: Mapping[str, Any], columns: str) -> Mapping[str, np.ndarray]:
    if _is_recording(variables):
        return {name: _numbers(name, value) for name, value in variables.items() if name.lower() in _NAMES}
    structures = {
        name: {field: value[field].flat[0] for field in value.dtype.names}
        for name, value in variables.items()
        if value.dtype.names and value.size == 1
    }
    found = {name: fields for name, fields in structures.items() if _is_recording(fields)}
    if len(found) > 1:
        raise _Refused(f"it holds several recordings ({', '.join(found)}). Give each a file of its own.")
    if found:
        (fields,) = found.values()
        return {name: _numbers(name, value) for name, value in fields.items() if name.lower() in _NAMES}
    if len(variables) == 1:
        (array,) = variables.values()
        if array.dtype.names is None:
            return by_column(array, columns)
    return variables  # The error for a missing field lists their names.


def _is_recording(fields: Mapping[str, Any]) -> bool:
    names = {name.lower() for name in fields}
    return bool(names & {*ALIASES["x"]} and names & {*ALIASES["t"]})


def _numbers(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)  # a sparse matrix stays an object: it may declare any size
    if array.dtype.kind not in "buif":
        raise _Refused(f"{name} holds {array.dtype}, not numbers.")
    return array


def _check_inflated(content: bytes) -> None:
    """Inflate every variable of a MATLAB 5 file piece by piece, to refuse what would fill the memory at once."""
    if content[126:128] not in (b"IM", b"MI"):  # MATLAB 4 does not compress
        return
    order = "little" if content[126:128] == b"IM" else "big"
    at, total = 128, 0
    while at + 8 <= len(content):
        kind = int.from_bytes(content[at : at + 4], order)
        size = int.from_bytes(content[at + 4 : at + 8], order)
        if kind == _COMPRESSED:
            inflating, rest = zlib.decompressobj(), content[at + 8 : at + 8 + size]
            while rest and not inflating.eof:
                total += len(inflating.decompress(rest, _AT_ONCE))
                rest = inflating.unconsumed_tail
                check_ratio(total, len(content))
        at += 8 + size
