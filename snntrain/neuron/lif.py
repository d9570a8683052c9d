"""Leaky integrate-and-fire neurons: fixed and learnable time constant."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, real
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.integrate_and_fire import start_at_zero
from snntrain.neuron.linear_form import LinearForm
from snntrain.registry import register


def weight_of_time_constant(tau: float) -> nn.Parameter:
    """A learnable w with 1/tau = sigmoid(w)."""
    return nn.Parameter(torch.tensor(-math.log(tau - 1.0)))


def time_constant_of(w: Tensor) -> float:
    """tau = 1/sigmoid(w); NaN on the meta device."""
    return math.nan if w.is_meta else 1.0 + torch.exp(-w.detach().double()).item()


@register("neuron")
class LIFNode(BaseNode, positional=True):
    """Leaky integrate-and-fire neuron.

    Charge: h = v + (x − (v − r))/tau    (decay_input)
            h = v − (v − r)/tau + x      (otherwise),  r = v_reset, or 0 with soft reset.

    Args:
        tau: membrane time constant in time steps, > 1.
        decay_input: divide the input by tau as well.

    Source: Lapicque 1907; Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4.
    """

    def __init__(self, tau: float = 2.0, decay_input: bool = True, **common: Any) -> None:
        super().__init__(**common)
        self.tau = real(self, "tau", tau, above=1)
        self.decay_input = flag(self, "decay_input", decay_input)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return (self.tau,)

    def charge(self, x: Tensor, v: Tensor, tau: Tensor) -> Tensor:
        # Divide, and in this order: other forms round differently and flip spikes at the threshold.
        return v + (x - (v - self.rest)) / tau if self.decay_input else v - (v - self.rest) / tau + x

    def linear_form(self) -> LinearForm | None:
        decay = 1.0 / self.tau
        return LinearForm.of(self, voltage_decay=decay, gain=decay if self.decay_input else 1.0)


@register("neuron")
class ParametricLIFNode(BaseNode, positional=True):
    """Leaky integrate-and-fire neuron with a learnable time constant, one per layer.

    Charge: h = v + (x − (v − r))·p      (decay_input)
            h = v − (v − r)·p + x        (otherwise),  p = sigmoid(w) = 1/tau.

    Args:
        init_tau: initial time constant in time steps, > 1; the parameter w starts at −ln(init_tau − 1).
        decay_input: scale the input by p as well.

    Source: Fang et al., ICCV 2021, arXiv 2007.05785.
    """

    def __init__(self, init_tau: float = 2.0, decay_input: bool = True, **common: Any) -> None:
        super().__init__(**common)
        init_tau = real(self, "init_tau", init_tau, above=1)
        self.decay_input = flag(self, "decay_input", decay_input)
        self.w = weight_of_time_constant(init_tau)

    @property
    def tau(self) -> float:
        """The present time constant, 1/sigmoid(w); NaN on the meta device."""
        return time_constant_of(self.w)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return (torch.sigmoid(self.w.to(dtype)),)

    def charge(self, x: Tensor, v: Tensor, p: Tensor) -> Tensor:
        return v + (x - (v - self.rest)) * p if self.decay_input else v - (v - self.rest) * p + x

    def linear_form(self) -> LinearForm | None:
        decay = 1.0 / self.tau
        return LinearForm.of(self, voltage_decay=decay, gain=decay if self.decay_input else 1.0)

    def settings(self) -> dict[str, Any]:
        return {"tau": self.tau, **super().settings()}


class SimpleLIFNode(LIFNode, positional=True, without=("backend", "store_v_seq")):
    """LIFNode, by SpikingJelly's name, whose potential starts at 0 whatever v_reset is."""

    def __init__(self, tau: float, decay_input: bool, **common: Any) -> None:
        super().__init__(tau, decay_input, **common)
        start_at_zero(self)

    def linear_form(self) -> LinearForm | None:
        return None if self.rest else super().linear_form()  # the potential does not start at rest
