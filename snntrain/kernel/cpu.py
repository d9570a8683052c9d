"""Kernels on the CPU: compiled with numba, spread over torch's number of threads."""

import functools
import itertools
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import torch

from snntrain.kernel import cache
from snntrain.kernel.call import Gradients, Inputs, Results
from snntrain.kernel.numba_source import BLOCK, source
from snntrain.kernel.plan import Plan

__all__ = ["BLOCK", "IO_DTYPES", "backward", "chunk_length", "forward"]

IO_DTYPES = (torch.float32, torch.float64)
_SMALLEST_SHARE = 16_384  # element-steps that are worth waking another thread for
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def chunk_length(plan: Plan, io: torch.dtype, T: int) -> int:
    """Steps between two kept states: what is kept stays under an eighth of the input, the chunk in the cache."""
    return max(8 * plan.states, 8 if T <= 64 else 16)


def forward(plan: Plan, inputs: Inputs, results: Results) -> None:
    """Run the sequence; results are written in place."""
    arrays = (
        inputs.x.numpy(),
        inputs.x_stride,
        *(state.numpy() for state in inputs.first),
        results.last.numpy(),
        inputs.kept.numpy(),
        results.out.numpy(),
        results.sequences.numpy(),
        inputs.values.numpy(),
        plan.constants[0],
        *_spread_parameters(inputs),
    )
    _call(plan, "forward", arrays, (inputs.T, inputs.K, inputs.M))


def backward(plan: Plan, inputs: Inputs, gradients: Gradients) -> None:
    """Pull gradients back through what forward ran; they are written in place."""
    if gradients.over_time:
        gradients.x.zero_()
    arrays = (
        inputs.x.numpy(),
        inputs.x_stride,
        *(state.numpy() for state in inputs.first),
        inputs.kept.numpy(),
        gradients.out.numpy(),
        *(g.numpy() for g in gradients.last),
        gradients.sequences.numpy(),
        gradients.x.numpy(),
        0 if gradients.over_time else plan.branches * inputs.M,
        gradients.first.numpy(),
        gradients.parameters.numpy(),
        inputs.values.numpy(),
        *plan.constants,
        *_spread_parameters(inputs),
        *(g.numpy() for g in gradients.spread),
    )
    _call(plan, "backward", arrays, (inputs.T, inputs.K, inputs.M))


def _spread_parameters(inputs: Inputs) -> tuple[Any, ...]:
    """The arguments for parameters that differ between neurons."""
    return (*(value.numpy() for value in inputs.spread), inputs.channel_stride) if inputs.spread else ()


@functools.cache
def _vectorize_loops_over_many_arrays() -> None:
    """Let LLVM test all arrays of a loop for overlaps before it runs the loop's vector code.

    By default it gives up where the tests are many, which they are for a dozen parameters of each channel: the backward
    kernel of GatedLIFNode then takes four times as long. It concerns what numba compiles in this process.
    """
    from llvmlite import binding

    for option in ("runtime-memory-check-threshold=2000", "vectorize-memory-check-threshold=100000"):
        binding.set_option("snntrain", f"-{option}")


def _module(plan: Plan) -> ModuleType:
    _vectorize_loops_over_many_arrays()
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
