"""Integer nets in numpy alone: read a file, check it, run it. The reference for every other engine.

This file imports nothing but numpy and the standard library, and nothing of snntrain: copied to a machine without torch
it is a program.

    python numpy_runner.py net.safetensors input.npy logits.npy

A net is a list of operations, a dict each; "sources" are the places of those whose outputs it takes. All outputs are
int32 arrays [T, N, *], but for the last operation's.

    input    q = clip(R(x·per_step), lowest, highest); R is `rounding`, per_step a float32
    linear, conv, scale    Σ W·x + b; scale multiplies channels
    neuron   u ← leak(u);  h = fit(u + R(x/2^shift));  spike = h ≥ threshold;  u = h − threshold (soft) or 0 (hard)
             leak: {"form": "multiply"}: R(u·factor/2^bits); {"form": "shift"}: u − R(u/2^bits); null: u
             fit: clip to `bits` bits (overflow "saturate"), or take modulo 2^bits ("wrap")
    max_pool, sum_pool, rate_max_pool, flatten, votes, add, mul, invert (1 − x), concat
    output   x·scale, in float32

R: "nearest" floor(a + ½), "floor", "ceil", "zero" (toward 0).
"""

import hashlib
import json
import os
import struct
import sys
import warnings
from typing import Any

import numpy as np

FORMAT = "snntrain integer net"
VERSION = 1

Arrays = dict[str, np.ndarray]
Operation = dict[str, Any]

_DTYPES = {"I8": np.int8, "I16": np.int16, "I32": np.int32, "F32": np.float32}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_INTEGERS = (np.int8, np.int16, np.int32)
_ROUNDINGS = ("nearest", "floor", "ceil", "zero")
_PAIR = "pair of integers"
_NO_CHECKSUM = "0" * 64
_METADATA = {"format", "version", "operations", "about", "checksum"}

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
    "neuron": (
        1,
        {
            "shift": int,
            "bits": int,
            "overflow": ("saturate", "wrap"),
            "rounding": _ROUNDINGS,
            "leak": "leak",
            "reset": ("hard", "soft"),
        },
        {"threshold": (np.int32,), "start?": (np.int32,)},
    ),
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
    """A file that is no integer net, or a part of one; the text names the file and what is wrong."""


# --- files -----------------------------------------------------------------------------------------------------------


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
    if version != str(VERSION):
        raise DamagedNetError(f"it has version {version}, and this program reads version {VERSION}; save the net anew.")
    try:
        operations, about = json.loads(metadata["operations"]), json.loads(metadata["about"])
    except (ValueError, KeyError, TypeError):
        raise DamagedNetError("its list of operations cannot be read.") from None
    checksum = metadata.get("checksum")
    if set(metadata) - _METADATA or not (checksum is None or (isinstance(checksum, str) and len(checksum) == 64)):
        raise DamagedNetError("its header is not that of an integer net: the entry of its checksum is damaged.")
    return operations, _arrays(header, data[8 + length :]), about, checksum


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
    for name, wanted in settings.items():
        value = operation.get(name, "missing")
        if not _is_valid(value, wanted):
            raise DamagedNetError(f"{title}: {name} is {value!r}.")
    if operation["op"] == "neuron" and not 2 <= operation["bits"] <= 24:
        raise DamagedNetError(f"{title}: bits is {operation['bits']}, not 2 to 24.")
    if operation["op"] == "neuron" and abs(operation["shift"]) > 31:
        raise DamagedNetError(f"{title}: shift is {operation['shift']}.")


def _is_valid(value: Any, wanted: Any) -> bool:
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if wanted == _PAIR:
        return isinstance(value, list) and 1 <= len(value) <= 2 and all(_is_valid(v, int) and v >= 0 for v in value)
    if wanted == "leak":
        return value is None or (
            isinstance(value, dict)
            and value.get("form") in ("multiply", "shift")
            and value.get("rounding") in _ROUNDINGS
            and all(_is_valid(value.get(key), int) for key in ("factor", "bits"))
            and 0 <= value["bits"] <= 24
            and 0 <= value["factor"] <= 2 ** value["bits"]
        )
    return value in wanted


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
            wanted = weight.shape[1] * operation.get("groups", 1)
            if known is not None and known != wanted:
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
    if kind == "neuron":
        threshold, largest = arrays[f"{name}.threshold"], 2 ** (operation["bits"] - 1) - 1
        if threshold.ndim != 1 or threshold.size == 0 or threshold.min() < 1 or threshold.max() > largest:
            raise DamagedNetError(f"{title}: its thresholds are not integers from 1 to {largest}.")
        start = arrays.get(f"{name}.start")
        if start is not None and (start.ndim < 1 or start.min() < -largest - 1 or start.max() > largest):
            raise DamagedNetError(f"{title}: its start does not fit {operation['bits']} bits.")
    for part in ("scale", "per_step"):
        values = arrays.get(f"{name}.{part}") if kind in ("output", "input") else None
        if values is not None and (values.ndim != 1 or not np.isfinite(values).all() or not (values > 0).all()):
            raise DamagedNetError(f"{title}: {part} is not positive.")


