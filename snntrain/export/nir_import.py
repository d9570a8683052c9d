"""Import of NIR graphs: the net that computes what NIR's equations say, or an error that names node and parameter.

Delays become AxonalDelay, neurons FloatCubaLIFNode, whose inputs are not scaled: with steps of dt,
g = w_in·r·(dt/tau_syn)·(dt/tau_mem) and v the potential of NIR, its potential is v/|g|, so that it fires above
v_threshold/|g|; where g is negative, the weights before it change their sign. Nothing is rounded but the threshold.

Source: Pedersen et al., Nature Communications 2024, 10.1038/s41467-024-52259-9.
"""

import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain import lava_exchange, layer
from snntrain.arguments import real
from snntrain.error import DamagedFile
from snntrain.export.error import NirImportError
from snntrain.export.hdf5 import opened
from snntrain.export.nir import library
from snntrain.export.synapse import window_sizes
from snntrain.neuron import FloatCubaLIFNode

_LARGEST = float(np.finfo(np.float32).max)
_CLOSE = 1e-3  # of a step: seconds are often float32
_NEVER = 2.0**-24  # a decay below loses nothing in float32
Shape = tuple[int, ...] | None  # of one step; None: not known


def import_nir(graph: Any, dt: float = 1e-4) -> nn.Sequential:
    """A net from a NIR graph or file whose nodes follow one another.

    Args:
        graph: a nir.NIRGraph, or the path of a file; of Affine, Linear, Conv2d, SumPool2d, AvgPool2d, Flatten, Delay,
            CubaLIF and LIF nodes. Parameters may be arrays or tensors of any real dtype; they are computed with as
            float32.
        dt: seconds that a step stands for.

    Returns: the net in step mode 'm', [T, N, *] → [T, N, *].
    Raises: ExportError naming the node and the parameter that is not known, not finite, or does not fit; DamagedFile
    naming a file that cannot be read; ImportError if the package nir is not installed.
    """
    nir = library()
    real("import_nir", "dt", dt, above=0)
    if not isinstance(graph, (str, os.PathLike)):
        return _net_of(nir, graph, dt)
    path = Path(graph)
    read = _read(nir, path)
    try:
        return _net_of(nir, read, dt)
    except NirImportError as error:
        place = f"{path}: {error.place}" if error.place else str(path)
        raise NirImportError(place, error.reason, error.remedy) from error


def _read(nir: Any, path: Path) -> Any:
    with opened(path):
        # Without nir's own inference of types, which does not end on a cycle; shapes are checked here.
        unchecked = {"type_check": False} if "type_check" in inspect.signature(nir.read).parameters else {}
        try:
            return nir.read(path, **unchecked)
        except Exception as error:  # the package raises whatever a missing or odd entry provokes in it
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise DamagedFile(
                f"{path} holds no NIR graph that the package nir reads ({type(error).__name__}: {reason})."
            ) from error


def _net_of(nir: Any, graph: Any, dt: float) -> nn.Sequential:
    if not isinstance(graph, nir.NIRGraph):
        raise NirImportError("", f"graph must be a nir.NIRGraph or the path of a file, got {type(graph).__name__}")
    modules: list[nn.Module] = []
    names = _path_through(nir, graph)
    shape = _end_shape(graph, names[0], "input_type", "input")
    for name in names[1:-1]:
        node = graph.nodes[name]
        reader = _READERS.get(type(node).__name__)
        if reader is None:
            raise _node_error(name, node, f"it is not one of {', '.join(_READERS)}")
        module, shape, sign = reader(_Node(name, node), shape, dt)
        if sign < 0:
            _negate_weights(modules, name, node)
        module.step_mode = "m"
        modules.append(module)
    expected = _end_shape(graph, names[-1], "output_type", "output")
    if None not in (shape, expected) and math.prod(shape) != math.prod(expected):
        raise _node_error(
            names[-1], graph.nodes[names[-1]], f"its shape is {list(expected)}, and it gets {list(shape)}"
        )
    return nn.Sequential(*modules)


def _node_error(name: str, node: Any, reason: str) -> NirImportError:
    return NirImportError(f"node {name} ({type(node).__name__})", reason)


