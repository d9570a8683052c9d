"""Order of the samples and their batches: functions of (seed, epoch) and of the number of processes, nothing else."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch.utils.data import BatchSampler, Sampler

from snntrain.randomness import generator

#: What a loader asks a split for: a position, or (epoch, position) in training.
Key = int | tuple[int, int]


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, position) of every sample once per epoch, in an order drawn from (seed, epoch).

    The epoch goes with the position because a persistent worker would not learn of it otherwise. Lightning calls
    set_epoch with the number of finished epochs, on resume as well, so an interrupted epoch is repeated in the order
    it had.

    Args:
        size: number of samples.
        seed: the run's seed.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        order = torch.randperm(self.size, generator=generator(self.seed, "order", epoch))
        yield from ((epoch, position) for position in order.tolist())

    def __len__(self) -> int:
        return self.size


class SharedBatches(BatchSampler):
    """The batches of one of several processes: together they get every sample once, each the same number of batches.

    A process gets every world-th sample of the order. One process alone cuts it into full batches and a smaller last
    one; several cut their shares, whose sizes differ by one at most, into equally many batches of nearly equal sizes:
    a process with a batch less than the others would leave them waiting for its gradients.

    Args:
        sampler: the order, the same in every process.
        batch_size: samples per batch and process. Only with batch_size 1 and shares that differ a batch may have 2.
        drop_last: leave out a last batch that is not full; with one process only.
        rank: number of this process, from 0.
        world: number of processes.

    Raises: ValueError if there are fewer samples than processes.
    """

    def __init__(
        self, sampler: Sampler[Key], batch_size: int, drop_last: bool = False, rank: int = 0, world: int = 1
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.rank, self.world = rank, world
        if world > 1 and len(sampler) < world:
            raise ValueError(
                f"data: {len(sampler)} samples cannot be shared out over {world} processes. Use fewer devices or more "
                "samples."
            )

    def __iter__(self) -> Iterator[list[Key]]:
        if self.world == 1:
            yield from super().__iter__()
            return
        share = list(islice(self.sampler, self.rank, None, self.world))
        smaller, larger_ones = divmod(len(share), len(self))
        start = 0
        for number in range(len(self)):
            end = start + smaller + (number < larger_ones)
            yield share[start:end]
            start = end

    def __len__(self) -> int:
        if self.world == 1:
            return super().__len__()
        smallest, largest = len(self.sampler) // self.world, -(-len(self.sampler) // self.world)
        return min(-(-largest // self.batch_size), smallest)
