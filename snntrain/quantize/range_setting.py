"""Ranges of tensors, and the steps with which integers cover them."""

import functools
import math

import torch
from torch import Tensor

from snntrain.quantize.arithmetic import ROUND, quantized
from snntrain.quantize.params import QuantParams

_RANGES_TRIED = 40  # by MSE_simulation for a free step, evenly spaced up to the range of the tensor


def step_of(low: Tensor, high: Tensor, params: QuantParams) -> Tensor:
    """The step s with which integers of `bits` bits cover the range [low, high]; 1 for an empty range.

    fxp:  s = 2^−f, with f = bits − 1 − (⌊log2 high⌋ + 1) fractional bits, or f = force_q
    fake: s = (high − low)/(2^bits − 1)

    Shapes: all three the same.
    """
    if params.force_q is not None:
        return torch.full_like(high, 2.0**-params.force_q)
    if params.power_of_two:
        mantissa, _ = torch.frexp(high)  # in [½, 1): the quotient is 2^(⌊log2 high⌋ + 1), exactly
        step = high / mantissa * 2.0 ** (1 - params.bits)
    else:
        step = (high - low) / (params.largest - params.smallest)
    return torch.where((high > low) & (step > 0), step, 1.0)


def step_and_zero_point(low: Tensor, high: Tensor, params: QuantParams) -> tuple[Tensor, Tensor | None]:
    """Step, and with is_asymmetric the integer z that stands for 0: z = clip(−2^(b−1) − R(low/s))."""
    step = step_of(low, high, params)
    if not params.is_asymmetric:
        return step, None
    zero_point = params.smallest - ROUND["nearest"](low / step)
    return step, zero_point.clamp(params.smallest, params.largest)


def range_of(values: Tensor, params: QuantParams) -> tuple[Tensor, Tensor]:
    """The range of a tensor by range_setting, 0-d; it contains 0, and is symmetric about it unless is_asymmetric."""
    low, high = extremes(values, params.is_asymmetric)
    low, high = low.clamp(max=0), high.clamp(min=0)
    if params.range_setting == "MSE_simulation":
        return _simulated_range(values, low, high, params)
    if params.range_setting == "MSE_analysis":
        return _gaussian_range(values, low, high, params)
    return low, high


def extremes(values: Tensor, is_asymmetric: bool) -> tuple[Tensor, Tensor]:
    """Smallest and largest value; symmetric: ∓ the largest absolute value."""
    if is_asymmetric:
        return values.min(), values.max()
    largest = values.abs().max()
    return -largest, largest


def _simulated_range(values: Tensor, low: Tensor, high: Tensor, params: QuantParams) -> tuple[Tensor, Tensor]:
    """The part of [low, high] in which rounding and clipping together have the least mean square error."""
    if params.power_of_two:
        parts = [2.0**-k for k in range(params.bits)]
    else:
        parts = [k / _RANGES_TRIED for k in range(_RANGES_TRIED, 0, -1)]
    errors = []
    for part in parts:
        step, zero_point = step_and_zero_point(part * low, part * high, params)
        errors.append((quantized(values, step, zero_point, params) - values).square().mean())
    part = torch.tensor(parts, dtype=low.dtype, device=low.device)[torch.stack(errors).argmin()]
    return part * low, part * high


def _gaussian_range(values: Tensor, low: Tensor, high: Tensor, params: QuantParams) -> tuple[Tensor, Tensor]:
    """α deviations to both sides of 0, or of the mean if is_asymmetric; no more than [low, high]."""
    mean = values.mean() if params.is_asymmetric else torch.zeros_like(low)
    reach = gaussian_clip(params.bits) * (values - mean).square().mean().sqrt()
    return torch.maximum(mean - reach, low).clamp(max=0), torch.minimum(mean + reach, high).clamp(min=0)


@functools.cache
def gaussian_clip(bits: int) -> float:
    """α with the least mean square error of values N(0, 1) clipped to [−α, α] and rounded to 2^bits steps.

    It is the root of α·erfc(α/√2) − √(2/π)·exp(−α²/2) + α/(3·4^bits).
    Source: Banner et al., NeurIPS 2019, arXiv 1810.05723.
    """
    low, high = 0.0, 12.0
    while high - low > 1e-9:
        a = (low + high) / 2
        slope = a * math.erfc(a / math.sqrt(2)) - math.sqrt(2 / math.pi) * math.exp(-(a**2) / 2) + a / (3 * 4**bits)
        low, high = (a, high) if slope < 0 else (low, a)
    return (low + high) / 2
