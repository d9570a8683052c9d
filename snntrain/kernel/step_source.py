"""Scalar graphs → Python source for numba: one time step of all neurons, where something is computed in between."""

from snntrain.kernel.graph import constants
from snntrain.kernel.numba_source import _ENTRY, _I4, _I8, _I12, _PRELUDE, _STEP, BLOCK, _code, _each, _names
from snntrain.kernel.plan import Plan

_BLOCK = 1024  # neurons at a time: what a step of them reads and writes stays in the first cache level


def source(plan: Plan) -> str:
    """A module with kernels that run [lo, hi) of the neurons: `forward`, `again` and `backward`.

    forward   step t: adds x to what the input holds already, advances the states, writes the output
    again     the states before the steps begin … end − 1, computed from the inputs that forward left
    backward  step t: pulls the gradients of output and states back to input, states and parameters
    """
    prelude = _PRELUDE.replace("PRECISION", plan.precision).replace(f"BLOCK = {BLOCK}", f"BLOCK = {_BLOCK}")
    return "\n\n".join([prelude, _advance(plan), _pull_back(plan)]) + "\n"


def _advance(plan: Plan) -> str:
    states = range(plan.states)
    numbers = _each("p", plan.parameters) + _each("c", len(constants(plan.forward)))
    read = _read(plan, "c")
    lines, outputs = _code(plan.forward, "c", _names(plan.states, plan.parameters))
    step = [
        _STEP,
        f"def advance(x, {_each('v', plan.states)}{_each('w', plan.states)}out, {numbers}):",
        f"{_I4}for i in range(x.shape[0]):",
        *lines,
        f"{_I8}out[i] = {outputs[0]}",
        *(f"{_I8}new{s} = {outputs[1 + s]}" for s in states),
        *(f"{_I8}w{s}[i] = new{s}" for s in states),
    ]
    # Two copies of the states take turns: a step reads one and writes the other.
    forward = [
        _ENTRY,
        "def forward(inputs, x_all, x_stride, states, kept, out_all, parameters, constants, t, K, M, lo, hi):",
        *read,
        f"{_I4}row = t if t < inputs.shape[0] else 0",
        f"{_I4}for start in range(lo, hi, BLOCK):",
        f"{_I8}stop = start + BLOCK if start + BLOCK <= hi else hi",
        f"{_I8}x = inputs[row, start:stop]",
        f"{_I8}if x_all.shape[0] > 0:",
        f"{_I12}increase(x, x_all[t * x_stride + start:t * x_stride + stop])",
        *(f"{_I8}v{s} = states[{s}, t % 2, start:stop]" for s in states),
        *(f"{_I8}w{s} = states[{s}, 1 - t % 2, start:stop]" for s in states),
        f"{_I8}if t > 0 and t % K == 0 and kept.shape[1] > 0:",
        *([f"{_I12}copy(kept[{s}, t // K - 1, start:stop], v{s})" for s in states] or [f"{_I12}pass"]),
        f"{_I8}advance(x, {_each('v', plan.states)}{_each('w', plan.states)}out_all[t, start:stop], {numbers})",
    ]
    again = [
        _ENTRY,
        "def again(inputs, history, parameters, constants, begin, end, M, lo, hi):",
        *read,
        f"{_I4}unused = np.empty(BLOCK, DTYPE)",
        f"{_I4}for start in range(lo, hi, BLOCK):",
        f"{_I8}stop = start + BLOCK if start + BLOCK <= hi else hi",
        f"{_I8}for t in range(begin, end - 1):",
        f"{_I12}x = inputs[t, start:stop]",
        *(f"{_I12}v{s} = history[{s}, t - begin, start:stop]" for s in states),
        *(f"{_I12}w{s} = history[{s}, t - begin + 1, start:stop]" for s in states),
        f"{_I12}advance(x, {_each('v', plan.states)}{_each('w', plan.states)}unused[:stop - start], {numbers})",
    ]
    return "\n".join([*step, "", "", *forward, "", "", *again])


def _pull_back(plan: Plan) -> str:
    states, learnable = range(plan.states), range(len(plan.learnable))
    taken = 1 + plan.states + plan.parameters
    named = _names(plan.states, plan.parameters)
    named |= {f"a{taken}": "g[i]"} | {f"a{taken + 1 + s}": f"g{s}[i]" for s in states}
    numbers = _each("p", plan.parameters) + _each("b", len(constants(plan.backward)))
    carried = f"{_each('v', plan.states)}{_each('g', plan.states)}{_each('s', len(plan.learnable))}"
    lines, outputs = _code(plan.backward, "b", named)
    step = [
        _STEP,
        f"def pull_back(x, g, gx, {carried}{numbers}):",
        f"{_I4}for i in range(x.shape[0]):",
        *lines,
        f"{_I8}gx[i] = {outputs[0]}",
        *(f"{_I8}new{s} = {outputs[1 + s]}" for s in states),
        *(f"{_I8}s{q}[i] = s{q}[i] + {outputs[1 + plan.states + q]}" for q in learnable),
        *(f"{_I8}g{s}[i] = new{s}" for s in states),
    ]
    # The gradient of the input may take the place of the input: it is read from a copy.
    backward = [
        _ENTRY,
        "def backward(inputs, history, g_all, g_fed_back, g_inputs, g_states, sums, parameters, constants,",
        "             t, K, M, lo, hi):",
        *_read(plan, "b"),
        f"{_I4}scratch = np.empty((2, BLOCK), DTYPE)",
        f"{_I4}for start in range(lo, hi, BLOCK):",
        f"{_I8}stop = start + BLOCK if start + BLOCK <= hi else hi",
        f"{_I8}x = scratch[0, :stop - start]",
        f"{_I8}g = scratch[1, :stop - start]",
        f"{_I8}copy(x, inputs[t, start:stop])",
        f"{_I8}copy(g, g_fed_back[start:stop])",
        f"{_I8}if g_all.shape[0] > 0:",
        f"{_I12}increase(g, g_all[t, start:stop])",
        *(f"{_I8}v{s} = history[{s}, t % K, start:stop]" for s in states),
        *(f"{_I8}g{s} = g_states[{s}, start:stop]" for s in states),
        *(f"{_I8}s{q} = sums[{q}, start:stop]" for q in learnable),
        f"{_I8}pull_back(x, g, g_inputs[t, start:stop], {carried}{numbers})",
    ]
    return "\n".join([*step, "", "", *backward])


def _read(plan: Plan, prefix: str) -> list[str]:
    count = len(constants(plan.forward if prefix == "c" else plan.backward))
    read = [f"{_I4}p{p} = parameters[{p}]" for p in range(plan.parameters)]
    return read + [f"{_I4}{prefix}{index} = constants[{index}]" for index in range(count)]
