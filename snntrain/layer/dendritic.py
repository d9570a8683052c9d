"""Dendritic connections: every neuron spreads its inputs over its branches."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain.arguments import integer
from snntrain.layer.linear import Linear
from snntrain.registry import register


class _MaskedLinear(nn.Linear):
    """torch's Linear as seen by ours below: it brings the weight, ours the step modes."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get_weight(), self.bias)


@register("layer")
class DendriticLinear(Linear, _MaskedLinear):
    """Fully connected layer on the last dim into neurons with branches, each of which sees some of the inputs.

    For every neuron the inputs are shuffled and dealt to its branches, as evenly as they can be: each input reaches one
    branch of the neuron. The output holds the first branches of all neurons, then the second ones and so on, as
    DHLIFNode takes them.

    Args:
        in_features: size of the input.
        out_features: number of neurons, so that the output has branches·out_features features.
        branches: of a neuron, 1 ≤ branches ≤ in_features.
        bias: learn a bias for each branch.
        seed: of the shuffling, which nothing else draws from; a checkpoint needs no connections.

    Shapes: [N, *, in] → [N, *, branches·out] ('s'); [T, N, *, in] → [T, N, *, branches·out] ('m').
    Source: Zheng et al. (DH-SNN), Nature Communications 2024, 10.1038/s41467-023-44614-z.
    """

    mask: Tensor

    def __init__(
        self, in_features: int, out_features: int, branches: int = 4, bias: bool = True, seed: int = 0
    ) -> None:
        in_features = integer(self, "in_features", in_features, at_least=1)
        neurons = integer(self, "out_features", out_features, at_least=1)
        branches = integer(self, "branches", branches, at_least=1, at_most=in_features)
        super().__init__(in_features, branches * neurons, bias)
        self.branches, self.seed = branches, integer(self, "seed", seed, at_least=0)
        self.register_buffer("mask", self._connections(), persistent=False)

    def _connections(self) -> Tensor:
        """[branches·neurons, in_features]: 1 where an input reaches a branch, else 0."""
        generator = torch.Generator().manual_seed(self.seed)
        neurons = self.out_features // self.branches
        branch_of_place = torch.arange(self.in_features) * self.branches // self.in_features
        mask = torch.zeros(self.branches, neurons, self.in_features)
        for neuron in range(neurons):
            shuffled = torch.randperm(self.in_features, generator=generator)
            mask[branch_of_place, neuron, shuffled] = 1.0
        return mask.flatten(0, 1)

    def get_weight(self) -> Tensor:
        """The weight that the forward uses, 0 where an input does not reach a branch."""
        return self.weight * self.mask

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features // self.branches}, "
            f"branches={self.branches}, bias={self.bias is not None}, seed={self.seed}, step_mode={self.step_mode}"
        )
