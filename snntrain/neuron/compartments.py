"""Neurons of several compartments: a dendrite beside the soma (TC-LIF), and branches of dendrites (DH-LIF)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, integer, interval, real
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.channels import channel_count, check_channels
from snntrain.registry import register


@register("neuron")
class TCLIFNode(BaseNode, without=("v_reset",)):
    """Two-compartment neuron: a dendrite that keeps the input, and a soma that fires and holds the dendrite back.

    Dendrite: d~ = d − sigmoid(c1)·v + x
    Soma:     h = v + sigmoid(c2)·d~
    Fire:     s = Θ(h − v_threshold)
    Reset:    d' = d~ − gamma·s,  v' = h − v_threshold·s

    c1 and c2 are learnable, one pair per layer; nothing else leaks.

    Args:
        init_beta_1: initial coupling of the dendrite to the soma, −sigmoid(c1), > −1 and < 0.
        init_beta_2: initial coupling of the soma to the dendrite, sigmoid(c2), > 0 and < 1.
        gamma: what a spike takes from the dendrite, ≥ 0.

    Source: Zhang et al. (TC-LIF), AAAI 2024, arXiv 2308.13250.
    """

    state_names = ("v", "d")

    def __init__(self, init_beta_1: float = -0.5, init_beta_2: float = 0.5, gamma: float = 0.5, **common: Any) -> None:
        super().__init__(v_reset=None, **common)
        self.init_beta_1 = real(self, "init_beta_1", init_beta_1, above=-1, below=0)
        self.init_beta_2 = real(self, "init_beta_2", init_beta_2, above=0, below=1)
        self.gamma = real(self, "gamma", gamma, at_least=0)
        self.c1, self.c2 = (
            nn.Parameter(torch.tensor(math.log(value) - math.log1p(-value)))
            for value in (-self.init_beta_1, self.init_beta_2)
        )
        self.register_memory("d", 0.0)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return torch.sigmoid(self.c1.to(dtype)), torch.sigmoid(self.c2.to(dtype))

    def step(self, x: Tensor, v: Tensor, d: Tensor, inhibition: Tensor, excitation: Tensor) -> tuple[Tensor, ...]:
        d = d - inhibition * v + x
        h = v + excitation * d
        s = self.fire(h)
        s_d = s.detach() if self.detach_reset else s
        return s, self.reset_potential(h, s), d - self.gamma * s_d


@register("neuron")
class DHLIFNode(BaseNode, without=("v_reset",)):
    """Dendritic neuron: each of its branches is a current that leaks at a rate of its own.

    Branch b: d_b' = sigmoid(tau_n[b])·d_b + (1 − sigmoid(tau_n[b]))·x_b
    Charge:   h = v + g·Σ_b d_b',  g = 1 − sigmoid(tau_m) (decay_input), or 1
    Fire:     s = Θ(h − v_threshold)
    Reset:    v' = sigmoid(tau_m)·h − v_threshold·s

    v is what is left for the next step, after leak and reset. tau_m [channels] and tau_n [branches, channels] are
    learnable and hold logits, which start uniformly distributed in the ranges given.

    The input has the channels of all branches side by side, those of the first branch first: x_b is
    x[:, b·channels : (b + 1)·channels]. DendriticLinear in front of the neuron makes such inputs.

    Args:
        branches: number of branches of a neuron, ≥ 1.
        channels: number of channels of the output, ≥ 1, for parameters of their own; None: one for all. A model's
            builder fills in the channels that reach the neuron, divided by the branches.
        init_tau_m: range of the initial logits of the soma.
        init_tau_n: range of the initial logits of the branches.
        decay_input: scale the currents by 1 − sigmoid(tau_m).

    Shapes: x [N, branches·C, *] → spikes [N, C, *] ('s'), with another dim T in front ('m').
    Source: Zheng et al. (DH-SNN), Nature Communications 2024, 10.1038/s41467-023-44614-z.
    """

    def __init__(
        self,
        branches: int = 4,
        channels: int | None = None,
        init_tau_m: Sequence[float] = (0.0, 4.0),
        init_tau_n: Sequence[float] = (0.0, 4.0),
        decay_input: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(v_reset=None, **common)
        self.branches = integer(self, "branches", branches, at_least=1)
        self.channels = channel_count(self, "channels", channels)
        self.decay_input = flag(self, "decay_input", decay_input)
        self.init_tau_m = interval(self, "init_tau_m", init_tau_m)
        self.init_tau_n = interval(self, "init_tau_n", init_tau_n)
        shape = () if self.channels is None else (self.channels,)
        self.tau_m = nn.Parameter(torch.empty(shape).uniform_(*self.init_tau_m))
        self.tau_n = nn.Parameter(torch.empty(self.branches, *shape).uniform_(*self.init_tau_n))
        self.state_names = ("v", *(f"d{b}" for b in range(self.branches)))
        for name in self.state_names[1:]:
            self.register_memory(name, 0.0)

    def check_input(self, x: Tensor) -> None:
        super().check_input(x)
        check_channels(self, "channels", self.channels, x)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return torch.sigmoid(self.tau_m.to(dtype)), *torch.sigmoid(self.tau_n.to(dtype)).unbind(0)

    def step(self, *values: Tensor) -> tuple[Tensor, ...]:
        count = self.branches
        inputs, v, currents = values[:count], values[count], values[count + 1 : 2 * count + 1]
        kept, *decays = values[2 * count + 1 :]
        currents = [p * d + (1.0 - p) * x for x, d, p in zip(inputs, currents, decays, strict=True)]
        total = currents[0]
        for current in currents[1:]:
            total = total + current
        h = v + (1.0 - kept) * total if self.decay_input else v + total
        s = self.fire(h)
        s_d = s.detach() if self.detach_reset else s
        return s, kept * h - self.v_threshold * s_d, *currents
