"""Scalar graphs → CUDA C: the time loop inside, neurons in the lanes, a chunk's states in registers."""

from collections.abc import Iterable

import torch

from snntrain.kernel.cuda_step import advance, inputs, numbers, pull_back, suffix
from snntrain.kernel.graph import constants
from snntrain.kernel.plan import Plan

BLOCK = 128  # neurons per thread block, whose parameter gradients it sums; small, as its threads need many registers

# Dtypes of x, outputs and their gradients → the type of an element in memory.
IO = {
    torch.float16: "unsigned short",
    torch.bfloat16: "unsigned short",
    torch.float32: "float",
    torch.float64: "double",
}


def chunk_length(plan: Plan, io: torch.dtype, T: int | None = None) -> int:
    """Steps between two kept states, whatever T: those whose states and inputs a thread holds in registers.

    8 where the kept states then fill at most an eighth of x; else 16, beyond which registers run out: that is an eighth
    of x for two states, or for one with x, of dtype io, in half precision, and in proportion more for more states.
    """
    return 8 if plan.states * plan.dtype.itemsize <= io.itemsize else 16


def source(plan: Plan, io: torch.dtype, V: int) -> str:
    """CUDA C with kernels `forward` and `backward`, of which every thread runs V neighboring neurons.

    Constants are arguments of the kernels, so that neurons which differ only in numbers share them.

    Args:
        plan: of the neuron; its dtype is that of states and arithmetic.
        io: dtype of x, outputs and their gradients.
        V: 1, or 2 with a 16-bit io; divides the number of neurons and the step from time to time in x.
    """
    text = [
        _PRELUDE.format(
            real="float" if plan.dtype == torch.float32 else "double",
            word=IO[io] if V == 1 else "unsigned int",
            exp=f"exp{suffix(plan)}",
            K=chunk_length(plan, io),
            V=V,
            threads=BLOCK // V,
        ),
        _CONVERSION[io],
        advance(plan),
        _forward(plan),
        pull_back(plan),
        _backward(plan),
    ]
    return "\n".join(text)


# A word is V neighboring neurons in memory: `words` of them make a step, u is the thread's own, j a neuron in it.


def _kernel(name: str, arguments: Iterable[str], lines: Iterable[str]) -> str:
    head = f'extern "C" __global__ void __launch_bounds__(THREADS) {name}(\n    ' + ",\n    ".join(arguments) + ") {"
    return "\n".join([head, *(f"    {line}" if line else "" for line in lines), "}\n"])


def _lanes(*lines: str) -> list[str]:
    return ["EACH_LANE {", *(f"    {line}" for line in lines), "}"] if lines else []


def _forward(plan: Plan) -> str:
    states = range(plan.states)
    arguments = [
        "const word* __restrict__ x_all, long long x_stride",
        *(f"const real* __restrict__ first{s}, long long first{s}_stride" for s in states),
        "real* __restrict__ last, real* __restrict__ kept",
        "word* __restrict__ out_all, real* __restrict__ sequences",
        *_parameter_arguments(plan),
        *(f"real c{index}" for index in range(len(constants(plan.forward)))),
    ]
    call = ", ".join([*_lane_of(plan), *(f"v{s}[j]" for s in states), "spike", *numbers(plan, "", "c")])
    store = [f"    sequences[{s} * T * M + at * V + j] = v{s}[j];" for s in states]
    lines = [
        *_THREAD,
        "if (u >= words) return;",
        *_parameters(plan),
        *(f"real v{s}[V];" for s in states),
        *_lanes(*(f"v{s}[j] = first{s}[(u * V + j) * first{s}_stride];" for s in states)),
        "for (long long chunk = 0; chunk * K < T; ++chunk) {",
        "    EXTENT_OF_CHUNK",
        "    if (kept && chunk > 0) {",
        *_indented(2, _lanes(*(f"kept[({s} * KEPT + chunk - 1) * M + u * V + j] = v{s}[j];" for s in states))),
        "    }",
        f"    word {', '.join(f'{x}[K]' for x in inputs(plan))};",
        "    const word* x_at = x_all + begin * x_stride + u;",
        "    EACH_STEP if (k < steps) {",
        *_read_inputs(plan),
        "        x_at += x_stride;",
        "    }",
        "    long long at = begin * words + u;",
        "    EACH_STEP if (k < steps) {",
        "        word out = 0;",
        *_indented(
            2,
            _lanes(
                "real spike;",
                f"advance({call});",
                "set_lane(out, j, spike);",
                *(["if (sequences) {", *store, "}"] if store else []),
            ),
        ),
        "        out_all[at] = out;",
        "        at += words;",
        "    }",
        "}",
        *_lanes(*(f"last[{s} * M + u * V + j] = v{s}[j];" for s in states)),
    ]
    return _kernel("forward", arguments, lines)


