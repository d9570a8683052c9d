"""A batch normalization folded into the reading of a neuron's inputs: what generated Python sources hold of it.

A block of neurons reads y = scale·x + shift, both of its channel, into the cache, where the kernels' loops find it in
the place of x. Backward gives the gradient of y, and for each channel the sums of it and of its product with x − mean,
from which `input_gradient` makes the gradient of x.
"""

from snntrain.kernel.numba_prelude import PRELUDE, SPREAD

BLOCK = 16_384  # values that the kernels below take at a time

_I4, _I8, _I12, _I16 = (" " * n for n in (4, 8, 12, 16))

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
        y[i] = fma(x[i], scale[i], shift[i])


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def collect(sum_g, sum_gx, g, x, mean):
    for i in range(g.shape[0]):
        sum_g[i] = sum_g[i] + g[i]
        sum_gx[i] = sum_gx[i] + g[i] * (x[i] - mean[i])


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def per_channel(sums, values, stride, start):
    """Add what each neuron from `start` on has to the sum of its channel."""
    n = values.shape[0]
    channels = sums.shape[0]
    channel = start // stride % channels
    left = stride - start % stride
    i = 0
    while i < n:
        if stride == 1 and channels > 1:  # neighbors are of neighboring channels
            end = min(i + channels - channel, n)
            for j in range(i, end):
                sums[channel + j - i] += values[j]
            channel = 0
        else:
            end = min(i + left, n)
            sums[channel] += total(values[i:end])
            channel = channel + 1 if channel + 1 < channels else 0
            left = stride
        i = end


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def total(values):
    """In sixteen sums side by side, which become vector code."""
    sums = np.zeros(16, np.float64)
    whole = values.shape[0] // 16 * 16
    for i in range(0, whole, 16):
        for j in range(16):
            sums[j] += values[i + j]
    found = 0.0
    for i in range(whole, values.shape[0]):
        found += values[i]
    for j in range(16):
        found += sums[j]
    return found'''

_KERNELS = '''

PART = 2048  # values whose channels' numbers stay in the first cache level


@numba.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def affine(mean, inverse, weight, bias, scale, shift, lo, hi):
    for i in range(lo, hi):
        scale[i] = inverse[i] * weight[i]
        shift[i] = fma(-mean[i], scale[i], bias[i])


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def add_row(sums, squares, x, origin):
    for i in range(x.shape[0]):
        d = np.float64(x[i]) - origin[i]
        sums[i] += d
        squares[i] += d * d


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def add_four_rows(sums, squares, x0, x1, x2, x3, origin):
    for i in range(x0.shape[0]):
        d0 = np.float64(x0[i]) - origin[i]
        d1 = np.float64(x1[i]) - origin[i]
        d2 = np.float64(x2[i]) - origin[i]
        d3 = np.float64(x3[i]) - origin[i]
        sums[i] += (d0 + d1) + (d2 + d3)
        squares[i] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def add_run(sums, squares, x, origin):
    for i in range(0, x.shape[0], 16):
        for j in range(16):
            d = np.float64(x[i + j]) - origin
            sums[j] += d
            squares[j] += d * d


