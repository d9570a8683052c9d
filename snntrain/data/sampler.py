"""Order of the training samples: a function of (seed, epoch) and nothing else."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from snntrain.randomness import generator


class EpochSampler(Sampler[int]):
    """Every index once per epoch, in an order drawn from (seed, epoch).

    Lightning calls set_epoch with the number of finished epochs, on resume as well, so an interrupted epoch is
    repeated in the order it had.

    Args:
        size: number of samples.
        seed: the run's seed.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(self.size, generator=generator(self.seed, "order", self.epoch)).tolist()

    def __len__(self) -> int:
        return self.size
