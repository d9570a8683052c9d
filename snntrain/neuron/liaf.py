"""LIAF neuron: leaky integrate, and an analog activation in place of the spike."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import choice, flag, refuse
from snntrain.neuron.lif import LIFNode
from snntrain.registry import register


def identity(x: Tensor) -> Tensor:
    """x itself."""
    return x


def leaky_relu(x: Tensor) -> Tensor:
    """x where positive, else 0.01·x."""
    return torch.where(x > 0, x, 0.01 * x)


#: Activations that `act` may name.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": leaky_relu,
    "selu": nn.functional.selu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": identity,
}


@register("neuron")
class LIAFNode(LIFNode):
    """Leaky integrate-and-analog-fire neuron: a LIF neuron that hands on an activation of its potential.

    Output: y = act(h − v_threshold)    (threshold_related)
            y = act(h)                  (otherwise),  h as in LIFNode.

    The spikes Θ(h − v_threshold) serve the reset only; y is not binary.

    Args:
        act: a function or module of a tensor, or the name of one: 'relu', 'leaky_relu', 'selu', 'tanh', 'sigmoid',
            'identity'.
        threshold_related: measure the potential from the threshold.
        Others as in LIFNode.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); outputs of the same shape.
    Raises: ValueError naming the argument, the range and the value received.
    Source: Wu et al. (LIAF-Net), arXiv 2011.06176.
    """

    is_spiking = False

    def __init__(
        self,
        act: Callable[[Tensor], Tensor] | str,
        threshold_related: bool,
        tau: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        detach_reset: bool = False,
        step_mode: str = "s",
        backend: str = "auto",
        store_v_seq: bool = False,
    ) -> None:
        common = (surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        super().__init__(tau, decay_input, v_threshold, v_reset, *common)
        if isinstance(act, str):
            act = ACTIVATIONS[choice(self, "act", act, tuple(ACTIVATIONS))]
        if isinstance(act, type) or not callable(act):
            raise refuse(self, "act", "a function such as torch.relu, or the name of one such as 'relu'", act)
        self.act = act
        self.threshold_related = flag(self, "threshold_related", threshold_related)

    def activation(self, h: Tensor) -> Tensor:
        """Output y of the charged potential."""
        return self.act(h - self.v_threshold) if self.threshold_related else self.act(h)

    def step(self, x: Tensor, v: Tensor, tau: Tensor) -> tuple[Tensor, ...]:
        h = self.charge(x, v, tau)
        return self.activation(h), self.reset_potential(h, self.fire(h))

    def single_step_forward(self, x: Tensor) -> Tensor:
        if not self._steps_by_hooks():
            return super().single_step_forward(x)
        self.neuronal_charge(x)
        y = self.activation(self.v)
        self.neuronal_reset(self.neuronal_fire())
        return y

    def settings(self) -> dict[str, Any]:
        settings = {"threshold_related": self.threshold_related, **super().settings()}
        if not isinstance(self.act, nn.Module):  # a module is printed as a child
            settings = {"act": getattr(self.act, "__name__", self.act), **settings}
        return settings