# --- running ---------------------------------------------------------------------------------------------------------


def run(operations: list[Operation], arrays: Arrays, x: np.ndarray, record: bool = False) -> dict[str, Any]:
    """Run a sequence from reset neurons.

    Args:
        operations, arrays: checked.
        x: input [T, N, *], float32.
        record: also keep spikes and potentials of every neuron layer.

    Returns: logits, float32 [T, N, K]; and with record spikes and potentials, name → int32 [T, N, *], the potentials
    after reset; headroom, name → {"largest": largest |h| before it was made to fit, "range": 2^(bits − 1)}.
    """
    values: list[np.ndarray] = []
    result: dict[str, Any] = {"spikes": {}, "potentials": {}, "headroom": {}}
    for operation in operations:
        inputs = [values[source] for source in operation["sources"]] or [np.asarray(x, np.float32)]
        own = {key: arrays.get(f"{operation['name']}.{key}") for key in _arrays_of(operation)}
        if operation["op"] == "neuron":
            spikes, potentials, largest = _neuron(operation, inputs[0], own["threshold"], own["start"])
            values.append(spikes)
            name = operation["name"]
            result["headroom"][name] = {"largest": largest, "range": 2 ** (operation["bits"] - 1)}
            if record:
                result["spikes"][name], result["potentials"][name] = spikes, potentials
        else:
            values.append(_RUN[operation["op"]](operation, inputs, own))
    result["logits"] = values[-1]
    return result


def _arrays_of(operation: Operation) -> list[str]:
    return [entry.rstrip("?") for entry in _SCHEMA[operation["op"]][2]]


def _rounded(a: np.ndarray, rounding: str) -> np.ndarray:
    if rounding == "nearest":
        return np.floor(a + a.dtype.type(0.5))
    return {"floor": np.floor, "ceil": np.ceil, "zero": np.trunc}[rounding](a)


def _shifted(a: np.ndarray, bits: int, rounding: str) -> np.ndarray:
    """R(a/2^bits) of int64 values; bits below 0 multiply."""
    if bits <= 0:
        return a << -bits
    if rounding == "nearest":
        return (a + (1 << (bits - 1))) >> bits
    if rounding == "zero":
        return np.sign(a) * (np.abs(a) >> bits)
    return a >> bits if rounding == "floor" else -(-a >> bits)


def _leaked(u: np.ndarray, leak: dict[str, Any] | None) -> np.ndarray:
    if leak is None:
        return u
    if leak["form"] == "shift":
        return u - _shifted(u, leak["bits"], leak["rounding"])
    return _shifted(u * leak["factor"], leak["bits"], leak["rounding"])


