"""Which steps of a batch of sequences are real: sequences of several lengths are padded to the longest one.

Padding comes after the real steps, so neurons, which look back only, need to know nothing of it. What looks at all
steps of a batch at once does: statistics of normalization, readouts, losses, metrics, and counts of spikes.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from snntrain.functional import real_steps


class Padding:
    """The real steps of one batch.

    Args:
        lengths: real steps of each sample, int64 [N], from 1 to T; of a chunk of the batch from 0.
        T: steps of the batch, or of the chunk.

    Attributes:
        mask: bool [T, N], True for real steps.
    """

    def __init__(self, lengths: Tensor, T: int) -> None:
        self.lengths, self.T = lengths, T
        self.mask = real_steps(lengths, T)
        self._calls: Counter[object] = Counter()

    def of(self, caller: object, x: Tensor) -> Tensor:
        """The mask of the leading dims of a tensor that a module was given or returned.

        Args:
            caller: who asks; one that is called step by step is told the mask of its next step.
            x: [T, N, *], [T·N, *], or one step [N, *].

        Returns: bool [T, N], [T·N] or [N].
        Raises: ValueError for another leading size.
        """
        T, N = self.mask.shape
        if x.shape[:2] == (T, N):
            return self.mask
        if x.shape[0] == T * N:
            return self.mask.flatten()
        if x.shape[0] == N:
            self._calls[caller] += 1
            return self.mask[(self._calls[caller] - 1) % T]
        raise ValueError(
            f"padding: a tensor of shape {list(x.shape)} has neither the {T} steps nor the {N} samples of the batch in "
            "front. Layers that change the number of steps or samples need sequences of one length."
        )


_now: ContextVar[Padding | None] = ContextVar("padding", default=None)


def padding() -> Padding | None:
    """That of the batch at work; None where all sequences have all steps, and in compiled code, which takes none."""
    return None if torch.compiler.is_compiling() else _now.get()


@contextmanager
def padded(lengths: Tensor | None, T: int) -> Iterator[None]:
    """Let `padding` tell the real steps of a batch inside the block; lengths None: all of them are real."""
    token = _now.set(None if lengths is None else Padding(lengths, T))
    try:
        yield
    finally:
        _now.reset(token)
