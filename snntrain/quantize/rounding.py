"""Rounding and clipping to integers, with gradients as if nothing were rounded."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snntrain.base import state_dtype
from snntrain.quantize.params import QuantParams

#: Rounding to integers, by roundtype; nearest takes ties up.
ROUND: dict[str, Callable[[Tensor], Tensor]] = {
    "nearest": lambda a: torch.floor(a + 0.5),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(function: Callable[[Tensor], Tensor], a: Tensor) -> Tensor:
    """function(a), whose gradient is 1."""
    return _StraightThrough.apply(a, function)


def quantized(x: Tensor, step: Tensor, zero_point: Tensor | None, params: QuantParams) -> Tensor:
    """x as integers of `bits` bits times a step, s·(clip(R(x/s) + z) − z); gradient 1, and 0 where it was clipped."""
    a = straight_through(ROUND[params.roundtype], x.to(state_dtype(x.dtype)) / step)
    if zero_point is None:
        return (a.clamp(params.smallest, params.largest) * step).to(x.dtype)
    return (((a + zero_point).clamp(params.smallest, params.largest) - zero_point) * step).to(x.dtype)
