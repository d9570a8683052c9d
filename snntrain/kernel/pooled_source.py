"""Scalar graphs and a pooling → Python source for numba: the loop over time, and the pooling of what it puts out.

In memory a step of the neurons is pictures of rows × columns × inner numbers. With the channels innermost a picture is
a sample, and inner the number of channels; else it is a channel of a sample, and inner is 1. As many rows as a window
is high are a group; so are the rows below the last window, if there are some. Groups lie one after the other, and some
of them are a block, whose states and unpooled outputs stay in the cache.
"""

from itertools import product

from snntrain.kernel import norm_source
from snntrain.kernel.call import Pooling
from snntrain.kernel.graph import constants
from snntrain.kernel.numba_prelude import prelude
from snntrain.kernel.numba_source import (
    _ENTRY,
    _I4,
    _I8,
    _I12,
    _I16,
    _I20,
    BLOCK,
    _each,
    _initial,
    _spread,
    advance,
    channel_arguments,
    pull_back,
)
from snntrain.kernel.plan import Plan

_I24 = " " * 24


def source(plan: Plan, pooling: Pooling, normed: bool = False) -> str:
    """A module with `forward` and `backward` that run [lo, hi) of the groups over all time steps, and with `totals`.

    With `normed`, a batch normalization is folded into the reading of the inputs, see norm_source.
    """
    text = [
        prelude(plan, BLOCK, norm_source.FUNCTIONS if normed else ""),
        _WINDOWS.replace("ROWS", str(pooling.height)).replace("COLUMNS", str(pooling.width)),
        _at_each_window(_POOL, _pool(pooling)),
        _unpool(pooling),
        advance(plan),
        pull_back(plan),
        _forward(plan, normed),
        _backward(plan, pooling, normed),
    ]
    return "\n\n\n".join([*text, *([_TOTALS] if _scalars(plan) else [])]) + "\n"


def _scalars(plan: Plan) -> list[int]:
    """Learnable parameters with one value for all neurons."""
    return [p for p in plan.learnable if not plan.dims[p]]


# --- windows ---------------------------------------------------------------------------------------------------------

# Unsigned numbers: numba would test signed ones for being negative, and loops would not become vector code.
_WINDOWS = '''HIGH = np.uint64(ROWS)
WIDE = np.uint64(COLUMNS)
U0 = np.uint64(0)
U1 = np.uint64(1)


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def position(group, rows, line):
    """Where a group begins in a step; of the number of all groups, where the step ends."""
    groups = (rows + ROWS - 1) // ROWS
    return group // groups * rows * line + group % groups * ROWS * line


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def how_many_fired(values):
    found = 0
    for i in range(values.shape[0]):
        found += 1 if values[i] != ZERO else 0
    return found'''

# Loops over groups and windows, in both functions below.
_EACH_GROUP = """    line = columns * inner
    windows = columns // WIDE
    groups = (rows + HIGH - U1) // HIGH
    covered = rows // HIGH
    at = U0
    for group in range(first, last):
        if group % groups < covered:
            start = (group // groups * covered + group % groups) * windows * inner
EACH_WINDOW"""

_POOL = '''@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def pool(values, pooled, first, last, rows, columns, inner):
    """Write the windows of some groups, whose values are given, to the pooled outputs of the whole step."""
EACH_GROUP
            at += HIGH * line
        else:
            at += (rows - covered * HIGH) * line'''

# One array is written to in each loop: LLVM cannot tell the cells of neighboring windows apart.
_UNPOOL = '''@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def unpool(values, pooled, g, share, chosen, first, last, rows, columns, inner):
    """Write the gradients of the values of some groups, from those of the pooled outputs of the whole step."""
EACH_GROUP
            for row in range(HIGH):
                place = at + row * line
                if inner == U1:
                    for window in range(windows):
                        i = place + window * WIDE
                        o = window
EACH_COLUMN
                else:
                    for window in range(windows):
                        for column in range(WIDE):
                            first_cell = place + (window * WIDE + column) * inner
                            first_output = window * inner
                            for channel in range(inner):
                                i = first_cell + channel
                                o = first_output + channel
                                CELL
                for i in range(place + windows * WIDE * inner, place + line):  # to the right of the last window
                    g[i] = ZERO
            at += HIGH * line
        else:
            end = at + (rows - covered * HIGH) * line
            for i in range(at, end):
                g[i] = ZERO
            at = end'''


