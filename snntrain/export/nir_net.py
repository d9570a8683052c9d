"""The net made from a NIR graph that branches: each node reads the sum of the outputs that lead to it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """Multiplies each element by a learnable number of its own.

    Args:
        scale: of one step [*], or one number.

    Shapes: [N, *] or [T, N, *]; output as input.
    """

    def __init__(self, scale: np.ndarray | float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale

    def extra_repr(self) -> str:
        return f"shape={list(self.scale.shape)}"


class NirNet(nn.Module):
    """Layers of a graph that branches: each reads the sum of some outputs.

    Args:
        layers: in an order in which they can be computed, in step mode 'm'.
        sources: for each layer the numbers of the layers that it reads; −1 is the input of the net.
        ends: numbers of the layers whose outputs are summed as that of the net.
        names: of the layers in the graph.

    Shapes: [T, N, *] → [T, N, *].
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        sources: Sequence[Sequence[int]],
        ends: Sequence[int],
        names: Sequence[str],
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.sources, self.ends = tuple(map(tuple, sources)), tuple(ends)
        self.names = tuple(names)

    def forward(self, x: Tensor) -> Tensor:
        outputs = {-1: x}
        for number, layer in enumerate(self.layers):
            outputs[number] = layer(_sum(outputs, self.sources[number]))
        return _sum(outputs, self.ends)

    def extra_repr(self) -> str:
        lines = zip(self.names, self.sources, strict=True)
        return "\n".join(f"({number}) {name} reads {list(of)}" for number, (name, of) in enumerate(lines))


def _sum(outputs: dict[int, Tensor], which: Sequence[int]) -> Tensor:
    total = outputs[which[0]]
    for number in which[1:]:
        total = total + outputs[number]
    return total
