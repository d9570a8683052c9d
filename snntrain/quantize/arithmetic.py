"""The integer arithmetic of quantized neurons, on float tensors that carry integers.

A float32 holds every integer up to 2^24 in absolute value, and torch trains on it: rounding has the gradient of the
identity, clipping that of a clamp.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import choice, invalid, real
from snntrain.base import state_dtype
from snntrain.quantize.params import QuantParams

EXACT = 2**24  # integers up to here are exact in float32
MOST_V_BITS = 24  # of potentials, for the same reason
LEAK_BITS = 12  # fractional bits of the factor by which a potential is multiplied, as many as on Loihi


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


@dataclass(frozen=True)
class Leak:
    """What is left of a potential u after one step, in integers.

    multiply: R(u·factor / 2^bits)
    shift:    u − R(u / 2^bits)

    Attributes:
        form: 'multiply' or 'shift'.
        factor: 0 … 2^bits; unused by 'shift'.
        bits: ≥ 0.
        rounding: what R is: 'nearest' (ties up), 'floor', 'ceil' or 'zero' (toward 0, as on Loihi).
    """

    form: str
    factor: int
    bits: int
    rounding: str = "nearest"

    def __call__(self, u: Tensor) -> Tensor:
        if self.form == "shift":
            return u - rounded(u * 2.0**-self.bits, self.rounding)
        kept = self.factor * 2.0**-self.bits
        # u·factor may have more than the 24 bits of a float32: the part of u above `bits` is multiplied by itself.
        # Both parts have the sign of u, so that the sum of the integer and the rounded part is the rounded sum.
        high = rounded(u * 2.0**-self.bits, "zero")
        return high * self.factor + rounded((u - high * 2.0**self.bits) * kept, self.rounding)

    @property
    def rate(self) -> float:
        """The part of a potential that is lost in one step."""
        return 2.0**-self.bits if self.form == "shift" else 1.0 - self.factor * 2.0**-self.bits


def leak_of(rate: float, form: str, rounding: str) -> Leak:
    """The leak nearest to u ← u·(1 − rate).

    Args:
        rate: 1/tau, in [0, 1].
        form: 'multiply' (a factor of 12 fractional bits), or 'shift' (the nearest power of two).
        rounding: as in Leak.
    """
    rate = real("leak", "rate", rate, at_least=0, at_most=1)
    if choice("leak", "form", form, ("multiply", "shift")) == "multiply":
        return Leak("multiply", int((1.0 - rate) * 2**LEAK_BITS + 0.5), LEAK_BITS, rounding)
    if rate < 2.0**-23:
        raise invalid("leak", "rate", "at least 2^-23 with leak 'shift'; use an IF neuron where nothing leaks", rate)
    nearest = min(range(24), key=lambda bits: abs(2.0**-bits - rate))
    return Leak("shift", 0, nearest, rounding)


def rounded(a: Tensor, rounding: str) -> Tensor:
    """a rounded to integers, 'nearest' (ties up), 'floor', 'ceil' or 'zero'; the gradient is 1."""
    return straight_through(torch.trunc if rounding == "zero" else ROUND[rounding], a)


def fitted(h: Tensor, bits: int, overflow: str) -> Tensor:
    """h in `bits` bits: clipped ('saturate'), or taken modulo 2^bits ('wrap', two's complement)."""
    half = 2.0 ** (bits - 1)
    if overflow == "wrap":
        return h - torch.floor((h + half) * 2.0**-bits) * 2.0**bits
    return h.clamp(-half, half - 1)


def shifted(a: Tensor, shift: int, rounding: str) -> Tensor:
    """R(a / 2^shift); a shift below 0 multiplies."""
    return a * 2.0**-shift if shift <= 0 else rounded(a * 2.0**-shift, rounding)


def multiples(of: Tensor, step: Tensor, largest: int) -> Tensor:
    """How many steps come nearest to a positive value, 1 … largest."""
    return torch.floor(of / step + 0.5).clamp(1, largest)


def power_of_two_above(x: Tensor) -> Tensor:
    """The smallest power of two that is ≥ x, for x > 0."""
    mantissa, _ = torch.frexp(x)  # in [½, 1); x/mantissa is then exact, which torch.exp2 is not
    return torch.where(mantissa > 0.5, x / mantissa, x)


def nearest_power_of_two(x: Tensor) -> Tensor:
    """The power of two whose logarithm is nearest to that of x, for x > 0."""
    mantissa, _ = torch.frexp(x)
    above = x / mantissa
    return torch.where(mantissa > 0.5**0.5, above, above * 0.5)
