"""A neuron's step in CUDA C: scalar graphs → the functions `advance` and `pull_back`."""

import torch

from snntrain.kernel.graph import ARITHMETIC, FUNCTIONS, Graph, constants, expressions
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
    "leaky_relu": "{0} > ZERO ? {0} : {0} * {1}",
    "leaky_relu_backward": "{1} > ZERO ? {0} : {0} * {2}",
    "maximum": "{0} >= {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} <= {1} || {0} != {0} ? {0} : {1}",
    "clamp": "{0} < {1} ? {1} : ({0} > {2} ? {2} : {0})",
    "clamp_min": "{0} < {1} ? {1} : {0}",
    "clamp_max": "{0} > {1} ? {1} : {0}",
    "where": "{0} ? {1} : {2}",
    "to_float": "(real){0}",
    "True": "true",
    "False": "false",
}
_NAMES = {"abs": "fabs", "round": "rint"}  # of functions that C calls otherwise


def advance(plan: Plan) -> str:
    """The function advance(*x, &states, &output, parameters, constants c): one step forward."""
    states = range(plan.states)
    body, outputs = _code(plan, plan.forward, "c")
    arguments = [f"real {x}" for x in inputs(plan)]
    arguments += [*(f"real &v{s}" for s in states), "real &out", *numbers(plan, "real ", "c")]
    # All new states are computed from the old ones before any of them is overwritten.
    lines = [
        f"__device__ __forceinline__ void advance({', '.join(arguments)}) {{",
        *body,
        f"    out = {outputs[0]};",
        *(f"    const real new{s} = {outputs[1 + s]};" for s in states),
        *(f"    v{s} = new{s};" for s in states),
        "}\n",
    ]
    return "\n".join(lines)


def pull_back(plan: Plan) -> str:
    """The function pull_back(*x, states, g, &g of states, &*gx, &sums, parameters, constants b): one step backward.

    It adds the gradients of the learnable parameters to the sums.
    """
    states, learnable = range(plan.states), range(len(plan.learnable))
    body, outputs = _code(plan, plan.backward, "b")
    of_states, of_parameters = outputs[plan.branches :], outputs[plan.branches + plan.states :]
    arguments = [
        *(f"real {x}" for x in inputs(plan)),
        *(f"real v{s}" for s in states),
        "real g",
        *(f"real &g{s}" for s in states),
        *(f"real &{gx}" for gx in inputs(plan, "gx")),
        *(f"real &s{q}" for q in learnable),
        *numbers(plan, "real ", "b"),
    ]
    lines = [
        f"__device__ __forceinline__ void pull_back({', '.join(arguments)}) {{",
        *body,
        *(f"    {gx} = {outputs[b]};" for b, gx in enumerate(inputs(plan, "gx"))),
        *(f"    const real new{s} = {of_states[s]};" for s in states),
        *(f"    s{q} += {of_parameters[q]};" for q in learnable),
        *(f"    g{s} = new{s};" for s in states),
        "}\n",
    ]
    return "\n".join(lines)


def inputs(plan: Plan, prefix: str = "x") -> list[str]:
    """The names of the inputs of a step, one for each branch."""
    return [prefix] if plan.branches == 1 else [f"{prefix}{b}" for b in range(plan.branches)]


#: A parameter in the call of a step for neuron j at step `begin + k`, by its dims.
_VALUE = ("p{p}", "p{p}[j]", "values{p}[(begin + k) * size{p} + channel{p}[j]]")


def numbers(plan: Plan, kind: str, prefix: str) -> list[str]:
    """Parameters and constants: as the parameters of a step (kind "real ") or the arguments of its call (kind "")."""
    count = len(constants(plan.forward if prefix == "c" else plan.backward))
    names = [f"{kind}p{p}" if kind else _VALUE[dims].format(p=p) for p, dims in enumerate(plan.dims)]
    return names + [f"{kind}{prefix}{index}" for index in range(count)]


def _code(plan: Plan, graph: Graph, prefix: str) -> tuple[list[str], list[str]]:
    """The lines of a graph, whose inputs are (*x, *states, *parameters, g, *g of states), and its outputs."""
    order = [*inputs(plan), *(f"v{s}" for s in range(plan.states)), *(f"p{p}" for p in range(plan.parameters))]
    order += ["g", *(f"g{s}" for s in range(plan.states))]
    names = {f"a{index}": name for index, name in enumerate(order)}
    # CUDA's own functions, not the fast ones (__expf and the like). `rint` is torch's round: half to even.
    functions = {name: f"{_NAMES.get(name, name)}{suffix(plan)}({{0}})" for name in FUNCTIONS}
    lines, outputs = expressions(graph, _TEMPLATE | functions, names, prefix)
    return [f"    const auto {name} = {expression};" for name, expression in lines], outputs


def suffix(plan: Plan) -> str:
    """The suffix of C's functions."""
    return "f" if plan.dtype == torch.float32 else ""
