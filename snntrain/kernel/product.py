"""A product of one step, written where a sequence is kept, with the bits that torch's linear has.

MKL rounds otherwise where memory does not begin at a multiple of 64 bytes, as torch's own tensors do and a step in the
middle of a sequence need not.
"""

import torch
from torch import Tensor


def linear_into(x: Tensor, W_t: Tensor, b: Tensor | None, out: Tensor) -> None:
    """Write x·Wᵀ + b.

    Args:
        x: [rows, inputs].
        W_t: [inputs, outputs], a transposed view of the weights.
        b: [outputs].
        out: [rows, outputs].
    """
    x = x if _is_aligned(x) else x.clone()
    aligned = out if _is_aligned(out) else torch.empty_like(out)
    if b is None:
        torch.mm(x, W_t, out=aligned)
    else:
        torch.addmm(b, x, W_t, out=aligned)
    if aligned is not out:
        out.copy_(aligned)


def _is_aligned(x: Tensor) -> bool:
    return x.data_ptr() % 64 == 0
