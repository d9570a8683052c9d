"""SpikingJelly, in its step mode 'm'."""

import logging

import numpy as np
from torch import Tensor, nn

from libraries.cases import TAU
from libraries.contenders.torch_contender import TorchContender, linear

logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # without a GPU it warns once per kernel
from spikingjelly.activation_based import functional, layer, neuron, surrogate


class Contender(TorchContender):
    """LIFNode, with SpikingJelly's own layers around it."""

    title = "SpikingJelly"
    packages = ("spikingjelly", "torch")

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        """Its LIF neuron."""
        return node("m")

    def recurrent(self, weight: np.ndarray) -> nn.Module:
        """Its container of a recurrence, around the same neuron."""
        return recurrent(weight)

    def stateless(self, made: nn.Module) -> nn.Module:
        """Its layers are torch's with a step mode of their own, and fold as ours do."""
        twin = getattr(layer, type(made).__name__)
        made.__class__ = twin
        made.step_mode = "m"
        return made

    def reset(self) -> None:
        """Its own reset."""
        functional.reset_net(self.model)

    def spiking(self) -> list[nn.Module]:
        """Its neurons, or the recurrence around one."""
        return [m for m in self.model if isinstance(m, (neuron.LIFNode, layer.ElementWiseRecurrentContainer))]


class FeedbackSum(nn.Module):
    """The input and the spikes of the step before, times weights."""

    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.feedback = linear(weight)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return x + self.feedback(y)


def recurrent(weight: np.ndarray) -> nn.Module:
    """A recurrence with feedback weights alone; LinearRecurrentContainer has weights for its input as well."""
    return layer.ElementWiseRecurrentContainer(node("s"), FeedbackSum(weight), step_mode="m")


def node(step_mode: str) -> nn.Module:
    """A LIF neuron."""
    return neuron.LIFNode(tau=TAU, surrogate_function=surrogate.ATan(2.0), detach_reset=True, step_mode=step_mode)
