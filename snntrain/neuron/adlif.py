"""adLIF neurons: a leaky potential and an adaptation current that act on each other, and so can resonate."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, interval, real
from snntrain.bounded import Bounded
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.channels import channel_count, check_channels
from snntrain.registry import register


class AdLIFBaseNode(BaseNode):
    """Base of the adLIF neurons, which differ in how their equations are made discrete.

    With alpha = exp(−1/tau_v) and beta = exp(−1/tau_w) a step is made of

    h = alpha·v + (1 − alpha)·(x − w),  s = Θ(h − v_threshold),  v' the reset h
    w' = beta·w + (1 − beta)·(a·v + b·s)·q

    in which a subclass says which v and s the current w' is driven by.

    The parameters are a and b, named `coupling` and `jump`, and the place of each time constant in its range,
    `tau_v_place` and `tau_w_place`: 0 at the lower, 1 at the upper end. They start uniformly distributed in their
    ranges, and act as the nearer bound where an update has left it.

    Args:
        tau_v: range of the membrane time constant, in time steps, > 0.
        tau_w: range of the time constant of the adaptation, in time steps, > 0.
        a: range of the coupling of the current to the potential.
        b: range of the jump of the current at a spike.
        q: factor of both.
        channels: number of channels, ≥ 1, for parameters of their own along dimension 1 of x; None: one for all. A
            model's builder fills in the channels that reach the neuron.
        learnable: make them parameters; else they are buffers.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'), with channels [N, channels, *]; spikes of the same shape.
    """

    def __init__(
        self,
        tau_v: Sequence[float] = (5.0, 25.0),
        tau_w: Sequence[float] = (60.0, 300.0),
        a: Sequence[float] = (0.0, 1.0),
        b: Sequence[float] = (0.0, 2.0),
        q: float = 120.0,
        channels: int | None = None,
        learnable: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.tau_v = interval(self, "tau_v", tau_v, above=0)
        self.tau_w = interval(self, "tau_w", tau_w, above=0)
        self.a, self.b = interval(self, "a", a), interval(self, "b", b)
        self.q = real(self, "q", q)
        self.channels = channel_count(self, "channels", channels)
        self.learnable = flag(self, "learnable", learnable)
        for name, (low, high) in self._ranges.items():
            start = torch.empty(() if self.channels is None else (self.channels,)).uniform_(low, high)
            if self.learnable:
                self.register_parameter(name, nn.Parameter(start))
            else:
                self.register_buffer(name, start)
        for name in self.state_names[1:]:
            self.register_memory(name, 0.0)

    @property
    def _ranges(self) -> dict[str, tuple[float, float]]:
        unit = (0.0, 1.0)
        return {"tau_v_place": unit, "tau_w_place": unit, "coupling": self.a, "jump": self.b}

    def check_input(self, x: Tensor) -> None:
        super().check_input(x)
        check_channels(self, "channels", self.channels, x)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        """alpha, beta, a and b."""
        v_place, w_place, a, b = (
            Bounded.apply(getattr(self, name).to(dtype), *bounds) for name, bounds in self._ranges.items()
        )
        alpha, beta = (
            torch.exp(-1.0 / (low + place * (high - low)))
            for place, (low, high) in ((v_place, self.tau_v), (w_place, self.tau_w))
        )
        return alpha, beta, a, b

    def charge(self, x: Tensor, v: Tensor, w: Tensor, alpha: Tensor) -> Tensor:
        return alpha * v + (1.0 - alpha) * (x - w)

    def adaptation(self, w: Tensor, v: Tensor, s: Tensor, beta: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The current w' that the potential v and the spikes s lead to."""
        return beta * w + (1.0 - beta) * (a * v + b * s) * self.q


@register("neuron")
class AdLIFNode(AdLIFBaseNode):
    """Adaptive leaky integrate-and-fire neuron, discretized by the forward Euler method.

    h  = alpha·v + (1 − alpha)·(x − w),  s' = Θ(h − v_threshold),  v' the reset h
    w' = beta·w + (1 − beta)·(a·v + b·s)·q, by potential and spike of the step before

    with alpha = exp(−1/tau_v), beta = exp(−1/tau_w). For strong coupling it oscillates without bound; SEAdLIFNode does
    not. Its parameters and arguments are those of AdLIFBaseNode.

    Source: Baronig et al., Nature Communications 2025, arXiv 2408.07517, where it is the EF-adLIF neuron.
    """

    state_names = ("v", "w", "s_prev")

    def step(
        self,
        x: Tensor,
        v: Tensor,
        w: Tensor,
        s_prev: Tensor,
        alpha: Tensor,
        beta: Tensor,
        a: Tensor,
        b: Tensor,
    ) -> tuple[Tensor, ...]:
        h = self.charge(x, v, w, alpha)
        s = self.fire(h)
        return s, self.reset_potential(h, s), self.adaptation(w, v, s_prev, beta, a, b), s.view_as(s)


@register("neuron")
class SEAdLIFNode(AdLIFBaseNode):
    """Adaptive leaky integrate-and-fire neuron, discretized by the symplectic Euler method.

    h  = alpha·v + (1 − alpha)·(x − w),  s = Θ(h − v_threshold),  v' the reset h
    w' = beta·w + (1 − beta)·(a·v' + b·s)·q, by potential and spike of the same step

    with alpha = exp(−1/tau_v), beta = exp(−1/tau_w). It stays stable at couplings at which AdLIFNode diverges. Its
    parameters and arguments are those of AdLIFBaseNode.

    Source: Baronig et al., Nature Communications 2025, arXiv 2408.07517.
    """

    state_names = ("v", "w")

    def step(
        self, x: Tensor, v: Tensor, w: Tensor, alpha: Tensor, beta: Tensor, a: Tensor, b: Tensor
    ) -> tuple[Tensor, ...]:
        h = self.charge(x, v, w, alpha)
        s = self.fire(h)
        v = self.reset_potential(h, s)
        return s, v, self.adaptation(w, v, s, beta, a, b)
