"""Scalar graphs → Python source for numba: the time loop outside, neurons in the lanes."""

import dataclasses

from snntrain.kernel import norm_source
from snntrain.kernel.graph import ARITHMETIC, Graph, constants, expressions
from snntrain.kernel.numba_prelude import prelude
from snntrain.kernel.plan import Plan

BLOCK = 4096  # neurons per scratch buffer: long runs of memory, and K steps of states stay in the second cache level

_TEMPLATE = ARITHMETIC | {
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "not": "not {0}",
    "abs": "abs({0})",
    "exp": "exp({0})",
    **{name: f"math.{name}({{0}})" for name in ("log", "log1p", "sin", "cos", "tanh", "sqrt", "erf")},
    "sigmoid": "ONE / (ONE + exp(-{0}))",
    "round": "round_half_even({0})",
    **{name: f"np.{name}({{0}})" for name in ("floor", "ceil", "trunc")},
    "sign": "(ONE if {0} > ZERO else (-ONE if {0} < ZERO else ZERO))",
    "relu": "(ZERO if {0} < ZERO else {0})",
    "threshold_backward": "(ZERO if {1} <= {2} else {0})",
    "leaky_relu": "({0} if {0} > ZERO else {0} * {1})",
    "leaky_relu_backward": "({0} if {1} > ZERO else {0} * {2})",
    # NaN passes through, as in torch: a comparison with it is false.
    "maximum": "({0} if ({0} >= {1}) | ({0} != {0}) else {1})",
    "minimum": "({0} if ({0} <= {1}) | ({0} != {0}) else {1})",
    "clamp": "({1} if {0} < {1} else ({2} if {0} > {2} else {0}))",
    "clamp_min": "({1} if {0} < {1} else {0})",
    "clamp_max": "({1} if {0} > {1} else {0})",
    "where": "({1} if {0} else {2})",
    "to_float": "(ONE if {0} else ZERO)",
    "same": "{0}",
    "True": "True",
    "False": "False",
}
_TRUTHS = ("ge", "gt", "le", "lt", "eq", "ne", "and", "or", "not")  # operations that give no number


def source(plan: Plan, normed: bool = False) -> str:
    """A module with `forward` and `backward` that run [lo, hi) of the neurons over all time steps.

    Constants arrive in an array, so that neurons which differ only in numbers share one kernel.

    Args:
        plan: the graphs.
        normed: fold a batch normalization into the reading of the inputs, see norm_source.
    """
    text = [
        prelude(plan, BLOCK, norm_source.FUNCTIONS if normed else ""),
        _forward(plan, normed),
        _backward(plan, normed),
    ]
    return "\n\n".join(text) + "\n"


def _code(graph: Graph, prefix: str, names: dict[str, str]) -> tuple[list[str], list[str]]:
    """The lines inside the loop over the lanes, and an expression for each output."""
    truths = {operation.name for operation in graph.operations if operation.op in _TRUTHS}
    operations = tuple(
        # `to_float` of a value that is a float already passes it on.
        dataclasses.replace(o, op="same") if o.op == "to_float" and o.arguments[0] not in truths else o
        for o in graph.operations
    )
    lines, outputs = expressions(dataclasses.replace(graph, operations=operations), _TEMPLATE, names, prefix)
    return [f"{_I8}{name} = {expression}" for name, expression in lines], outputs


def _each(name: str, count: int) -> str:
    return "".join(f"{name}{index}, " for index in range(count))


def _initial(target: str, array: str, indent: str) -> list[str]:
    """Fill target from an array of all neurons, or from an array of one value that stands for all of them."""
    return [
        f"{indent}if {array}.shape[0] == 1:",
        f"{indent}    fill({target}, {array}[0])",
        f"{indent}else:",
        f"{indent}    copy({target}, {array}[start:start + n])",
    ]


# The loop over the lanes is a function of its own: LLVM can only vectorize it if every array is a plain argument, so
# that it can tell which of them may overlap.
_STEP = "@numba.njit(nogil=True, error_model='numpy', boundscheck=False)"
_ENTRY = "@numba.njit(nogil=True, cache=True, error_model='numpy', boundscheck=False)"
_I4, _I8, _I12, _I16, _I20 = (" " * n for n in (4, 8, 12, 16, 20))


def _inputs(plan: Plan, prefix: str = "x") -> list[str]:
    """The names of the vectors of inputs, one for each branch."""
    return [prefix] if plan.branches == 1 else [f"{prefix}{b}" for b in range(plan.branches)]


