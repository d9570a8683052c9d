"""Kernels on the CPU for a filter over time of each channel: y[t, n, c] = Σ_j k[j, c]·x[t − j, n, c].

Blocks of channels of one sample are copied side by side, so that the steps of a sequence, which lie far apart, stay in
the cache; four steps and four taps are computed at once. The order of every sum depends on neither the length of the
sequence nor the number of threads.
"""

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snntrain.kernel.backend import is_traced
from snntrain.kernel.compiled import Compiled
from snntrain.kernel.cpu import SMALLEST_SHARE

# Channels of a block. A wide one is copied in longer pieces, a narrow one keeps fewer channels closer together.
NARROW, WIDE = 128, 256
_LINE = 16  # of them in a line of the cache
# Steps and taps whose products are written out in the innermost loops, so that each is read once for all of them.
STEPS, TAPS = 4, 8

_TEMPLATE = '''
import numba
import numpy as np

WIDTH = WIDTH_OF_A_BLOCK
STEPS = STEPS_AT_ONCE
TAPS = TAPS_AT_ONCE


@numba.njit(nogil=True, error_model='numpy', boundscheck=False)
def gather(scratch, rows, first, row, stride, start, w, at):
    """Rows of a block, `stride` apart, to rows of the scratch from `at` on."""
    for t in range(rows):
        p, q = row + t * stride + start, (at + t) * WIDTH
        source, target = first[p:p + w], scratch[q:q + w]
        for i in range(w):
            target[i] = source[i]


@numba.njit(nogil=True, error_model='numpy', boundscheck=False)
def scatter(scratch, rows, first, row, stride, start, w):
    """Rows of the scratch back to rows of a block, `stride` apart."""
    for t in range(rows):
        p, q = row + t * stride + start, t * WIDTH
        source, target = scratch[q:q + w], first[p:p + w]
        for i in range(w):
            target[i] = source[i]


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False, fastmath={'contract'})
def filter_rows(front, F, x, T, B, taps, D, out, O, R, C, lo, hi):
    """out[t] = sum_j taps[j] * all[t + D - 1 - j] of O steps; all: F steps of front (0 if it is empty), x, B zeros.

    D is a multiple of TAPS: taps of 0 come last, and before the first of `all` there are as many zeros. A row is one
    sample's channels; blocks lo ... hi of all rows are computed.
    """
    blocks = (C + WIDTH - 1) // WIDTH
    rows = F + T + B
    padded = (O + STEPS - 1) // STEPS * STEPS
    pad = D - 1 - (rows - O)
    scratch = np.zeros((padded + D - 1) * WIDTH, x.dtype)
    sums = np.zeros(STEPS * WIDTH, x.dtype)
    k = np.zeros(D * WIDTH, x.dtype)
    for block in range(lo, hi):
        row, column = block // blocks, block % blocks
        start = column * WIDTH
        w = min(WIDTH, C - start)
        if front.shape[0] > 0:
            gather(scratch, F, front, row * C, R * C, start, w, pad)
        gather(scratch, T, x, row * C, R * C, start, w, pad + F)
        gather(k, D, taps, 0, C, start, w, 0)
        for t in range(0, O, STEPS):
            sums[:] = 0
            for j in range(0, D, TAPS):
                x_ = scratch[(t + D - TAPS - j) * WIDTH:(t + D + STEPS - 1 - j) * WIDTH]
                k_ = k[j * WIDTH:(j + TAPS) * WIDTH]
                for i in range(w):
                    PRODUCTS_OF_A_FILTER
            scatter(sums, min(STEPS, O - t), out, (t * R + row) * C, R * C, start, w)


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False, fastmath={'contract'})
def correlate(front, F, x, T, g, taps, D, R, C, width, lo, hi):
    """taps[j] += sum over steps and samples of g[t] * all[t + D - 1 - j], of the blocks lo ... hi of `width` channels.

    width <= WIDTH.
    """
    padded = (T + STEPS - 1) // STEPS * STEPS
    pad = D - 1 - F
    scratch = np.zeros((padded + D - 1) * WIDTH, x.dtype)
    gradient = np.zeros(padded * WIDTH, x.dtype)
    sums = np.zeros(D * WIDTH, x.dtype)
    for column in range(lo, hi):
        start = column * width
        w = min(width, C - start)
        sums[:] = 0
        for row in range(R):
            if front.shape[0] > 0:
                gather(scratch, F, front, row * C, R * C, start, w, pad)
            gather(scratch, T, x, row * C, R * C, start, w, pad + F)
            gather(gradient, T, g, row * C, R * C, start, w, 0)
            for t in range(0, T, STEPS):
                g_ = gradient[t * WIDTH:(t + STEPS) * WIDTH]
                for j in range(0, D, TAPS):
                    x_ = scratch[(t + D - TAPS - j) * WIDTH:(t + D + STEPS - 1 - j) * WIDTH]
                    k_ = sums[j * WIDTH:(j + TAPS) * WIDTH]
                    for i in range(w):
                        PRODUCTS_OF_A_CORRELATION
        scatter(sums, D, taps, 0, C, start, w)


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False)
def shift_rows(front, F, x, T, B, offsets, out, O, R, C, lo, hi):
    """out[t] = all[t + offsets[c]] of O steps; all: F steps of front (0 if it is empty), x, B zeros."""
    blocks = (C + WIDTH - 1) // WIDTH
    scratch = np.zeros((F + T + B) * WIDTH, x.dtype)
    places = np.zeros(WIDTH, np.int64)
    for block in range(lo, hi):
        row, column = block // blocks, block % blocks
        start = column * WIDTH
        w = min(WIDTH, C - start)
        if front.shape[0] > 0:
            gather(scratch, F, front, row * C, R * C, start, w, 0)
        gather(scratch, T, x, row * C, R * C, start, w, F)
        for i in range(w):
            places[i] = offsets[start + i] * WIDTH + i
        for t in range(O):
            p = (t * R + row) * C + start
            target, source = out[p:p + w], scratch[t * WIDTH:]
            for i in range(w):
                target[i] = source[places[i]]

'''


