"""Resonate-and-fire neuron: a damped oscillator that answers to inputs of its own frequency."""

from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, integer, invalid, real
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.channels import check_channels
from snntrain.registry import register


@register("neuron")
class RAFNode(BaseNode, without=("v_reset", "detach_reset")):
    """Resonate-and-fire neuron: v and w, real and imaginary part of an oscillation, follow Euler steps of length dt.

    Charge: v' = v + dt·(b·v − omega·w + x)
            w' = w + dt·(omega·v + b·w)
    Fire:   s = Θ(v' − v_threshold − q); v and w are not reset.

    balanced: b = p(omega) − abs(b_offset) − q with p(omega) = (−1 + √(1 − (dt·omega)²))/dt, the damping at which an
    Euler step neither grows nor shrinks the oscillation; after a spike the refractory q' = q_decay·q + s raises both
    threshold and damping. Otherwise b = −abs(b_offset) and q = 0; then the oscillation grows without bound unless b
    lies below p(omega).

    Args:
        omega: angular frequency, finite; dt·abs(omega) ≤ 1 if balanced. Published: omega drawn from U(5, 10).
        b_offset: damping beyond p(omega), finite, its sign has no meaning. Published: drawn from U(0, 3).
        dt: duration of a time step, > 0.
        balanced: the variant of Higuchi et al.
        q_decay: share of q that is left after a step, 0 to 1.
        num_neurons: None: one omega and b_offset for all; else one per channel, dimension 1 of a step's input
            [N, num_neurons, *]. Draw them with torch.nn.init.uniform_(node.omega, 5, 10).
        learnable: make them parameters; else they are buffers.

    Source: Izhikevich, Neural Networks 2001; Higuchi et al., ICML 2024, arXiv 2402.14603.
    """

    def __init__(
        self,
        omega: float = 10.0,
        b_offset: float = 1.0,
        dt: float = 0.01,
        *,
        balanced: bool = True,
        q_decay: float = 0.9,
        num_neurons: int | None = None,
        learnable: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(v_reset=None, **common)
        omega, b_offset = real(self, "omega", omega), real(self, "b_offset", b_offset)
        self.dt = real(self, "dt", dt, above=0)
        self.balanced = flag(self, "balanced", balanced)
        if balanced and self.dt * abs(omega) > 1:
            raise invalid(self, "omega", f"a number with dt·abs(omega) ≤ 1 (dt = {self.dt:g}) if balanced", omega)
        self.q_decay = real(self, "q_decay", q_decay, at_least=0, at_most=1)
        self.num_neurons = None if num_neurons is None else integer(self, "num_neurons", num_neurons, at_least=1)
        self.learnable = flag(self, "learnable", learnable)
        shape = () if self.num_neurons is None else (self.num_neurons,)
        for name, value in (("omega", omega), ("b_offset", b_offset)):
            if learnable:
                self.register_parameter(name, nn.Parameter(torch.full(shape, value)))
            else:
                self.register_buffer(name, torch.full(shape, value))
        self.state_names = ("v", "w", "q") if balanced else ("v", "w")
        for name in self.state_names[1:]:
            self.register_memory(name, 0.0)

    def check_input(self, x: Tensor) -> None:
        super().check_input(x)
        check_channels(self, "num_neurons", self.num_neurons, x)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        omega, b_offset = self.omega.to(dtype), self.b_offset.to(dtype)
        if not self.balanced:
            return omega, -b_offset.abs()
        z = self.dt * omega
        # Where training drives dt·omega beyond 1, p stays at its lowest, −1/dt; NaN would come of a negative root.
        root = torch.sqrt((1.0 - z * z).clamp(min=torch.finfo(dtype).tiny))
        p = (-1.0 + root) / torch.full_like(omega, self.dt)
        return omega, p - b_offset.abs()

    def step(self, x: Tensor, v: Tensor, w: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        *q, omega, b = others
        if self.balanced:
            b = b - q[0]
        v_new = v + self.dt * (b * v - omega * w + x)
        w_new = w + self.dt * (omega * v + b * w)
        if not self.balanced:
            return self.fire(v_new), v_new, w_new
        s = self.surrogate_function(v_new - self.v_threshold - q[0])
        return s, v_new, w_new, self.q_decay * q[0] + s
