"""The hard reset of a membrane potential."""

from typing import Any

import torch
from torch import Tensor

from snntrain.leftover import note_backward


class HardReset(torch.autograd.Function):
    """v' = r where s = 1, h where s = 0; s·r + (1 − s)·h in between, where s may be that (not binary).

    The value is a select: the product would give 0·inf = NaN where s = 1 and h overflows. The gradient is the
    product's: dv'/dh = 1 − s, dv'/ds = r − h.
    """

    @staticmethod
    def forward(h: Tensor, s: Tensor, v_reset: float, binary: bool) -> Tensor:
        if binary:
            return torch.where(s > 0, v_reset, h)
        return torch.where(s == 1, v_reset, s * v_reset + (1.0 - s) * h)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float, bool], output: Tensor) -> None:
        h, s, ctx.v_reset, _ = inputs
        ctx.save_for_backward(h, s)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        note_backward()
        h, s = ctx.saved_tensors
        grad_s = grad * (ctx.v_reset - h) if ctx.needs_input_grad[1] else None
        return grad * (1.0 - s), grad_s, None, None
