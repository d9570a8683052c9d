"""The integer arithmetic of Loihi's neurons, on float tensors that stand for integers: value = integer / scale."""

import math
from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import integer, invalid, real

DECAY_BITS = 12
STATE_BITS = 6  # a state counts in steps of 2^−6 of the weights' step


class step_quantize_atgf(torch.autograd.Function):
    """The multiple of step nearest to x as value (ties to the even one), the identity as gradient."""

    @staticmethod
    def forward(x: Tensor, step: float = 1.0) -> Tensor:
        return torch.round(x / step) * step

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def step_quantize(x: Tensor, step: float = 1.0) -> Tensor:
    """The multiple of step nearest to x, ties to the even one, with the gradient of the identity.

    Args:
        x: of any shape.
        step: > 0.

    Source: Bengio et al., 2013, arXiv 1308.3432 (straight-through estimator).
    """
    return step_quantize_atgf.apply(x, real("step_quantize", "step", step, above=0))


def quantize_8b(x: Tensor, scale: float, descale: bool = False) -> Tensor:
    """Weights as Loihi holds them: the nearest 2k/scale, k an integer in [−128, 127].

    The gradient is that of the identity where k is in its range, and 0 beyond.

    Args:
        x: of any shape.
        scale: integers per unit, > 0; what is represented reaches from −256/scale to 254/scale.
        descale: return the integers 2k.
    """
    scale = real("quantize_8b", "scale", scale, above=0)
    k = step_quantize(x * (scale / 2)).clamp(-128, 127)
    return 2 * k if descale else 2 * k / scale


def right_shift_to_zero(x: Tensor, bits: int) -> Tensor:
    """x / 2^bits truncated toward zero: sign(x)·(abs(x) >> bits).

    Args:
        x: integers of any shape.
        bits: 0 … 62.
    """
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise invalid("right_shift_to_zero", "x", "a tensor of integers", x.dtype)
    if integer("right_shift_to_zero", "bits", bits, at_least=0) > 62:
        raise invalid("right_shift_to_zero", "bits", "an integer ≥ 0 and ≤ 62", bits)
    return torch.div(x.to(torch.int64), 2**bits, rounding_mode="trunc").to(x.dtype)


class LeakyIntegratorStep(torch.autograd.Function):
    """One step of a leaky integrator in integers: state' = trunc(state·(4096 − decay)/4096) + x, trunc toward 0.

    LeakyIntegratorStep.apply(x, decay, state, s_scale), where x and state are integers divided by s_scale and decay is
    an integer, 0 … 4096. What lies between two integers is truncated toward 0; only where s_scale is not a power of
    two, so that a float hardly ever is an integer divided by it, the nearest integer is meant. Exact while integers
    stay below 2^24 in float32 (2^21 with such an s_scale).

    Gradients, those without truncation: 1 for x, 1 − decay/4096 for state, −state/4096 for decay.
    Source: Davies et al. (Loihi), IEEE Micro 2018.
    """

    @staticmethod
    def forward(x: Tensor, decay: Tensor, state: Tensor, s_scale: float) -> Tensor:
        before = _integers(state, s_scale)
        kept = 2**DECAY_BITS - decay
        # before·kept can have 36 bits, a float32 holds 24: the upper and the lower part are multiplied by themselves.
        # Both have the sign of the whole, so that truncating the lower product truncates the sum.
        upper = torch.trunc(before * 2.0**-DECAY_BITS)
        lower = before - upper * 2.0**DECAY_BITS
        after = upper * kept + torch.trunc(lower * kept * 2.0**-DECAY_BITS) + _integers(x, s_scale)
        # Not a division by s_scale: on CUDA torch would multiply by the reciprocal, and kernels must compute the same.
        return after * (1.0 / s_scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: Tensor) -> None:
        _, decay, state, _ = inputs
        ctx.save_for_backward(decay, state)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        decay, state = ctx.saved_tensors
        grad_decay = grad_state = None
        if ctx.needs_input_grad[1]:
            grad_decay = (grad * state * -(2.0**-DECAY_BITS)).sum_to_size(decay.shape)
        if ctx.needs_input_grad[2]:
            grad_state = grad * (1.0 - decay * 2.0**-DECAY_BITS)
        return grad, grad_decay, grad_state, None


def _integers(x: Tensor, scale: float) -> Tensor:
    return torch.trunc(x * scale) if is_power_of_two(scale) else torch.round(x * scale)


def is_power_of_two(scale: float) -> bool:
    """Whether floats hold integers divided by scale exactly; for scale > 0."""
    return math.frexp(scale)[0] == 0.5