def _path_through(nir: Any, graph: Any) -> list[str]:
    """Names of the nodes from input to output, which must be a chain."""
    following: dict[str, list[str]] = {}
    for source, target in graph.edges:
        for name in (source, target):
            if name not in graph.nodes:
                raise NirImportError("", f"the edge from {source} to {target} needs a node {name}, which is missing")
        following.setdefault(source, []).append(target)
    starts = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    if len(starts) != 1:
        raise NirImportError("", f"the graph must have one input, it has {len(starts)}")
    names = [starts[0]]
    while not isinstance(graph.nodes[names[-1]], nir.Output):
        targets = following.get(names[-1], [])
        if len(targets) != 1 or targets[0] in names:
            reason = f"{len(targets)} nodes follow it, and one that is new must"
            raise _node_error(names[-1], graph.nodes[names[-1]], reason)
        names.append(targets[0])
    if len(names) != len(graph.nodes):
        raise NirImportError("", "the graph branches; only nodes that follow one another are known")
    return names


def _end_shape(graph: Any, name: str, attribute: str, key: str) -> Shape:
    """The shape of one step at an input or an output."""
    types = getattr(graph.nodes[name], attribute, None)
    value = types.get(key) if isinstance(types, Mapping) else None
    if value is None:
        return None
    sizes = _Node(name, graph.nodes[name]).integers(attribute, value=value)
    if min(sizes, default=0) < 1:
        raise _node_error(name, graph.nodes[name], f"its shape must be positive, it is {sizes}")
    return tuple(sizes)


def _negate_weights(modules: list[nn.Module], name: str, node: Any) -> None:
    """Change the sign of what reaches a neuron, in the last weights before it."""
    for module in reversed(modules):
        if isinstance(module, FloatCubaLIFNode):
            break
        if isinstance(module, (layer.Linear, layer.Conv2d)):
            for parameter in (module.weight, module.bias):
                if parameter is not None:
                    parameter.data.neg_()
            return
    raise _node_error(name, node, "its gain r (times w_in) is negative, and no weights come before it to be negated")


class _Node:
    """Parameters of a node, checked one by one."""

    def __init__(self, name: str, node: Any) -> None:
        self.name, self.node = name, node

    def error(self, reason: str) -> NirImportError:
        return _node_error(self.name, self.node, reason)

    def numbers(self, what: str, value: Any = None) -> np.ndarray:
        """A parameter as float64."""
        value = getattr(self.node, what, None) if value is None else value
        if value is None:
            raise self.error(f"{what} is missing")
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = value.double().numpy() if value.is_floating_point() else value.numpy()
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise self.error(f"{what} holds no numbers") from error
        if array.dtype.kind not in "biuf" or not array.size:
            raise self.error(f"{what} must hold real numbers, it holds {array.size} values of {array.dtype}")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise self.error(f"{what} holds {array[~np.isfinite(array)].flat[0]}, and must be finite")
        if np.abs(array).max() > _LARGEST:
            raise self.error(f"{what} holds {np.abs(array).max():g}, which is beyond float32")
        return array

    def tensor(self, what: str, *dims: int) -> Tensor:
        array = self.numbers(what)
        if array.ndim not in dims:
            raise self.error(f"{what} must have {dims[0]} dims, its shape is {list(array.shape)}")
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

    def bias(self, outputs: int) -> Tensor | None:
        if getattr(self.node, "bias", None) is None:
            return None
        bias = self.tensor("bias", 1)
        if len(bias) != outputs:
            raise self.error(f"bias has {len(bias)} values for {outputs} outputs")
        return bias

    def integers(self, what: str, value: Any = None) -> list[int]:
        array = self.numbers(what, value).reshape(-1)
        if (array != array.round()).any() or np.abs(array).max() > 2**31:
            raise self.error(f"{what} must be whole numbers, it is {array.tolist()}")
        return [int(each) for each in array]

    def pair(self, what: str, least: int) -> tuple[int, int]:
        values = self.integers(what)
        if len(values) > 2 or min(values) < least:
            raise self.error(f"{what} must be one or two integers ≥ {least}, it is {values}")
        return values[0], values[-1]

    def one(self, what: str, shape: Shape) -> float:
        """A parameter that is the same for all neurons."""
        array = self.numbers(what)
        fits = array.size == 1 or shape is None or array.shape in (shape, shape[:1])
        if not fits and not _broadcasts(array.shape, shape):
            raise self.error(f"{what} has the shape {list(array.shape)}, and the neurons {list(shape)}")
        values = array.reshape(-1)
        if not np.allclose(values, values[0], rtol=1e-6, atol=0):
            raise self.error(f"{what} differs from neuron to neuron")
        return float(values[0])


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


