"""Products of sparse inputs with weights on the CPU: x·Wᵀ + b and its gradients, from the inputs that are not zero.

Those inputs are listed, row by row, and counted before. The product adds up the rows of Wᵀ that a row of x lists; the
gradient of the weights adds up, for each column of x, the rows of the output's gradient in which it is listed. What is
listed is multiplied by its value, so that inputs need not be spikes.

The order of every sum depends on the shapes and the lists alone, not on the number of threads.
"""

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain.kernel.backend import is_traced
from snntrain.kernel.compiled import Compiled
from snntrain.kernel.cpu import SMALLEST_SHARE

#: The largest share of the inputs that may differ from zero. Above it torch's dense product is as fast, or faster.
MOST_DENSITY = 0.1
#: For fewer rows, copying the weights into the order in which rows are gathered takes longer than is saved.
LEAST_ROWS = 256
#: For fewer outputs, making the lists takes longer than is saved.
LEAST_OUTPUTS = 64
#: Rows whose part of the weights' gradient is added up at a time: their gradients stay in the second cache level.
ROWS_AT_ONCE = 1024
#: Outputs whose sums are made at a time, in registers.
WIDE = 64

SOURCE = '''
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
WIDE = NUMBERS_OF_A_PANEL


@intrinsic
def not_zero(typing_context, x, place):
    """A number whose bit j says whether x[place + j] is not 0, of LANES values; NaN is not."""

    def generate(context, builder, signature, arguments):
        lanes = ir.VectorType(ir.FloatType(), LANES)
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        at = builder.bitcast(builder.gep(array.data, [arguments[1]]), lanes.as_pointer())
        found = builder.fcmp_unordered("!=", builder.load(at, align=4), ir.Constant(lanes, [0.0] * LANES))
        return builder.zext(builder.bitcast(found, ir.IntType(LANES)), ir.IntType(64))

    return types.uint64(x, place), generate


@intrinsic
def how_many(typing_context, bits):
    """The number of ones."""
    return types.uint64(types.uint64), lambda context, builder, signature, given: builder.ctpop(given[0])


@intrinsic
def lowest(typing_context, bits):
    """The place of the lowest one."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False)
def count(x, columns, most, counts, lo, hi):
    """How many inputs of each row are not zero; it ends early where they are more than `most`."""
    whole = columns // LANES * LANES
    total = 0
    for r in range(lo, hi):
        at = r * columns
        found = np.uint64(0)
        for i in range(at, at + whole, LANES):
            found += how_many(not_zero(x, i))
        for i in range(at + whole, at + columns):
            found += np.uint64(x[i] != 0)
        counts[r] = found
        total += counts[r]
        if total > most:
            break


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False)
def list_rows(x, columns, starts, index, values, lo, hi):
    """The columns in which each row is not zero, and what it is there."""
    whole = columns // LANES * LANES
    for r in range(lo, hi):
        at = r * columns
        n = starts[r]
        for i in range(0, whole, LANES):
            bits = not_zero(x, at + i)
            while bits != np.uint64(0):
                column = i + np.int64(lowest(bits))
                index[n] = column
                values[n] = x[at + column]
                n += 1
                bits &= bits - np.uint64(1)
        for column in range(whole, columns):
            if x[at + column] != 0:
                index[n] = column
                values[n] = x[at + column]
                n += 1


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False)
def list_columns(starts, index, values, rows, columns, at_once, of_columns, index_of_rows, sorted_values, lo, hi):
    """The same lists sorted by column, of each block of `at_once` rows by itself."""
    place = np.empty(columns, np.int64)
    for block in range(lo, hi):
        first, last = block * at_once, min(block * at_once + at_once, rows)
        begin = of_columns[block * (columns + 1):(block + 1) * (columns + 1)]
        begin[:] = 0
        for n in range(starts[first], starts[last]):
            begin[index[n] + 1] += 1
        begin[0] = starts[first]
        for column in range(columns):
            place[column] = begin[column]
            begin[column + 1] += begin[column]
        for r in range(first, last):
            for n in range(starts[r], starts[r + 1]):
                at = place[index[n]]
                index_of_rows[at] = r
                sorted_values[at] = values[n]
                place[index[n]] = at + 1


def gather_of(width):
    """A function that adds rows of `source`, each times its value, to target[place], …, target[place + width - 1].

    They are listed from n to end, and begin at base + index[n] * WIDE. The sums stay in registers.
    """
    lanes = ir.VectorType(ir.FloatType(), min(width, LANES))
    steps = range(0, width, lanes.count)

    @intrinsic
    def gather(typing_context, target, place, source, base, index, values, n, end):
        def generate(context, builder, signature, arguments):
            def data(argument):
                return context.make_array(signature.args[argument])(context, builder, arguments[argument]).data

            def lanes_at(pointer, step):
                return builder.bitcast(builder.gep(pointer, [ir.Constant(ir.IntType(64), step)]), lanes.as_pointer())

            target_at = builder.gep(data(0), [arguments[1]])
            source_at, index_at, values_at = data(2), data(4), data(5)
            sums = [cgutils.alloca_once(builder, lanes) for _ in steps]
            for step, total in zip(steps, sums):
                builder.store(builder.load(lanes_at(target_at, step), align=4), total)
            one, wide = ir.Constant(ir.IntType(64), 1), ir.Constant(ir.IntType(64), WIDE)
            with cgutils.for_range_slice(builder, arguments[6], arguments[7], one) as (at, _):
                row = builder.sext(builder.load(builder.gep(index_at, [at])), ir.IntType(64))
                begin = builder.gep(source_at, [builder.add(builder.mul(row, wide), arguments[3])])
                value = builder.insert_element(
                    ir.Constant(lanes, ir.Undefined), builder.load(builder.gep(values_at, [at])),
                    ir.Constant(ir.IntType(32), 0))
                value = builder.shuffle_vector(
                    value, ir.Constant(lanes, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count))
                for step, total in zip(steps, sums):
                    number = builder.load(lanes_at(begin, step), align=4)
                    product = builder.fmul(number, value, flags=['contract'])  # one operation with the sum
                    builder.store(builder.fadd(builder.load(total), product, flags=['contract']), total)
            for step, total in zip(steps, sums):
                store = builder.store(builder.load(total), lanes_at(target_at, step))
                store.align = 4
            return context.get_dummy_value()

        return types.void(target, place, source, base, index, values, n, end), generate

    return gather


gather_wide, gather_narrow, gather_one = gather_of(WIDE), gather_of(LANES), gather_of(1)


@numba.njit(nogil=True, error_model='numpy', boundscheck=False)
def gather(target, place, width, source, base, index, values, n, end):
    """The same for any width up to WIDE."""
    if width == WIDE:
        gather_wide(target, place, source, base, index, values, n, end)
    else:
        o = 0
        while o + LANES <= width:
            gather_narrow(target, place + o, source, base + o, index, values, n, end)
            o += LANES
        while o < width:
            gather_one(target, place + o, source, base + o, index, values, n, end)
            o += 1


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False)
def product(starts, index, values, weight, inputs, outputs, y, lo, hi):
    """Add to y[r] the rows of the weight, which lies in panels, that are listed."""
    for first in range(0, outputs, WIDE):
        width = min(WIDE, outputs - first)
        for r in range(lo, hi):
            gather(y, r * outputs + first, width, weight, first * inputs, index, values, starts[r], starts[r + 1])


@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False)
def weight_gradient(begin, blocks, columns, index, values, g, rows, outputs, gradient, lo, hi):
    """Add to each row of the gradient, [inputs, outputs], the rows that the column lists of g, which lies in panels."""
    for first in range(0, outputs, WIDE):
        width = min(WIDE, outputs - first)
        for block in range(blocks):
            for i in range(lo, hi):
                at = block * (columns + 1) + i
                gather(gradient, i * outputs + first, width, g, first * rows, index, values, begin[at], begin[at + 1])
'''


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """x·Wᵀ + b from what is not zero in x; None where torch's product is to be taken.

    That is for more than a share MOST_DENSITY of x that is not zero, fewer than LEAST_ROWS rows or LEAST_OUTPUTS
    outputs, other devices or dtypes than float32, other memory orders, under autocast, and inside compilers and
    tracers. It is also where a weight is infinite or NaN, whose product with 0 is NaN; where a gradient is, the
    gradient of the weights is torch's. So what is not listed hides none of them.

    Args:
        x: [*, inputs].
        weight: [outputs, inputs].
        bias: [outputs].

    Returns: [*, outputs].
    """
    if not _serves(x, weight, bias):
        return None
    lists = _listed(x.detach())
    if lists is None or not _is_finite(weight.detach()):
        return None
    return _Product.apply(x, weight, bias, *lists)


