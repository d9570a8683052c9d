"""The order of the samples and their batches. It depends on (seed, epoch) and the number of processes alone."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler

from snntrain.randomness import generator

#: The key of a sample in a split: its position, or (epoch, position) in training.
Key = int | tuple[int, int]

#: What data.sampler may say besides None, which takes every sample once per epoch.
SAMPLERS = ("balanced",)
_ANOTHER_TIME = 2**32


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, position) of every sample once per epoch, in an order drawn from (seed, epoch).

    The epoch travels with the position because a persistent worker would not learn of it otherwise. Lightning calls
    set_epoch with the number of finished epochs, also on resume, so an interrupted epoch is repeated in the same order.
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


class BalancedSampler(EpochSampler):
    """As many keys per epoch as there are samples, every class as often as each other one (± 1).

    Of a large class some samples are left out, those of a small one come several times, each of them as often as the
    others (± 1); which ones follows from (seed, epoch). What comes again counts as of another epoch, so that an
    augmentation makes another sample of it.

    Args:
        labels: class of each sample, int64 [n].
        seed: as in EpochSampler.
    """

    def __init__(self, labels: Tensor, seed: int) -> None:
        super().__init__(len(labels), seed)
        self.members = [labels.eq(label).nonzero().flatten() for label in labels.unique()]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        source = generator(self.seed, "balanced order", epoch)
        share, rest = divmod(self.size, len(self.members))
        one_more = set(torch.randperm(len(self.members), generator=source)[:rest].tolist())
        keys: list[tuple[int, int]] = []
        for number, members in enumerate(self.members):
            left, again = share + (number in one_more), 0
            while left:
                drawn = members[torch.randperm(len(members), generator=source)][:left]
                keys += [(epoch + again * _ANOTHER_TIME, position) for position in drawn.tolist()]
                left, again = left - len(drawn), again + 1
        yield from (keys[place] for place in torch.randperm(len(keys), generator=source).tolist())


class SharedBatches(BatchSampler):
    """The batches of one of several processes. All get the same number of batches, and each sample goes to one of them.

    The order is cut into batches of batch_size · world samples, and each of these is dealt out sample by sample. The
    k-th batches of all processes together are thus the k-th batch of a single process with that batch size. In the last
    one the processes may differ by one sample. No process may have fewer batches than the others, which would wait for
    its gradients: if too few samples are left for the last batch, the one before it gives some away.

    Args:
        sampler: the order, the same in every process.
        batch_size: samples per batch and process. With batch_size 1 the last batch may have 2.
        rank, world: number of this process, from 0, and of processes.

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
        order = iter(self.sampler)
        for size in self._sizes():
            yield list(islice(order, size))[self.rank :: self.world]

    def __len__(self) -> int:
        return super().__len__() if self.world == 1 else len(self._sizes())

    def _sizes(self) -> list[int]:
        """Samples of each batch of all processes together."""
        full = self.batch_size * self.world
        count, rest = divmod(len(self.sampler), full)
        sizes = [full] * count
        if self.drop_last:
            return sizes
        if rest >= self.world:
            sizes.append(rest)
        elif rest and self.batch_size == 1:
            sizes[-1] += rest
        elif rest:
            sizes[-1:] = [full + rest - self.world, self.world]
        return sizes