def _backward(plan: Plan) -> str:
    states = range(plan.states)
    gxs, gx_lanes, gx_sums = (inputs(plan, prefix) for prefix in ("gx", "gx_lane", "gx_sum"))
    arguments = [
        "const word* __restrict__ x_all, long long x_stride",
        *(f"const real* __restrict__ first{s}, long long first{s}_stride" for s in states),
        "const real* __restrict__ kept, const word* __restrict__ g_all",
        *(f"const real* __restrict__ g_last{s}, long long g_last{s}_stride" for s in states),
        "const real* __restrict__ g_sequences, word* __restrict__ gx_all, long long over_time",
        "real* __restrict__ g_first, double* __restrict__ g_parameters",
        *_parameter_arguments(plan, [f"real* __restrict__ g_values{p}" for p in plan.learnable if plan.dims[p]]),
        *(f"real c{index}" for index in range(len(constants(plan.forward)))),
        *(f"real b{index}" for index in range(len(constants(plan.backward)))),
    ]
    again = ", ".join([*_lane_of(plan), *(f"v{s}[k + 1][j]" for s in states), "unused", *numbers(plan, "", "c")])
    back = ", ".join(
        [
            *_lane_of(plan),
            *(f"v{s}[k][j]" for s in states),
            "lane(g[k], j)",
            *(f"g{s}[j]" for s in states),
            *gx_lanes,
            *(f"s{q}" if plan.dims[p] == 2 else f"s{q}[j]" for q, p in enumerate(plan.learnable)),
            *numbers(plan, "", "b"),
        ]
    )
    per_step = [(q, p) for q, p in enumerate(plan.learnable) if plan.dims[p] == 2]
    over_time = [(q, p) for q, p in enumerate(plan.learnable) if plan.dims[p] != 2]
    from_kept = [f"    v{s}[0][j] = kept[({s} * KEPT + chunk - 1) * M + u * V + j];" for s in states]
    from_first = [f"    v{s}[0][j] = first{s}[(u * V + j) * first{s}_stride];" for s in states]
    stored = [f"    g{s}[j] += g_sequences[{s} * T * M + at * V + j];" for s in states]
    per_word = [
        *(f"real g{s}[V];" for s in states),
        *(f"real {name}[V];" for name in gx_sums),
        *_lanes(
            *(f"g{s}[j] = g_last{s}[(u * V + j) * g_last{s}_stride];" for s in states),
            *(f"{name}[j] = ZERO;" for name in gx_sums),
        ),
        "for (long long chunk = (T - 1) / K; chunk >= 0; --chunk) {",
        "    EXTENT_OF_CHUNK",
        f"    word {', '.join(f'{x}[K]' for x in inputs(plan))}, g[K];",
        "    const word* x_at = x_all + begin * x_stride + u;",
        "    long long at = begin * words + u;",
        "    EACH_STEP if (k < steps) {",
        *_read_inputs(plan),
        "        g[k] = g_all[at];",
        "        x_at += x_stride;",
        "        at += words;",
        "    }",
        *(f"    real v{s}[K][V];" for s in states),
        *_indented(1, _lanes(*(["if (chunk > 0) {", *from_kept, "} else {", *from_first, "}"] if states else []))),
        "    EACH_STEP if (k + 1 < steps) {",
        *_indented(
            2,
            _lanes(
                *(f"v{s}[k + 1][j] = v{s}[k][j];" for s in states),
                *(["real unused;", f"advance({again});"] if states else []),
            ),
        ),
        "    }",
        "    EACH_STEP_BACK if (k < steps) {",
        "        at -= words;",
        *(f"        word {gx} = 0;" for gx in gxs),
        *_indented(
            2,
            _lanes(
                *(["if (g_sequences) {", *stored, "}"] if stored else []),
                *(f"real {lane};" for lane in gx_lanes),
                *(f"real s{q} = ZERO;" for q, _ in per_step),
                f"pull_back({back});",
                *(f"g_values{p}[at * V + j] = s{q};" for q, p in per_step),
                *(f"{total}[j] += {lane};" for total, lane in zip(gx_sums, gx_lanes, strict=True)),
                *(f"set_lane({gx}, j, {lane});" for gx, lane in zip(gxs, gx_lanes, strict=True)),
            ),
        ),
        *(
            ["        if (!over_time) gx_all[at] = gx;"]
            if plan.branches == 1
            else [
                f"        if (!over_time) gx_all[((begin + k) * {plan.branches} + {b}) * words + u] = {gx};"
                for b, gx in enumerate(gxs)
            ]
        ),
        "    }",
        "}",
        "if (g_first) {",
        *_lanes(*(f"g_first[{s} * M + u * V + j] = g{s}[j];" for s in states)),
        "}",
        "if (over_time) {",
        *(f"    word {gx} = 0;" for gx in gxs),
        *(f"    EACH_LANE set_lane({gx}, j, {total}[j]);" for gx, total in zip(gxs, gx_sums, strict=True)),
        *(f"    gx_all[{f'{b} * words + ' if b else ''}u] = {gx};" for b, gx in enumerate(gxs)),
        "}",
        *_lanes(*(f"g_values{p}[u * V + j] = s{q}[j];" for q, p in over_time if plan.dims[p])),
    ]
    lines = [
        *_THREAD,
        *_parameters(plan),
        *(f"real s{q}[V];" for q, _ in over_time),
        *_lanes(*(f"s{q}[j] = ZERO;" for q, _ in over_time)),
        "if (u < words) {",
        *_indented(1, per_word),
        "}",
    ]
    over_block = [q for q, p in over_time if not plan.dims[p]]
    if over_block:
        lines += ["__shared__ double partial[THREADS];"]
    for row, q in enumerate(over_block):
        lines += [
            "{",
            "    double total = 0.0;",
            f"    EACH_LANE total += (double)s{q}[j];",
            "    sum_over_block(partial, total);",
            f"    if (threadIdx.x == 0) g_parameters[{row} * (long long)gridDim.x + blockIdx.x] = partial[0];",
            "    __syncthreads();",
            "}",
        ]
    return (_SUM if over_block else "") + _kernel("backward", arguments, lines)


