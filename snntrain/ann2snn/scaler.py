"""What Converter puts around a neuron: a hook that tracks a scale, and a scaler that applies it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import invalid, real
from snntrain.base import state_dtype
from snntrain.graph import per_channel


def scale_tensor(owner: object, name: str, value: Any) -> Tensor:
    """A finite number, or a tensor of them, as a tensor of its own."""
    if not isinstance(value, Tensor):
        return torch.tensor(real(owner, name, value, alternative=" or a tensor of them"))
    if not value.is_floating_point() or not torch.isfinite(value).all():
        raise invalid(owner, name, "finite numbers", value)
    return value.detach().clone()


class VoltageScaler(nn.Module):
    """Multiply by a constant.

    y = scale·x, the result in the dtype of x.

    Args:
        scale: a number, or a tensor [C] of one for each channel; kept in a buffer.

    Shapes: any, with C in dim 1 for a scale [C]; output as input.
    """

    scale: Tensor

    def __init__(self, scale: float | Tensor = 1.0) -> None:
        super().__init__()
        self.register_buffer("scale", scale_tensor(self, "scale", scale))

    def forward(self, x: Tensor) -> Tensor:
        return (x * per_channel(self.scale, x)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"scale={self.scale.item():g}" if self.scale.dim() == 0 else f"scale: {self.scale.numel()} channels"


def parse_mode(owner: object, mode: Any) -> tuple[str, float]:
    """('max', 1), ('percentile', 0 … 100) or ('fraction', 0 … 1]."""
    expected = "'max', a percentage such as '99.9%', or a number 0 < x ≤ 1, a multiple of the maximum"
    if isinstance(mode, str):
        text = mode.strip()
        if text.lower() == "max":
            return "max", 1.0
        if text.endswith("%"):
            try:
                percentage = float(text[:-1])
            except ValueError:
                raise invalid(owner, "mode", expected, mode) from None
            if 0 <= percentage <= 100:
                return "percentile", percentage
    elif isinstance(mode, (int, float)) and not isinstance(mode, bool) and 0 < mode <= 1:
        return "fraction", float(mode)
    raise invalid(owner, "mode", expected, mode)


def percentile(x: Tensor, percentage: float) -> Tensor:
    """The percentile (0 to 100) of all elements, linear between the two nearest ranks: 0-d.

    Unlike torch.quantile it takes any number of elements.
    """
    flat = x.detach().flatten().to(state_dtype(x.dtype))
    if not flat.numel():
        raise invalid("percentile", "x", "a tensor with elements", list(x.shape))
    rank = percentage / 100.0 * (flat.numel() - 1)
    n, lower = flat.numel(), math.floor(rank)
    # kthvalue takes quadratic time on sorted values; topk does not, and one side never holds more than half of them.
    if lower + 2 <= n - lower:
        near = flat.topk(min(lower + 2, n), largest=False).values
        below, above = near[lower], near[-1]
    else:
        near = flat.topk(n - lower).values
        below, above = near[-1], near[max(n - lower - 2, 0)]
    return below + (above - below) * (rank - lower)


class VoltageHook(nn.Module):
    """Hand the input on and track its scale over the batches.

    s_t = max(x)              mode 'max'
    s_t = percentile p of x   mode 'p%'
    s_t = f·max(x)            mode f
    s   = s_1 at the first batch, later (1 − momentum)·s + momentum·s_t.

    In evaluation the scale stays, and so it does for a batch without elements.

    Args:
        scale: of a hook that has seen no batch.
        momentum: 0 to 1.
        mode: 'max' (any case), a percentage such as '99.9%', or a number 0 < f ≤ 1.

    Shapes: any; the output is the input. Buffers `scale` and `num_batches_tracked`, both 0-d.
    Source: Diehl et al., IJCNN 2015 (max); Rueckauer et al., Front. Neurosci. 2017 (percentiles).
    """

    scale: Tensor
    num_batches_tracked: Tensor

    def __init__(self, scale: float = 1.0, momentum: float = 0.1, mode: str | float = "max") -> None:
        super().__init__()
        self.register_buffer("scale", scale_tensor(self, "scale", scale))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self.momentum = real(self, "momentum", momentum, at_least=0, at_most=1)
        self.kind, self.amount = parse_mode(self, mode)
        self.mode = mode

    @torch.no_grad()
    def statistic(self, x: Tensor) -> Tensor:
        """The scale of one batch."""
        if self.kind == "percentile":
            return percentile(x, self.amount)
        return x.detach().max().to(state_dtype(x.dtype)) * self.amount

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel():  # an empty batch has no scale
            s_t = self.statistic(x).to(self.scale)
            first = self.num_batches_tracked == 0
            self.scale.copy_(torch.where(first, s_t, (1.0 - self.momentum) * self.scale + self.momentum * s_t))
            self.num_batches_tracked += 1
        return x

    def extra_repr(self) -> str:
        return f"scale={self.scale.item():g}, momentum={self.momentum:g}, mode={self.mode!r}"