def _names(plan: Plan) -> dict[str, str]:
    """The names of the graph's inputs (*x, *states, *parameters) inside the loop over lanes."""
    order = [f"{x}[i]" for x in _inputs(plan)] + [f"v{s}[i]" for s in range(plan.states)]
    order += [f"p{p}[i]" if dims else f"p{p}" for p, dims in enumerate(plan.dims)]
    return {f"a{index}": name for index, name in enumerate(order)}


def _read(plan: Plan) -> list[str]:
    """Before the blocks: parameters with one value for all neurons, and room for those of the neurons of a block."""
    lines = [f"{_I4}p{p} = parameters[{index}]" for index, p in enumerate(plan.scalars)]
    return lines + [f"{_I4}spread{p} = np.empty(BLOCK, DTYPE)" for p in plan.spread]


def _spread(plan: Plan, indent: str, dims: int) -> list[str]:
    """Give every neuron of a block its parameters: once (dims 1), or in each step (dims 2)."""
    row = "[t]" if dims == 2 else ""
    return [f"{indent}spread(p{p}, values{p}{row}, channel_stride, start)" for p in plan.spread if plan.dims[p] == dims]


def _x_of_step(plan: Plan, indent: str, normed: bool = False) -> list[str]:
    if normed:
        return norm_source.of_step(indent)
    if plan.branches == 1:
        return [f"{indent}x = x_all[t * x_stride + start:t * x_stride + start + n]"]
    lines = [f"{indent}at = t * x_stride + start"]
    return lines + [f"{indent}x{b} = x_all[at + {b} * M:at + {b} * M + n]" for b in range(plan.branches)]


def advance(plan: Plan) -> str:
    """The function advance(*x, states v, states w, out, parameters, constants c): one step, from v to w."""
    graph, states = plan.forward, plan.states
    numbers = _each("p", plan.parameters) + _each("c", len(constants(graph)))
    # All new states are computed from the old ones before any of them is overwritten.
    lines, outputs = _code(graph, "c", _names(plan))
    step = [
        _STEP,
        f"def advance({', '.join(_inputs(plan))}, {_each('v', states)}{_each('w', states)}out, {numbers}):",
        f"{_I4}for i in range({_inputs(plan)[0]}.shape[0]):",
        *lines,
        f"{_I8}out[i] = {outputs[0]}",
        *(f"{_I8}new{s} = {outputs[1 + s]}" for s in range(states)),
        *(f"{_I8}w{s}[i] = new{s}" for s in range(states)),
    ]
    return "\n".join(step)


def _forward(plan: Plan, normed: bool) -> str:
    graph, states = plan.forward, plan.states
    numbers = _each("p", plan.parameters) + _each("c", len(constants(graph)))
    xs = ", ".join(_inputs(plan))
    entry = [
        _ENTRY,
        f"def forward(x_all, x_stride, {_each('first', states)}last, kept, out_all, sequences, parameters, constants,",
        f"            {channel_arguments(plan, normed)}T, K, M, lo, hi):",
        *_read(plan),
        *(f"{_I4}c{index} = constants[{index}]" for index in range(len(constants(graph)))),
        *(f"{_I4}scratch{s} = np.empty((2, BLOCK), DTYPE)" for s in range(states)),
        *(norm_source.room("BLOCK") if normed else []),
        f"{_I4}for start in range(lo, hi, BLOCK):",
        f"{_I8}n = BLOCK if start + BLOCK <= hi else hi - start",
        *(norm_source.of_block() if normed else []),
        *(f"{_I8}p{p} = spread{p}[:n]" for p in plan.spread),
        *_spread(plan, _I8, 1),
        *(f"{_I8}v{s} = scratch{s}[0, :n]" for s in range(states)),
        *(f"{_I8}w{s} = scratch{s}[1, :n]" for s in range(states)),
        *(line for s in range(states) for line in _initial(f"v{s}", f"first{s}", _I8)),
        f"{_I8}for t in range(T):",
        f"{_I12}if kept.shape[1] > 0 and t > 0 and t % K == 0:",
        *([f"{_I16}copy(kept[{s}, t // K - 1, start:start + n], v{s})" for s in range(states)] or [f"{_I16}pass"]),
        *_x_of_step(plan, _I12, normed),
        *_spread(plan, _I12, 2),
        f"{_I12}out = out_all[t * M + start:t * M + start + n]",
        f"{_I12}advance({xs}, {_each('v', states)}{_each('w', states)}out, {numbers})",
        *(f"{_I12}v{s}, w{s} = w{s}, v{s}" for s in range(states)),
        f"{_I12}if sequences.shape[1] > 0:",
        *(
            [f"{_I16}copy(sequences[{s}, t * M + start:t * M + start + n], v{s})" for s in range(states)]
            or [f"{_I16}pass"]
        ),
        *(f"{_I8}copy(last[{s}, start:start + n], v{s})" for s in range(states)),
    ]
    return "\n".join([advance(plan), "", "", *entry])


