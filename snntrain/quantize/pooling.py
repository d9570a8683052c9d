"""Pooling in a prepared net: maxima stay maxima, and sums stand for means; other settings are a QuantizationError."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx, nn

from snntrain import layer
from snntrain.ann2snn import RatePooling
from snntrain.base import StepModule
from snntrain.graph import adaptive_window, library_name, shape_of
from snntrain.layer.fold import FoldedLayer
from snntrain.quantize.signal import Signal

if TYPE_CHECKING:
    from snntrain.quantize.prepare import Builder

POOLS = ("MaxPool1d", "MaxPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d")
Size = int | tuple[int, ...]


class SumPool(FoldedLayer, nn.AvgPool2d):
    """Sums over windows of two spatial dims, which stand for the means."""

    step_shapes = ("N, C, H, W",)

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        nn.AvgPool2d.__init__(self, kernel_size, stride, padding, divisor_override=1)
        self.step_mode = "m"


class SumOfVotes(StepModule, nn.Module):
    """Sums over groups of `size` on the last dim, which stand for a VotingLayer's means."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._step_mode = "m"

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.size)).sum(-1)


class RateMaxPool(RatePooling):
    """RatePooling on sequences [T, N, *] of integers."""

    def forward(self, x_seq: Tensor) -> Tensor:
        self.check_input(x_seq)
        self.T = len(x_seq)
        y = self.run(x_seq.double().flatten(0, 1))  # sums over time may leave the integers of float32
        return y.unflatten(0, x_seq.shape[:2]).to(x_seq.dtype)


def pool(builder: "Builder", node: fx.Node, module: nn.Module, source: Signal) -> Signal:
    """Replace a pooling."""
    by_rate = isinstance(module, RatePooling)
    pooling = module.pool if by_rate else module
    name = library_name(pooling)
    if getattr(pooling, "return_indices", False) or getattr(pooling, "ceil_mode", False):
        raise builder.error(node, "it has return_indices or ceil_mode", "Use False for both.")
    if name.startswith("Adaptive"):
        before = shape_of(node.args[0])
        if before is None:
            raise builder.error(node, "its window depends on the input", "Give prepare an example, an input [T, N, *].")
        kernel = stride = adaptive_window(builder.place(node), pooling, before[-2:], "Use a fixed window.")
        padding: Size = 0
    else:
        kernel, stride, padding = pooling.kernel_size, pooling.stride, pooling.padding
    if "Avg" in name:
        return _sum_pool(builder, node, pooling, source, (kernel, stride, padding))
    if _any(getattr(pooling, "dilation", 1), above=1):
        raise builder.error(node, "it has a dilation", "Use dilation 1.")
    rank = name[-2:]
    if by_rate:
        builder.replace(node, RateMaxPool(getattr(nn, f"MaxPool{rank}")(kernel, stride, padding)))
    else:
        builder.replace(node, getattr(layer, f"MaxPool{rank}")(kernel, stride, padding))
    return source


def _sum_pool(
    builder: "Builder", node: fx.Node, pooling: nn.Module, source: Signal, sizes: tuple[Size, Size, Size]
) -> Signal:
    kernel, _, padding = sizes
    if _any(padding) and not pooling.count_include_pad:
        raise builder.error(node, "it averages over fewer values at the border", "Use count_include_pad = True.")
    area = math.prod(kernel) if isinstance(kernel, tuple) else kernel**2
    divisor = getattr(pooling, "divisor_override", None) or area
    if divisor < 0:
        raise builder.error(node, f"divisor_override is {divisor}", "Use a positive one.")
    builder.replace(node, SumPool(*sizes))
    return replace(source, largest=source.largest * area, divisor=source.divisor * divisor)


def votes(builder: "Builder", node: fx.Node, module: nn.Module, source: Signal) -> Signal:
    """Replace a VotingLayer."""
    if source.is_current or (source.height is not None and source.height.numel() > 1):
        raise builder.error(node, "what it averages does not count in one step", "Put a neuron before it.")
    builder.replace(node, SumOfVotes(module.voting_size))
    size = module.voting_size
    return replace(source, largest=source.largest * size, divisor=source.divisor * size)


def _any(size: Size, above: int = 0) -> bool:
    return any(value > above for value in (size if isinstance(size, tuple) else (size,)))
