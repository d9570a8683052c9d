"""The layers of NIR graphs that hold no potential: weights, poolings, delays, and what only moves numbers around."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snntrain import lava_exchange, layer
from snntrain.export.nir_net import Scale
from snntrain.export.nir_node import LARGEST_STEP, NirNode, Shape, broadcasts
from snntrain.export.synapse import window_sizes

_CLOSE = 1e-3  # of a step: seconds are often float32


@dataclass(frozen=True)
class Read:
    """A node that was read.

    Attributes:
        module: in step mode 'm' or without one.
        shape: of a step behind it.
        factor: what its input is to be multiplied by: one number, or one for each element of a step.
    """

    module: nn.Module
    shape: Shape
    factor: float | np.ndarray = 1.0


def _linear(node: NirNode, shape: Shape, dt: float) -> Read:
    weight = node.tensor("weight", 2)
    outputs, inputs = weight.shape
    if shape not in (None, (inputs,)):
        raise node.error(f"weight has the shape {list(weight.shape)}, and the input {list(shape)}")
    bias = node.bias(outputs)
    module = layer.Linear(inputs, outputs, bias=bias is not None)
    return Read(_with_parameters(module, weight, bias), (outputs,))


def _conv(node: NirNode, shape: Shape, dt: float) -> Read:
    dims = 1 if node.kind == "Conv1d" else 2
    weight = node.tensor("weight", 2 + dims)
    outputs, into, *kernel = weight.shape
    groups = node.sizes("groups", dims, least=1)[0]
    if outputs % groups:
        raise node.error(f"groups is {groups}, which does not divide {outputs} outputs")
    stride, dilation = node.sizes("stride", dims, least=1), node.sizes("dilation", dims, least=1)
    padding = _padding(node, dims, stride)
    if shape is not None and (len(shape) != 1 + dims or shape[0] != into * groups):
        raise node.error(f"weight has the shape {list(weight.shape)} in {groups} groups, and the input {list(shape)}")
    declared = getattr(node.node, "input_shape", None)
    if declared is not None and shape is not None and tuple(node.integers("input_shape")) != shape[1:]:
        raise node.error(f"input_shape is {node.integers('input_shape')}, and the input {list(shape)}")
    bias = node.bias(outputs)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    made = layer.Conv1d if dims == 1 else layer.Conv2d
    module = made(into * groups, outputs, tuple(kernel), bias=bias is not None, **geometry)
    reach = [far * (size - 1) for far, size in zip(dilation, kernel, strict=True)]
    if padding == "same" and shape is not None:
        _refuse_large(node, shape[0], [size + far for size, far in zip(shape[1:], reach, strict=True)])
        after: tuple[int, ...] | None = shape[1:]
    else:
        pads = (0,) * dims if isinstance(padding, str) else padding
        after = _sizes(node, shape, tuple(kernel), stride, pads, dilation, outputs)
    return Read(_with_parameters(module, weight, bias), None if after is None else (outputs, *after))


def _padding(node: NirNode, dims: int, stride: tuple[int, ...]) -> str | tuple[int, ...]:
    padding = node.node.padding.decode() if isinstance(node.node.padding, bytes) else node.node.padding
    if not isinstance(padding, str):
        return node.sizes("padding", dims, least=0)
    if padding not in ("same", "valid") or (padding == "same" and set(stride) != {1}):
        raise node.error(f"padding is {padding!r} with stride {stride}; 'valid', or 'same' with stride 1 is known")
    return padding


def _sizes(
    node: NirNode,
    shape: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...] = (1, 1),
    outputs: int | None = None,
) -> tuple[int, ...] | None:
    """Height and width, or length, behind windows, where they are known."""
    if shape is None:
        return None
    sizes = tuple(window_sizes(shape[1:], kernel, stride, padding, dilation))
    if min(sizes) < 1:
        raise node.error(f"its windows of {list(kernel)} are larger than the input {list(shape)}")
    _refuse_large(node, shape[0], [size + 2 * pads for size, pads in zip(shape[1:], padding, strict=True)])
    _refuse_large(node, outputs or shape[0], sizes)
    return sizes


def _refuse_large(node: NirNode, channels: int, sizes: Sequence[int]) -> None:
    if channels * math.prod(sizes) > LARGEST_STEP:
        raise node.error(f"it computes with {channels} × {list(sizes)} elements in a step, and at most 2²⁶ are read")


def _with_parameters(module: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    module.weight = nn.Parameter(weight)
    if bias is not None:
        module.bias = nn.Parameter(bias)
    return module


def _pool(node: NirNode, shape: Shape, dt: float) -> Read:
    made = lava_exchange.SumPool2d if node.kind == "SumPool2d" else layer.AvgPool2d
    kernel, stride, padding = (
        node.sizes(what, 2, least) for what, least in (("kernel_size", 1), ("stride", 1), ("padding", 0))
    )
    if shape is not None and len(shape) != 3:
        raise node.error(f"it pools pictures [C, H, W], and the input is {list(shape)}")
    if any(2 * pads > size for pads, size in zip(padding, kernel, strict=True)):
        raise node.error(f"padding {padding} is more than half of kernel_size {kernel}")
    after = _sizes(node, shape, kernel, stride, padding)
    return Read(made(kernel, stride, padding), None if after is None else (shape[0], *after))


def _flatten(node: NirNode, shape: Shape, dt: float) -> Read:
    (start,), (end,) = node.integers("start_dim"), node.integers("end_dim")  # without the batch
    after = None
    if shape is not None:
        first, last = (at + len(shape) if at < 0 else at for at in (start, end))
        if not 0 <= first <= last < len(shape):
            raise node.error(f"start_dim {start} and end_dim {end} are no dims of the input {list(shape)}")
        after = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    return Read(layer.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end), after)


def _scale(node: NirNode, shape: Shape, dt: float) -> Read:
    scale = node.values("scale", shape)
    if shape is None and isinstance(scale, np.ndarray):
        shape = scale.shape
    return Read(Scale(scale), shape)


def _delay(node: NirNode, shape: Shape, dt: float) -> Read:
    seconds = node.numbers("delay")
    shape = seconds.shape if shape is None and seconds.ndim else shape
    if not shape or not broadcasts(seconds.shape, shape):
        raise node.error(f"delay has the shape {list(seconds.shape)}, and the input {list(shape or ())}")
    steps = seconds / dt
    whole = np.rint(steps)
    if np.abs(steps - whole).max() > _CLOSE or whole.min() < 0:
        raise node.error(f"delay must be whole steps of dt = {dt:g}, ≥ 0; it is {_range(steps)} steps; is dt right?")
    if whole.max() >= layer.delay.LONGEST:
        raise node.error(f"delay is {_range(steps)} steps, and at most {layer.delay.LONGEST - 1} are known")
    if whole.max() * math.prod(shape) > LARGEST_STEP:
        raise node.error(f"it keeps {whole.max():g} steps of {list(shape)} elements, and at most 2²⁶ elements are kept")
    by_channel = np.broadcast_to(whole, shape if whole.size > 1 else (shape[0], 1)).reshape(shape[0], -1)
    if (by_channel != by_channel[:, :1]).any():
        raise node.error("delay differs within a channel")
    how = layer.DelaySettings(max=int(whole.max()) + 1, learn=False)
    module = layer.AxonalDelay(shape[0], how, channel_dim=1)
    module.delay.copy_(torch.from_numpy(by_channel[:, 0].copy()))
    return Read(module, shape)


def _range(values: np.ndarray) -> str:
    low, high = values.min(), values.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


Reader = Callable[[NirNode, Shape, float], Read]

#: Node → (its parameters, shape of a step before it, seconds of a step) → what it is here.
LAYERS: dict[str, Reader] = {
    **dict.fromkeys(("Affine", "Linear"), _linear),
    **dict.fromkeys(("Conv1d", "Conv2d"), _conv),
    **dict.fromkeys(("SumPool2d", "AvgPool2d"), _pool),
    "Flatten": _flatten,
    "Scale": _scale,
    "Delay": _delay,
}