Read = tuple[nn.Module, Shape, int]  # module, shape after it, sign that its input must get


def _linear(node: _Node, shape: Shape, dt: float) -> Read:
    weight = node.tensor("weight", 2)
    outputs, inputs = weight.shape
    if shape not in (None, (inputs,)):
        raise node.error(f"weight has the shape {list(weight.shape)}, and the input {list(shape)}")
    bias = node.bias(outputs)
    module = layer.Linear(inputs, outputs, bias=bias is not None)
    return _with_parameters(module, weight, bias), (outputs,), 1


def _conv(node: _Node, shape: Shape, dt: float) -> Read:
    weight = node.tensor("weight", 4)
    outputs, into, *kernel = weight.shape
    groups = node.pair("groups", least=1)[0]
    if outputs % groups:
        raise node.error(f"groups is {groups}, which does not divide {outputs} outputs")
    stride, dilation = node.pair("stride", least=1), node.pair("dilation", least=1)
    padding = _padding(node, stride)
    if shape is not None and (len(shape) != 3 or shape[0] != into * groups):
        raise node.error(f"weight has the shape {list(weight.shape)} in {groups} groups, and the input {list(shape)}")
    declared = getattr(node.node, "input_shape", None)
    if declared is not None and shape is not None and tuple(node.integers("input_shape")) != shape[1:]:
        raise node.error(f"input_shape is {node.integers('input_shape')}, and the input {list(shape)}")
    bias = node.bias(outputs)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    module = layer.Conv2d(into * groups, outputs, tuple(kernel), bias=bias is not None, **geometry)
    pads = {"same": None, "valid": (0, 0)}.get(padding, padding) if isinstance(padding, str) else padding
    after = (
        shape[1:] if shape is not None and pads is None else _sizes(node, shape, tuple(kernel), stride, pads, dilation)
    )
    return _with_parameters(module, weight, bias), None if after is None else (outputs, *after), 1


def _padding(node: _Node, stride: tuple[int, int]) -> str | tuple[int, int]:
    padding = node.node.padding.decode() if isinstance(node.node.padding, bytes) else node.node.padding
    if not isinstance(padding, str):
        return node.pair("padding", least=0)
    if padding not in ("same", "valid") or (padding == "same" and stride != (1, 1)):
        raise node.error(f"padding is {padding!r} with stride {stride}; 'valid', or 'same' with stride 1 is known")
    return padding


def _sizes(
    node: _Node,
    shape: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, ...] | None:
    """Height and width behind windows, where they are known."""
    if shape is None:
        return None
    sizes = tuple(window_sizes(shape[1:], kernel, stride, padding, dilation))
    if min(sizes) < 1:
        raise node.error(f"its windows of {list(kernel)} are larger than the input {list(shape)}")
    return sizes


def _with_parameters(module: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    module.weight = nn.Parameter(weight)
    if bias is not None:
        module.bias = nn.Parameter(bias)
    return module


def _pool(node: _Node, shape: Shape, dt: float) -> Read:
    kind = lava_exchange.SumPool2d if type(node.node).__name__ == "SumPool2d" else layer.AvgPool2d
    kernel, stride, padding = (node.pair(*each) for each in (("kernel_size", 1), ("stride", 1), ("padding", 0)))
    if shape is not None and len(shape) != 3:
        raise node.error(f"it pools pictures [C, H, W], and the input is {list(shape)}")
    if any(2 * pads > size for pads, size in zip(padding, kernel, strict=True)):
        raise node.error(f"padding {padding} is more than half of kernel_size {kernel}")
    after = _sizes(node, shape, kernel, stride, padding)
    return kind(kernel, stride, padding), None if after is None else (shape[0], *after), 1


def _flatten(node: _Node, shape: Shape, dt: float) -> Read:
    (start,), (end,) = node.integers("start_dim"), node.integers("end_dim")  # without the batch
    after = None
    if shape is not None:
        first, last = (at + len(shape) if at < 0 else at for at in (start, end))
        if not 0 <= first <= last < len(shape):
            raise node.error(f"start_dim {start} and end_dim {end} are no dims of the input {list(shape)}")
        after = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    return layer.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end), after, 1


