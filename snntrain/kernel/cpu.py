"""Kernels on the CPU: compiled with numba, spread over torch's number of threads."""

import itertools
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snntrain.kernel import cache
from snntrain.kernel.numba_source import BLOCK, source
from snntrain.kernel.plan import Plan

__all__ = ["BLOCK", "IO_DTYPES", "backward", "chunk_length", "forward"]

IO_DTYPES = (torch.float32, torch.float64)
_SMALLEST_SHARE = 16_384  # element-steps that are worth waking another thread for
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def chunk_length(plan: Plan, io: torch.dtype, T: int) -> int:
    """Steps between two kept states: what is kept stays under an eighth of the input, the chunk in the cache."""
    return max(8 * plan.states, 8 if T <= 64 else 16)


def forward(
    plan: Plan,
    x: Tensor,
    x_stride: int,
    first: list[Tensor],
    last: Tensor,
    kept: Tensor,
    out: Tensor,
    sequences: Tensor,
    values: Tensor,
    sizes: tuple[int, int, int],
) -> None:
    """Run sizes = (T, K, M): T steps of M neurons, their states kept every K; results go to last, kept, out, sequences.

    Args:
        x: all inputs as a vector, step t from t·x_stride on.
        first: initial states [M], or [1] for all.
        last: [states, M].
        kept: [states, (T − 1) // K or 0, M].
        out: [T·M].
        sequences: [states, T·M or 0], the states after every step.
        values: parameters.
    """
    constants, _ = plan.constants()
    _call(
        plan,
        "forward",
        (
            x.numpy(),
            x_stride,
            *(state.numpy() for state in first),
            last.numpy(),
            kept.numpy(),
            out.numpy(),
            sequences.numpy(),
            values.numpy(),
            constants,
        ),
        sizes,
    )


def backward(
    plan: Plan,
    x: Tensor,
    x_stride: int,
    first: list[Tensor],
    kept: Tensor,
    g_out: Tensor,
    g_last: list[Tensor],
    g_sequences: Tensor,
    gx: Tensor,
    over_time: bool,
    g_first: Tensor,
    g_parameters: Tensor,
    values: Tensor,
    sizes: tuple[int, int, int],
) -> None:
    """Pull gradients back through what `forward` ran; results go to gx, g_first, g_parameters.

    Args:
        x, x_stride, first, kept, values, sizes: as in forward.
        g_out: [T·M].
        g_last: gradients of the final states, [M], or [1] for all.
        g_sequences: [states, T·M or 0].
        gx: [T·M], or [M] if over_time: summed over time.
        over_time: whether x is the same at every step.
        g_first: [states, M or 0].
        g_parameters: [learnable, blocks of neurons], float64.
    """
    if over_time:
        gx.zero_()
    _call(
        plan,
        "backward",
        (
            x.numpy(),
            x_stride,
            *(state.numpy() for state in first),
            kept.numpy(),
            g_out.numpy(),
            *(g.numpy() for g in g_last),
            g_sequences.numpy(),
            gx.numpy(),
            0 if over_time else sizes[2],
            g_first.numpy(),
            g_parameters.numpy(),
            values.numpy(),
            *plan.constants(),
        ),
        sizes,
    )


def _module(plan: Plan) -> ModuleType:
    if "cpu" not in plan.compiled:
        plan.compiled["cpu"] = cache.module(source(plan))
    return plan.compiled["cpu"]


def _call(plan: Plan, name: str, arrays: tuple[Any, ...], sizes: tuple[int, int, int]) -> None:
    work = sizes[0] * sizes[2]
    try:
        _spread(getattr(_module(plan), name), arrays, sizes, work)
    except (pickle.UnpicklingError, EOFError, ImportError, AttributeError, ValueError, KeyError, IndexError):
        # A damaged entry of the on-disk cache fails while it is loaded; compiled code itself raises none of these.
        plan.compiled["cpu"] = cache.rebuild(plan.compiled["cpu"])
        _spread(getattr(_module(plan), name), arrays, sizes, work)


def _spread(kernel: Callable[..., None], arrays: tuple[Any, ...], sizes: tuple[int, int, int], work: int) -> None:
    """Give each thread its own blocks of neurons; which one does not change any result."""
    M = sizes[2]
    blocks = -(-M // BLOCK)
    threads = max(1, min(torch.get_num_threads(), blocks, work // _SMALLEST_SHARE))
    edges = [min(M, BLOCK * (blocks * index // threads)) for index in range(threads + 1)]
    pool = _pool(threads - 1) if threads > 1 else None
    shares = list(itertools.pairwise(edges))
    others = [pool.submit(kernel, *arrays, *sizes, lo, hi) for lo, hi in shares[1:]] if pool else []
    kernel(*arrays, *sizes, *shares[0])
    for other in others:
        other.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    key = (os.getpid(), threads)  # a forked process has no threads of its parent's
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="snntrain-kernel")
    return _pools[key]
