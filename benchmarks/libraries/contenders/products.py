"""The matrix products of a dense layer alone, forward and backward, or a copy where there are none: the floor."""

import torch
from torch import Tensor, nn

from libraries.cases import Case
from libraries.contenders.torch_contender import TorchContender


class Contender(TorchContender):
    """A layer whose neurons cost nothing."""

    title = "products alone"

    def refusal(self, case: Case) -> str | None:
        """Nets have no such floor here."""
        return "stated for single layers only" if case.is_net else None

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        """Reads its input and writes it; nothing at all behind products."""
        return nn.Identity() if self.case.needs != {"neuron"} else Copy()

    def rates(self) -> list[float]:
        """Nothing fires."""
        return []


class Copy(nn.Module):
    """The least that a layer of neurons can do."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.mul(x, 1.0)
