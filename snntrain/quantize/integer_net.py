"""IntegerNet computes what a prepared net does, in integers only."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from snntrain import __version__
from snntrain.arguments import choice, integer
from snntrain.files import replacing
from snntrain.functional import repeat, repeated_step
from snntrain.graph import operation as function_name
from snntrain.quantize import integer_file, numpy_runner
from snntrain.quantize.arithmetic import Leak, rounded
from snntrain.quantize.calibration import check_exact
from snntrain.quantize.cuba import QuantizedCubaLIFNode
from snntrain.quantize.current import along_channels
from snntrain.quantize.integer_file import Arrays, Operation
from snntrain.quantize.integer_layer import (
    InputQuantizer,
    IntegerLayer,
    IntegerLinear,
    IntegerScale,
    Readout,
)
from snntrain.quantize.node import QuantizedNode
from snntrain.quantize.numpy_runner import neuron_steps
from snntrain.quantize.pooling import RateMaxPool, SumOfVotes, SumPool
from snntrain.quantize.quantized_net import QuantizedNet


@dataclass
class IntegerRun:
    """What a run gives.

    Attributes:
        logits: float32 [T, N, K].
        spikes, potentials: name of neurons → int32 [T, N, *], potentials after reset; empty unless recorded.
        headroom: name of neurons → {"largest": largest |h| before it was made to fit, "range": 2^(bits − 1)}.
    """

    logits: Tensor
    spikes: dict[str, Tensor] = field(default_factory=dict)
    potentials: dict[str, Tensor] = field(default_factory=dict)
    headroom: dict[str, dict[str, int]] = field(default_factory=dict)


class IntegerNet:
    """A net of integers: weights of 8 or 16 bits, potentials and sums in 32.

    Args:
        operations, arrays: see snntrain.quantize.integer_file.
        about: plain data that go with it; "readout_start" counts in predict.
    """

    def __init__(self, operations: list[Operation], arrays: Arrays, about: dict[str, Any] | None = None) -> None:
        integer_file.check(operations, arrays)
        self.operations, self.arrays, self.about = operations, arrays, dict(about or {})
        self._tensors: dict[tuple[str, torch.device], Tensor] = {}

    def run(self, x_seq: Tensor, record: bool = False, runner: str = "torch") -> IntegerRun:
        """Run a sequence [T, N, *] from reset neurons.

        Args:
            record: keep spikes and potentials.
            runner: 'torch' (on the device of x_seq; sums of products as float32, in which they are exact), or 'numpy'.
        """
        if choice(self, "runner", runner, ("torch", "numpy")) == "torch":
            return _TorchRun(self, record)(x_seq)
        found = numpy_runner.run(self.operations, self.arrays, x_seq.detach().cpu().float().numpy(), record)
        tensors = {
            key: {name: torch.from_numpy(value) for name, value in found[key].items()}
            for key in ("spikes", "potentials")
        }
        return IntegerRun(torch.from_numpy(found["logits"]), **tensors, headroom=found["headroom"])

    def __call__(self, x_seq: Tensor) -> Tensor:
        """Logits [T, N, K] of a sequence [T, N, *]."""
        return self.run(x_seq).logits

    def predict(self, x: Tensor, T: int) -> Tensor:
        """The mean output over T steps of a static input: [N, *] → [N, K]."""
        start = min(self.readout_start, max(integer(self, "T", T, at_least=1) - 4, 0))
        return self(repeat(x, T))[start:].mean(0)

    @property
    def readout_start(self) -> int:
        """The first step whose output counts; DamagedNetError if `about` names no step."""
        return integer_file.readout_start(self.about)

    @property
    def size_in_bytes(self) -> int:
        """Of all weights, biases, thresholds and steps."""
        return sum(array.nbytes for array in self.arrays.values())

    def save(self, path: str | os.PathLike) -> None:
        """Write one safetensors file, whole or not at all."""
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(integer_file.to_bytes(self.operations, self.arrays, self.about))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "IntegerNet":
        """Read what save wrote; a damaged file is a DamagedNetError."""
        return cls(*integer_file.read(path))

    def tensor(self, name: str, device: torch.device) -> Tensor | None:
        """An array as a tensor on a device, kept there."""
        if name not in self.arrays:
            return None
        if (name, device) not in self._tensors:
            self._tensors[name, device] = torch.from_numpy(self.arrays[name]).to(device)
        return self._tensors[name, device]

    def __repr__(self) -> str:
        return f"IntegerNet({len(self.operations)} operations, {self.size_in_bytes:,} bytes)"


# --- conversion ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def to_integer(net: QuantizedNet) -> IntegerNet:
    """The integers that a prepared net holds.

    Raises: RuntimeError if it was not observed; QuantizationError naming a layer whose sums do not fit.
    """
    if not net.is_observed:
        raise RuntimeError("to_integer: call observe(net, loader) first.")
    check_exact(net)
    operations: list[Operation] = []
    arrays: Arrays = {}
    places: dict[fx.Node, int] = {}
    for node in net.net.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        module = net.net.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(module, nn.Identity):
            places[node] = places[node.args[0]]
            continue
        own = _of_module(module) if module is not None else {"op": _FUNCTIONS[function_name(node)]}
        name = node.target if module is not None else node.name
        sources = [places[source] for source in node.all_input_nodes if source in places]
        if own["op"] in ("add", "mul") and len(sources) == 1:
            sources *= 2  # x + x
        for key, value in own.pop("arrays", {}).items():
            arrays[f"{name}.{key}"] = value
        places[node] = len(operations)
        operations.append({"op": own.pop("op"), "name": name, "sources": sources, **own})
    about = {"snntrain": __version__, "readout_start": net.readout_start, "quant": net.quant}
    return IntegerNet(operations, arrays, about)


_FUNCTIONS = {"add": "add", "mul": "mul", "sub": "invert", "rsub": "invert", "cat": "concat", "concat": "concat"}


def _of_module(module: nn.Module) -> dict[str, Any]:
    if isinstance(module, IntegerLayer):
        return _of_layer(module)
    if isinstance(module, QuantizedNode):
        return _of_neuron(module)
    if isinstance(module, InputQuantizer):
        lowest, highest = map(int, module.limits.tolist())
        arrays = {"per_step": _array(module.per_step.reshape(1), np.float32)}
        return {
            "op": "input",
            "lowest": lowest,
            "highest": highest,
            "rounding": module.params.roundtype,
            "arrays": arrays,
        }
    if isinstance(module, Readout):
        return {"op": "output", "arrays": {"scale": _array(module.factor(), np.float32)}}
    if isinstance(module, SumOfVotes):
        return {"op": "votes", "size": module.size}
    if isinstance(module, RateMaxPool):
        return {"op": "rate_max_pool", **_window(module.pool)}
    if isinstance(module, SumPool):
        return {"op": "sum_pool", **_window(module)}
    if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)):
        return {"op": "max_pool", **_window(module)}
    if isinstance(module, nn.Flatten):
        return {"op": "flatten"}
    raise TypeError(f"to_integer: {type(module).__name__} has no integer form.")


def _of_layer(module: IntegerLayer) -> dict[str, Any]:
    weight, bias = module.integer_weight(), module.integer_bias()
    arrays = {"weight": _array(weight, np.int8 if module.w_params.bits <= 8 else np.int16)}
    if isinstance(module, IntegerScale):
        arrays["weight"] = arrays["weight"].reshape(-1)
    if bias is not None:
        arrays["bias"] = _array(bias, np.int32)
    if isinstance(module, IntegerLinear):
        return {"op": "linear", "arrays": arrays}
    if isinstance(module, IntegerScale):
        return {"op": "scale", "arrays": arrays}
    sizes = {key: list(getattr(module, key)) for key in ("stride", "padding", "dilation")}
    return {"op": "conv", **sizes, "groups": module.groups, "arrays": arrays}


def _of_neuron(module: QuantizedNode) -> dict[str, Any]:
    arrays = {"threshold": _array(module.threshold(), np.int32)}
    if module.v_start is not None:
        arrays["start"] = _array(module.start(), np.int32)
    is_cuba = isinstance(module, QuantizedCubaLIFNode)
    return {
        "op": "cuba" if is_cuba else "neuron",
        "shift": module.shift,
        "bits": module.bits,
        "overflow": module.overflow,
        "rounding": module.rounding,
        **({"current_leak": _leak(module.current_leak)} if is_cuba else {}),
        "leak": _leak(module.leak),
        "reset": "soft" if module.v_reset is None else "hard",
        "arrays": arrays,
    }


def _leak(leak: Leak | None) -> dict[str, Any] | None:
    return None if leak is None else dict(vars(leak))


def _window(pool: nn.Module) -> dict[str, list[int]]:
    rank = 1 if isinstance(pool, nn.MaxPool1d) else 2
    sizes = {"kernel": pool.kernel_size, "stride": pool.stride, "padding": pool.padding}
    return {
        key: [int(v) for v in size] if isinstance(size, tuple) else [int(size)] * rank for key, size in sizes.items()
    }


def _array(value: Tensor, dtype: Any) -> np.ndarray:
    return value.detach().cpu().contiguous().numpy().astype(dtype)


# --- the runner in torch ---------------------------------------------------------------------------------------------


class _TorchRun:
    """One run of a net. Sums of products are taken in float32, in which they are exact; all else is integers."""

    def __init__(self, net: IntegerNet, record: bool) -> None:
        self.net, self.record = net, record
        self.result = IntegerRun(torch.empty(0))

    @torch.no_grad()
    def __call__(self, x_seq: Tensor) -> IntegerRun:
        self.T, self.device = x_seq.shape[0], x_seq.device
        step = repeated_step(x_seq)
        # Up to the first neurons a repeated step is computed once: [1, N, *].
        values: list[Tensor] = []
        for operation in self.net.operations:
            x = [values[source] for source in operation["sources"]]
            x = x or [x_seq.float() if step is None else step.float().unsqueeze(0)]
            longest = max(len(value) for value in x)
            x = [value if len(value) == longest else value.expand(longest, *value.shape[1:]) for value in x]
            values.append(getattr(self, operation["op"])(operation, *x))
        self.result.logits = values[-1].expand(self.T, *values[-1].shape[1:])
        return self.result

    def own(self, operation: Operation, part: str) -> Tensor | None:
        return self.net.tensor(f"{operation['name']}.{part}", self.device)

    def input(self, operation: Operation, x: Tensor) -> Tensor:
        q = rounded(x * self.own(operation, "per_step"), operation["rounding"])
        return q.clamp(operation["lowest"], operation["highest"]).int()

    def products(self, operation: Operation, x: Tensor, multiply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """multiply(folded x, weight) in floats that hold the integers exactly, plus the bias."""
        dtype = torch.float64 if x.is_cuda else torch.float32  # cuDNN may choose algorithms that round in between
        y = multiply(x.flatten(0, 1).to(dtype), self.own(operation, "weight").to(dtype)).int().unflatten(0, x.shape[:2])
        bias = self.own(operation, "bias")
        return y if bias is None else y + along_channels(bias, y[0]).unsqueeze(0)

    def linear(self, operation: Operation, x: Tensor) -> Tensor:
        return self.products(operation, x, F.linear)

    def conv(self, operation: Operation, x: Tensor) -> Tensor:
        sizes = {key: operation[key] for key in ("stride", "padding", "dilation", "groups")}
        convolve = F.conv1d if x.dim() == 4 else F.conv2d
        return self.products(operation, x, lambda z, weight: convolve(z, weight, **sizes))

    def scale(self, operation: Operation, x: Tensor) -> Tensor:
        return self.products(operation, x, lambda z, weight: z * along_channels(weight, z))

    def cuba(self, operation: Operation, x: Tensor) -> Tensor:
        return self.neuron(operation, x)

    def neuron(self, operation: Operation, x: Tensor) -> Tensor:
        theta = along_channels(self.own(operation, "threshold"), x[0])
        start = self.own(operation, "start")
        u = torch.zeros_like(x[0]) if start is None else along_channels(start, x[0]).expand(x[0].shape).clone()
        spikes, potentials, largest = [], [], torch.zeros((), dtype=torch.int64, device=self.device)
        currents = x.long().expand(self.T, *x.shape[1:])
        for fired, after, total in neuron_steps(operation, currents, u.long(), theta):
            largest = torch.maximum(largest, total.abs().max()) if total.numel() else largest
            spikes.append(fired)
            if self.record:
                potentials.append(after.int())
        name, fired = operation["name"], torch.stack(spikes).int()
        self.result.headroom[name] = {"largest": int(largest), "range": 1 << (operation["bits"] - 1)}
        if self.record:
            self.result.spikes[name], self.result.potentials[name] = fired, torch.stack(potentials)
        return fired

    def pooled(self, operation: Operation, x: Tensor, pool: Callable[..., Tensor]) -> Tensor:
        sizes = {"kernel_size": operation["kernel"], "stride": operation["stride"], "padding": operation["padding"]}
        return pool(x.flatten(0, 1), **sizes).unflatten(0, x.shape[:2])

    def max_pool(self, operation: Operation, x: Tensor) -> Tensor:
        pool = F.max_pool1d if len(operation["kernel"]) == 1 else F.max_pool2d
        return self.pooled(operation, x.double(), pool).int()

    def sum_pool(self, operation: Operation, x: Tensor) -> Tensor:
        def sums(z: Tensor, **sizes: Any) -> Tensor:
            return F.avg_pool2d(z, **sizes, divisor_override=1)

        return self.pooled(operation, x.double(), sums).int()

    def rate_max_pool(self, operation: Operation, x: Tensor) -> Tensor:
        pool = F.max_pool1d if len(operation["kernel"]) == 1 else F.max_pool2d
        totals = x.expand(self.T, *x.shape[1:]).double().cumsum(0)
        best = self.pooled(operation, totals, pool)
        return torch.diff(best, dim=0, prepend=torch.zeros_like(best[:1])).int()

    def flatten(self, operation: Operation, x: Tensor) -> Tensor:
        return x.flatten(2)

    def votes(self, operation: Operation, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, operation["size"])).sum(-1, dtype=torch.int32)

    def add(self, operation: Operation, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def mul(self, operation: Operation, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def invert(self, operation: Operation, x: Tensor) -> Tensor:
        return 1 - x

    def concat(self, operation: Operation, *x: Tensor) -> Tensor:
        return torch.cat(x, 2)

    def output(self, operation: Operation, x: Tensor) -> Tensor:
        return x.float() * along_channels(self.own(operation, "scale"), x[0]).unsqueeze(0)
