"""Fused sequences on the CPU: layouts, threads and autograd around the compiled kernels."""

import itertools
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.kernel import cache
from snntrain.kernel.numba_source import BLOCK
from snntrain.kernel.plan import Plan

_SMALLEST_SHARE = 16_384  # element-steps that are worth waking another thread for
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def is_dense(x: Tensor) -> bool:
    """Whether the elements of x fill one stretch of memory, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape, strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def run(
    plan: Plan, x_seq: Tensor, states: list[Tensor | float], parameters: list[Tensor], store: bool
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Run a sequence through a neuron.

    Args:
        plan: its kernels.
        x_seq: [T, N, *] in the plan's dtype.
        states: a tensor of one step's shape each, or the value that all neurons start from.
        parameters: 0-d tensors.
        store: also return the states of every step.

    Returns: outputs like x_seq; final states; states of every step (empty unless store).
    """
    if not is_dense(x_seq[0]) or (x_seq.stride(0) != 0 and x_seq.stride(0) < x_seq[0].numel()):
        x_seq = x_seq.contiguous()
    tensors = [state for state in states if isinstance(state, Tensor)]
    scalars = tuple(None if isinstance(state, Tensor) else float(state) for state in states)
    out, *rest = _Sequence.apply(plan, scalars, store, x_seq, *tensors, *parameters)
    return out, rest[: plan.states], rest[plan.states :]


class _Sequence(torch.autograd.Function):
    """Forward stores x and, every K steps, the state; backward recomputes each chunk of K steps from there."""

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, scalars: tuple[float | None, ...], store: bool, x_seq: Tensor, *more: Tensor
    ) -> tuple[Tensor, ...]:
        T, step_strides = x_seq.shape[0], x_seq[0].stride()
        M = x_seq[0].numel()
        given = iter(more)
        first = [
            torch.full((1,), value, dtype=plan.dtype) if value is not None else _like(next(given), step_strides, M)
            for value in scalars
        ]
        parameters = list(given)
        K = _chunk(T)
        keeps = any(ctx.needs_input_grad)
        kept = torch.empty(plan.states, (T - 1) // K if keeps else 0, M, dtype=plan.dtype)
        out = torch.empty(T * M, dtype=plan.dtype)
        last = torch.empty(plan.states, M, dtype=plan.dtype)
        sequences = torch.empty(plan.states, T * M if store else 0, dtype=plan.dtype)
        values = torch.stack(parameters).detach() if parameters else torch.empty(0, dtype=plan.dtype)
        _call(
            plan,
            "forward",
            (
                _flat(x_seq),
                x_seq.stride(0),
                *(state.numpy() for state in first),
                last.numpy(),
                kept.numpy(),
                out.numpy(),
                sequences.numpy(),
                values.numpy(),
                plan.forward_constants,
            ),
            (T, K, M),
        )
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_seq, kept, values, *first)
        ctx.plan, ctx.scalars, ctx.store, ctx.K = plan, scalars, store, K
        shape = x_seq.shape
        finals = [state.as_strided(shape[1:], step_strides) for state in last.unbind(0)]
        stored = [s.as_strided(shape, (M, *step_strides)) for s in sequences.unbind(0)] if store else []
        return out.as_strided(shape, (M, *step_strides)), *finals, *stored

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_out: Tensor | None, *g_more: Tensor | None) -> tuple[Tensor | None, ...]:
        x_seq, kept, values, *first = ctx.saved_tensors
        plan, T, K = ctx.plan, x_seq.shape[0], ctx.K
        step_strides, M = x_seq[0].stride(), x_seq[0].numel()
        sequence_strides = (M, *step_strides)
        g_all = torch.zeros(T * M, dtype=plan.dtype) if g_out is None else _like(g_out, sequence_strides, T * M)
        g_last = [
            torch.zeros(1, dtype=plan.dtype) if g is None else _like(g, step_strides, M) for g in g_more[: plan.states]
        ]
        g_stored = torch.zeros(plan.states, 0, dtype=plan.dtype)
        if ctx.store and any(g is not None for g in g_more[plan.states :]):
            g_stored = torch.stack(
                [
                    torch.zeros(T * M, dtype=plan.dtype) if g is None else _like(g, sequence_strides, T * M)
                    for g in g_more[plan.states :]
                ]
            )
        over_time = x_seq.stride(0) == 0 and T > 1
        gx = torch.zeros(M, dtype=plan.dtype) if over_time else torch.empty(T * M, dtype=plan.dtype)
        g_first = torch.empty(plan.states, M, dtype=plan.dtype)
        g_parameters = torch.zeros(len(plan.learnable), -(-M // BLOCK), dtype=torch.float64)
        _call(
            plan,
            "backward",
            (
                _flat(x_seq),
                x_seq.stride(0),
                *(state.numpy() for state in first),
                kept.numpy(),
                g_all.numpy(),
                *(g.numpy() for g in g_last),
                g_stored.numpy(),
                gx.numpy(),
                0 if over_time else M,
                g_first.numpy(),
                g_parameters.numpy(),
                values.numpy(),
                plan.forward_constants,
                plan.backward_constants,
            ),
            (T, K, M),
        )
        shape = x_seq.shape
        if over_time:
            # The sum over time, handed to an expanded input whose gradient autograd sums over time again.
            whole = torch.zeros(T * M, dtype=plan.dtype)
            whole[:M] = gx
            gx = whole
        g_states = [
            g.as_strided(shape[1:], step_strides)
            for g, value in zip(g_first.unbind(0), ctx.scalars, strict=True)
            if value is None
        ]
        sums = iter(g_parameters.sum(1).to(plan.dtype).unbind(0))
        by_parameter = [next(sums) if index in plan.learnable else None for index in range(values.numel())]
        return None, None, None, gx.as_strided(shape, sequence_strides), *g_states, *by_parameter


def _chunk(T: int) -> int:
    """Steps between two kept states: what is kept stays under an eighth of the input, the chunk in the cache."""
    return 8 if T <= 64 else 16


def _like(x: Tensor, strides: tuple[int, ...], size: int) -> Tensor:
    """The elements of x in a given memory order, as a vector; copied only if x lies in another one."""
    if x.numel() != size or x.stride() != strides:
        x = torch.empty_strided(x.shape, strides, dtype=x.dtype).copy_(x)
    return x.detach().as_strided((size,), (1,))


def _flat(x_seq: Tensor) -> np.ndarray:
    """All memory from the first to the last element of a sequence whose steps are dense."""
    T, M = x_seq.shape[0], x_seq[0].numel()
    span = (T - 1) * x_seq.stride(0) + M if M else 0
    return x_seq.detach().as_strided((span,), (1,)).numpy()


def _call(plan: Plan, name: str, arrays: tuple[Any, ...], sizes: tuple[int, int, int]) -> None:
    T, _, M = sizes
    if M == 0:
        return
    try:
        _spread(getattr(plan.module, name), arrays, sizes, T * M)
    except (pickle.UnpicklingError, EOFError, ImportError, AttributeError, ValueError, KeyError, IndexError):
        # A damaged entry of the on-disk cache fails while it is loaded; compiled code itself raises none of these.
        plan.module = cache.rebuild(plan.module)
        _spread(getattr(plan.module, name), arrays, sizes, T * M)


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
