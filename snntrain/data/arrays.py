"""Samples in memory: x and targets as arrays."""

import hashlib
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from snntrain.data.sampler import Key
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


class SequenceSplit(ArraySplit):
    """Sequences held in memory, each with a number of steps of its own; a batch is (x, targets, index, lengths).

    Args:
        x: float32 [n, T, *], 0 after the end of a sequence.
        targets: of any kind.
        lengths: real steps of each, int64 [n], from 1 to T; None: all have T, and a batch is (x, targets, index).
        index: as in Split.
    """

    def __init__(self, x: Tensor, targets: Tensor, lengths: Tensor | None = None, index: Tensor | None = None) -> None:
        super().__init__(x, targets, index)
        self.lengths = lengths

    @property
    def step_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    def subset(self, positions: Tensor) -> Self:
        part = super().subset(positions)
        part.lengths = None if self.lengths is None else self.lengths[positions]
        return part

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, ...]:
        batch = super().__getitems__(keys)
        if self.lengths is None:
            return batch
        positions = [key[1] if isinstance(key, tuple) else key for key in keys]
        return *batch, self.lengths[torch.tensor(positions)]
