"""Sums over the last steps of a sequence, computed for all steps at once: what delays are made of."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from snntrain.kernel import time_filter


def filtered(line: Tensor, x: Tensor, taps: Tensor, dim: int) -> Tensor:
    """Convolve each channel over time: y[t] = Σ_j taps[j, c]·x[t − j].

    Args:
        line: [max − 1, N, *], the last inputs before x.
        x: [T, N, *].
        taps: [max, C].
        dim: of x that holds the channels.

    Returns: [T, N, *].
    """
    run = time_filter.filtered if time_filter.serves(x) else _filtered_as_a_picture
    return _with_channels_last(run, line, x, taps, dim)


def shifted(line: Tensor, x: Tensor, steps: Tensor, dim: int) -> Tensor:
    """Give each channel back some steps later, exactly: y[t] = x[t − steps[c]].

    Args:
        steps: [C], int64, 0 … max − 1.
        Others, and the result, as in filtered.
    """
    run = time_filter.shifted if time_filter.serves(x) else _gathered
    return _with_channels_last(run, line, x, steps, dim)


def _with_channels_last(run: Callable[..., Tensor], line: Tensor, x: Tensor, of_channels: Tensor, dim: int) -> Tensor:
    inner = x.movedim(dim, -1)
    flat, before = (each.flatten(1, -2) for each in (inner, line.movedim(dim, -1)))
    return run(before, flat, of_channels).reshape(inner.shape).movedim(-1, dim)


def _gathered(line: Tensor, x: Tensor, steps: Tensor) -> Tensor:
    t = torch.arange(len(line), len(line) + len(x), device=x.device)
    places = (t[:, None] - steps)[:, None, :].expand(x.shape)
    return torch.cat([line, x]).gather(0, places)


def _filtered_as_a_picture(line: Tensor, x: Tensor, taps: Tensor) -> Tensor:
    # One picture [1, C, time, N] whose channels are innermost, as convolutions like it: no copy is made.
    picture = torch.cat([line, x]).permute(2, 0, 1)[None]
    return F.conv2d(picture, taps.flip(0).t()[:, None, :, None], groups=taps.shape[1])[0].permute(1, 2, 0)


def sum_of_taps(layer: nn.Module, inputs: Tensor, steps: Sequence[int], weights: Tensor, most: int) -> Tensor:
    """The outputs of a layer that reads several steps with weights of their own.

    y[t] = b + Σ_j f(x[t − steps[j]], weights[j]), f the product or convolution that the layer computes.

    Args:
        layer: a linear layer or a convolution, with its bias.
        inputs: [most − 1 + T, N, *]: x, and the last inputs before it.
        steps: at least one, from 0 to most − 1.
        weights: [J, *], of the layer's weight's shape each.

    Returns: [T, N, *].
    """
    T = len(inputs) - most + 1
    starts = [most - 1 - step for step in steps]
    is_dense = isinstance(layer, nn.Linear)
    if is_dense and not torch.is_autocast_enabled(inputs.device.type) and inputs.dtype == weights.dtype:
        rows = inputs.flatten(1, -2) if inputs.dim() > 3 else inputs
        total = _Products.apply(rows.contiguous(), weights, starts, T).view(T, *inputs.shape[1:-1], -1)
    else:
        f = F.linear if is_dense else _convolved(layer)
        total = f(inputs[starts[0] : starts[0] + T], weights[0])
        for start, weight in zip(starts[1:], weights[1:], strict=True):
            total = total + f(inputs[start : start + T], weight)
    if layer.bias is None:
        return total
    bias = layer.bias if is_dense else layer.bias.view(-1, *[1] * (total.dim() - 3))
    return total + bias.to(total.dtype)


def _convolved(layer: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    # torch's own: that of a layer with standardized weights would standardize these.
    convolution = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[layer.weight.dim()]

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return convolution._conv_forward(layer, x.flatten(0, 1), weight, None).unflatten(0, x.shape[:2])

    return run


class _Products(torch.autograd.Function):
    """Σ_j x[starts[j] + t]·weights[j]ᵀ. Every sum is added to in place, where autograd would keep each product."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, starts: list[int], T: int) -> Tensor:
        ctx.save_for_backward(inputs, weights)
        ctx.starts, ctx.T = starts, T
        rows = [inputs[start : start + T].flatten(0, 1) for start in starts]
        total = rows[0] @ weights[0].t()
        for row, weight in zip(rows[1:], weights[1:], strict=True):
            torch.addmm(total, row, weight.t(), out=total)  # unlike addmm_, profile counts it
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (inputs, weights), T = ctx.saved_tensors, ctx.T
        of_inputs = torch.zeros_like(inputs) if ctx.needs_input_grad[0] else None
        of_weights = torch.empty_like(weights) if ctx.needs_input_grad[1] else None
        for j, start in enumerate(ctx.starts):
            if of_inputs is not None:
                of_inputs[start : start + T].flatten(0, 1).addmm_(gradient, weights[j])
            if of_weights is not None:
                torch.mm(gradient.t(), inputs[start : start + T].flatten(0, 1), out=of_weights[j])
        return of_inputs, of_weights, None, None
