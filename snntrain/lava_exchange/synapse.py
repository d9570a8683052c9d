"""Layers of torch as synapses of lava-dl. Weights are copied; the layer itself is only read.

What lava-dl has not is a ValueError, and no lava-dl at all an ImportError.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from snntrain import layer
from snntrain.arguments import also_called, invalid
from snntrain.lava_exchange.lava_shim import slayer
from snntrain.lava_exchange.pooling import SumPool2d

# Not isinstance: a subclass may compute something else (standardized weights, say).
LINEAR = (nn.Linear, layer.Linear)
CONV = (nn.Conv2d, layer.Conv2d)
AVERAGE = (nn.AvgPool2d, layer.AvgPool2d)
POOL = (*AVERAGE, SumPool2d)
FLATTEN = (nn.Flatten, layer.Flatten)


def linear_to_lava_synapse_dense(fc: nn.Linear) -> nn.Module:
    """slayer.synapse.Dense with the weights of a bias-free Linear."""
    check_linear(fc)
    return with_weight_of(fc, _synapse().Dense(fc.in_features, fc.out_features))


@also_called(conv2d_nn="conv")
def conv2d_to_lava_synapse_conv(conv: nn.Conv2d) -> nn.Module:
    """slayer.synapse.Conv with the weights of a bias-free Conv2d that pads with zeros."""
    check_conv(conv)
    return with_weight_of(conv, _synapse().Conv(**conv_arguments(conv)))


@also_called(pool2d_nn="pool")
def avgpool2d_to_lava_synapse_pool(pool: nn.AvgPool2d) -> nn.Module:
    """slayer.synapse.Pool with the windows of an AvgPool2d. It sums: its result is the mean times the window's size.

    Its windows lie side by side and fill the input, or an error is raised when it runs: lava-dl joins channels and rows
    into one dim, and other windows would reach from one channel into the next.
    """
    check_pool(pool)
    return with_whole_windows(_synapse().Pool(**pool_arguments(pool)), pool)


# --- what lava-dl has ------------------------------------------------------------------------------------------------


def check_linear(fc: nn.Module) -> None:
    """Raises: ValueError for another layer or a bias."""
    _of_kind(fc, LINEAR, "Linear")
    _without_bias(fc)


def check_conv(conv: nn.Module) -> None:
    """Raises: ValueError for another layer, a bias, or padding that lava-dl has not."""
    _of_kind(conv, CONV, "Conv2d")
    _without_bias(conv)
    if conv.padding_mode != "zeros":
        raise invalid(conv, "padding_mode", "'zeros' for lava-dl", conv.padding_mode)
    if isinstance(conv.padding, str):
        raise invalid(conv, "padding", "one integer or two for lava-dl", conv.padding)


def check_pool(pool: nn.Module) -> None:
    """Raises: ValueError for another layer, and for windows that do not lie side by side."""
    _of_kind(pool, POOL, "AvgPool2d or SumPool2d")
    beside = "for lava-dl, whose windows lie side by side without padding"
    expected = {"stride": _pair(pool.kernel_size), "padding": (0, 0), "dilation": (1, 1)}
    for name, value in expected.items():
        if _pair(getattr(pool, name, value)) != value:
            raise invalid(pool, name, f"{value} {beside}", getattr(pool, name))
    for name, value in {"ceil_mode": False, "divisor_override": None}.items():
        if getattr(pool, name, value) != value:
            raise invalid(pool, name, f"{value} {beside}", getattr(pool, name))


def check_flatten(flatten: nn.Module) -> None:
    """Raises: ValueError for another layer, and unless it joins all dims but the batch's."""
    _of_kind(flatten, FLATTEN, "Flatten")
    for name, value in {"start_dim": 1, "end_dim": -1}.items():
        if getattr(flatten, name) != value:
            raise invalid(flatten, name, f"{value} for lava-dl", getattr(flatten, name))


def _of_kind(module: nn.Module, kinds: tuple[type, ...], expected: str) -> None:
    if type(module) not in kinds:
        raise ValueError(f"{type(module).__name__} is not a layer of the kind {expected}, of torch or snntrain.layer.")


def _without_bias(module: nn.Module) -> None:
    if module.bias is not None:
        raise ValueError(f"{type(module).__name__}: it has a bias, which lava-dl's layers have not. Use bias=False.")


# --- its constructors' arguments, and its weights --------------------------------------------------------------------


def conv_arguments(conv: nn.Conv2d) -> dict[str, Any]:
    """What lava-dl's convolutions take by name."""
    sizes = {name: _pair(getattr(conv, name)) for name in ("kernel_size", "stride", "padding", "dilation")}
    return {"in_features": conv.in_channels, "out_features": conv.out_channels, **sizes, "groups": conv.groups}


def pool_arguments(pool: nn.Module) -> dict[str, Any]:
    """What lava-dl's poolings take by name."""
    return {"kernel_size": _pair(pool.kernel_size), "stride": _pair(pool.stride)}


def window_size(pool: nn.Module) -> int:
    """Values per window."""
    return math.prod(_pair(pool.kernel_size))


def with_weight_of(source: nn.Module, synapse: nn.Module) -> nn.Module:
    """A synapse of lava-dl, with a copy of the weights of a layer, on its device."""
    synapse.to(source.weight.device)
    with torch.no_grad():
        synapse.weight.copy_(source.weight.reshape(synapse.weight.shape))
    return synapse


def with_whole_windows(synapse: nn.Module, pool: nn.Module) -> nn.Module:
    """A pooling of lava-dl that refuses an input which its windows do not fill."""
    kernel = _pair(pool.kernel_size)

    def refuse_a_rest(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        height, width = inputs[0].shape[2:4]
        if height % kernel[0] or width % kernel[1]:
            raise ValueError(
                f"lava-dl's pooling: windows of {kernel} do not fill maps of {(height, width)}; crop or pad them."
            )

    synapse.register_forward_pre_hook(refuse_a_rest)
    return synapse


def _synapse() -> Any:
    return slayer().synapse
