"""Neurons with an adaptation current w beside the potential v."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import real
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.nonlinear import warn_of_runaway
from snntrain.registry import register


class AdaptBaseNode(BaseNode):
    """Base of the neurons that tire: charge → adaptation → fire → reset.

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
        Others as in BaseNode.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Raises: ValueError naming the argument, the range and the value received.
    Source: Brette & Gerstner, J. Neurophysiology 2005.
    """

    state_names = ("v", "w")
    hooks = (*BaseNode.hooks, "neuronal_adaptation")

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        v_rest: float = 0.0,
        w_rest: float = 0.0,
        tau_w: float = 2.0,
        a: float = 0.0,
        b: float = 0.0,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        detach_reset: bool = False,
        step_mode: str = "s",
        backend: str = "auto",
        store_v_seq: bool = False,
    ) -> None:
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)
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

    def step(self, x: Tensor, v: Tensor, w: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        h = self.charge(x, v, w, *parameters)
        w = self.adaptation(h, w, *parameters)
        s = self.fire(h)
        return s, self.reset_potential(h, s), self.jump(w, s)

    def neuronal_charge(self, x: Tensor) -> None:
        """Write the charged potential h to self.v."""
        self.v = self.charge(x, self.v, self.w, *self.parameters_for(x))

    def neuronal_adaptation(self) -> None:
        """Write the adaptation current before the jump to self.w."""
        self.w = self.adaptation(self.v, self.w, *self.parameters_for(self.v))

    def neuronal_reset(self, s: Tensor) -> None:
        """Write potential and adaptation current after the spikes to self.v and self.w."""
        super().neuronal_reset(s)
        self.w = self.jump(self.w, s)

    def w_float_to_tensor(self, x: Tensor) -> None:
        """Give the adaptation current the shape of the one-step input x, if it is still the number it starts from."""
        if isinstance(self.w, float):
            self.w = torch.full_like(x, self.w, requires_grad=False)

    @staticmethod
    def jit_hard_reset(
        v: Tensor, w: Tensor, spike_d: Tensor, v_reset: float, b: float, spike: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(v, w) after a hard reset of v by spike_d, and a jump b of w at each spike."""
        return BaseNode.jit_hard_reset(v, spike_d, v_reset), w + b * spike

    @staticmethod
    def jit_soft_reset(
        v: Tensor, w: Tensor, spike_d: Tensor, v_threshold: float, b: float, spike: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(v, w) after a soft reset of v by spike_d, and a jump b of w at each spike."""
        return BaseNode.jit_soft_reset(v, spike_d, v_threshold), w + b * spike

    apply_hard_reset, apply_soft_reset = jit_hard_reset, jit_soft_reset

    def single_step_forward(self, x: Tensor) -> Tensor:
        if not self._steps_by_hooks():
            return super().single_step_forward(x)
        self.neuronal_charge(x)
        self.neuronal_adaptation()
        s = self.neuronal_fire()
        self.neuronal_reset(s)
        return s

    def settings(self) -> dict[str, Any]:
        own = ("v_rest", "w_rest", "tau_w", "a", "b")
        return {name: getattr(self, name) for name in own} | super().settings()


@register("neuron")
class IzhikevichNode(AdaptBaseNode):
    """Izhikevich's neuron: a quadratic charge with adaptation.

    Charge: h = v + (x + a0·(v − v_rest)·(v − v_c) − w)/tau; adaptation and reset as in AdaptBaseNode.

    With the default a = b = 0 the current w only decays to 0.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_c: critical potential, above which the potential runs away upwards, finite.
        a0: sharpness of the quadratic, > 0.
        v_rest: the other root of the quadratic, finite.
        Others as in AdaptBaseNode.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Raises: ValueError naming the argument, the range and the value received. Warns if v_reset is None.
    Source: Izhikevich, IEEE Trans. Neural Networks 2003.
    """

    def __init__(
        self,
        tau: float = 2.0,
        v_c: float = 0.8,
        a0: float = 1.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        v_rest: float = -0.1,
        w_rest: float = 0.0,
        tau_w: float = 2.0,
        a: float = 0.0,
        b: float = 0.0,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        detach_reset: bool = False,
        step_mode: str = "s",
        backend: str = "auto",
        store_v_seq: bool = False,
    ) -> None:
        common = (surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        super().__init__(v_threshold, v_reset, v_rest, w_rest, tau_w, a, b, *common)
        self.tau = real(self, "tau", tau, above=1)
        self.v_c = real(self, "v_c", v_c)
        self.a0 = real(self, "a0", a0, above=0)
        warn_of_runaway(self)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return *super().step_parameters(dtype), self.tau

    def charge(self, x: Tensor, v: Tensor, w: Tensor, tau_w: Tensor, tau: Tensor) -> Tensor:
        return v + (x + self.a0 * (v - self.v_rest) * (v - self.v_c) - w) / tau

    def settings(self) -> dict[str, Any]:
        own = ("tau", "v_c", "a0")
        return {name: getattr(self, name) for name in own} | super().settings()