def _along_channels(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A value [1], [C] or of a sample's shape, as it meets a step [N, C, *]."""
    if value.size == 1:
        return value.reshape((1,) * len(shape))
    if value.ndim > 1:
        return value[None]
    return np.repeat(value, shape[1] // value.size).reshape(1, -1, *(1,) * (len(shape) - 2))


def _neuron(
    operation: Operation, x: np.ndarray, threshold: np.ndarray, start: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Spikes, potentials after reset, and the largest |h|."""
    half = 1 << (operation["bits"] - 1)
    theta = _along_channels(threshold.astype(np.int64), x.shape[1:])
    u = np.zeros(x.shape[1:], np.int64)
    if start is not None:
        u += _along_channels(start, x.shape[1:])
    spikes, potentials = np.zeros(x.shape, np.int32), np.zeros(x.shape, np.int32)
    largest = 0
    for t in range(len(x)):
        h = _leaked(u, operation["leak"]) + _shifted(x[t].astype(np.int64), operation["shift"], operation["rounding"])
        largest = max(largest, int(np.abs(h).max(initial=0)))
        h = np.clip(h, -half, half - 1) if operation["overflow"] == "saturate" else (h + half) % (2 * half) - half
        fired = h >= theta
        u = h - theta * fired if operation["reset"] == "soft" else np.where(fired, 0, h)
        spikes[t], potentials[t] = fired, u
    return spikes, potentials, largest


def _input(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    q = _rounded(inputs[0] * own["per_step"], operation["rounding"])
    return np.clip(q, operation["lowest"], operation["highest"]).astype(np.int32)


def _products(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x [n, k] times weight [m, k] in int32: [n, m]."""
    return np.einsum("ij,kj->ik", np.ascontiguousarray(x, np.int32), np.ascontiguousarray(weight, np.int32))


def _plus_bias(y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return y if bias is None else y + _along_channels(bias, y.shape[1:])[None]


def _linear(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    x = inputs[0]
    return _plus_bias(_products(x.reshape(-1, x.shape[-1]), own["weight"]).reshape(*x.shape[:-1], -1), own["bias"])


def _scale(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    x = inputs[0]
    return _plus_bias(x * _along_channels(own["weight"].astype(np.int32), x.shape[1:])[None], own["bias"])


def _conv(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    x, weight, groups = inputs[0], own["weight"], operation["groups"]
    rank = weight.ndim - 2
    folded = x.reshape(-1, *x.shape[2:])
    windows = _windows(folded, weight.shape[2:], operation, fill=0)  # [B, C, *out, *kernel]
    parts = []
    for group in range(groups):
        rows = weight[group * len(weight) // groups : (group + 1) * len(weight) // groups]
        size = weight.shape[1]
        own_windows = np.moveaxis(windows[:, group * size : (group + 1) * size], 1, 1 + rank)  # [B, *out, C/g, *kernel]
        out = own_windows.shape[: 1 + rank]
        y = _products(own_windows.reshape(int(np.prod(out)), -1), rows.reshape(len(rows), -1))
        parts.append(np.moveaxis(y.reshape(*out, len(rows)), -1, 1))
    y = np.concatenate(parts, 1)
    return _plus_bias(y.reshape(*x.shape[:2], *y.shape[1:]), own["bias"])


def _windows(x: np.ndarray, kernel: tuple[int, ...], operation: Operation, fill: int) -> np.ndarray:
    """Windows of the spatial dims of x [B, C, *]: [B, C, *out, *kernel]."""
    rank = len(kernel)
    padding, stride = operation["padding"], operation["stride"]
    dilation = operation.get("dilation", [1] * rank)
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=fill)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + rank)))
    places = tuple(slice(None, None, s) for s in stride)
    taps = tuple(slice(None, None, d) for d in dilation)
    return view[(slice(None), slice(None), *places, *taps)]


def _pool(x: np.ndarray, operation: Operation, largest: bool) -> np.ndarray:
    rank = len(operation["kernel"])
    fill = np.iinfo(x.dtype).min if largest else 0
    windows = _windows(x.reshape(-1, *x.shape[2:]), tuple(operation["kernel"]), operation, fill)
    axes = tuple(range(-rank, 0))
    y = windows.max(axes) if largest else windows.sum(axes, dtype=x.dtype)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def _rate_max_pool(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    best = _pool(np.cumsum(inputs[0], 0, dtype=np.int64), operation, largest=True)
    return np.diff(best, axis=0, prepend=np.zeros_like(best[:1])).astype(np.int32)


def _votes(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    x = inputs[0]
    return x.reshape(*x.shape[:-1], -1, operation["size"]).sum(-1, dtype=np.int32)


def _output(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    x = inputs[0]
    return x.astype(np.float32) * _along_channels(own["scale"], x.shape[1:])[None]


_RUN = {
    "input": _input,
    "linear": _linear,
    "scale": _scale,
    "conv": _conv,
    "max_pool": lambda operation, inputs, own: _pool(inputs[0], operation, True),
    "sum_pool": lambda operation, inputs, own: _pool(inputs[0], operation, False),
    "rate_max_pool": _rate_max_pool,
    "flatten": lambda operation, inputs, own: inputs[0].reshape(*inputs[0].shape[:2], -1),
    "votes": _votes,
    "add": lambda operation, inputs, own: inputs[0] + inputs[1],
    "mul": lambda operation, inputs, own: inputs[0] * inputs[1],
    "invert": lambda operation, inputs, own: 1 - inputs[0],
    "concat": lambda operation, inputs, own: np.concatenate(inputs, 2),
    "output": _output,
}


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python numpy_runner.py net.safetensors input.npy logits.npy   (input: float32 [T, N, *])")
    net, weights, _ = read(sys.argv[1])
    np.save(sys.argv[3], run(net, weights, np.load(sys.argv[2]))["logits"])
