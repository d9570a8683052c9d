"""Rockpool: LIFTorch, for sequences [N, T, features]."""

import torch
from rockpool.nn.modules import LIFTorch
from rockpool.parameters import Constant
from torch import Tensor, nn

from libraries.cases import TAU
from libraries.contenders.torch_contender import TorchContender
from libraries.equations import SOFT, Form

# A synaptic current is part of it: isyn ← (isyn + x)·decay. With this decay, and inputs that are larger by as much, the
# rest of isyn is below the precision of float32.
SYNAPSE = 2.0**-24


class Neuron(nn.Module):
    """LIFTorch's spikes alone, of what it returns."""

    def __init__(self, node: nn.Module) -> None:
        super().__init__()
        self.node = node

    def forward(self, x: Tensor) -> Tensor:
        return self.node(x)[0]


class Contender(TorchContender):
    """At most one spike per step; it always subtracts the threshold."""

    title = "Rockpool"
    packages = ("rockpool", "torch")
    form = Form(reset=SOFT)
    gain = 1 / TAU / SYNAPSE
    nets = ()
    why_not = "measured as a single layer only"

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        """A LIF layer."""
        decays = {"alpha": Constant(1 - 1 / TAU), "beta": Constant(SYNAPSE), "leak_mode": "decays"}
        constants = {"threshold": Constant(1.0), "bias": Constant(0.0)}
        return Neuron(LIFTorch(shape[0], **decays, **constants, max_spikes_per_dt=torch.tensor(1.0)))

    def own_layout(self, x: Tensor) -> Tensor:
        """[T, N, *] → [N, T, *]."""
        return x.transpose(0, 1)

    common_layout = own_layout

    def reset(self) -> None:
        """Its own reset of every neuron."""
        for module in self.model:
            if isinstance(module, Neuron):
                module.node.reset_state()
