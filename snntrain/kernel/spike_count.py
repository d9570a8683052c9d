"""How often each value of a sequence spikes, in one pass on the CPU that also finds out whether all of it is spikes."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snntrain.kernel.compiled import Compiled
from snntrain.kernel.cpu import SMALLEST_SHARE

_AT_ONCE = 4096  # columns, whose counts stay in the first cache level
SOURCE = f'''
import numba


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False)
def count(x, rows, columns, counts, others, lo, hi):
    """Add up columns lo … hi − 1; others[lo] becomes true if one of their values is neither 0 nor 1."""
    for start in range(lo, hi, {_AT_ONCE}):
        sums = counts[start:min(start + {_AT_ONCE}, hi)]
        for r in range(rows):
            values = x[r * columns + start:r * columns + start + len(sums)]
            other = 0
            for i in range(len(sums)):
                other |= values[i] * values[i] != values[i]
                sums[i] += values[i]
            if other:
                others[lo] = True
                return
'''
_MOST_ROWS = 2**24  # so many ones are added up exactly in float32


def spike_counts(x: Tensor) -> Tensor | None:
    """How often each column of x [rows, columns] is 1; None where it is not known that all of x is 0 or 1.

    That is so for anything but float32 on a CPU.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or len(x) > _MOST_ROWS:
        return None
    rows, columns = x.shape
    counts, others = torch.zeros(columns), np.zeros(columns, dtype=bool)
    arguments = (x.detach().contiguous().flatten().numpy(), rows, columns, counts.numpy(), others)
    _kernels().run("count", arguments, columns, block=_AT_ONCE, threads=rows * columns // SMALLEST_SHARE)
    # inf · inf is inf, too, and shows in the sum.
    return None if others.any() or not counts.isfinite().all() else counts


def spike_total(x: Tensor) -> Tensor | None:
    """How many values of x are 1, float64; None where it is not known that all of it is 0 or 1."""
    order = memory_order(x.stride())
    counts = spike_counts(x.permute(order).reshape(x.shape[order[0]] if order else 1, -1))
    return None if counts is None else counts.sum(dtype=torch.float64)


def memory_order(strides: Sequence[int]) -> list[int]:
    """The dimensions of a tensor as they lie in memory, so that to flatten it in this order copies nothing."""
    return sorted(range(len(strides)), key=strides.__getitem__, reverse=True)


@functools.cache
def _kernels() -> Compiled:
    return Compiled(SOURCE)