def channel_arguments(plan: Plan, normed: bool = False) -> str:
    """Arguments of both entries for what differs between channels."""
    names = [*(f"values{p}" for p in plan.spread), *(["scale", "shift"] if normed else [])]
    return "".join(f"{name}, " for name in names) + "channel_stride, " if names else ""


def _sums(plan: Plan) -> dict[str, list[str]]:
    """Where the gradients of the learnable parameters are added up, by the place in `backward` of these lines.

    One value for all neurons: in `sum`, then over the block. One per channel: over time. One per step: not at all.
    """
    lines: dict[str, list[str]] = {"function": [], "block": [], "step": [], "end": []}
    scalars = [p for p in plan.learnable if not plan.dims[p]]
    for q, p in enumerate(plan.learnable):
        if plan.dims[p] == 2:
            lines["step"] += [f"{_I16}s{q} = g_values{p}[t * M + start:t * M + start + n]"]
            continue
        if plan.dims[p] == 1:
            lines["block"] += [f"{_I8}s{q} = g_values{p}[start:start + n]"]
        else:
            lines["function"] += [f"{_I4}sum{q} = np.empty(BLOCK, DTYPE)"]
            lines["block"] += [f"{_I8}s{q} = sum{q}[:n]"]
            lines["end"] += [
                f"{_I8}total = 0.0",
                f"{_I8}for i in range(n):",
                f"{_I12}total += s{q}[i]",
                f"{_I8}g_parameters[{scalars.index(p)}, start // BLOCK] = total",
            ]
    lines["block"] += [f"{_I8}fill(s{q}, ZERO)" for q, p in enumerate(plan.learnable) if plan.dims[p] != 2]
    return lines


def pull_back(plan: Plan) -> str:
    """The function pull_back(*x, g, *gx, states v, gradients g and sums s, parameters, constants b): one step back."""
    graph, states, learnable = plan.backward, plan.states, len(plan.learnable)
    named = _names(plan)
    order = ["g[i]", *(f"g{s}[i]" for s in range(states))]
    named |= {f"a{len(named) + index}": name for index, name in enumerate(order)}
    numbers = _each("p", plan.parameters) + _each("b", len(constants(graph)))
    carried = f"{_each('v', states)}{_each('g', states)}{_each('s', learnable)}"
    gxs = _inputs(plan, "gx")
    lines, outputs = _code(graph, "b", named)
    of_states, of_parameters = outputs[plan.branches :], outputs[plan.branches + states :]
    step = [
        _STEP,
        f"def pull_back({', '.join(_inputs(plan))}, g, {', '.join(gxs)}, {carried}{numbers}):",
        f"{_I4}for i in range({_inputs(plan)[0]}.shape[0]):",
        *lines,
        *(f"{_I8}{gx}[i] = {outputs[b]}" for b, gx in enumerate(gxs)),
        *(f"{_I8}new{s} = {of_states[s]}" for s in range(states)),
        *(
            f"{_I8}s{q}[i] = {of_parameters[q]}"
            if plan.dims[p] == 2
            else f"{_I8}s{q}[i] = s{q}[i] + {of_parameters[q]}"
            for q, p in enumerate(plan.learnable)
        ),
        *(f"{_I8}g{s}[i] = new{s}" for s in range(states)),
    ]
    return "\n".join(step)


