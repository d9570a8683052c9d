"""Kernels on the CPU for a filter over time of each channel: y[t, n, c] = Σ_j k[j, c]·x[t − j, n, c].

Blocks of channels of one sample are copied side by side, so that the steps of a sequence, which lie far apart, stay in
the cache; four steps and four taps are computed at once. The order of every sum depends on neither the length of the
sequence nor the number of threads.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snntrain.kernel import cache
from snntrain.kernel.backend import is_traced
from snntrain.kernel.cpu import LOADING_ERRORS, SMALLEST_SHARE, pool

WIDTH = 64  # channels of a block
_QUAD = 4  # steps, and taps, that are computed at once

SOURCE = f'''
import numba
import numpy as np

WIDTH = {WIDTH}


@numba.njit(nogil=True, error_model='numpy', boundscheck=False)
def gather(scratch, rows, first, row, stride, start, w, at):
    """Rows of a block, `stride` apart, to rows of the scratch from `at` on."""
    for t in range(rows):
        p, q = row + t * stride + start, (at + t) * WIDTH
        source, target = first[p:p + w], scratch[q:q + w]
        for i in range(w):
            target[i] = source[i]


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False, fastmath={{'contract'}})
def filter_rows(front, F, x, T, B, taps, D, out, O, R, C, lo, hi):
    """out[t] = sum_j taps[j] * all[t + D - 1 - j] of O steps; all: F steps of front (0 if it is empty), x, B zeros.

    D is a multiple of 4: taps of 0 come last, and before the first of `all` there are as many zeros. A row is one
    sample's channels; blocks lo ... hi of all rows are computed.
    """
    blocks = (C + WIDTH - 1) // WIDTH
    rows = F + T + B
    quads = (O + 3) // 4 * 4
    pad = D - 1 - (rows - O)
    scratch = np.zeros((quads + D - 1) * WIDTH, x.dtype)
    sums = np.zeros(4 * WIDTH, x.dtype)
    k = np.zeros(D * WIDTH, x.dtype)
    for block in range(lo, hi):
        row, column = block // blocks, block % blocks
        start = column * WIDTH
        w = min(WIDTH, C - start)
        if front.shape[0] > 0:
            gather(scratch, F, front, row * C, R * C, start, w, pad)
        gather(scratch, T, x, row * C, R * C, start, w, pad + F)
        for j in range(D):
            source, target = taps[j * C + start:j * C + start + w], k[j * WIDTH:j * WIDTH + w]
            for i in range(w):
                target[i] = source[i]
        for t in range(0, O, 4):
            sums[:] = 0
            for j in range(0, D, 4):
                x_ = scratch[(t + D - 4 - j) * WIDTH:(t + D + 3 - j) * WIDTH]
                k_ = k[j * WIDTH:(j + 4) * WIDTH]
                for i in range(w):
                    a, b, c, d = k_[i], k_[i + WIDTH], k_[i + 2 * WIDTH], k_[i + 3 * WIDTH]
                    x1, x2, x3 = x_[i + WIDTH], x_[i + 2 * WIDTH], x_[i + 3 * WIDTH]
                    x4, x5 = x_[i + 4 * WIDTH], x_[i + 5 * WIDTH]
                    sums[i] = (((sums[i] + x3 * a) + x2 * b) + x1 * c) + x_[i] * d
                    sums[i + WIDTH] = (((sums[i + WIDTH] + x4 * a) + x3 * b) + x2 * c) + x1 * d
                    sums[i + 2 * WIDTH] = (((sums[i + 2 * WIDTH] + x5 * a) + x4 * b) + x3 * c) + x2 * d
                    sums[i + 3 * WIDTH] = (((sums[i + 3 * WIDTH] + x_[i + 6 * WIDTH] * a) + x5 * b) + x4 * c) + x3 * d
            for r in range(min(4, O - t)):
                p = ((t + r) * R + row) * C + start
                source, target = sums[r * WIDTH:r * WIDTH + w], out[p:p + w]
                for i in range(w):
                    target[i] = source[i]


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False, fastmath={{'contract'}})
def correlate(front, F, x, T, g, taps, D, R, C, lo, hi):
    """taps[j] += sum over steps and samples of g[t] * all[t + D - 1 - j], of the blocks lo ... hi of channels."""
    quads = (T + 3) // 4 * 4
    pad = D - 1 - F
    scratch = np.zeros((quads + D - 1) * WIDTH, x.dtype)
    gradient = np.zeros(quads * WIDTH, x.dtype)
    sums = np.zeros(D * WIDTH, x.dtype)
    for column in range(lo, hi):
        start = column * WIDTH
        w = min(WIDTH, C - start)
        sums[:] = 0
        for row in range(R):
            if front.shape[0] > 0:
                gather(scratch, F, front, row * C, R * C, start, w, pad)
            gather(scratch, T, x, row * C, R * C, start, w, pad + F)
            gather(gradient, T, g, row * C, R * C, start, w, 0)
            for t in range(0, T, 4):
                g_ = gradient[t * WIDTH:(t + 4) * WIDTH]
                for j in range(0, D, 4):
                    x_ = scratch[(t + D - 4 - j) * WIDTH:(t + D + 3 - j) * WIDTH]
                    k_ = sums[j * WIDTH:(j + 4) * WIDTH]
                    for i in range(w):
                        a, b, c, d = g_[i], g_[i + WIDTH], g_[i + 2 * WIDTH], g_[i + 3 * WIDTH]
                        x1, x2, x3 = x_[i + WIDTH], x_[i + 2 * WIDTH], x_[i + 3 * WIDTH]
                        x4, x5 = x_[i + 4 * WIDTH], x_[i + 5 * WIDTH]
                        k_[i] = (((k_[i] + x3 * a) + x4 * b) + x5 * c) + x_[i + 6 * WIDTH] * d
                        k_[i + WIDTH] = (((k_[i + WIDTH] + x2 * a) + x3 * b) + x4 * c) + x5 * d
                        k_[i + 2 * WIDTH] = (((k_[i + 2 * WIDTH] + x1 * a) + x2 * b) + x3 * c) + x4 * d
                        k_[i + 3 * WIDTH] = (((k_[i + 3 * WIDTH] + x_[i] * a) + x1 * b) + x2 * c) + x3 * d
        for j in range(D):
            for i in range(w):
                taps[j * C + start + i] = sums[j * WIDTH + i]
'''


def serves(x: Tensor) -> bool:
    """Whether the kernels can be called with this tensor."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.numel() > 0 and not is_traced(x)