def _at(array: str, row: int) -> str:
    return f"{array}[i + {row} * WIDTH]"


def _products(factor: str, factors: int, sums: str, terms: list[list[str]], depth: int) -> str:
    """The body of an innermost loop: what it reads, and one product after the other added, one operation each.

    Args:
        factor, factors: the array beside x_, and how many of its rows are read.
        sums, terms: the array that is added to, and the products of each of its rows.
        depth: of the loop in the source.
    """
    lines = [f"x{row} = {_at('x_', row)}" for row in range(TAPS + STEPS - 1)]
    lines += [f"{factor}{row} = {_at(f'{factor}_', row)}" for row in range(factors)]
    for row, products in enumerate(terms):
        total = _at(sums, row)
        lines.append(f"{total} = {'(' * len(products)}{total}" + "".join(f" + {product})" for product in products))
    return ("\n" + "    " * depth).join(lines)


_FILTERED = [[f"x{step + TAPS - 1 - tap} * k{tap}" for tap in range(TAPS)] for step in range(STEPS)]
_CORRELATED = [[f"x{step + TAPS - 1 - tap} * g{step}" for step in range(STEPS)] for tap in range(TAPS)]

SOURCE = (
    _TEMPLATE.replace("STEPS_AT_ONCE", str(STEPS))
    .replace("TAPS_AT_ONCE", str(TAPS))
    .replace("PRODUCTS_OF_A_FILTER", _products("k", TAPS, "sums", _FILTERED, 5))
    .replace("PRODUCTS_OF_A_CORRELATION", _products("g", STEPS, "k_", _CORRELATED, 6))
)


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
    return _Filter.apply(_front(line), len(line), x.contiguous(), taps)


def shifted(line: Tensor, x: Tensor, steps: Tensor) -> Tensor:
    """y[t, n, c] = x[t − steps[c], n, c], exactly; steps before the first one are those of the line.

    Args:
        line, x: as in filtered.
        steps: [C], int64, 0 … max − 1.

    Returns: [T, N, C].
    """
    return _Shift.apply(_front(line), len(line), x.contiguous(), steps)


