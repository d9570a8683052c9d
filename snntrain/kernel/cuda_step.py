"""A neuron's step in CUDA C: scalar graphs → the functions `advance` and `pull_back`."""

import torch

from snntrain.kernel.graph import ARITHMETIC, Graph, Operation, Value, constants, place_of
from snntrain.kernel.plan import Plan

_TEMPLATE = ARITHMETIC | {
    "and": "{0} && {1}",
    "or": "{0} || {1}",
    "not": "!{0}",
    "sigmoid": "ONE / (ONE + EXP(-{0}))",
    "sign": "(real)(({0} > ZERO) - ({0} < ZERO))",
    # NaN passes through, as in torch: a comparison with it is false.
    "relu": "{0} < ZERO ? ZERO : {0}",
    "threshold_backward": "{1} <= {2} ? ZERO : {0}",
    "maximum": "{0} >= {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} <= {1} || {0} != {0} ? {0} : {1}",
    "clamp": "{0} < {1} ? {1} : ({0} > {2} ? {2} : {0})",
    "clamp_min": "{0} < {1} ? {1} : {0}",
    "clamp_max": "{0} > {1} ? {1} : {0}",
    "where": "{0} ? {1} : {2}",
    "to_float": "(real){0}",
}
# CUDA's own functions, not the fast ones (__expf and the like). `round` is torch's: half to even.
_FUNCTION = {"abs": "fabs", "round": "rint"}
_FUNCTION |= {
    name: name for name in ("exp", "log", "log1p", "sin", "cos", "tanh", "sqrt", "erf", "floor", "ceil", "trunc")
}


def advance(plan: Plan) -> str:
    """The function advance(x, &states, &output, parameters, constants c): one step forward."""
    graph, states = plan.forward, range(plan.states)
    arguments = ["real x", *(f"real &v{s}" for s in states), "real &out", *numbers(plan, "real ", "c")]
    # All new states are computed from the old ones before any of them is overwritten.
    lines = [
        f"__device__ __forceinline__ void advance({', '.join(arguments)}) {{",
        *_body(plan, graph, "c"),
        f"    out = {_output(plan, graph, 0, 'c')};",
        *(f"    const real new{s} = {_output(plan, graph, 1 + s, 'c')};" for s in states),
        *(f"    v{s} = new{s};" for s in states),
        "}\n",
    ]
    return "\n".join(lines)


def pull_back(plan: Plan) -> str:
    """The function pull_back(x, states, g, &g of states, &gx, &sums, parameters, constants b): one step backward.

    It adds the gradients of the learnable parameters to the sums.
    """
    graph, states, learnable = plan.backward, range(plan.states), range(len(plan.learnable))
    arguments = [
        "real x",
        *(f"real v{s}" for s in states),
        "real g",
        *(f"real &g{s}" for s in states),
        "real &gx",
        *(f"real &s{q}" for q in learnable),
        *numbers(plan, "real ", "b"),
    ]
    lines = [
        f"__device__ __forceinline__ void pull_back({', '.join(arguments)}) {{",
        *_body(plan, graph, "b"),
        f"    gx = {_output(plan, graph, 0, 'b')};",
        *(f"    const real new{s} = {_output(plan, graph, 1 + s, 'b')};" for s in states),
        *(f"    s{q} += {_output(plan, graph, 1 + plan.states + q, 'b')};" for q in learnable),
        *(f"    g{s} = new{s};" for s in states),
        "}\n",
    ]
    return "\n".join(lines)


def numbers(plan: Plan, kind: str, prefix: str) -> list[str]:
    """Parameters and constants: as the parameters of a step (kind "real ") or the arguments of its call (kind "")."""
    count = len(constants(plan.forward if prefix == "c" else plan.backward))
    return [f"{kind}p{p}" for p in range(plan.parameters)] + [f"{kind}{prefix}{index}" for index in range(count)]


def _names(plan: Plan) -> dict[str, str]:
    """The names of the graph's inputs (x, *states, *parameters, g, *g of states) in a step."""
    order = ["x", *(f"v{s}" for s in range(plan.states)), *(f"p{p}" for p in range(plan.parameters))]
    order += ["g", *(f"g{s}" for s in range(plan.states))]
    return {f"a{index}": name for index, name in enumerate(order)}


def _body(plan: Plan, graph: Graph, prefix: str) -> list[str]:
    names, table = _names(plan), constants(graph)
    return [
        f"    const auto {operation.name} = "
        + _expression(plan, operation, [_shown(value, names, table, prefix) for value in operation.arguments])
        + ";"
        for operation in graph.operations
    ]


def _expression(plan: Plan, operation: Operation, arguments: list[str]) -> str:
    if operation.op in _FUNCTION:
        return f"{_FUNCTION[operation.op]}{suffix(plan)}({arguments[0]})"
    return _TEMPLATE[operation.op].format(*arguments)


def _output(plan: Plan, graph: Graph, index: int, prefix: str) -> str:
    return _shown(graph.outputs[index], _names(plan), constants(graph), prefix)


def _shown(value: Value, names: dict[str, str], table: list[float], prefix: str) -> str:
    if isinstance(value, str):
        return names.get(value, value)
    return str(value).lower() if isinstance(value, bool) else f"{prefix}{place_of(value, table)}"


def suffix(plan: Plan) -> str:
    """The suffix of C's functions."""
    return "f" if plan.dtype == torch.float32 else ""
