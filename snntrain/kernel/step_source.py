"""Scalar graphs → Python source for numba: one time step of all neurons, where something is computed in between."""

from snntrain.kernel.graph import constants
from snntrain.kernel.numba_prelude import prelude
from snntrain.kernel.numba_source import (
    _ENTRY,
    _I4,
    _I8,
    _I12,
    _STEP,
    _each,
    _read,
    _spread,
    advance,
    channel_arguments,
    pull_back,
)
from snntrain.kernel.plan import Plan

_BLOCK = 1024  # neurons at a time: what a step of them reads and writes stays in the first cache level


def source(plan: Plan) -> str:
    """A module with kernels that run [lo, hi) of the neurons: `forward`, `again` and `backward`.

    forward   step t: adds x to what the input holds already, advances the states, writes the output
    again     the states before the steps begin … end − 1, computed from the inputs that forward left
    backward  step t: pulls the gradients of output and states back to input, states and parameters
    """
    text = [prelude(plan, _BLOCK), _ADD, advance(plan), _forward(plan), _again(plan), pull_back(plan), _backward(plan)]
    return "\n\n".join(text) + "\n"


def _blocks(plan: Plan, prefix: str) -> list[str]:
    """The head of each kernel, down to the loop over blocks of neurons."""
    count = len(constants(plan.forward if prefix == "c" else plan.backward))
    return [
        *_read(plan),
        *(f"{_I4}{prefix}{index} = constants[{index}]" for index in range(count)),
        f"{_I4}for start in range(lo, hi, BLOCK):",
        f"{_I8}n = BLOCK if start + BLOCK <= hi else hi - start",
        f"{_I8}stop = start + n",
        *(f"{_I8}p{p} = spread{p}[:n]" for p in plan.spread),
        *_spread(plan, _I8, 1),
    ]


def _forward(plan: Plan) -> str:
    states = range(plan.states)
    numbers = _each("p", plan.parameters) + _each("c", len(constants(plan.forward)))
    # Two copies of the states take turns: a step reads one and writes the other.
    lines = [
        _ENTRY,
        "def forward(inputs, x_all, x_stride, states, kept, out_all, parameters, constants,",
        f"            {channel_arguments(plan)}K, M, lo, hi, t):",
        f"{_I4}row = t if t < inputs.shape[0] else 0",
        *_blocks(plan, "c"),
        *_spread(plan, _I8, 2),
        f"{_I8}x = inputs[row, start:stop]",
        f"{_I8}if x_all.shape[0] > 0:",
        f"{_I12}increase(x, x_all[t * x_stride + start:t * x_stride + stop])",
        *(f"{_I8}v{s} = states[{s}, t % 2, start:stop]" for s in states),
        *(f"{_I8}w{s} = states[{s}, 1 - t % 2, start:stop]" for s in states),
        f"{_I8}if t > 0 and t % K == 0 and kept.shape[1] > 0:",
        *([f"{_I12}copy(kept[{s}, t // K - 1, start:stop], v{s})" for s in states] or [f"{_I12}pass"]),
        f"{_I8}advance(x, {_each('v', plan.states)}{_each('w', plan.states)}out_all[t, start:stop], {numbers})",
    ]
    return "\n".join(lines)


def _again(plan: Plan) -> str:
    states = range(plan.states)
    numbers = _each("p", plan.parameters) + _each("c", len(constants(plan.forward)))
    lines = [
        _ENTRY,
        f"def again(inputs, history, parameters, constants, {channel_arguments(plan)}M, lo, hi, begin, end):",
        f"{_I4}unused = np.empty(BLOCK, DTYPE)",
        *_blocks(plan, "c"),
        f"{_I8}for t in range(begin, end - 1):",
        *_spread(plan, _I12, 2),
        f"{_I12}x = inputs[t, start:stop]",
        *(f"{_I12}v{s} = history[{s}, t - begin, start:stop]" for s in states),
        *(f"{_I12}w{s} = history[{s}, t - begin + 1, start:stop]" for s in states),
        f"{_I12}advance(x, {_each('v', plan.states)}{_each('w', plan.states)}unused[:n], {numbers})",
    ]
    return "\n".join(lines)


def _backward(plan: Plan) -> str:
    states, learnable = range(plan.states), range(len(plan.learnable))
    numbers = _each("p", plan.parameters) + _each("b", len(constants(plan.backward)))
    carried = f"{_each('v', plan.states)}{_each('g', plan.states)}{_each('s', len(plan.learnable))}"
    # The gradient of the input may take the place of the input, which is read from a copy.
    lines = [
        _ENTRY,
        "def backward(inputs, history, g_all, g_fed_back, g_inputs, g_states, sums, parameters, constants,",
        f"             {channel_arguments(plan)}K, M, lo, hi, t):",
        f"{_I4}scratch = np.empty((2, BLOCK), DTYPE)",
        *_blocks(plan, "b"),
        *_spread(plan, _I8, 2),
        f"{_I8}x = scratch[0, :n]",
        f"{_I8}g = scratch[1, :n]",
        f"{_I8}copy(x, inputs[t, start:stop])",
        f"{_I8}if g_all.shape[0] > 0:",
        f"{_I12}add(g, g_fed_back[start:stop], g_all[t, start:stop])",
        f"{_I8}else:",
        f"{_I12}copy(g, g_fed_back[start:stop])",
        *(f"{_I8}v{s} = history[{s}, t % K, start:stop]" for s in states),
        *(f"{_I8}g{s} = g_states[{s}, start:stop]" for s in states),
        *(f"{_I8}s{q} = sums[{q}, start:stop]" for q in learnable),
        f"{_I8}pull_back(x, g, g_inputs[t, start:stop], {carried}{numbers})",
    ]
    return "\n".join(lines)


_ADD = f"""{_STEP}
def add(total, one, other):
    for i in range(total.shape[0]):
        total[i] = one[i] + other[i]"""
