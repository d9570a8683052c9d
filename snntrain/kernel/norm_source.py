"""A batch normalization folded into the reading of a neuron's inputs: what generated Python sources hold of it.

A block of neurons reads y = scale·x + shift, both of its channel, into the cache, where the kernels' loops find it in
the place of x. Backward gives the gradient of y.
"""

from snntrain.kernel.numba_prelude import PRELUDE

_I4, _I8, _I12 = (" " * n for n in (4, 8, 12))

FUNCTIONS = '''


@intrinsic
def fma(typing_context, a, b, c):
    """a·b + c, rounded once, as torch's compiler contracts its own formula."""

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.PRECISION(types.PRECISION, types.PRECISION, types.PRECISION), generate


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def normalize(y, x, scale, shift):
    for i in range(y.shape[0]):
        y[i] = fma(x[i], scale[i], shift[i])'''

_KERNEL = """


@numba.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def affine(mean, inverse, weight, bias, scale, shift, lo, hi):
    for i in range(lo, hi):
        scale[i] = inverse[i] * weight[i]
        shift[i] = fma(-mean[i], scale[i], bias[i])
"""

#: A module with a kernel that computes the affine itself.
SOURCE = (PRELUDE.replace("NEURONS", "1") + FUNCTIONS + _KERNEL).replace("PRECISION", "float32")


# --- lines of a neuron's kernels, which read y in the place of x -----------------------------------------------------


def room(size: str) -> list[str]:
    """Before the blocks, of at most `size` neurons."""
    return [
        *(f"{_I4}{name} = np.empty({size}, DTYPE)" for name in ("scales", "shifts", "normalized")),
        f"{_I4}filled = -1",
    ]


def of_block() -> list[str]:
    """At the start of a block: what its channels have, and its inputs, if all steps have the same."""
    return [
        f"{_I8}phase = start % scale.shape[0] if channel_stride == 1 else -1",
        f"{_I8}if phase < 0 or phase != filled:",
        f"{_I12}spread(scales, scale, channel_stride, start)",
        f"{_I12}spread(shifts, shift, channel_stride, start)",
        f"{_I12}filled = phase",
        f"{_I8}x = normalized[:n]",
        f"{_I8}if x_stride == 0:",
        f"{_I12}normalize(x, x_all[start:start + n], scales[:n], shifts[:n])",
    ]


def of_step(indent: str) -> list[str]:
    """The inputs of a step."""
    return [
        f"{indent}if x_stride > 0:",
        f"{indent}    raw = x_all[t * x_stride + start:t * x_stride + start + n]",
        f"{indent}    normalize(x, raw, scales[:n], shifts[:n])",
    ]