def _at_each_window(function: str, lines: list[str]) -> str:
    """A function with what it does at the window whose first cell is i and whose output is the oth of its row."""
    loops = [
        f"{_I12}if inner == U1:",
        f"{_I16}for window in range(windows):",
        f"{_I20}i = at + window * WIDE",
        f"{_I20}o = window",
        *(f"{_I20}{line}" for line in lines),
        f"{_I12}else:",
        f"{_I16}for window in range(windows):",
        f"{_I20}first_cell = at + window * WIDE * inner",
        f"{_I20}first_output = window * inner",
        f"{_I20}for channel in range(inner):",
        f"{_I24}i = first_cell + channel",
        f"{_I24}o = first_output + channel",
        *(f"{_I24}{line}" for line in lines),
    ]
    return function.replace("EACH_GROUP", _EACH_GROUP).replace("EACH_WINDOW", "\n".join(loops))


def _cells(pooling: Pooling) -> list[str]:
    """Where the cells of the window at i are, in the order in which torch looks at them."""
    cells = product(range(pooling.height), range(pooling.width))
    return [f"i + np.uint64({row}) * line + np.uint64({column}) * inner" for row, column in cells]


def _pool(pooling: Pooling) -> list[str]:
    """A window's output as torch computes it."""
    first, *others = cells = _cells(pooling)
    if pooling.kind == "average":
        return [
            "m = ZERO",
            *(f"m = m + values[{cell}]" for cell in cells),
            f"pooled[start + o] = m / DTYPE({len(cells)})",
        ]
    lines = [f"m = values[{first}]"]
    for cell in others:
        lines += [f"s = values[{cell}]", "m = s if (s > m) | (s != s) else m"]
    return [*lines, "pooled[start + o] = m"]


def _unpool(pooling: Pooling) -> str:
    """The function that gives the cells of windows their gradients, as torch computes them.

    That of a maximum goes to the first of the largest cells, or to the last NaN. torch adds each gradient to a zero,
    which makes 0.0 of −0.0.
    """
    first, *others = cells = _cells(pooling)
    if pooling.kind == "average":
        window, cell = [f"share[o] = ZERO + pooled[start + o] / DTYPE({len(cells)})"], "g[i] = share[o]"
    else:
        window = ["share[o] = ZERO + pooled[start + o]", f"m = values[{first}]", "largest = DTYPE(0)"]
        for index, place in enumerate(others, 1):
            window += [
                f"s = values[{place}]",
                "larger = (s > m) | (s != s)",
                "m = s if larger else m",
                f"largest = DTYPE({index}) if larger else largest",
            ]
        window.append("chosen[o] = largest")
        cell = "g[i] = share[o] if chosen[o] == DTYPE(row * WIDE + column) else ZERO"
    columns = [
        cell.replace("[i]", f"[i + np.uint64({column})]").replace("column)", f"np.uint64({column}))")
        for column in range(pooling.width)
    ]
    text = _at_each_window(_UNPOOL, window).replace("CELL", cell)
    return text.replace("EACH_COLUMN", "\n".join(f"{_I24}{line}" for line in columns))


# --- kernels ---------------------------------------------------------------------------------------------------------

_PICTURE = "rows, columns, inner, per_block, T, K, M, lo, hi"
_GROUPS = "np.uint64(group), np.uint64(last_group), np.uint64(rows), np.uint64(columns), np.uint64(inner)"

# The order of a neuron's sums: over time, and then over blocks of BLOCK neurons, which groups are not.
_TOTALS = f'''{_ENTRY}
def totals(values, sums, lo, hi):
    """Add up the gradients of a parameter that each neuron by itself has."""
    for start in range(lo, hi, BLOCK):
        total = 0.0
        for i in range(start, start + BLOCK if start + BLOCK <= hi else hi):
            total += values[i]
        sums[start // BLOCK] = total'''


def _sizes() -> list[str]:
    return [
        f"{_I4}line = columns * inner",
        f"{_I4}M_out = M // (rows * line) * (rows // np.int64(HIGH)) * (columns // np.int64(WIDE)) * inner",
        f"{_I4}most = per_block * np.int64(HIGH) * line",
    ]


