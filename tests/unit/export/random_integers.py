"""Random integer nets made of operations directly: every operation, and settings that prepare never makes."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.quantize import IntegerNet

ROUNDINGS = ("nearest", "floor", "ceil", "zero")


class _Writer:
    """Adds operations, and keeps the shape of a sample after each."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.operations: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.shapes: list[tuple[int, ...]] = []

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def draw(self, low: int, high: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return self.rng.integers(low, high, shape, endpoint=True).astype(dtype)

    def add(self, op: str, shape: tuple[int, ...], *sources: int, arrays: Any = None, **settings: Any) -> int:
        name = f"{op}.{len(self.operations)}"
        self.operations.append({"op": op, "name": name, "sources": list(sources), **settings})
        self.arrays |= {f"{name}.{part}": array for part, array in (arrays or {}).items() if array is not None}
        self.shapes.append(shape)
        return len(self.operations) - 1

    def weights(self, shape: tuple[int, ...]) -> dict[str, np.ndarray | None]:
        bits = self.pick(2, 3, 4, 8, 12)
        dtype = np.int8 if bits <= 8 else np.int16
        weight = self.draw(-(1 << (bits - 1)), (1 << (bits - 1)) - 1, shape, dtype)
        bias = self.draw(-(1 << self.pick(3, 7, 12)), 200, shape[:1], np.int32) if self.pick(True, False) else None
        return {"weight": weight, "bias": bias}

    def window(self, size: tuple[int, ...], *, is_pool: bool) -> tuple[tuple[int, ...], dict[str, list[int]]]:
        """Output sizes and settings of a window."""
        own: dict[str, list[int]] = {"kernel": [], "stride": [], "padding": [], "dilation": []}
        for length in size:
            dilation = 1 if is_pool else self.pick(1, 1, 2)
            kernel = self.pick(*[k for k in (1, 2, 3) if dilation * (k - 1) < length])
            values = (kernel, self.pick(1, 1, 2, 3), self.pick(*range(kernel // 2 + 1)), dilation)
            for key, value in zip(own, values, strict=True):
                own[key].append(value)
        rows = zip(size, *own.values(), strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows), own

    # --- parts of a net ----------------------------------------------------------------------------------------------

    def layer(self, source: int) -> int:
        shape = self.shapes[source]
        kind = self.pick("conv", "conv", "depthwise", "grouped", "scale") if len(shape) > 1 else "linear"
        if kind == "linear":
            outputs = int(self.pick(1, 3, 5, 8))
            return self.add("linear", (outputs,), source, arrays=self.weights((outputs, *shape)))
        if kind == "scale":
            return self.add("scale", shape, source, arrays=self.weights((self.pick(1, shape[0]),)))
        groups = {"conv": 1, "depthwise": shape[0], "grouped": math.gcd(shape[0], 2)}[kind]
        outputs = shape[0] if kind == "depthwise" else groups * self.pick(1, 2, 3)
        size, own = self.window(shape[1:], is_pool=False)
        weights = self.weights((outputs, shape[0] // groups, *own.pop("kernel")))
        return self.add("conv", (outputs, *size), source, groups=groups, arrays=weights, **own)

    def leak(self) -> dict[str, Any] | None:
        bits = int(self.pick(0, 1, 5, 12, 24))
        leak = {
            "form": self.pick("multiply", "shift"),
            "factor": int(self.rng.integers(0, 1 << bits, endpoint=True)),
            "bits": bits,
            "rounding": self.pick(*ROUNDINGS),
        }
        return self.pick(None, leak)

    def neuron(self, source: int) -> int:
        shape, bits = self.shapes[source], int(self.pick(2, 4, 8, 9, 16, 24))
        half = 1 << (bits - 1)
        kind = self.pick("neuron", "neuron", "cuba")
        more = {"current_leak": self.leak()} if kind == "cuba" else {}
        start = self.pick(None, (1,), shape[:1], shape)
        threshold = self.pick((1,), shape[:1])
        return self.add(
            kind,
            shape,
            source,
            shift=int(self.pick(-16, -3, -1, 0, 1, 4, 12, 31)) if bits > 4 else int(self.pick(0, 2, 5)),
            bits=bits,
            overflow=self.pick("saturate", "wrap"),
            rounding=self.pick(*ROUNDINGS),
            leak=self.leak(),
            **more,
            reset=self.pick("hard", "soft"),
            arrays={
                "threshold": self.draw(1, max(1, half // self.pick(2, 8, 64)), threshold, np.int32),
                "start": None if start is None else self.draw(-half, half - 1, start, np.int32),
            },
        )

    def pool(self, source: int) -> int:
        shape = self.shapes[source]
        # sum_pool exists for two dims only.
        kind = self.pick("max_pool", "rate_max_pool", *["sum_pool"] * (len(shape) == 3))
        size, own = self.window(shape[1:], is_pool=True)
        del own["dilation"]
        return self.add(kind, (shape[0], *size), source, **own)

    def joined(self, source: int) -> int:
        """What several operations make of values of one shape."""
        shape, kind = self.shapes[source], self.pick("add", "mul", "invert", "concat", "currents")
        if kind == "invert":
            return self.add("invert", shape, source)
        if kind == "currents":
            first, second = (self.add("scale", shape, source, arrays=self.weights(shape[:1])) for _ in range(2))
            return self.neuron(self.add("add", shape, first, second))
        other = self.neuron(self.add("scale", shape, source, arrays=self.weights(shape[:1])))
        sources = self.pick((source, other), (other, source), (other, other))
        after = (2 * shape[0], *shape[1:]) if kind == "concat" else shape
        return self.add(kind, after, *sources)


def random_integers(seed: int) -> tuple[IntegerNet, Tensor]:
    """An integer net, and an input [T, N, *] of it."""
    write = _Writer(seed)
    rank, T = write.pick(1, 2, 3, 3), write.pick(1, 2, 5)
    shape = tuple(int(n) for n in (write.pick(1, 2, 3), *write.rng.integers(3, 7, rank - 1))) if rank > 1 else (7,)
    low, high = write.pick((0, 255), (-8, 7), (0, 1), (-128, 127), (0, 15), (-300, 200))
    limits = {"lowest": low, "highest": high, "rounding": write.pick(*ROUNDINGS)}
    at = write.add("input", shape, arrays={"per_step": np.float32([write.pick(1.0, 0.37, 255.0)])}, **limits)
    for _ in range(write.pick(1, 2, 3)):
        if len(write.shapes[at]) > 1 and write.pick(True, False):
            at = write.pool(at)
        at = write.neuron(write.layer(at))
        if write.pick(True, False):
            at = write.joined(at)
    if len(write.shapes[at]) > 1:
        at = write.add("flatten", (math.prod(write.shapes[at]),), at)
        if write.pick(True, False):  # something other than a linear layer reads the flattened values
            at = write.neuron(write.add("scale", write.shapes[at], at, arrays=write.weights((1,))))
    outputs = 6
    at = write.add("linear", (outputs,), at, arrays=write.weights((outputs, *write.shapes[at])))
    if write.pick(True, False):
        at = write.add("votes", (outputs // 2,), write.neuron(at), size=2)
    scale = write.rng.uniform(0.01, 2.0, write.pick(1, *write.shapes[at])).astype(np.float32)
    write.add("output", write.shapes[at], at, arrays={"scale": scale})
    x = torch.from_numpy(write.rng.uniform(1.3 * low - 1, 1.3 * high + 1, (T, 3, *shape)).astype(np.float32))
    x /= float(write.arrays["input.0.per_step"][0])
    return IntegerNet(write.operations, write.arrays), x
