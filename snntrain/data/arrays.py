"""Samples in memory: x and targets as arrays."""

import hashlib
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from snntrain.data.split import Split


class ArraySplit(Split):
    """Samples held in memory as they are.

    Args:
        x: float32 [n, *].
        targets: [n, *] of any kind, see snntrain.data.target.
        index: as in Split.
    """

    def __init__(self, x: Tensor, targets: Tensor, index: Tensor | None = None) -> None:
        super().__init__(targets, index)
        self.x = x

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    def read(self, positions: Sequence[int]) -> Tensor:
        return self.x[torch.as_tensor(positions)]

    def subset(self, positions: Tensor) -> Self:
        part = super().subset(positions)
        part.x = self.x[positions]
        return part

    def sha256(self) -> str:
        """Of samples and targets, in this order."""
        digest = hashlib.sha256(self.x.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()
