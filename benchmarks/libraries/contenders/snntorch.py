"""snnTorch: Leaky and RLeaky, called step by step as its documentation does."""

import numpy as np
import snntorch as snn
import torch
from snntorch import surrogate
from torch import Tensor, nn

from libraries.cases import TAU
from libraries.contenders.torch_contender import StepByStep, TorchContender, linear
from libraries.equations import Form


class Leaky(StepByStep):
    """Its leaky neuron over a sequence, with a reset to zero."""

    def __init__(self) -> None:
        super().__init__(snn.Leaky(**SETTINGS))

    def start(self) -> object:
        """Its zero state."""
        return self.node.init_leaky()


class Recurrent(nn.Module):
    """Its recurrent leaky neuron over a sequence."""

    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.node = snn.RLeaky(linear_features=len(weight), **SETTINGS)
        self.node.recurrent = linear(weight)

    def forward(self, x: Tensor) -> Tensor:
        s, v = self.node.init_rleaky()
        spikes = []
        for x_t in x.unbind(0):
            s, v = self.node(x_t, s, v)
            spikes.append(s)
        return torch.stack(spikes)


SETTINGS = {"beta": 1 - 1 / TAU, "spike_grad": surrogate.atan(2.0), "reset_mechanism": "zero"}


class Contender(TorchContender):
    """Its neurons do not divide their input by tau: the weights before them do."""

    title = "snnTorch"
    packages = ("snntorch", "torch")
    form = Form(strict=True)
    gain = 1 / TAU

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        """A leaky neuron."""
        return Leaky()

    def recurrent(self, weight: np.ndarray) -> nn.Module:
        """A recurrent leaky neuron."""
        return Recurrent(weight)
