"""Parameters that training keeps in a range: time constants, delays."""

from typing import Any

import torch
from torch import Tensor


class Bounded(torch.autograd.Function):
    """The values of a parameter inside [low, high].

    Beyond a bound the value is the bound, and only gradients that lead back inside are passed on: training can then
    neither leave the range nor be stuck at its edge.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, low: float, high: float) -> Tensor:
        return value.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        value, *ctx.bounds = inputs
        ctx.save_for_backward(value)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (value,) = ctx.saved_tensors
        low, high = ctx.bounds
        leads_out = ((value >= high) & (g < 0)) | ((value <= low) & (g > 0))
        return g.masked_fill(leads_out, 0.0), None, None
