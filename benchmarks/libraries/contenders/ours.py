"""snntrain: the net that its builder makes of the same list of layers."""

import numpy as np
import torch
from torch import nn

from libraries.cases import TAU, Case, Layer
from libraries.contenders.torch_contender import TorchContender
from snntrain import functional
from snntrain.model import build
from snntrain.neuron import BaseNode

NEURON = {"name": "LIFNode", "tau": TAU, "detach_reset": True, "surrogate_function": {"name": "ATan", "alpha": 2.0}}


class Contender(TorchContender):
    """As model=… builds it, with the kernels that it chooses by itself."""

    title = "snntrain"
    packages = ("snntrain", "torch", "numba")
    repeats = True

    def net(self, case: Case, weights: list[np.ndarray]) -> nn.Module:
        """A net of snntrain.model.build with these weights."""
        net = build([entry(layer) for layer in case.layers], case.sample, neuron=NEURON, T=case.T)
        matrices = [parameter for parameter in net.parameters() if parameter.dim() >= 2]
        for parameter, weight in zip(matrices, weights, strict=True):
            parameter.data.copy_(torch.from_numpy(weight))
        return net

    def reset(self) -> None:
        """As the task does it before every batch."""
        functional.reset_net(self.model)

    def spiking(self) -> list[nn.Module]:
        """Its neurons."""
        return [module for module in self.model.modules() if isinstance(module, BaseNode)]


def entry(layer: Layer) -> Layer:
    """An entry of a model's list of layers."""
    if isinstance(layer, str):
        return layer
    if layer["name"] == "Recurrent":
        feedback = {"name": "Linear", "out_features": layer["features"], "bias": False}
        return {"recurrent": ["neuron"], "feedback": [feedback]}
    return {key: value for key, value in layer.items() if key != "std"}