def _backward(plan: Plan, normed: bool) -> str:
    forward, graph, states, learnable = plan.forward, plan.backward, plan.states, len(plan.learnable)
    forward_numbers = _each("p", plan.parameters) + _each("c", len(constants(forward)))
    numbers = _each("p", plan.parameters) + _each("b", len(constants(graph)))
    carried = f"{_each('v', states)}{_each('g', states)}{_each('s', learnable)}"
    xs, gxs, branches = ", ".join(_inputs(plan)), _inputs(plan, "gx"), range(plan.branches)
    sums = _sums(plan)
    unused = _inputs(plan, "unused")
    gx_at = [f"{_I20}at = t * gx_stride + start"]
    gx_at += [f"{_I20}gx{b} = gx_all[at + {b} * M:at + {b} * M + n]" for b in branches]
    gx_first = ["gx_all[start:start + n]", *(f"gx_all[{b} * M + start:{b} * M + start + n]" for b in branches[1:])]
    one_gx = "gx_all[t * M + start:t * M + start + n]"
    learnt = "".join(f"g_values{p}, " for p in plan.learnable if plan.dims[p])
    entry = [
        _ENTRY,
        f"def backward(x_all, x_stride, {_each('first', states)}kept, g_all, {_each('g_last', states)}",
        "             g_sequences, gx_all, gx_stride, g_first, g_parameters, parameters, forward_constants, constants,",
        f"             {channel_arguments(plan, normed)}{learnt}T, K, M, lo, hi):",
        *_read(plan),
        *(f"{_I4}c{index} = forward_constants[{index}]" for index in range(len(constants(forward)))),
        *(f"{_I4}b{index} = constants[{index}]" for index in range(len(constants(graph)))),
        *(f"{_I4}history{s} = np.empty((K, BLOCK), DTYPE)" for s in range(states)),
        *(f"{_I4}scratch{s} = np.empty(BLOCK, DTYPE)" for s in range(states)),
        *sums["function"],
        *(f"{_I4}{name} = np.empty(BLOCK, DTYPE)" for name in unused),
        *(norm_source.room("BLOCK") if normed else []),
        f"{_I4}for start in range(lo, hi, BLOCK):",
        f"{_I8}n = BLOCK if start + BLOCK <= hi else hi - start",
        *(norm_source.of_block() if normed else []),
        *(f"{_I8}p{p} = spread{p}[:n]" for p in plan.spread),
        *_spread(plan, _I8, 1),
        *(f"{_I8}g{s} = scratch{s}[:n]" for s in range(states)),
        *(line for s in range(states) for line in _initial(f"g{s}", f"g_last{s}", _I8)),
        *sums["block"],
        f"{_I8}for chunk in range((T - 1) // K, -1, -1):",
        f"{_I12}begin = chunk * K",
        f"{_I12}end = begin + K if begin + K <= T else T",
        *(f"{_I12}v{s} = history{s}[0, :n]" for s in range(states)),
        f"{_I12}if chunk == 0:",
        *([line for s in range(states) for line in _initial(f"v{s}", f"first{s}", _I16)] or [f"{_I16}pass"]),
        f"{_I12}else:",
        *([f"{_I16}copy(v{s}, kept[{s}, chunk - 1, start:start + n])" for s in range(states)] or [f"{_I16}pass"]),
        f"{_I12}for t in range(begin, end - 1):",
        *_x_of_step(plan, _I16, normed),
        *_spread(plan, _I16, 2),
        *(f"{_I16}v{s} = history{s}[t - begin, :n]" for s in range(states)),
        *(f"{_I16}w{s} = history{s}[t - begin + 1, :n]" for s in range(states)),
        f"{_I16}advance({xs}, {_each('v', states)}{_each('w', states)}{unused[0]}[:n], {forward_numbers})",
        f"{_I12}for t in range(end - 1, begin - 1, -1):",
        *_x_of_step(plan, _I16, normed),
        *_spread(plan, _I16, 2),
        f"{_I16}g = g_all[t * M + start:t * M + start + n]",
        *(f"{_I16}v{s} = history{s}[t - begin, :n]" for s in range(states)),
        *sums["step"],
        f"{_I16}if g_sequences.shape[1] > 0:",
        *(
            [f"{_I20}increase(g{s}, g_sequences[{s}, t * M + start:t * M + start + n])" for s in range(states)]
            or [f"{_I20}pass"]
        ),
        f"{_I16}if gx_stride == 0:",
        f"{_I20}pull_back({xs}, g, {', '.join(f'{name}[:n]' for name in unused)}, {carried}{numbers})",
        *(f"{_I20}increase({gx_first[b]}, {name}[:n])" for b, name in enumerate(unused)),
        f"{_I16}else:",
        *([] if plan.branches == 1 else gx_at),
        f"{_I20}pull_back({xs}, g, {one_gx if plan.branches == 1 else ', '.join(gxs)}, {carried}{numbers})",
        f"{_I8}if g_first.shape[1] > 0:",
        *([f"{_I12}copy(g_first[{s}, start:start + n], g{s})" for s in range(states)] or [f"{_I12}pass"]),
        *sums["end"],
    ]
    return "\n".join([pull_back(plan), "", "", *entry])
