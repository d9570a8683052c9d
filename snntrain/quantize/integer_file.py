"""Files of integer nets: what is in them, how they are written, read, and checked.

It imports nothing but numpy and the standard library: beside numpy_runner.py it belongs to a program.

A net is a list of operations, a dict each; "sources" are the places of those whose outputs it takes. All outputs are
int32 arrays [T, N, *], but for the last operation's.

    input    q = clip(R(x·per_step), lowest, highest); R is `rounding`, per_step a float32
    linear, conv, scale    Σ W·x + b; scale multiplies channels
    neuron   u ← leak(u);  h = fit(u + R(x/2^shift));  spike = h ≥ threshold;  u = h − threshold (soft) or 0 (hard)
             leak: {"form": "multiply"}: R(u·factor/2^bits); {"form": "shift"}: u − R(u/2^bits); null: u
             fit: clip to `bits` bits (overflow "saturate"), or take modulo 2^bits ("wrap")
    cuba     i ← fit(leak(i) + R(x/2^shift)) with the leak `current_leak`;  h = fit(leak(u) + i);  else as neuron
    max_pool, sum_pool, rate_max_pool, flatten, votes, add, mul, invert (1 − x), concat
    output   x·scale, in float32

R: "nearest" floor(a + ½), "floor", "ceil", "zero" (toward 0).

Version 1 had no `cuba`; its files are read as they are.
"""

import hashlib
import json
import os
import struct
import warnings
from typing import Any

import numpy as np

FORMAT = "snntrain integer net"
VERSION = 2

#: Operations that have potentials and spike.
NEURONS = ("neuron", "cuba")

Arrays = dict[str, np.ndarray]
Operation = dict[str, Any]

_DTYPES = {"I8": np.int8, "I16": np.int16, "I32": np.int32, "F32": np.float32}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_INTEGERS = (np.int8, np.int16, np.int32)
_ROUNDINGS = ("nearest", "floor", "ceil", "zero")
_PAIR = "pair of integers"
_NO_CHECKSUM = "0" * 64
_METADATA = {"format", "version", "operations", "about", "checksum"}
_SINCE = {"cuba": 2}  # op → the version that brought it
_NEURON: dict[str, Any] = {
    "shift": int,
    "bits": int,
    "overflow": ("saturate", "wrap"),
    "rounding": _ROUNDINGS,
    "leak": "leak",
    "reset": ("hard", "soft"),
}
_NEURON_ARRAYS = {"threshold": (np.int32,), "start?": (np.int32,)}

# op → (number of sources, settings and their types, arrays and their dtypes; '?' marks what may be missing).
_SCHEMA: dict[str, tuple[int, dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    "input": (0, {"lowest": int, "highest": int, "rounding": _ROUNDINGS}, {"per_step": (np.float32,)}),
    "linear": (1, {}, {"weight": _INTEGERS, "bias?": (np.int32,)}),
    "scale": (1, {}, {"weight": _INTEGERS, "bias?": (np.int32,)}),
    "conv": (
        1,
        {"stride": _PAIR, "padding": _PAIR, "dilation": _PAIR, "groups": int},
        {"weight": _INTEGERS, "bias?": (np.int32,)},
    ),
    "neuron": (1, _NEURON, _NEURON_ARRAYS),
    "cuba": (1, {**_NEURON, "current_leak": "leak"}, _NEURON_ARRAYS),
    **{
        name: (1, {"kernel": _PAIR, "stride": _PAIR, "padding": _PAIR}, {})
        for name in ("max_pool", "sum_pool", "rate_max_pool")
    },
    "flatten": (1, {}, {}),
    "votes": (1, {"size": int}, {}),
    "invert": (1, {}, {}),
    "add": (2, {}, {}),
    "mul": (2, {}, {}),
    "concat": (-1, {}, {}),
    "output": (1, {}, {"scale": (np.float32,)}),
}


class DamagedNetError(ValueError):
    """Raised for a file that does not hold a whole integer net; the text names the file and what is wrong."""


def to_bytes(operations: list[Operation], arrays: Arrays, about: dict[str, Any]) -> bytes:
    """The net as a safetensors file; format, version, operations and `about` are in its metadata as JSON.

    "checksum" in there is the SHA-256 of the file with zeros in its place.
    """
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "version": str(VERSION),
            "operations": json.dumps(operations),
            "about": json.dumps(about),
            "checksum": _NO_CHECKSUM,
        }
    }
    place, parts = 0, []
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [place, place + len(data)],
        }
        place += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    whole = b"".join([struct.pack("<Q", len(text)), text, *parts])
    return whole.replace(_NO_CHECKSUM.encode(), hashlib.sha256(whole).hexdigest().encode(), 1)