def _blocks(plan: Plan) -> list[str]:
    """The loop over blocks, and in each the parameters of its neurons."""
    return [
        f"{_I4}for group in range(lo, hi, per_block):",
        f"{_I8}last_group = group + per_block if group + per_block <= hi else hi",
        f"{_I8}start = position(group, rows, line)",
        f"{_I8}stop = position(last_group, rows, line)",
        f"{_I8}n = stop - start",
        *(f"{_I8}p{p} = spread{p}[:n]" for p in plan.spread),
        *_spread(plan, _I8, 1),
    ]


def _x_of_step(indent: str, normed: bool) -> list[str]:
    return norm_source.of_step(indent) if normed else [f"{indent}x = x_all[t * x_stride + start:t * x_stride + stop]"]


def _parameters(plan: Plan) -> list[str]:
    """As of a neuron without pooling, but that a block can be larger."""
    lines = [f"{_I4}p{p} = parameters[{index}]" for index, p in enumerate(plan.scalars)]
    return lines + [f"{_I4}spread{p} = np.empty(most, DTYPE)" for p in plan.spread]


def _forward(plan: Plan, normed: bool) -> str:
    graph, states = plan.forward, plan.states
    numbers = _each("p", plan.parameters) + _each("c", len(constants(graph)))
    entry = [
        _ENTRY,
        f"def forward(x_all, x_stride, {_each('first', states)}last, kept, out_all, fired, parameters, constants,",
        f"            {channel_arguments(plan, normed)}{_PICTURE}):",
        *_sizes(),
        *_parameters(plan),
        *(f"{_I4}c{index} = constants[{index}]" for index in range(len(constants(graph)))),
        *(f"{_I4}scratch{s} = np.empty((2, most), DTYPE)" for s in range(states)),
        f"{_I4}outputs = np.empty(most, DTYPE)",
        *(norm_source.room("most") if normed else []),
        *_blocks(plan),
        *(norm_source.of_block() if normed else []),
        f"{_I8}values = outputs[:n]",
        *(f"{_I8}v{s} = scratch{s}[0, :n]" for s in range(states)),
        *(f"{_I8}w{s} = scratch{s}[1, :n]" for s in range(states)),
        *(line for s in range(states) for line in _initial(f"v{s}", f"first{s}", _I8)),
        f"{_I8}found = 0",
        f"{_I8}for t in range(T):",
        f"{_I12}if kept.shape[1] > 0 and t > 0 and t % K == 0:",
        *([f"{_I16}copy(kept[{s}, t // K - 1, start:stop], v{s})" for s in range(states)] or [f"{_I16}pass"]),
        *_x_of_step(_I12, normed),
        *_spread(plan, _I12, 2),
        f"{_I12}advance(x, {_each('v', states)}{_each('w', states)}values, {numbers})",
        *(f"{_I12}v{s}, w{s} = w{s}, v{s}" for s in range(states)),
        f"{_I12}pool(values, out_all[t * M_out:(t + 1) * M_out], {_GROUPS})",
        f"{_I12}if fired.shape[0] > 0:",
        f"{_I16}found += how_many_fired(values)",
        f"{_I8}if fired.shape[0] > 0:",
        f"{_I12}fired[group // per_block] = found",
        *(f"{_I8}copy(last[{s}, start:stop], v{s})" for s in range(states)),
    ]
    return "\n".join(entry)