def weight_gradient(g: Tensor, x: Tensor) -> Tensor:
    """gᵀ·x from what is not zero in x, under the conditions of `linear`; else torch's product.

    Args:
        g: [rows, outputs], finite or not.
        x: [rows, inputs].

    Returns: [outputs, inputs].
    """
    lists = _listed(x) if _fits(x, g.shape[1]) and g.dtype == torch.float32 and _is_finite(g) else None
    return g.t() @ x if lists is None else _weight_gradient(g, x.shape[1], *lists)


def _serves(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    given = [x, weight] if bias is None else [x, weight, bias]
    return (
        all(v.device.type == "cpu" and v.dtype == torch.float32 and type(v) in (Tensor, nn.Parameter) for v in given)
        and x.dim() > 1
        and x.shape[-1] == weight.shape[1]
        and _fits(x, len(weight))
        and not torch.is_autocast_enabled("cpu")
        and not is_traced(x)
    )


def _fits(x: Tensor, outputs: int) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[-1] > 0
        and outputs >= LEAST_OUTPUTS
        and x.shape[:-1].numel() >= LEAST_ROWS
        and x.is_contiguous()
    )


def _is_finite(values: Tensor) -> bool:
    """False for an infinite sum, too: torch's product is right in any case."""
    return math.isfinite(values.sum())


