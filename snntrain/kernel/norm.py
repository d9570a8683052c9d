"""Batch normalization folded into a neuron's kernel, as torch computes it to the last bit."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snntrain.kernel import norm_source
from snntrain.kernel.call import Affine
from snntrain.kernel.compiled import Compiled


@dataclass(frozen=True)
class Norm:
    """A batch normalization of [N, C, *] with known statistics, y = weight·(x − mean)·inverse + bias.

    Attributes:
        mean, inverse: of each channel, the second one is 1/√(variance + eps).
        affine: y as the kernels compute it.
        of_batch: the statistics are those of the batch, so that gradients flow through them, too.
        weight, bias: [C], or None for 1 and 0; they get gradients.
        running: mean and variance that torch would be given, if the statistics are not those of the batch.
        eps: added to the variance.
    """

    mean: Tensor
    inverse: Tensor
    affine: Affine
    weight: Tensor | None
    bias: Tensor | None
    of_batch: bool
    running: tuple[Tensor, Tensor] | None
    eps: float

    def pull_back(
        self, g: Tensor, x: Tensor, weight: Tensor | None, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of x, weight and bias, which torch's own function computes.

        Args:
            g: the gradient of y, [N, C, *].
            x: what was normalized, in the same memory order.
            weight: as autograd saved it.
            wanted: which of the three are.
        """
        mean, variance = self.running or (None, None)
        saved = (self.mean, self.inverse) if self.of_batch else (None, None)
        back = torch.ops.aten.native_batch_norm_backward
        return back(g, x, weight, mean, variance, *saved, self.of_batch, self.eps, list(wanted))


def affine_of(mean: Tensor, inverse: Tensor, weight: Tensor | None, bias: Tensor | None) -> Affine:
    """The affine of statistics and weights, each [C], float32, to the last bit as torch computes it."""
    scale, shift = torch.empty_like(mean), torch.empty_like(mean)
    weight = torch.ones_like(mean) if weight is None else weight.detach().contiguous()
    bias = torch.zeros_like(mean) if bias is None else bias.detach().contiguous()
    arguments = tuple(value.numpy() for value in (mean, inverse, weight, bias, scale, shift))
    channels = mean.numel()
    _kernels().run("affine", arguments, channels, block=channels, threads=1)
    return Affine(scale, shift)


def folds(x: Tensor) -> bool:
    """Whether x, [N, C, *], lies in memory so that its normalization can be folded: in torch's orders, without gaps.

    Pictures of one pixel, or of one channel, lie in two orders at once. Where their strides say channels last, torch's
    function returns plain ones, by which it then chooses how to compute gradients, so that case is left to it.
    """
    if x.dim() < 2 or x.numel() == 0:
        return False
    if x.is_contiguous():
        return x.stride() == torch.empty(x.shape, device="meta").stride()
    order = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    return order is not None and x.is_contiguous(memory_format=order)


@functools.cache
def meets_torch() -> bool:
    """Whether torch, on this processor, computes y = fma(x, scale, shift) with scale = inverse·weight in float32.

    Its source says x·scale + shift, and what becomes of that is its compiler's choice. The test compares 8,192 values
    of a batch normalization in evaluation, and in training of 2,048.
    """
    generator = torch.Generator().manual_seed(0)
    given = torch.rand((4, 64), generator=generator)
    x = torch.randn((32, 64, 2, 2), generator=generator) * 3 + 1
    for values in (x, x.contiguous(memory_format=torch.channels_last), x[:, :, 0, 0].contiguous()):
        for training in (False, True):
            weight, bias, mean, variance = given.clone()
            wanted = F.batch_norm(values, mean, variance, weight, bias, training)
            if training:
                mean, variance = torch.batch_norm_update_stats(values, None, None, 0.1)
            inverse = inverse_of_batch(variance, 1e-5) if training else inverse_of_running(variance, 1e-5)
            affine = affine_of(mean, inverse, weight, bias)
            shape = (-1, *[1] * (values.dim() - 2))
            scale, shift = (value.double().view(shape) for value in (affine.scale, affine.shift))
            # The product is exact in float64; a value for which rounding twice would differ is not among these.
            if not torch.equal((values.double() * scale + shift).float(), wanted):
                return False
    return True


def inverse_of_batch(variance: Tensor, eps: float) -> Tensor:
    """1/√(variance + eps) as torch computes it of a batch's variance: in float64, then rounded."""
    return (1 / (variance.double() + eps).sqrt()).to(variance.dtype)


def inverse_of_running(variance: Tensor, eps: float) -> Tensor:
    """1/√(variance + eps) as torch computes it of the running variance: rounded each time."""
    values = variance.numpy()
    return torch.from_numpy(1 / np.sqrt(values + values.dtype.type(eps)))


@functools.cache
def _kernels() -> Compiled:
    return Compiled(norm_source.SOURCE)