def read(path: str | os.PathLike) -> tuple[list[Operation], Arrays, dict[str, Any]]:
    """Operations, arrays and `about` of a file that to_bytes made.

    Raises: DamagedNetError if anything in it is not as it should be.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        operations, arrays, about, checksum = _parse(data)
        check(operations, arrays)
        readout_start(about)
        if checksum is None:
            warnings.warn(
                f"{os.fspath(path)} is unverified: it was written before integer nets carried a checksum, so damage to "
                "it would go unseen. Save it anew.",
                stacklevel=3,
            )
        elif hashlib.sha256(data.replace(checksum.encode(), _NO_CHECKSUM.encode(), 1)).hexdigest() != checksum:
            raise DamagedNetError("it is damaged: its checksum does not agree. Use a copy of the file.")
    except DamagedNetError as error:
        raise DamagedNetError(f"{os.fspath(path)}: {error}") from None
    return operations, arrays, about


def _parse(data: bytes) -> tuple[list[Operation], Arrays, dict[str, Any], str | None]:
    if len(data) < 8:
        raise DamagedNetError("the file is too short to be a safetensors file.")
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data) - 8:
        raise DamagedNetError("the file ends within its header; was it copied in full?")
    try:
        header = json.loads(data[8 : 8 + length].decode())
        metadata = header.pop("__metadata__")
        format_, version = metadata["format"], metadata["version"]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DamagedNetError("its header is not that of an integer net.") from None
    if format_ != FORMAT:
        raise DamagedNetError(f"its format is {format_!r}, not {FORMAT!r}.")
    known = [str(number) for number in range(1, VERSION + 1)]
    if version not in known:
        reads = f"this program reads versions {' and '.join(known)}"
        raise DamagedNetError(f"it has version {version}, and {reads}; save the net anew.")
    try:
        operations, about = json.loads(metadata["operations"]), json.loads(metadata["about"])
    except (ValueError, KeyError, TypeError):
        raise DamagedNetError("its list of operations cannot be read.") from None
    _check_version(operations, int(version))
    if not isinstance(about, dict):
        raise DamagedNetError(f"its entry 'about' is {type(about).__name__}, not a mapping.")
    checksum = metadata.get("checksum")
    if set(metadata) - _METADATA or not (checksum is None or (isinstance(checksum, str) and len(checksum) == 64)):
        raise DamagedNetError("its header is not that of an integer net: the entry of its checksum is damaged.")
    return operations, _arrays(header, data[8 + length :]), about, checksum


def _check_version(operations: Any, version: int) -> None:
    """Raises: DamagedNetError for an operation that came later than the version of its file."""
    listed = operations if isinstance(operations, list) else []
    kinds = [operation.get("op") for operation in listed if isinstance(operation, dict)]
    later = next((kind for kind in kinds if isinstance(kind, str) and _SINCE.get(kind, 1) > version), None)
    if later is not None:
        raise DamagedNetError(f"its version is {version}, which has no operation {later!r}. Use a copy of the file.")


def _arrays(header: dict[str, Any], data: bytes) -> Arrays:
    arrays: Arrays = {}
    end = 0
    for name, entry in header.items():
        try:
            dtype, shape, (start, stop) = _DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            whole = all(isinstance(size, int) and size >= 0 for size in (*shape, start, stop))
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        except (KeyError, TypeError, ValueError):
            raise DamagedNetError(f"the entry of array {name!r} cannot be read.") from None
        if not whole or start != end or stop - start != size:
            raise DamagedNetError(
                f"array {name!r} has shape {list(shape)} and data at {start}–{stop}, which do not fit."
            )
        if stop > len(data):
            raise DamagedNetError(f"the file ends within array {name!r}; was it copied in full?")
        arrays[name] = np.frombuffer(data[start:stop], np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)
        end = stop
    if end != len(data):
        raise DamagedNetError(f"{len(data) - end} bytes follow the last array.")
    return arrays


def check(operations: list[Operation], arrays: Arrays) -> None:
    """Raises: DamagedNetError if operations or arrays are not complete, or have values out of range."""
    if not isinstance(operations, list) or len(operations) < 2:
        raise DamagedNetError("it has no operations.")
    used: set[str] = set()
    channels: list[int | None] = []
    for place, operation in enumerate(operations):
        kind = operation.get("op") if isinstance(operation, dict) else None
        if kind not in _SCHEMA or not isinstance(operation.get("name"), str):
            raise DamagedNetError(f"operation {place} is {kind!r}, which is not known.")
        if (kind == "input") != (place == 0) or (kind == "output") != (place == len(operations) - 1):
            raise DamagedNetError(f"operation {place} is {kind!r}; input comes first, output last.")
        title = f"operation {place} ({kind} {operation['name']})"
        _check_settings(operation, place, title)
        used |= set(_check_arrays(operation, arrays, title))
        channels.append(_check_channels(operation, arrays, [channels[s] for s in operation["sources"]], title))
    unused = sorted(set(arrays) - used)
    if unused:
        raise DamagedNetError(f"array {unused[0]!r} belongs to no operation.")


def _check_settings(operation: Operation, place: int, title: str) -> None:
    count, settings, _ = _SCHEMA[operation["op"]]
    sources = operation.get("sources")
    fits = isinstance(sources, list) and all(isinstance(s, int) and 0 <= s < place for s in sources)
    if not fits or (len(sources) != count and not (count < 0 < len(sources))):
        raise DamagedNetError(f"{title}: its sources are {sources!r}.")
    for name, expected in settings.items():
        value = operation.get(name, "missing")
        if not _is_valid(value, expected):
            raise DamagedNetError(f"{title}: {name} is {value!r}.")
    if operation["op"] in NEURONS and not 2 <= operation["bits"] <= 24:
        raise DamagedNetError(f"{title}: bits is {operation['bits']}, not 2 to 24.")
    if operation["op"] in NEURONS and abs(operation["shift"]) > 31:
        raise DamagedNetError(f"{title}: shift is {operation['shift']}.")


def _is_valid(value: Any, expected: Any) -> bool:
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if expected == _PAIR:
        return isinstance(value, list) and 1 <= len(value) <= 2 and all(_is_valid(v, int) and v >= 0 for v in value)
    if expected == "leak":
        return value is None or (
            isinstance(value, dict)
            and value.get("form") in ("multiply", "shift")
            and value.get("rounding") in _ROUNDINGS
            and all(_is_valid(value.get(key), int) for key in ("factor", "bits"))
            and 0 <= value["bits"] <= 24
            and 0 <= value["factor"] <= 2 ** value["bits"]
        )
    return value in expected


def _check_arrays(operation: Operation, arrays: Arrays, title: str) -> list[str]:
    found = []
    for entry, dtypes in _SCHEMA[operation["op"]][2].items():
        part = entry.rstrip("?")
        name = f"{operation['name']}.{part}"
        if name not in arrays:
            if entry.endswith("?"):
                continue
            raise DamagedNetError(f"{title}: array {name!r} is missing.")
        if arrays[name].dtype not in dtypes:
            raise DamagedNetError(f"{title}: array {name!r} has dtype {arrays[name].dtype}.")
        found.append(name)
    _check_values(operation, arrays, title)
    return found


def _check_channels(operation: Operation, arrays: Arrays, before: list[int | None], title: str) -> int | None:
    """Channels of the output, None if they depend on the input; refuses arrays that do not fit those before."""
    kind, known = operation["op"], before[0] if before else None
    weight = arrays.get(f"{operation['name']}.weight")
    if weight is not None:
        if kind != "scale":
            expected = weight.shape[1] * operation.get("groups", 1)
            if known is not None and known != expected:
                raise DamagedNetError(f"{title}: its weight {list(weight.shape)} does not fit {known} channels.")
        known = weight.shape[0] if kind != "scale" or weight.shape[0] > 1 else known
    for part in ("threshold", "scale"):
        values = arrays.get(f"{operation['name']}.{part}")
        if values is not None and known is not None and values.size not in (1, known):
            raise DamagedNetError(f"{title}: {part} has {values.size} values, for {known} channels.")
    return None if kind in ("input", "flatten", "votes", "concat") else known


def _check_values(operation: Operation, arrays: Arrays, title: str) -> None:
    kind, name = operation["op"], operation["name"]
    ranks = {"linear": (2,), "scale": (1,), "conv": (3, 4)}
    if kind in ranks:
        weight, bias = arrays[f"{name}.weight"], arrays.get(f"{name}.bias")
        if weight.ndim not in ranks[kind]:
            raise DamagedNetError(f"{title}: its weight has shape {list(weight.shape)}.")
        if bias is not None and bias.shape != weight.shape[:1]:
            raise DamagedNetError(f"{title}: its bias has shape {list(bias.shape)}, its weight {list(weight.shape)}.")
        if kind == "conv" and (operation["groups"] < 1 or weight.shape[0] % operation["groups"]):
            raise DamagedNetError(f"{title}: groups is {operation['groups']}, for {weight.shape[0]} channels.")
    if kind in NEURONS:
        threshold, largest = arrays[f"{name}.threshold"], 2 ** (operation["bits"] - 1) - 1
        if threshold.ndim != 1 or threshold.size == 0 or threshold.min() < 1 or threshold.max() > largest:
            raise DamagedNetError(f"{title}: its thresholds are not integers from 1 to {largest}.")
        start = arrays.get(f"{name}.start")
        if start is not None and (start.ndim < 1 or start.size == 0):
            raise DamagedNetError(f"{title}: its start has the shape {list(start.shape)}.")
        if start is not None and (start.min() < -largest - 1 or start.max() > largest):
            raise DamagedNetError(f"{title}: its start does not fit {operation['bits']} bits.")
    for part in ("scale", "per_step"):
        values = arrays.get(f"{name}.{part}") if kind in ("output", "input") else None
        if values is not None and (values.ndim != 1 or not np.isfinite(values).all() or not (values > 0).all()):
            raise DamagedNetError(f"{title}: {part} is not positive.")


def readout_start(about: dict[str, Any]) -> int:
    """The first step whose output counts, of what goes with a net.

    Raises: DamagedNetError if it is no step.
    """
    start = about.get("readout_start", 0)
    if type(start) is not int or not 0 <= start < 2**31:  # True is an int, too
        raise DamagedNetError(f"its readout starts at step {start!r}, which is no integer from 0 to {2**31 - 1:,}.")
    return start


def arrays_of(operation: Operation) -> list[str]:
    """Names of the arrays that an operation may have."""
    return [entry.rstrip("?") for entry in _SCHEMA[operation["op"]][2]]
