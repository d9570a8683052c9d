"""Integer nets in numpy alone: the reference for every other engine.

It imports nothing but numpy, the standard library and integer_file.py, which holds the operations and their files: the
two, copied to a machine without torch, are a program.

    python numpy_runner.py net.safetensors input.npy logits.npy
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

if __package__:
    from snntrain.quantize.integer_file import NEURONS, Arrays, Operation, arrays_of, read
else:  # a program, with both files in one folder
    from integer_file import NEURONS, Arrays, Operation, arrays_of, read


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
        own = {key: arrays.get(f"{operation['name']}.{key}") for key in arrays_of(operation)}
        if operation["op"] in NEURONS:
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


def _rounded(a: np.ndarray, rounding: str) -> np.ndarray:
    if rounding == "nearest":
        return np.floor(a + a.dtype.type(0.5))
    return {"floor": np.floor, "ceil": np.ceil, "zero": np.trunc}[rounding](a)


def shifted(a: Any, bits: int, rounding: str) -> Any:
    """R(a/2^bits) of int64 values, an array or a tensor; bits below 0 multiply."""
    if bits <= 0:
        return a << -bits
    if rounding == "nearest":
        return (a + (1 << (bits - 1))) >> bits
    if rounding == "zero":
        return (a + (a < 0) * ((1 << bits) - 1)) >> bits
    return a >> bits if rounding == "floor" else -(-a >> bits)


def leaked(u: Any, leak: dict[str, Any] | None) -> Any:
    """What is left of potentials after one step, an array or a tensor of int64."""
    if leak is None:
        return u
    if leak["form"] == "shift":
        return u - shifted(u, leak["bits"], leak["rounding"])
    return shifted(u * leak["factor"], leak["bits"], leak["rounding"])


def fitted(total: Any, operation: Operation) -> Any:
    """A sum in the bits of a neuron, an array or a tensor of int64."""
    half = 1 << (operation["bits"] - 1)
    wraps = operation["overflow"] == "wrap"
    return (total + half) % (2 * half) - half if wraps else total.clip(-half, half - 1)


def neuron_steps(operation: Operation, currents: Any, u: Any, theta: Any) -> Iterator[tuple[Any, Any, Any]]:
    """What neurons do step by step, on arrays or tensors.

    Args:
        currents: int64 [T, N, *].
        u, theta: potentials before the first step, and thresholds.

    Yields: spikes, potentials after reset, and what they were before they were made to fit.
    """
    is_soft, is_cuba, kept = operation["reset"] == "soft", operation["op"] == "cuba", 0 * u
    for arriving in currents:
        current = shifted(arriving, operation["shift"], operation["rounding"])
        if is_cuba:  # the current has a memory of its own
            kept = current = fitted(leaked(kept, operation["current_leak"]) + current, operation)
        total = leaked(u, operation["leak"]) + current
        h = fitted(total, operation)
        fired = h >= theta
        u = h - theta * fired if is_soft else h * ~fired
        yield fired, u, total


def along_channels(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
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
    theta = along_channels(threshold.astype(np.int64), x.shape[1:])
    u = np.zeros(x.shape[1:], np.int64)
    if start is not None:
        u += along_channels(start, x.shape[1:])
    spikes, potentials, totals = zip(*neuron_steps(operation, x.astype(np.int64), u, theta), strict=True)
    largest = max(int(np.abs(total).max(initial=0)) for total in totals)
    return np.stack(spikes).astype(np.int32), np.stack(potentials).astype(np.int32), largest


def _input(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    q = _rounded(inputs[0] * own["per_step"], operation["rounding"])
    return np.clip(q, operation["lowest"], operation["highest"]).astype(np.int32)


def _products(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x [n, k] times weight [m, k] in int32: [n, m]."""
    return np.einsum("ij,kj->ik", np.ascontiguousarray(x, np.int32), np.ascontiguousarray(weight, np.int32))


def _plus_bias(y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return y if bias is None else y + along_channels(bias, y.shape[1:])[None]


def _linear(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    x = inputs[0]
    return _plus_bias(_products(x.reshape(-1, x.shape[-1]), own["weight"]).reshape(*x.shape[:-1], -1), own["bias"])


def _scale(operation: Operation, inputs: list[np.ndarray], own: Arrays) -> np.ndarray:
    x = inputs[0]
    return _plus_bias(x * along_channels(own["weight"].astype(np.int32), x.shape[1:])[None], own["bias"])


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
    return x.astype(np.float32) * along_channels(own["scale"], x.shape[1:])[None]


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