def _listed(x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """What is not zero: where each row begins, [rows + 1], columns and values; None if it is too much."""
    columns = x.shape[-1]
    rows = x.numel() // columns
    most = int(MOST_DENSITY * x.numel())
    starts = np.zeros(rows + 1, np.int64)
    _run("count", (_flat(x), columns, most, starts[1:]), rows, x.numel())
    found = int(starts.sum())
    if found > most:
        return None
    starts.cumsum(out=starts)
    index, values = x.new_empty(found, dtype=torch.int32), x.new_empty(found)
    _run("list_rows", (_flat(x), columns, starts, index.numpy(), values.numpy()), rows, x.numel())
    return torch.from_numpy(starts), index, values


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, starts: Tensor, index: Tensor, values: Tensor
    ) -> Tensor:
        outputs, rows = len(weight), len(starts) - 1
        y = x.new_zeros(*x.shape[:-1], outputs) if bias is None else bias.repeat(*x.shape[:-1], 1)
        lists = (starts.numpy(), index.numpy(), values.numpy())
        rest = (_panels(weight.detach().t().contiguous()), x.shape[-1], outputs, _flat(y))
        _run("product", (*lists, *rest), rows, len(index) * outputs)
        ctx.save_for_backward(x, weight, starts, index, values)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *lists = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        g = g.reshape(-1, len(weight))
        sums = g.sum(0) if any(ctx.needs_input_grad[1:3]) else None
        if ctx.needs_input_grad[0]:
            of_x = (g @ weight).view(x.shape)
        if ctx.needs_input_grad[1]:
            # With create_graph the gradient is to have one of its own, which that of torch's product has.
            is_sparse = not torch.is_grad_enabled() and _is_finite(sums)
            of_weight = _weight_gradient(g, x.shape[-1], *lists) if is_sparse else g.t() @ x.reshape(len(g), -1)
        if ctx.needs_input_grad[2]:
            of_bias = sums
        return of_x, of_weight, of_bias, None, None, None


def _weight_gradient(g: Tensor, columns: int, starts: Tensor, index: Tensor, values: Tensor) -> Tensor:
    rows, outputs = g.shape
    blocks = -(-rows // ROWS_AT_ONCE)
    lists = (starts.numpy(), index.numpy(), values.numpy())
    begin = np.empty(blocks * (columns + 1), np.int64)
    by_column = (np.empty(len(index), np.int32), np.empty(len(index), np.float32))
    _run("list_columns", (*lists, rows, columns, ROWS_AT_ONCE, begin, *by_column), blocks, len(index))
    found = g.new_zeros(columns, outputs)
    rest = (_panels(g), rows, outputs, _flat(found))
    _run("weight_gradient", (begin, blocks, columns, *by_column, *rest), columns, len(index) * outputs)
    return found.t().contiguous()


def _panels(matrix: Tensor) -> Any:
    """Its first WIDE columns, then the next ones: what is gathered together lies together, whatever its width.

    Rows that are a power of two apart would share a few lines of the cache. What fills the last panel is not read.
    """
    rows, columns = matrix.shape
    panels = matrix.new_empty(-(-columns // WIDE), rows, WIDE)
    for first, panel in zip(range(0, columns, WIDE), panels, strict=True):
        part = matrix[:, first : first + WIDE]
        panel[:, : part.shape[1]].copy_(part)
    return _flat(panels)


def _flat(tensor: Tensor) -> Any:
    return tensor.detach().reshape(-1).numpy()


def _run(name: str, arguments: tuple[Any, ...], count: int, work: int) -> None:
    _kernels().run(name, arguments, count, 1, threads=work // SMALLEST_SHARE)


@functools.cache
def _kernels() -> Compiled:
    return Compiled(SOURCE.replace("NUMBERS_OF_A_PANEL", str(WIDE)))
