"""Neurons whose output has more than two levels: integer spike counts, and spikes with a sign."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, invalid, real
from snntrain.neuron.base_node import BaseNode
from snntrain.registry import register
from snntrain.surrogate import MultiLevelSpikeCount, Rect


@register("neuron")
class ILIFNode(BaseNode, positional=True, without=("v_reset",)):
    """Leaky integrate-and-fire neuron that fires 0 to D spikes at once.

    Charge: h = v − v/tau + x.
    Fire:   c = round(clip(h/v_threshold, 0, D)), halves to the even count; dc/dh = 1/v_threshold where the clip leaves
            h as it is (bounds included), else 0.
    Reset:  v' = h − c·v_threshold.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_threshold: potential worth one spike, > 0.
        surrogate_function: a MultiLevelSpikeCount, spiking, which holds D; None: a fresh MultiLevelSpikeCount(4).
        Others as in BaseNode; the reset is always soft.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); counts of the same shape.
    Source: Luo et al., ECCV 2024, arXiv 2407.20708.
    """

    def __init__(
        self,
        tau: float = 4 / 3,
        v_threshold: float = 1.0,
        surrogate_function: MultiLevelSpikeCount | None = None,
        **common: Any,
    ) -> None:
        if surrogate_function is None:
            surrogate_function = MultiLevelSpikeCount(4)
        if not isinstance(surrogate_function, MultiLevelSpikeCount) or not surrogate_function.spiking:
            expected = "a MultiLevelSpikeCount in spiking mode, or None"
            raise invalid(self, "surrogate_function", expected, surrogate_function)
        v_threshold = real(self, "v_threshold", v_threshold, above=0)
        super().__init__(v_threshold=v_threshold, v_reset=None, surrogate_function=surrogate_function, **common)
        self.tau = real(self, "tau", tau, above=1)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return self.tau, self.v_threshold

    def step(self, x: Tensor, v: Tensor, tau: Tensor, v_threshold: Tensor) -> tuple[Tensor, ...]:
        h = v - v / tau + x
        c = self.surrogate_function(h / v_threshold)
        c_d = c.detach() if self.detach_reset else c
        return c, h - c_d * v_threshold


@register("neuron")
class TernaryLIFNode(BaseNode, without=("v_reset",)):
    """Leaky integrate-and-fire neuron that fires 1 at a high potential and −1 at a low one.

    Charge: h = v + (x − v)/tau    (decay_input)
            h = v − v/tau + x      (otherwise).
    Fire:   p = Θ(h − v_threshold), n = Θ(−h − v_threshold); the output is a·(p − n).
    Reset:  v' = (1 − (p + n))·h.

    Args:
        tau: membrane time constant in time steps, > 1; 4/3 keeps a quarter of the potential.
        decay_input: divide the input by tau as well.
        v_threshold: distance of both thresholds from 0, > 0.
        learnable_amplitude: scale the spikes by a parameter a, initially 1; it can be folded into the next weights.
        surrogate_function: None: a fresh Rect(1.0).
        Others as in BaseNode; the reset is always to 0.

    Source: Guo et al., AAAI 2024, arXiv 2312.06372.
    """

    def __init__(
        self,
        tau: float = 4 / 3,
        decay_input: bool = False,
        v_threshold: float = 0.5,
        *,
        learnable_amplitude: bool = False,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        **common: Any,
    ) -> None:
        v_threshold = real(self, "v_threshold", v_threshold, above=0)
        if surrogate_function is None:
            surrogate_function = Rect(1.0)
        super().__init__(v_threshold=v_threshold, v_reset=0.0, surrogate_function=surrogate_function, **common)
        self.tau = real(self, "tau", tau, above=1)
        self.decay_input = flag(self, "decay_input", decay_input)
        self.learnable_amplitude = flag(self, "learnable_amplitude", learnable_amplitude)
        if learnable_amplitude:
            self.a = nn.Parameter(torch.tensor(1.0))

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return (self.tau, self.a.to(dtype)) if self.learnable_amplitude else (self.tau,)

    def step(self, x: Tensor, v: Tensor, tau: Tensor, a: Tensor | None = None) -> tuple[Tensor, ...]:
        h = v + (x - v) / tau if self.decay_input else v - v / tau + x
        p, n = self.fire(h), self.fire(-h)
        o = p - n
        return o if a is None else a * o, self.reset_potential(h, p + n)
