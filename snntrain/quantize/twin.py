"""Integer layers made from layers of a trained net."""

from typing import Any

import torch
from torch import Tensor, nn

from snntrain.quantize.integer_layer import IntegerLayer, IntegerLinear


def padding(module: nn.Module) -> Any:
    """The padding of a convolution in numbers, the same before and after; None if there is none such."""
    padding = getattr(module, "padding", 0)
    if not isinstance(padding, str):
        return padding
    windows = zip(module.kernel_size, module.dilation, strict=True)
    added = [dilation * (size - 1) if padding == "same" else 0 for size, dilation in windows]
    return None if any(both % 2 for both in added) else tuple(both // 2 for both in added)


def integer_twin(module: nn.Module, kind: type) -> IntegerLayer:
    """An integer layer of a kind with the weights of a convolution or linear layer."""
    if kind is IntegerLinear:
        new = IntegerLinear(module.in_features, module.out_features, module.bias is not None)
    else:
        sizes = (module.kernel_size, module.stride, padding(module), module.dilation, module.groups)
        new = kind(module.in_channels, module.out_channels, *sizes, module.bias is not None)
    weight = module.weight.detach()
    channels_last = {"memory_format": torch.channels_last} if weight.dim() == 4 else {}
    new.weight = nn.Parameter(torch.empty_like(weight, **channels_last).copy_(weight))  # as in a Net
    if module.bias is not None:
        new.bias = nn.Parameter(module.bias.detach().clone())
    return new


def fold_height(module: IntegerLayer, height: Tensor) -> None:
    """W ← W·height, for spikes that are not worth 1."""
    weight, groups = module.weight.data, getattr(module, "groups", 1)
    if height.numel() > 1:
        inputs = weight.shape[1] * groups
        height = height.repeat_interleave(inputs // height.numel())  # a flattened input holds channel after channel
        rows = height.view(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
        height = rows.view(weight.shape[0], -1, *[1] * (weight.dim() - 2))
    weight.mul_(height.to(weight))