@numba.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def moments(x, origin, stride, sums, squares, lo, hi):
    """For each block of values, and in it for each channel, the sums of x − origin and of its square."""
    channels = origin.shape[0]
    lanes = np.zeros((2, 16), np.float64)
    for start in range(lo, hi, BLOCK):
        stop = start + BLOCK if start + BLOCK <= hi else hi
        of_block = sums[start // BLOCK]
        squares_of_block = squares[start // BLOCK]
        channel = start // stride % channels
        left = stride - start % stride
        i = start
        while i < stop:
            if stride == 1 and channels > 1 and channel == 0 and i + 4 * channels <= stop:
                end = i + 4 * channels
                one, two, three = i + channels, i + 2 * channels, i + 3 * channels
                rows = x[i:one], x[one:two], x[two:three], x[three:end]
                add_four_rows(of_block, squares_of_block, rows[0], rows[1], rows[2], rows[3], origin)
            elif stride == 1 and channels > 1:
                end = min(i + channels - channel, stop)
                last = channel + end - i
                add_row(of_block[channel:last], squares_of_block[channel:last], x[i:end], origin[channel:last])
                channel = 0
            else:
                end = min(i + left, stop)
                whole = i + (end - i) // 16 * 16
                for j in range(16):
                    lanes[0, j] = 0.0
                    lanes[1, j] = 0.0
                add_run(lanes[0], lanes[1], x[i:whole], origin[channel])
                for j in range(16):
                    of_block[channel] += lanes[0, j]
                    squares_of_block[channel] += lanes[1, j]
                for j in range(whole, end):
                    d = np.float64(x[j]) - origin[channel]
                    of_block[channel] += d
                    squares_of_block[channel] += d * d
                channel = channel + 1 if channel + 1 < channels else 0
                left = stride
            i = end


@numba.njit(nogil=True, error_model="numpy", boundscheck=False)
def gradient_of_x(g, x, scale, mean, slope, offset):
    for i in range(g.shape[0]):
        g[i] = g[i] * scale[i] + ((x[i] - mean[i]) * slope[i] + offset[i])


@numba.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def input_gradient(g, x, scale, mean, slope, offset, stride, lo, hi):
    """Turn the gradient of y into that of x, in place."""
    scales = np.empty(PART, DTYPE)
    means = np.empty(PART, DTYPE)
    slopes = np.empty(PART, DTYPE)
    offsets = np.empty(PART, DTYPE)
    filled = -1
    for start in range(lo, hi, PART):
        n = PART if start + PART <= hi else hi - start
        phase = start % scale.shape[0] if stride == 1 else -1
        if phase < 0 or phase != filled:
            spread(scales, scale, stride, start)
            spread(means, mean, stride, start)
            spread(slopes, slope, stride, start)
            spread(offsets, offset, stride, start)
            filled = phase
        gradient_of_x(g[start:start + n], x[start:start + n], scales[:n], means[:n], slopes[:n], offsets[:n])
'''


def source(precision: str) -> str:
    """A module with the kernels of a batch normalization in 'float32' or 'float64'."""
    text = PRELUDE.replace("NEURONS", str(BLOCK)) + SPREAD + FUNCTIONS + _KERNELS
    return text.replace("PRECISION", precision)


# --- lines of a neuron's kernels, which read y in the place of x -----------------------------------------------------


def room(size: str, backward: bool = False) -> list[str]:
    """Before the blocks, of at most `size` neurons."""
    names = ["scales", "shifts", "normalized"] + (["means", "sum_g", "sum_gx"] if backward else [])
    return [*(f"{_I4}{name} = np.empty({size}, DTYPE)" for name in names), f"{_I4}filled = -1"]


def of_block(backward: bool = False) -> list[str]:
    """At the start of a block: what its channels have, and its inputs, if all steps have the same."""
    pairs = [("scales", "scale"), ("shifts", "shift")] + ([("means", "mean")] if backward else [])
    sums = [f"{_I8}fill(sum_g[:n], ZERO)", f"{_I8}fill(sum_gx[:n], ZERO)"] if backward else []
    return [
        f"{_I8}phase = start % scale.shape[0] if channel_stride == 1 else -1",
        f"{_I8}if phase < 0 or phase != filled:",
        *(f"{_I12}spread({target}, {values}, channel_stride, start)" for target, values in pairs),
        f"{_I12}filled = phase",
        f"{_I8}x = normalized[:n]",
        f"{_I8}if x_stride == 0:",
        f"{_I12}normalize(x, x_all[start:start + n], scales[:n], shifts[:n])",
        *sums,
    ]


def of_step(indent: str) -> list[str]:
    """The inputs of a step."""
    return [
        f"{indent}if x_stride > 0:",
        f"{indent}    raw = x_all[t * x_stride + start:t * x_stride + start + n]",
        f"{indent}    normalize(x, raw, scales[:n], shifts[:n])",
    ]


def collect_step(indent: str) -> list[str]:
    """After a step back whose gradients have been written."""
    return [
        f"{indent}if sums.shape[1] > 0:",
        f"{indent}    raw = x_all[t * x_stride + start:t * x_stride + start + n]",
        f"{indent}    collect(sum_g[:n], sum_gx[:n], gx_all[t * M + start:t * M + start + n], raw, means[:n])",
    ]


def end_of_block(block: str) -> list[str]:
    """Write the sums of a block, whose number is given."""
    return [
        f"{_I8}if sums.shape[1] > 0:",
        f"{_I12}if gx_stride == 0:",
        f"{_I16}collect(sum_g[:n], sum_gx[:n], gx_all[start:start + n], x_all[start:start + n], means[:n])",
        f"{_I12}per_channel(sums[0, {block}], sum_g[:n], channel_stride, start)",
        f"{_I12}per_channel(sums[1, {block}], sum_gx[:n], channel_stride, start)",
    ]
