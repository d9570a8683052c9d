"""Layers one after the other, in which a neuron and the pooling of its spikes run as one kernel."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from snntrain.arguments import FUSE, choice
from snntrain.hooks import hooked, show_count, wants_counts_only
from snntrain.kernel.backend import plan_for, run_pooled_node
from snntrain.kernel.call import Pooling
from snntrain.kernel.device_status import note_call
from snntrain.kernel.plan import Plan
from snntrain.layer.padding import padding
from snntrain.layer.pooling import AvgPool2d, MaxPool2d
from snntrain.neuron.base_node import BaseNode

_KINDS = {MaxPool2d: "max", AvgPool2d: "average"}


class Sequential(nn.Sequential):
    """Apply modules one after the other, as nn.Sequential does, and fuse what can be fused without changing a bit.

    On the CPU a neuron and the MaxPool2d or AvgPool2d after it run as one kernel over a sequence [T, N, C, H, W], in
    float32 or float64, which writes the pooled spikes only; its backward computes the others again. Either may stand at
    the end of an nn.Sequential, or Sequential, inside this one. The windows must lie side by side: stride =
    kernel_size, no padding, no dilation, no ceil_mode, no indices, no divisor_override.

    The modules run one by one wherever somebody looks at one of them, by a hook or with stored states (counts of
    spikes, as SpikeStatistics takes them, come from the kernel), and wherever no kernel serves the neuron's call:
    other devices, backend 'torch', step mode 's', autocast, compilers and tracers.

    Args:
        modules: as in nn.Sequential.

    Attributes:
        fuse: 'exact', or 'off' to call each module by itself; see set_fuse.
    """

    _fuse = "exact"

    @property
    def fuse(self) -> str:
        return self._fuse

    @fuse.setter
    def fuse(self, value: str) -> None:
        self._fuse = choice(self, "fuse", value, FUSE)

    def __getitem__(self, index: slice | int) -> nn.Module:
        part = super().__getitem__(index)
        if isinstance(index, slice):
            part.fuse = self._fuse
        return part

    def forward(self, x: Any) -> Any:
        if self._fuse == "off" or not isinstance(x, Tensor) or torch.compiler.is_compiling() or _has_any_global_hook():
            return super().forward(x)
        modules = list(self._in_turn(self))
        place = 0
        while place < len(modules):
            pooled = _neuron_and_pooling(*modules[place : place + 2], x=x)
            x = modules[place](x) if pooled is None else pooled
            place += 1 if pooled is None else 2
        return x

    def _in_turn(self, container: nn.Sequential) -> Iterator[nn.Module]:
        """The modules of a container; those of a container inside it stand in its place."""
        for module in container:
            is_plain = type(module) in (nn.Sequential, Sequential) and getattr(module, "fuse", "exact") == self._fuse
            if is_plain and not (hooked(module) or module._forward_hooks or _has_own_call(module)):
                yield from self._in_turn(module)
            else:
                yield module


def set_fuse(net: nn.Module, fuse: str) -> None:
    """Choose for every Sequential in a net whether a neuron and its pooling may run as one kernel.

    Args:
        net: a network, or one Sequential.
        fuse: 'exact', the default: where that changes no bit; 'off': no.

    Raises: ValueError for another value.
    """
    choice("set_fuse", "fuse", fuse, FUSE)
    for module in net.modules():
        if isinstance(module, Sequential):
            module.fuse = fuse


def _has_own_call(module: nn.Module) -> bool:
    return "forward" in vars(module) or module._compiled_call_impl is not None


def _neuron_and_pooling(neuron: nn.Module, pool: nn.Module | None = None, *, x: Any) -> Tensor | None:
    """The output of pool for that of neuron for x, by one kernel; None: call them one after the other."""
    if type(pool) not in _KINDS or not isinstance(neuron, BaseNode) or not isinstance(x, Tensor):
        return None
    is_counted = bool(neuron._forward_hooks)
    if (
        type(neuron).forward is not BaseNode.forward
        or _has_own_call(neuron)
        or _has_own_call(pool)
        or not wants_counts_only(neuron)
        or (is_counted and padding() is not None)
        or hooked(pool)
        or pool._forward_hooks
    ):
        return None
    if (
        (neuron.step_mode, pool.step_mode) != ("m", "m")
        or neuron.branches > 1
        or neuron.backend == "torch"
        or neuron.stored_states
        or x.dim() != 5
        or x.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
    ):
        return None
    pooling = _pooling_of(pool)
    if pooling is None:
        return None
    neuron.check_input(x)
    plan = plan_for(neuron, x)
    if not isinstance(plan, Plan) or plan.dtype != x.dtype:
        return None
    fired = torch.zeros(1 if is_counted else 0, dtype=torch.int64, device="cpu")
    out = run_pooled_node(neuron, plan, pooling, x, fired)
    if out is not None:
        note_call(pool, None)
        if is_counted:
            show_count(neuron, fired[0], x.numel())
    return out


def _pooling_of(pool: MaxPool2d | AvgPool2d) -> Pooling | None:
    """The windows of a layer; None if they do not lie side by side, or if there is more to it than them."""
    height, width = _pair(pool.kernel_size)
    if _pair(pool.stride) != (height, width) or _pair(pool.padding) != (0, 0) or pool.ceil_mode or height * width < 2:
        return None
    if isinstance(pool, MaxPool2d):
        is_more = pool.return_indices or _pair(pool.dilation) != (1, 1)
    else:
        is_more = pool.divisor_override is not None
    return None if is_more else Pooling(_KINDS[type(pool)], height, width)


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    value = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return value * 2 if len(value) == 1 else value