def _backward(plan: Plan, pooling: Pooling, normed: bool) -> str:
    forward, graph, states, learnable = plan.forward, plan.backward, plan.states, len(plan.learnable)
    forward_numbers = _each("p", plan.parameters) + _each("c", len(constants(forward)))
    numbers = _each("p", plan.parameters) + _each("b", len(constants(graph)))
    carried = f"{_each('v', states)}{_each('g', states)}{_each('s', learnable)}"
    learnt = "".join(f"g_values{p}, " for p in plan.learnable)
    is_maximum = pooling.kind == "max"  # only then the outputs say where a gradient goes
    entry = [
        _ENTRY,
        f"def backward(x_all, x_stride, {_each('first', states)}kept, g_all, {_each('g_last', states)}",
        "             gx_all, gx_stride, g_first, parameters, forward_constants, constants,",
        f"             {channel_arguments(plan, normed)}{learnt}{_PICTURE}):",
        *_sizes(),
        *_parameters(plan),
        *(f"{_I4}c{index} = forward_constants[{index}]" for index in range(len(constants(forward)))),
        *(f"{_I4}b{index} = constants[{index}]" for index in range(len(constants(graph)))),
        f"{_I4}steps = K if K <= T else T",
        f"{_I4}outputs = np.empty(({'steps' if is_maximum else '1'}, most), DTYPE)",
        *(f"{_I4}history{s} = np.empty((steps + 1, most), DTYPE)" for s in range(states)),
        *(f"{_I4}scratch{s} = np.empty(most, DTYPE)" for s in range(states)),
        f"{_I4}g_of_block = np.empty(most, DTYPE)",
        f"{_I4}gx_of_block = np.empty(most, DTYPE)",
        f"{_I4}share = np.empty(line, DTYPE)",
        f"{_I4}chosen = np.empty(line, DTYPE)",
        *(norm_source.room("most") if normed else []),
        *_blocks(plan),
        *(norm_source.of_block() if normed else []),
        f"{_I8}g = g_of_block[:n]",
        f"{_I8}gx = gx_of_block[:n]",
        *(f"{_I8}g{s} = scratch{s}[:n]" for s in range(states)),
        *(line for s in range(states) for line in _initial(f"g{s}", f"g_last{s}", _I8)),
        *(f"{_I8}s{q} = g_values{p}[start:stop]" for q, p in enumerate(plan.learnable) if plan.dims[p] != 2),
        *(f"{_I8}fill(s{q}, ZERO)" for q, p in enumerate(plan.learnable) if plan.dims[p] != 2),
        f"{_I8}if gx_stride == 0:",
        f"{_I12}fill(gx_all[start:stop], ZERO)",
        f"{_I8}for chunk in range((T - 1) // K, -1, -1):",
        f"{_I12}begin = chunk * K",
        f"{_I12}end = begin + K if begin + K <= T else T",
        *(f"{_I12}v{s} = history{s}[0, :n]" for s in range(states)),
        f"{_I12}if chunk == 0:",
        *([line for s in range(states) for line in _initial(f"v{s}", f"first{s}", _I16)] or [f"{_I16}pass"]),
        f"{_I12}else:",
        *([f"{_I16}copy(v{s}, kept[{s}, chunk - 1, start:stop])" for s in range(states)] or [f"{_I16}pass"]),
        f"{_I12}for t in range(begin, {'end' if is_maximum else 'end - 1'}):",
        *_x_of_step(_I16, normed),
        *_spread(plan, _I16, 2),
        f"{_I16}values = outputs[{'t - begin' if is_maximum else '0'}, :n]",
        *(f"{_I16}v{s} = history{s}[t - begin, :n]" for s in range(states)),
        *(f"{_I16}w{s} = history{s}[t - begin + 1, :n]" for s in range(states)),
        f"{_I16}advance(x, {_each('v', states)}{_each('w', states)}values, {forward_numbers})",
        f"{_I12}for t in range(end - 1, begin - 1, -1):",
        *_x_of_step(_I16, normed),
        *_spread(plan, _I16, 2),
        f"{_I16}values = outputs[{'t - begin' if is_maximum else '0'}, :n]",
        f"{_I16}unpool(values, g_all[t * M_out:(t + 1) * M_out], g, share, chosen, {_GROUPS})",
        *(f"{_I16}v{s} = history{s}[t - begin, :n]" for s in range(states)),
        *(
            f"{_I16}s{q} = g_values{p}[t * M + start:t * M + stop]"
            for q, p in enumerate(plan.learnable)
            if plan.dims[p] == 2
        ),
        f"{_I16}if gx_stride == 0:",
        f"{_I20}pull_back(x, g, gx, {carried}{numbers})",
        f"{_I20}increase(gx_all[start:stop], gx)",
        f"{_I16}else:",
        f"{_I20}pull_back(x, g, gx_all[t * M + start:t * M + stop], {carried}{numbers})",
        f"{_I8}if g_first.shape[1] > 0:",
        *([f"{_I12}copy(g_first[{s}, start:stop], g{s})" for s in range(states)] or [f"{_I12}pass"]),
    ]
    return "\n".join(entry)
