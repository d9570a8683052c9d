"""Neurons whose threshold moves: with the spikes fired (ALIF), or with the potential and the time (CE-LIF)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import integer, real
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.channels import channel_count, check_channels, check_number_of_steps
from snntrain.registry import register


@register("neuron")
class ALIFNode(BaseNode, without=("v_reset",)):
    """Leaky integrate-and-fire neuron whose threshold grows with each spike and decays slowly.

    Charge: h = v + x
    Fire:   s = Θ(h − (v_threshold + beta·a))
    Reset:  v' = exp(−1/tau)·h − v_threshold·s,  a' = exp(−1/tau_a)·a + s

    v is what is left for the next step, after leak and reset; detach_reset concerns v' alone. The threshold is a
    memory of about tau_a steps.

    Args:
        tau: membrane time constant in time steps, > 0.
        tau_a: time constant of the threshold in time steps, > 0.
        beta: growth of the threshold at a spike, ≥ 0. Published: 0.184 for tau 20, tau_a 200 and v_threshold 1.6.

    Source: Bellec et al., Nature Communications 2020, 10.1038/s41467-020-17236-y.
    """

    state_names = ("v", "a")

    def __init__(self, tau: float = 20.0, tau_a: float = 200.0, beta: float = 0.184, **common: Any) -> None:
        super().__init__(v_reset=None, **common)
        self.tau = real(self, "tau", tau, above=0)
        self.tau_a = real(self, "tau_a", tau_a, above=0)
        self.beta = real(self, "beta", beta, at_least=0)
        self.register_memory("a", 0.0)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return math.exp(-1.0 / self.tau), math.exp(-1.0 / self.tau_a)

    def step(self, x: Tensor, v: Tensor, a: Tensor, kept: Tensor, kept_a: Tensor) -> tuple[Tensor, ...]:
        h = v + x
        s = self.surrogate_function(h - (self.v_threshold + self.beta * a))
        s_d = s.detach() if self.detach_reset else s
        return s, kept * h - self.v_threshold * s_d, kept_a * a + s


@register("neuron")
class CELIFNode(BaseNode):
    """Context embedding LIF: a leaky neuron whose threshold follows its potential by a factor learned for each step.

    Threshold: θ' = θ + h·E[t] − beta·(θ − v_threshold), with the h of the step before
    Charge:    h' = decay·v + x
    Fire:      s = Θ(h' − θ')
    Reset:     v' as in BaseNode

    h and θ are states of their own, 0 and v_threshold before the first step. E, the parameter `embedding`
    [T, channels], starts normally distributed with mean and deviation 0.01.

    Args:
        T: most time steps between two resets, ≥ 1.
        channels: number of channels, ≥ 1, for an embedding of their own along dimension 1 of x; None: one for all. A
            model's builder fills in the channels that reach the neuron.
        decay: share of the potential that is left after a step, 0 to 1.
        beta: share of the threshold's distance from v_threshold that is lost in a step, 0 to 1.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'), with channels [N, channels, *]; spikes of the same shape.
    Source: Chen et al. (CE-LIF), arXiv 2308.15150, with the beta and the initial embedding of NeuroSeqBench.
    """

    state_names = ("v", "h", "theta")
    step_counter = "t"

    def __init__(
        self, T: int, channels: int | None = None, decay: float = 0.5, beta: float = 0.02, **common: Any
    ) -> None:
        super().__init__(**common)
        self.T = integer(self, "T", T, at_least=1)
        self.channels = channel_count(self, "channels", channels)
        self.decay = real(self, "decay", decay, at_least=0, at_most=1)
        self.beta = real(self, "beta", beta, at_least=0, at_most=1)
        self.embedding = nn.Parameter(torch.empty(self.T, self.channels or 1).normal_(0.01, 0.01))
        self.register_memory("h", 0.0)
        self.register_memory("theta", self.v_threshold)
        self.register_memory("t", 0)

    def check_input(self, x: Tensor) -> None:
        super().check_input(x)
        check_channels(self, "channels", self.channels, x)
        check_number_of_steps(self, self.T, x)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return (self.embedding.to(dtype)[self.t :],)

    def step(self, x: Tensor, v: Tensor, h: Tensor, theta: Tensor, embedding: Tensor) -> tuple[Tensor, ...]:
        theta = theta + h * embedding - self.beta * (theta - self.v_threshold)
        h = self.decay * v + x
        s = self.surrogate_function(h - theta)
        return s, self.reset_potential(h, s), h, theta
