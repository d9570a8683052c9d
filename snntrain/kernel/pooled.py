"""How the pooled outputs of a neuron lie in memory, which is as torch's own pooling would leave them."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from snntrain.kernel.call import Pictures, Pooling


@dataclass(frozen=True)
class PooledLayout:
    """The pooled outputs of T steps.

    Attributes:
        pooling: the windows.
        pictures: what is pooled.
        shape, strides: of the outputs, [T·N, C, height, width].
    """

    pooling: Pooling
    pictures: Pictures
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def vector(self, g: Tensor) -> Tensor:
        """A gradient of the outputs as a vector in their memory order."""
        if g.stride() != self.strides:
            g = torch.empty_strided(self.shape, self.strides, dtype=g.dtype, device=g.device).copy_(g)
        return g.as_strided((g.numel(),), (1,), g.storage_offset())


def pooled_layout(pooling: Pooling, step: Tensor, T: int) -> PooledLayout | None:
    """The layout of the pooled outputs of T inputs like step, [N, C, H, W]; None if no kernel can pool them.

    Pooled are steps whose channels are outermost in a sample (contiguous), or innermost (torch.channels_last).
    """
    return _pooled_layout(pooling, tuple(step.shape), step.stride(), T)


@functools.lru_cache(maxsize=256)
def _pooled_layout(pooling: Pooling, shape: tuple[int, ...], strides: tuple[int, ...], T: int) -> PooledLayout | None:
    if len(shape) != 4 or 0 in shape or shape[2] < pooling.height or shape[3] < pooling.width:
        return None
    # Shapes without numbers, for which torch says what it would do. A neuron's steps follow each other in memory.
    step = torch.empty_strided(shape, strides, device="meta")
    outputs = torch.empty_strided((T, *shape), (step.numel(), *strides), device="meta").flatten(0, 1)
    if outputs.stride() != strides:
        return None
    pool = F.max_pool2d if pooling.kind == "max" else F.avg_pool2d
    pooled = pool(outputs, (pooling.height, pooling.width))
    for order in (torch.contiguous_format, torch.channels_last):
        if step.is_contiguous(memory_format=order) and pooled.is_contiguous(memory_format=order):
            inner = 1 if order is torch.contiguous_format else shape[1]
            pictures = Pictures(rows=shape[2], columns=shape[3], inner=inner)
            return PooledLayout(pooling, pictures, tuple(pooled.shape), pooled.stride())
    return None
