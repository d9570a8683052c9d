"""LIAF neuron: leaky integrate, and an analog activation in place of the spike."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import choice, flag, invalid
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
class LIAFNode(LIFNode, positional=True):
    """Leaky integrate-and-analog-fire neuron: a LIF neuron whose output is an activation of its potential.

    Output: y = act(h − v_threshold)    (threshold_related)
            y = act(h)                  (otherwise),  h as in LIFNode.

    The spikes Θ(h − v_threshold) serve the reset only; y is not binary.

    Args:
        act: a function or module of a tensor, or the name of one: 'relu', 'leaky_relu', 'selu', 'tanh', 'sigmoid',
            'identity'.
        threshold_related: measure the potential from the threshold.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); outputs of the same shape.
    Source: Wu et al. (LIAF-Net), arXiv 2011.06176.
    """

    is_spiking = False

    def __init__(self, act: Callable[[Tensor], Tensor] | str, threshold_related: bool, **common: Any) -> None:
        super().__init__(**common)
        if isinstance(act, str):
            act = ACTIVATIONS[choice(self, "act", act, tuple(ACTIVATIONS))]
        if isinstance(act, type) or not callable(act):
            raise invalid(self, "act", "a function such as torch.relu, or the name of one such as 'relu'", act)
        self.act = act
        self.threshold_related = flag(self, "threshold_related", threshold_related)

    def activation(self, h: Tensor) -> Tensor:
        return self.act(h - self.v_threshold) if self.threshold_related else self.act(h)