def _front(line: Tensor) -> Tensor:
    """The line as the kernels read it: empty if it is one zero, expanded, as before a sequence."""
    is_one = all(size == 1 or stride == 0 for size, stride in zip(line.shape, line.stride(), strict=True))
    if line.numel() and is_one and not line.requires_grad and not line[0, 0, 0]:
        return line[:0]
    return line.contiguous()


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, front: Tensor, before: int, x: Tensor, steps: Tensor) -> Tensor:
        ctx.save_for_backward(steps)
        ctx.before = before
        y = torch.empty_like(x)
        _shift(front, before, x, 0, before - steps, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (steps,) = ctx.saved_tensors
        gradient, first = gradient.contiguous(), ctx.before if ctx.needs_input_grad[0] else 0
        found = gradient.new_empty((first + len(gradient), *gradient.shape[1:]))
        _shift(gradient[:0], first, gradient, ctx.before, steps, found)
        return found[:first] if first else None, None, found[first:], None


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, front: Tensor, before: int, x: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(front, x, taps)
        ctx.before = before
        y = torch.empty_like(x)
        _filter(front, before, x, 0, taps, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (front, x, taps), before = ctx.saved_tensors, ctx.before
        gradient = gradient.contiguous()
        of_line = of_x = of_taps = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[2]:
            # What an input gives to later steps comes back from them: the same filter, turned around.
            first = before if ctx.needs_input_grad[0] else 0
            found = gradient.new_empty((first + len(x), *x.shape[1:]))
            _filter(gradient[:0], first, gradient, before, taps.flip(0), found)
            of_line, of_x = found[:first] if first else None, found[first:]
        if ctx.needs_input_grad[3]:
            of_taps = _correlated(front, before, x, gradient, taps)
        return of_line, None, of_x, of_taps


def _flat(tensor: Tensor) -> Any:
    return tensor.detach().reshape(-1).numpy()


def _padded(taps: Tensor) -> Tensor:
    """The taps, and taps of 0 up to a multiple of 8."""
    missing = -len(taps) % TAPS
    return torch.cat([taps, taps.new_zeros(missing, taps.shape[1])]) if missing else taps.contiguous()


def _filter(front: Tensor, first: int, x: Tensor, after: int, taps: Tensor, out: Tensor) -> None:
    taps, (T, R, C) = _padded(taps.detach()), x.shape
    arrays = (_flat(front), first, _flat(x), T, after, _flat(taps), len(taps), _flat(out), len(out), R, C)
    _run("filter_rows", arrays, _width(C), R * -(-C // _width(C)), x.numel())


def _shift(front: Tensor, first: int, x: Tensor, after: int, offsets: Tensor, out: Tensor) -> None:
    T, R, C = x.shape
    arrays = (_flat(front), first, _flat(x), T, after, _flat(offsets), _flat(out), len(out), R, C)
    _run("shift_rows", arrays, _width(C), R * -(-C // _width(C)), x.numel())


def _correlated(front: Tensor, before: int, x: Tensor, gradient: Tensor, taps: Tensor) -> Tensor:
    T, R, C = x.shape
    found = x.new_empty((len(taps) + -len(taps) % TAPS, C))
    # A sum over all samples is one thread's, so that only channels can be divided: as many blocks for each thread.
    threads = torch.get_num_threads()
    blocks = threads * -(-C // (threads * _width(C)))
    width = _LINE * -(-C // (_LINE * blocks))
    arrays = (_flat(front), before, _flat(x), T, _flat(gradient), _flat(found), len(found), R, C, width)
    _run("correlate", arrays, _width(C), -(-C // width), x.numel())
    return found[: len(taps)]


def _width(C: int) -> int:
    return NARROW if C <= NARROW else WIDE


def _run(name: str, arrays: tuple[Any, ...], width: int, blocks: int, work: int) -> None:
    _kernels(width).run(name, arrays, blocks, 1, threads=work // SMALLEST_SHARE)


@functools.cache
def _kernels(width: int) -> Compiled:
    return Compiled(SOURCE.replace("WIDTH_OF_A_BLOCK", str(width)))
