"""KLIF neuron: a LIF neuron with a learnable slope."""

from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag
from snntrain.neuron.lif import LIFNode
from snntrain.registry import register

#: scale_reset divides by k as if its magnitude were at least this.
SMALLEST_DIVISOR = 1e-4


@register("neuron")
class KLIFNode(LIFNode, positional=True):
    """Leaky integrate-and-fire neuron whose potential passes a ReLU of learnable slope k, one per layer.

    Charge: f = relu(k·h), h as in LIFNode
    Fire:   s = Θ(f − v_threshold)
    Reset:  v' = r where s = 1, else f       (hard);  v' = f − s·v_threshold        (soft)
            v' = r where s = 1, else f/k     (hard);  v' = (f − s·v_threshold)/k    (soft), with scale_reset.

    k starts at 1 and is free: at 0 the neuron is silent, below 0 it is inverted. As a divisor its magnitude is held at
    1e-4 at least, with its sign, and has no gradient there.

    Args:
        scale_reset: divide by k again in the reset.

    Source: Jiang & Zhang (KLIF), arXiv 2302.09238.
    """

    def __init__(self, scale_reset: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.scale_reset = flag(self, "scale_reset", scale_reset)
        self.k = nn.Parameter(torch.tensor(1.0))

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        """tau, k, and with scale_reset the divisor that stands for k."""
        k = self.k.to(dtype)
        if not self.scale_reset:
            return self.tau, k
        return self.tau, k, torch.where(k < 0, k.clamp(max=-SMALLEST_DIVISOR), k.clamp(min=SMALLEST_DIVISOR))

    def charge(self, x: Tensor, v: Tensor, tau: Tensor, k: Tensor, *divisor: Tensor) -> Tensor:
        """f, the potential that fires and is reset."""
        return torch.relu(k * super().charge(x, v, tau))

    def reset_potential(self, f: Tensor, s: Tensor, *parameters: Tensor) -> Tensor:
        if not self.scale_reset:
            return super().reset_potential(f, s)
        *_, divisor = parameters
        if self.v_reset is None:
            return super().reset_potential(f, s) / divisor
        return super().reset_potential(f / divisor, s)
