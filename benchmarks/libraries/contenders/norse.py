"""Norse: LIFBoxCell, its LIF neuron without a synaptic current, as it is or compiled by torch.compile."""

import norse.torch as norse
import numpy as np
import torch
from torch import nn

from libraries.cases import TAU
from libraries.contenders.torch_contender import FeedBack, StepByStep, TorchContender, linear
from libraries.equations import Form


class Contender(TorchContender):
    """Called step by step with its state.

    Args:
        compiled: compile the step; a loop over hundreds of steps as one graph would take minutes to compile.
    """

    packages = ("norse", "torch")
    form = Form(strict=True)

    def __init__(self, compiled: bool = False) -> None:
        self.title = "Norse, compiled" if compiled else "Norse"
        self.compile = torch.compile if compiled else lambda module: module

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        """Its LIF neuron."""
        return StepByStep(self.compile(cell()))

    def recurrent(self, weight: np.ndarray) -> nn.Module:
        """The same neuron behind a feedback; its own recurrent layers have a synaptic current."""
        return StepByStep(self.compile(FeedBack(cell(), linear(weight))))


def cell(device: str = "cpu") -> nn.Module:
    """A LIF neuron with steps of 1."""
    return norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor(1 / TAU, device=device)), dt=1.0)