def filtered(line: Tensor, x: Tensor, taps: Tensor) -> Tensor:
    """y[t, n, c] = Σ_j taps[j, c]·x[t − j, n, c], where steps before the first one are those of the line.

    Args:
        line: [max − 1, N, C], the last inputs before x.
        x: [T, N, C].
        taps: [max, C].

    Returns: [T, N, C].
    """
    return _Filter.apply(line.contiguous(), x.contiguous(), taps)


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, line: Tensor, x: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(line, x, taps)
        y = torch.empty_like(x)
        _filter(line, len(line), x, 0, taps, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        line, x, taps = ctx.saved_tensors
        gradient, before = gradient.contiguous(), len(line)
        of_line = of_x = of_taps = None
        if any(ctx.needs_input_grad[:2]):
            # What an input gives to later steps comes back from them: the same filter, turned around.
            first = before if ctx.needs_input_grad[0] else 0
            found = gradient.new_empty((first + len(x), *x.shape[1:]))
            _filter(line[:0], first, gradient, before, taps.flip(0), found)
            of_line, of_x = found[:first] if first else None, found[first:]
        if ctx.needs_input_grad[2]:
            of_taps = _correlated(line, x, gradient, taps)
        return of_line, of_x, of_taps


def _flat(tensor: Tensor) -> Any:
    return tensor.detach().reshape(-1).numpy()


def _padded(taps: Tensor) -> Tensor:
    """The taps, and taps of 0 up to a multiple of 4."""
    missing = -len(taps) % _QUAD
    return torch.cat([taps, taps.new_zeros(missing, taps.shape[1])]) if missing else taps.contiguous()


def _filter(front: Tensor, first: int, x: Tensor, after: int, taps: Tensor, out: Tensor) -> None:
    taps, (T, R, C) = _padded(taps.detach()), x.shape
    arrays = (_flat(front), first, _flat(x), T, after, _flat(taps), len(taps), _flat(out), len(out), R, C)
    _run("filter_rows", arrays, R * -(-C // WIDTH), x.numel())


def _correlated(line: Tensor, x: Tensor, gradient: Tensor, taps: Tensor) -> Tensor:
    T, R, C = x.shape
    found = x.new_empty((len(taps) + -len(taps) % _QUAD, C))
    arrays = (_flat(line), len(line), _flat(x), T, _flat(gradient), _flat(found), len(found), R, C)
    _run("correlate", arrays, -(-C // WIDTH), x.numel())
    return found[: len(taps)]


def _run(name: str, arrays: tuple[Any, ...], blocks: int, work: int) -> None:
    try:
        _spread(getattr(cache.module(SOURCE), name), arrays, blocks, work)
    except LOADING_ERRORS:
        _spread(getattr(cache.rebuild(cache.module(SOURCE)), name), arrays, blocks, work)


def _spread(kernel: Callable[..., None], arrays: tuple[Any, ...], blocks: int, work: int) -> None:
    """Give each thread its own blocks, which changes no result."""
    threads = max(1, min(torch.get_num_threads(), blocks, work // SMALLEST_SHARE))
    edges = [blocks * index // threads for index in range(threads + 1)]
    own, *shares = itertools.pairwise(edges)
    others = [pool(threads - 1).submit(kernel, *arrays, lo, hi) for lo, hi in shares]
    kernel(*arrays, *own)
    for other in others:
        other.result()