def _indented(levels: int, lines: Iterable[str]) -> list[str]:
    return ["    " * levels + line for line in lines]


def _lane_of(plan: Plan) -> list[str]:
    """The inputs of neuron j at a step, one for each branch."""
    return [f"lane({x}[k], j)" for x in inputs(plan)]


def _read_inputs(plan: Plan) -> list[str]:
    return [f"        {x}[k] = {f'x_at[{b} * words]' if b else '*x_at'};" for b, x in enumerate(inputs(plan))]


def _parameter_arguments(plan: Plan, gradients: Iterable[str] = ()) -> list[str]:
    """The arguments of a kernel for parameters, their gradients and the sizes that follow them."""
    if not plan.spread:
        return ["const real* __restrict__ parameters, long long T, long long words"]
    return [
        "const real* __restrict__ parameters, long long channel_stride",
        *(f"const real* __restrict__ values{p}, long long size{p}" for p in plan.spread),
        *gradients,
        "long long T, long long words",
    ]


def _parameters(plan: Plan) -> list[str]:
    """The values of the parameters for a thread's neurons; of those that change from step to step, their channel."""
    lines = [f"const real p{p} = parameters[{index}];" for index, p in enumerate(plan.scalars)]
    channel = "(u * V + j) / channel_stride % size{p}"
    for p in plan.spread:
        if plan.dims[p] == 1:
            lines += [f"real p{p}[V];", *_lanes(f"p{p}[j] = values{p}[{channel.format(p=p)}];")]
        else:
            lines += [f"long long channel{p}[V];", *_lanes(f"channel{p}[j] = {channel.format(p=p)};")]
    return lines


_THREAD = (
    "const long long u = (long long)blockIdx.x * THREADS + threadIdx.x;",
    "const long long M = words * V;",
)

_PRELUDE = """\
// Generated by snntrain.kernel from a neuron's step function; do not edit.
typedef {real} real;  // states and arithmetic
typedef {word} word;  // V neighboring neurons in memory
constexpr int K = {K};  // steps per chunk
constexpr int V = {V};
constexpr int THREADS = {threads};
#define ZERO ((real)0)
#define ONE ((real)1)
#define EXP {exp}
#define EACH_LANE _Pragma("unroll") for (int j = 0; j < V; ++j)
#define EACH_STEP _Pragma("unroll") for (int k = 0; k < K; ++k)
#define EACH_STEP_BACK _Pragma("unroll") for (int k = K - 1; k >= 0; --k)
#define KEPT ((T - 1) / K)
#define EXTENT_OF_CHUNK \\
    const long long begin = chunk * K; \\
    const int steps = T - begin < K ? (int)(T - begin) : K;
"""

_PLAIN = """\
__device__ __forceinline__ real lane(word w, int) { return (real)w; }
__device__ __forceinline__ void set_lane(word &w, int, real value) { w = (word)value; }
"""

_BITS = """\
__device__ __forceinline__ real lane(word w, int j) { return (real)from_bits((unsigned short)(w >> 16 * j)); }
__device__ __forceinline__ void set_lane(word &w, int j, real value) { w |= (word)to_bits((float)value) << 16 * j; }
"""

# NVRTC has CUDA's headers only where a toolkit is installed: hence no cuda_fp16.h and no cuda_bf16.h.
_CONVERSION = {
    torch.float32: _PLAIN,
    torch.float64: _PLAIN,
    torch.float16: """\
#ifdef __CUDACC__  // another compiler brings its own
__device__ __forceinline__ float from_bits(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ __forceinline__ unsigned short to_bits(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif
"""
    + _BITS,
    torch.bfloat16: """\
__device__ __forceinline__ float from_bits(unsigned short bits) { return __uint_as_float((unsigned int)bits << 16); }
__device__ __forceinline__ unsigned short to_bits(float value) {
    const unsigned int bits = __float_as_uint(value);
    if (value != value) return 0x7fc0;
    return (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to the nearest, half to even
}
"""
    + _BITS,
}

# Always in the same order: a run repeats to the last bit.
_SUM = """\
__device__ __forceinline__ void sum_over_block(double* partial, double own) {
    partial[threadIdx.x] = own;
    __syncthreads();
    for (int width = THREADS / 2; width > 0; width /= 2) {
        if (threadIdx.x < width) partial[threadIdx.x] += partial[threadIdx.x + width];
        __syncthreads();
    }
}

"""
