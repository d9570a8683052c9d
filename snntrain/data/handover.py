"""How a loader's worker hands a batch to the process that trains: in as few bytes and system calls as it can.

torch moves each tensor through a file in shared memory of its own. Making one, sending its descriptor and mapping it
takes half a millisecond, and a batch of small frames is read from the cache in two. So labels and index travel inside
the message, and x as the integers that the data set holds; they become float32 where the batch arrives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

#: Bytes up to which an array travels inside the message, however few messages there are.
_INSIDE = 2048
#: All messages that are on their way have to fit into a pipe of 64 KiB, which holds more than their arrays: a worker
#: that waits for room there would outlive a process that was killed.
_PIPE = 48 * 1024
_ARRAYS = 3
_NARROW = (np.uint8, np.uint16)


@dataclass
class Parcel:
    """A batch on its way from a worker."""

    parts: tuple[np.ndarray | Tensor, ...]

    @classmethod
    def of(cls, batch: tuple[Tensor, ...], inside: int = _INSIDE) -> Self:
        """Pack a batch: arrays of up to so many bytes inside the message, others as tensors in shared memory."""
        return cls(tuple(part.numpy() if part.nbytes <= inside else part for part in batch))

    def opened(self) -> tuple[Tensor, ...]:
        """The batch as the data set makes it without workers."""
        x, *others = (part if isinstance(part, Tensor) else torch.from_numpy(part) for part in self.parts)
        return widened(x), *others

    def pin_memory(self) -> tuple[Tensor, ...]:
        """The batch in memory that a GPU can read; torch's loader calls this in a thread of its own."""
        return tuple(part.pin_memory() for part in self.opened())


class ParcelLoader(DataLoader):
    """A DataLoader whose batches are the same from workers as without them."""

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        batches = super().__iter__()
        return batches if self.num_workers == 0 else map(_opened, batches)


def handed_over(batch: tuple[Tensor, ...], prefetch: int) -> tuple[Tensor, ...] | Parcel:
    """A batch as it leaves the process that reads it: the batch itself, or a parcel of a worker.

    Args:
        batch: x, labels and perhaps the index.
        prefetch: batches that each worker makes ahead.
    """
    worker = get_worker_info()
    return batch if worker is None else Parcel.of(batch, most_inside(worker.num_workers * prefetch))


def most_inside(messages: int) -> int:
    """Bytes that an array inside a message may have where so many messages may be on their way."""
    return min(_INSIDE, _PIPE // (_ARRAYS * max(1, messages)))


def narrowed(frames: np.ndarray) -> Tensor:
    """Frames in the smallest type that holds them: unsigned integers of 8 or 16 bits, or else float32."""
    if frames.dtype == np.uint16 and frames.max(initial=0) <= np.iinfo(np.uint8).max:
        frames = frames.astype(np.uint8)  # a pixel with more events in one frame is rare
    return torch.from_numpy(frames if frames.dtype in _NARROW else frames.astype(np.float32, copy=False))


def widened(x: Tensor) -> Tensor:
    """x as float32, which holds integers of 8 and 16 bits exactly."""
    return x if x.is_floating_point() else x.float()


def _opened(batch: Parcel | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return batch.opened() if isinstance(batch, Parcel) else batch  # pinned ones are open already
