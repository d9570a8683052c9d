"""sinabs: LIF, for sequences [N, T, *]."""

import sinabs
import sinabs.activation as activation
import sinabs.layers as layers
import torch
from torch import Tensor, nn

from libraries.cases import TAU
from libraries.contenders.torch_contender import TorchContender


class Contender(TorchContender):
    """Its layer with one spike per step and a reset to zero; its default subtracts and fires several times."""

    title = "sinabs"
    packages = ("sinabs", "torch")
    gain = 1 / TAU
    nets = ()
    why_not = "measured as a single layer only"

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        """A LIF layer."""
        made = layers.LIF(
            tau_mem=1.0,
            spike_fn=activation.SingleSpike,
            reset_fn=activation.MembraneReset(),
            norm_input=False,
            train_alphas=True,
        )
        made.alpha_mem = nn.Parameter(torch.tensor(1 - 1 / TAU), requires_grad=False)
        return made

    def own_layout(self, x: Tensor) -> Tensor:
        """[T, N, *] → [N, T, *]."""
        return x.transpose(0, 1)

    common_layout = own_layout

    def reset(self) -> None:
        """Its own reset."""
        sinabs.reset_states(self.model)
