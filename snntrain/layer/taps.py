"""Sums over the last steps of a sequence, computed for all steps at once: what delays are made of."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def filtered(inputs: Tensor, kernel: Tensor, dim: int, T: int) -> Tensor:
    """Convolve each channel over time.

    y[t] = Σ_j kernel[j, c]·x[t − j].

    Args:
        inputs: [max − 1 + T, N, *], of which the last T steps are x.
        kernel: [max, C].
        dim: of inputs that holds the channels.
        T: steps of the output.

    Returns: [T, N, *].
    """
    inner = inputs.movedim(dim, -1)
    flat = inner.reshape(inner.shape[0], -1, inner.shape[-1])
    # One picture [1, C, time, rest] whose channels are innermost, as convolutions like it: no copy is made.
    picture = flat.permute(2, 0, 1)[None]
    taps = kernel.flip(0).t()[:, None, :, None]
    y = F.conv2d(picture, taps, groups=kernel.shape[1])[0].permute(1, 2, 0)
    return y.reshape(T, *inner.shape[1:]).movedim(-1, dim)


def sum_of_taps(layer: nn.Module, inputs: Tensor, taps: Sequence[tuple[int, Tensor]], most: int, T: int) -> Tensor:
    """The outputs of a layer whose input is weighted anew for each delay.

    y[t] = b + Σ_j f(x[t − j], w[j]), f the product or convolution that the layer computes.

    Args:
        layer: a linear layer or a convolution, with its bias.
        inputs: [most − 1 + T, N, *], of which the last T steps are x.
        taps: (j, w[j]); at least one.
        T: steps of the output.

    Returns: [T, N, *].
    """
    total = None
    for j, weight in taps:
        x = inputs[most - 1 - j : most - 1 - j + T]
        y = F.linear(x, weight) if isinstance(layer, nn.Linear) else _convolved(layer, x, weight)
        total = y if total is None else total + y
    if layer.bias is None:
        return total
    bias = layer.bias if isinstance(layer, nn.Linear) else layer.bias.view(-1, *[1] * (total.dim() - 3))
    return total + bias.to(total.dtype)


def _convolved(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    convolution = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[weight.dim()]
    # torch's own: that of a layer with standardized weights would standardize these.
    return convolution._conv_forward(layer, x.flatten(0, 1), weight, None).unflatten(0, x.shape[:2])
