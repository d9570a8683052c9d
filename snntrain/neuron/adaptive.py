"""Neurons with an adaptation current w beside the potential v."""

from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import real
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.hook_adapter import AdaptationHooks
from snntrain.neuron.nonlinear import warn_of_runaway
from snntrain.registry import register


class AdaptBaseNode(AdaptationHooks, BaseNode, positional=True):
    """Base of the neurons with adaptation, which fire less the longer they are driven.

    A step is charge → adaptation → fire → reset.

    Adaptation: w~ = w + (a·(h − v_rest) − w)/tau_w
    Reset:      w' = w~ + b·s, and v' as in BaseNode; detach_reset concerns v' alone.

    A subclass defines `charge(x, v, w, *parameters)`, which reads the w of the step before, or the hook
    `neuronal_charge(x)`; it may replace `adaptation`, or the hook `neuronal_adaptation()`, too.

    Args:
        v_rest: potential that the adaptation is measured from, finite.
        w_rest: w before the first step, finite.
        tau_w: time constant of w in time steps, > 0.
        a: coupling of w to the potential, finite.
        b: jump of w at each spike, finite.

    Source: Brette & Gerstner, J. Neurophysiology 2005.
    """

    state_names = ("v", "w")

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        v_rest: float = 0.0,
        w_rest: float = 0.0,
        tau_w: float = 2.0,
        a: float = 0.0,
        b: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(v_threshold=v_threshold, v_reset=v_reset, **common)
        self.v_rest = real(self, "v_rest", v_rest)
        self.w_rest = real(self, "w_rest", w_rest)
        self.tau_w = real(self, "tau_w", tau_w, above=0)
        self.a = real(self, "a", a)
        self.b = real(self, "b", b)
        self.register_memory("w", self.w_rest)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        """tau_w; a subclass appends its own."""
        return (self.tau_w,)

    def charge(self, x: Tensor, v: Tensor, w: Tensor, *parameters: Tensor) -> Tensor:
        """Potential h after the input x arrived; parameters as from step_parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define charge(x, v, w, tau_w) or neuronal_charge(x).")

    def adaptation(self, h: Tensor, w: Tensor, tau_w: Tensor, *parameters: Tensor) -> Tensor:
        """Adaptation current w~ at the charged potential, before the jump."""
        return w + (self.a * (h - self.v_rest) - w) / tau_w

    def jump(self, w: Tensor, s: Tensor) -> Tensor:
        """Adaptation current w' after the spikes s, whose gradient stays."""
        return w + self.b * s

    def charge_states(self, x: Tensor, v: Tensor, w: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        h = self.charge(x, v, w, *parameters)
        return h, self.adaptation(h, w, *parameters)

    def reset_states(self, s: Tensor, h: Tensor, w: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        return self.reset_potential(h, s), self.jump(w, s)


@register("neuron")
class IzhikevichNode(AdaptBaseNode, positional=True):
    """Izhikevich's neuron: a quadratic charge with adaptation.

    Charge: h = v + (x + a0·(v − v_rest)·(v − v_c) − w)/tau; adaptation and reset as in AdaptBaseNode.

    With the default a = b = 0 the current w only decays to 0.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_c: critical potential, above which the potential runs away upwards, finite.
        a0: sharpness of the quadratic, > 0.
        v_rest: the other root of the quadratic, finite.

    Warns if v_reset is None.
    Source: Izhikevich, IEEE Trans. Neural Networks 2003.
    """

    def __init__(
        self, tau: float = 2.0, v_c: float = 0.8, a0: float = 1.0, *, v_rest: float = -0.1, **common: Any
    ) -> None:
        super().__init__(v_rest=v_rest, **common)
        self.tau = real(self, "tau", tau, above=1)
        self.v_c = real(self, "v_c", v_c)
        self.a0 = real(self, "a0", a0, above=0)
        warn_of_runaway(self)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return *super().step_parameters(dtype), self.tau

    def charge(self, x: Tensor, v: Tensor, w: Tensor, tau_w: Tensor, tau: Tensor) -> Tensor:
        return v + (x + self.a0 * (v - self.v_rest) * (v - self.v_c) - w) / tau
