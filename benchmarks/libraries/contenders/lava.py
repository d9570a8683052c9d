"""lava-dl's slayer: a dense synapse and a CUBA neuron, for sequences [N, features, T]."""

import importlib.util
from pathlib import Path

from torch import Tensor, nn

from libraries.cases import TAU
from libraries.contenders.torch_contender import TorchContender
from libraries.equations import Form

# lava-dl 0.6.0 was written for Python 3.10 and numpy 1. This file mends its imports; it is loaded without its package.
_SHIM = Path(__file__).resolve().parents[3] / "snntrain" / "lava_exchange" / "lava_shim.py"
_spec = importlib.util.spec_from_file_location("lava_shim", _SHIM)
_shim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shim)
slayer = _shim.slayer()


class Contender(TorchContender):
    """Without quantization of the weights and without a current's decay; the potential is in steps of 1/4096."""

    title = "lava-dl"
    packages = ("lava-dl", "lava-nc", "torch")
    form = Form(note="keeps its potential in steps of 1/4096 and truncates what decays")
    gain = 1 / TAU
    nets = ()
    why_not = "measured as a single layer only"

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        """A CUBA neuron whose current is its input."""
        return slayer.neuron.cuba.Neuron(threshold=1.0, current_decay=1.0, voltage_decay=1 / TAU)

    def stateless(self, layer: nn.Module) -> nn.Module:
        """Its synapse, which takes all steps at once."""
        made = slayer.synapse.Dense(layer.in_features, layer.out_features)
        made.weight.data.copy_(layer.weight.data.view_as(made.weight))
        return made

    def own_layout(self, x: Tensor) -> Tensor:
        """[T, N, features] → [N, features, T]."""
        return x.permute(1, 2, 0)

    def common_layout(self, x: Tensor) -> Tensor:
        """[N, features, T] → [T, N, features]."""
        return x.permute(2, 0, 1)
