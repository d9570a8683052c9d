"""Integrate-and-fire neuron with a learnable threshold."""

from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import real
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.linear_form import LinearForm, values_of
from snntrain.registry import register
from snntrain.surrogate import Sigmoid


@register("neuron")
class ATIFNode(BaseNode, positional=True, without=("v_reset", "surrogate_function", "detach_reset")):
    """Integrate-and-fire neuron with a learnable threshold, one per layer, which is also the height of its spikes.

    Charge: h = v + x.
    Fire:   z = Θ(h − θ); the output is z·θ.
    Reset:  v' = h − z·θ.

    θ is the parameter v_threshold [1], used as max(θ, 0.001). It starts at a random value between
    vth_init_l·v_threshold and vth_init_h·v_threshold. Nothing is detached: Θ, output and reset send gradient to it.

    Args:
        v_threshold: scale of the initial threshold, > 0.
        vth_init_l, vth_init_h: 0 < vth_init_l ≤ vth_init_h.
        alpha: steepness of the Sigmoid surrogate, > 0.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); output of the same shape, 0 or θ.
    Source: Castagnetti et al., Frontiers in Neuroscience 2023, 10.3389/fnins.2023.1154241.
    """

    def __init__(
        self,
        v_threshold: float = 1.0,
        vth_init_l: float = 0.8,
        vth_init_h: float = 1.0,
        alpha: float = 1.0,
        **common: Any,
    ) -> None:
        v_threshold = real(self, "v_threshold", v_threshold, above=0)
        surrogate = Sigmoid(real(self, "alpha", alpha, above=0))
        super().__init__(v_threshold=v_threshold, v_reset=None, surrogate_function=surrogate, **common)
        self.vth_init_l = real(self, "vth_init_l", vth_init_l, above=0)
        self.vth_init_h = real(self, "vth_init_h", vth_init_h, at_least=self.vth_init_l)
        initial = torch.empty(1).uniform_(self.vth_init_l * v_threshold, self.vth_init_h * v_threshold)
        self.v_threshold = nn.Parameter(initial)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return (self.v_threshold.to(dtype).clamp(min=1e-3).reshape(()),)

    def step(self, x: Tensor, v: Tensor, theta: Tensor) -> tuple[Tensor, ...]:
        h = v + x
        y = self.surrogate_function(h - theta) * theta
        return y, h - y

    def linear_form(self) -> LinearForm | None:
        theta = values_of(self.v_threshold).clamp(min=1e-3)
        return LinearForm(threshold=theta, v_reset=None, height=theta)
