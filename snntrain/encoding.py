"""Encoders: static values [N, *] → sequences [T, N, *]."""

import torch
from torch import Tensor, nn

from snntrain.arguments import integer
from snntrain.base import state_dtype
from snntrain.functional import repeat
from snntrain.registry import register


@register("encoder")
class DirectEncoder(nn.Module):
    """Present the same input at every step; the first layer turns it into spikes.

    Shapes: x [N, *] → [T, N, *], a view that repeats x without copying it.
    Raises: ValueError if T < 1.
    Source: Rueckauer et al., Front. Neurosci. 2017; Wu et al., AAAI 2019.
    """

    def forward(self, x: Tensor, T: int) -> Tensor:
        return repeat(x, integer(self, "T", T, at_least=1))


@register("encoder")
class PoissonEncoder(nn.Module):
    """Fire at each step with a probability equal to the input (rate coding).

    Shapes: x [N, *], values in [0, 1] → spikes [T, N, *], drawn from torch's generator.
    Raises: ValueError if a value lies outside [0, 1], for an integer input, and if T < 1.
    Source: Heeger, Poisson Model of Spike Generation, 2000; Diehl & Cook 2015.
    """

    def forward(self, x: Tensor, T: int) -> Tensor:
        T = integer(self, "T", T, at_least=1)
        if not x.is_floating_point():
            raise ValueError(f"PoissonEncoder: the input has dtype {x.dtype}; cast it to a float dtype, in [0, 1].")
        low, high = (float(bound) for bound in torch.aminmax(x)) if x.numel() else (0.0, 0.0)
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(
                f"PoissonEncoder: inputs are firing probabilities and must lie in [0, 1], got [{low:g}, {high:g}]. "
                "Scale the data to [0, 1] or use the direct encoder."
            )
        # Not in half precision: its random numbers come in steps of 2^-11 or 2^-8, and 0 would be drawn too often.
        chance = torch.rand((T, *x.shape), dtype=state_dtype(x.dtype), device=x.device)
        return (chance < x).to(x.dtype)
