"""Scalar graphs → CUDA C: one time step of all neurons, where something is computed in between."""

import torch

from snntrain.kernel.cuda_source import (
    _CONVERSION,
    _PRELUDE,
    BLOCK,
    IO,
    _kernel,
    _parameter_arguments,
    _parameters,
)
from snntrain.kernel.cuda_step import advance, numbers, pull_back, suffix
from snntrain.kernel.graph import constants
from snntrain.kernel.plan import Plan

# One neuron a thread, whose number u is; `begin + k` is the step, as cuda_step reads parameters of a step there.
_THREAD = (
    "const long long u = (long long)blockIdx.x * THREADS + threadIdx.x;",
    "const long long M = words;",
    "if (u >= M) return;",
)


def source(plan: Plan) -> str:
    """CUDA C with kernels `forward`, `again` and `backward`, as in step_source; inputs have the plan's dtype."""
    io = torch.float32 if plan.dtype == torch.float32 else torch.float64
    prelude = _PRELUDE.format(real=IO[io], word=IO[io], exp=f"exp{suffix(plan)}", K=1, V=1, threads=BLOCK)
    text = [prelude, _CONVERSION[io], advance(plan), _forward(plan), _again(plan), pull_back(plan), _backward(plan)]
    return "\n".join(text)


def _head(plan: Plan) -> list[str]:
    return [*_THREAD, *(["constexpr int j = 0, k = 0;"] if plan.spread else []), *_parameters(plan)]


def _forward(plan: Plan) -> str:
    states = range(plan.states)
    arguments = [
        "real* inputs, long long rows",
        "const real* __restrict__ x_all, long long x_stride",
        "real* __restrict__ states, real* __restrict__ kept, long long every, real* __restrict__ out_all",
        *_parameter_arguments(plan),
        "long long begin",
        *(f"real c{index}" for index in range(len(constants(plan.forward)))),
    ]
    call = ", ".join(["x", *(f"v{s}" for s in states), "out", *numbers(plan, "", "c")])
    # The states are in the first of their two copies before even steps, as on the CPU.
    lines = [
        *_head(plan),
        "real* input = inputs + (begin < rows ? begin : 0) * M + u;",
        "real x = *input;",
        "if (x_all) x += x_all[begin * x_stride + u];",
        "*input = x;",
        *(f"real v{s} = states[({s} * 2 + begin % 2) * M + u];" for s in states),
        "if (kept && begin > 0 && begin % every == 0) {",
        *(f"    kept[({s} * ((T - 1) / every) + begin / every - 1) * M + u] = v{s};" for s in states),
        "}",
        "real out;",
        f"advance({call});",
        "out_all[begin * M + u] = out;",
        *(f"states[({s} * 2 + 1 - begin % 2) * M + u] = v{s};" for s in states),
    ]
    return _kernel("forward", arguments, lines)


def _again(plan: Plan) -> str:
    states = range(plan.states)
    arguments = [
        "const real* __restrict__ inputs, real* __restrict__ history, long long every",
        *_parameter_arguments(plan),
        "long long first, long long end",
        *(f"real c{index}" for index in range(len(constants(plan.forward)))),
    ]
    call = ", ".join(["inputs[begin * M + u]", *(f"v{s}" for s in states), "unused", *numbers(plan, "", "c")])
    lines = [
        *_head(plan),
        *(f"real v{s} = history[{s} * every * M + u];" for s in states),
        "real unused;",
        "for (long long begin = first; begin < end - 1; ++begin) {",
        f"    advance({call});",
        *(f"    history[({s} * every + begin - first + 1) * M + u] = v{s};" for s in states),
        "}",
    ]
    return _kernel("again", arguments, lines)


def _backward(plan: Plan) -> str:
    states, learnable = range(plan.states), range(len(plan.learnable))
    arguments = [
        "const real* inputs, const real* __restrict__ history, long long every, const real* __restrict__ g_all",
        "const real* __restrict__ g_fed_back, real* g_inputs, real* __restrict__ g_states, real* __restrict__ sums",
        *_parameter_arguments(plan),
        "long long begin",
        *(f"real b{index}" for index in range(len(constants(plan.backward)))),
    ]
    call = ["inputs[begin * M + u]", *(f"v{s}" for s in states), "g", *(f"g{s}" for s in states), "gx"]
    call += [*(f"s{q}" for q in learnable), *numbers(plan, "", "b")]
    lines = [
        *_head(plan),
        "real g = g_fed_back[u];",
        "if (g_all) g += g_all[begin * M + u];",
        *(f"const real v{s} = history[({s} * every + begin % every) * M + u];" for s in states),
        *(f"real g{s} = g_states[{s} * M + u];" for s in states),
        *(
            f"real s{q} = {'ZERO' if plan.dims[p] == 2 else f'sums[{q} * M + u]'};"
            for q, p in enumerate(plan.learnable)
        ),
        "real gx;",
        f"pull_back({', '.join(call)});",
        "g_inputs[begin * M + u] = gx;",
        *(f"g_states[{s} * M + u] = g{s};" for s in states),
        *(f"sums[{q} * M + u] = s{q};" for q in learnable),
    ]
    return _kernel("backward", arguments, lines)