def _delay(node: _Node, shape: Shape, dt: float) -> Read:
    seconds = node.numbers("delay")
    shape = seconds.shape if shape is None and seconds.ndim else shape
    if shape is None or not (seconds.shape == shape or _broadcasts(seconds.shape, shape)):
        raise node.error(f"delay has the shape {list(seconds.shape)}, and the input {list(shape or ())}")
    steps = np.broadcast_to(seconds / dt, shape)
    whole = np.rint(steps)
    if np.abs(steps - whole).max() > _CLOSE or whole.min() < 0:
        raise node.error(f"delay must be whole steps of dt = {dt:g}, ≥ 0; it is {_range(steps)} steps; is dt right?")
    if whole.max() >= layer.delay.LONGEST:
        raise node.error(f"delay is {_range(steps)} steps, and at most {layer.delay.LONGEST - 1} are known")
    by_channel = whole.reshape(shape[0], -1)
    if (by_channel != by_channel[:, :1]).any():
        raise node.error("delay differs within a channel")
    how = layer.DelaySettings(max=int(whole.max()) + 1, learn=False)
    module = layer.AxonalDelay(shape[0], how, channel_dim=1)
    module.delay.copy_(torch.from_numpy(by_channel[:, 0].copy()))
    return module, shape, 1


def _range(values: np.ndarray) -> str:
    low, high = values.min(), values.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _cuba(node: _Node, shape: Shape, dt: float) -> Read:
    current_decay, voltage_decay = _decay(node, "tau_syn", shape, dt), _decay(node, "tau_mem", shape, dt)
    gain = _gain(node, "w_in", shape) * current_decay * _gain(node, "r", shape) * voltage_decay
    return _neurons(node, shape, current_decay, voltage_decay, gain)


def _lif(node: _Node, shape: Shape, dt: float) -> Read:
    voltage_decay = _decay(node, "tau", shape, dt)
    return _neurons(node, shape, 1.0, voltage_decay, _gain(node, "r", shape) * voltage_decay)


def _decay(node: _Node, tau: str, shape: Shape, dt: float) -> float:
    value = node.one(tau, shape)
    if value <= 0:
        raise node.error(f"{tau} must be > 0, it is {value:g}")
    if dt / value > 1 + 1e-6:
        raise node.error(f"dt/{tau} must be from 0 to 1, it is {dt / value:g}; is dt right?")
    return min(dt / value, 1.0)


def _gain(node: _Node, what: str, shape: Shape) -> float:
    value = node.one(what, shape)
    if value == 0:
        raise node.error(f"{what} is 0, so that no input reaches it")
    return value


def _neurons(node: _Node, shape: Shape, current_decay: float, voltage_decay: float, gain: float) -> Read:
    for what in ("v_leak", "v_reset"):
        if getattr(node.node, what, None) is not None and node.numbers(what).any():
            raise node.error(f"{what} is not 0")
    decays = [0.0 if value < _NEVER else value for value in (current_decay, voltage_decay)]
    v_threshold = node.one("v_threshold", shape)
    if v_threshold < 0:
        raise node.error(f"v_threshold must be ≥ 0, it is {v_threshold:g}: it would fire without any input")
    threshold = v_threshold / abs(gain) if gain else math.inf
    if threshold >= _LARGEST:
        raise node.error(f"v_threshold {v_threshold:g} divided by its gain {gain:g} is beyond float32")
    above = float(np.nextafter(np.float32(threshold), np.float32(np.inf)))  # ours fires at the threshold too
    return FloatCubaLIFNode(*decays, v_threshold=above), shape, 1 if gain > 0 else -1


_READERS: dict[str, Callable[[_Node, Shape, float], Read]] = {
    **dict.fromkeys(("Affine", "Linear"), _linear),
    **dict.fromkeys(("SumPool2d", "AvgPool2d"), _pool),
    "Conv2d": _conv,
    "Flatten": _flatten,
    "Delay": _delay,
    "CubaLIF": _cuba,
    "LIF": _lif,
}
