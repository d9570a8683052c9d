"""Scalar graphs → CUDA C: the time loop inside, neurons in the lanes, a chunk's states in registers."""

from collections.abc import Iterable

import torch

from snntrain.kernel.cuda_step import advance, numbers, pull_back, suffix
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
        "const real* __restrict__ parameters, long long T, long long words",
        *(f"real c{index}" for index in range(len(constants(plan.forward)))),
    ]
    call = ", ".join(["lane(x[k], j)", *(f"v{s}[j]" for s in states), "spike", *numbers(plan, "", "c")])
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
        "    word x[K];",
        "    const word* x_at = x_all + begin * x_stride + u;",
        "    EACH_STEP if (k < steps) {",
        "        x[k] = *x_at;",
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
    states, learnable = range(plan.states), range(len(plan.learnable))
    arguments = [
        "const word* __restrict__ x_all, long long x_stride",
        *(f"const real* __restrict__ first{s}, long long first{s}_stride" for s in states),
        "const real* __restrict__ kept, const word* __restrict__ g_all",
        *(f"const real* __restrict__ g_last{s}, long long g_last{s}_stride" for s in states),
        "const real* __restrict__ g_sequences, word* __restrict__ gx_all, long long over_time",
        "real* __restrict__ g_first, double* __restrict__ g_parameters",
        "const real* __restrict__ parameters, long long T, long long words",
        *(f"real c{index}" for index in range(len(constants(plan.forward)))),
        *(f"real b{index}" for index in range(len(constants(plan.backward)))),
    ]
    again = ", ".join(["lane(x[k], j)", *(f"v{s}[k + 1][j]" for s in states), "unused", *numbers(plan, "", "c")])
    back = ", ".join(
        [
            "lane(x[k], j)",
            *(f"v{s}[k][j]" for s in states),
            "lane(g[k], j)",
            *(f"g{s}[j]" for s in states),
            "gx_lane",
            *(f"s{q}[j]" for q in learnable),
            *numbers(plan, "", "b"),
        ]
    )
    from_kept = [f"    v{s}[0][j] = kept[({s} * KEPT + chunk - 1) * M + u * V + j];" for s in states]
    from_first = [f"    v{s}[0][j] = first{s}[(u * V + j) * first{s}_stride];" for s in states]
    stored = [f"    g{s}[j] += g_sequences[{s} * T * M + at * V + j];" for s in states]
    per_word = [
        *(f"real g{s}[V];" for s in states),
        "real gx_sum[V];",
        *_lanes(*(f"g{s}[j] = g_last{s}[(u * V + j) * g_last{s}_stride];" for s in states), "gx_sum[j] = ZERO;"),
        "for (long long chunk = (T - 1) / K; chunk >= 0; --chunk) {",
        "    EXTENT_OF_CHUNK",
        "    word x[K], g[K];",
        "    const word* x_at = x_all + begin * x_stride + u;",
        "    long long at = begin * words + u;",
        "    EACH_STEP if (k < steps) {",
        "        x[k] = *x_at;",
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
        "        word gx = 0;",
        *_indented(
            2,
            _lanes(
                *(["if (g_sequences) {", *stored, "}"] if stored else []),
                "real gx_lane;",
                f"pull_back({back});",
                "gx_sum[j] += gx_lane;",
                "set_lane(gx, j, gx_lane);",
            ),
        ),
        "        if (!over_time) gx_all[at] = gx;",
        "    }",
        "}",
        "if (g_first) {",
        *_lanes(*(f"g_first[{s} * M + u * V + j] = g{s}[j];" for s in states)),
        "}",
        "if (over_time) {",
        "    word gx = 0;",
        "    EACH_LANE set_lane(gx, j, gx_sum[j]);",
        "    gx_all[u] = gx;",
        "}",
    ]
    lines = [
        *_THREAD,
        *_parameters(plan),
        *(f"real s{q}[V];" for q in learnable),
        *_lanes(*(f"s{q}[j] = ZERO;" for q in learnable)),
        "if (u < words) {",
        *_indented(1, per_word),
        "}",
    ]
    if learnable:
        lines += ["__shared__ double partial[THREADS];"]
    for q in learnable:
        lines += [
            "{",
            "    double total = 0.0;",
            f"    EACH_LANE total += (double)s{q}[j];",
            "    sum_over_block(partial, total);",
            f"    if (threadIdx.x == 0) g_parameters[{q} * (long long)gridDim.x + blockIdx.x] = partial[0];",
            "    __syncthreads();",
            "}",
        ]
    return (_SUM if learnable else "") + _kernel("backward", arguments, lines)


def _indented(levels: int, lines: Iterable[str]) -> list[str]:
    return ["    " * levels + line for line in lines]


def _parameters(plan: Plan) -> list[str]:
    return [f"const real p{p} = parameters[{p}];" for p in range(plan.parameters)]


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
