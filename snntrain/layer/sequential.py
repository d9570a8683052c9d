"""Layers one after the other, in which a neuron runs as one kernel with its normalization and its pooling."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from snntrain.hooks import hooked, only_shown, show, show_count, wants_counts_only
from snntrain.kernel.backend import plan_for, pooled_for, run_node, run_pooled_node
from snntrain.kernel.call import Pooling
from snntrain.kernel.device_status import note_call
from snntrain.kernel.plan import Plan
from snntrain.layer.fuse import ChoosesFuse
from snntrain.layer.normalization import FoldedBatchNorm
from snntrain.layer.padding import padding
from snntrain.layer.pooling import AvgPool2d, MaxPool2d
from snntrain.neuron.base_node import BaseNode

_KINDS = {MaxPool2d: "max", AvgPool2d: "average"}


class Sequential(ChoosesFuse, nn.Sequential):
    """Apply modules one after the other, as nn.Sequential does, and fuse what can be fused.

    On the CPU a batch normalization, a neuron and the MaxPool2d or AvgPool2d after it run as one kernel over a sequence
    [T, N, C, *], as do two of them with the neuron. It reads the normalization's input and
    writes the pooled spikes only; its backward computes what lies between again. They may stand at the ends of an
    nn.Sequential, or Sequential, inside this one. Normalized are inputs in torch's memory orders, contiguous or
    channels last; the windows of a pooling must lie side by side: stride = kernel_size, no padding, no dilation, no
    ceil_mode, no indices, no divisor_override.

    The modules run one by one wherever somebody looks at one of them, by a hook or with stored states (counts of
    spikes, as SpikeStatistics takes them, come from the kernel), and wherever no kernel serves the neuron's
    call: other devices, backend 'torch', step mode 's', autocast, compilers and tracers.

    No bit changes: a normalization is part of the kernel in float32 on processors where torch's formula is met, its
    statistics and its gradients are torch's own.

    Args:
        modules: as in nn.Sequential.

    Attributes:
        fuse: 'off' to call each module by itself; see set_fuse.
    """

    def __getitem__(self, index: slice | int) -> nn.Module:
        part = super().__getitem__(index)
        if isinstance(index, slice):
            part.fuse = self._fuse
        return part

    def forward(self, x: Any) -> Any:
        if self._fuse == "off" or not isinstance(x, Tensor) or torch.compiler.is_compiling() or _has_any_global_hook():
            return super().forward(x)
        modules = list(self._in_turn(self))
        while modules:
            fused = _one_kernel(modules, x)
            x, count = (modules[0](x), 1) if fused is None else fused
            del modules[:count]
        return x

    def _in_turn(self, container: nn.Sequential) -> Iterator[nn.Module]:
        """The modules of a container; those of a container inside it stand in its place."""
        for module in container:
            is_plain = type(module) in (nn.Sequential, Sequential) and getattr(module, "fuse", "exact") == self._fuse
            if is_plain and not (hooked(module) or module._forward_hooks or _has_own_call(module)):
                yield from self._in_turn(module)
            else:
                yield module


def _has_own_call(module: nn.Module) -> bool:
    return "forward" in vars(module) or module._compiled_call_impl is not None


def _one_kernel(modules: list[nn.Module], x: Any) -> tuple[Tensor, int] | None:
    """The output for x of the first modules, by one kernel, and how many they are; None: call the first by itself."""
    norm = modules[0] if isinstance(modules[0], FoldedBatchNorm) else None
    node, pool = (*modules[norm is not None :], None, None)[:2]
    if not isinstance(node, BaseNode) or not isinstance(x, Tensor) or not _serves(node, x):
        return None
    if norm is not None and (_has_own_call(norm) or norm.step_mode != "m" or hooked(norm) or norm._forward_hooks):
        return None
    pooling = _pooling_of(pool) if type(pool) in _KINDS and _leaves_to_pool(node, pool, x) else None
    if norm is None and pooling is None:
        return None
    node.check_input(x)
    plan = plan_for(node, x)
    if not isinstance(plan, Plan) or plan.dtype != x.dtype:
        return None
    pooled = None if pooling is None else pooled_for(pooling, x)
    folded = None if norm is None else norm.fold(x)
    if (norm is not None and folded is None) or (norm is None and pooled is None):
        return None
    if norm is not None:
        note_call(norm, None)
    if pooled is None:
        out = run_node(node, plan, x, folded)
        show(node, out)
        return out, 2
    fired = torch.zeros(1 if node._forward_hooks else 0, dtype=torch.int64, device="cpu")
    out = run_pooled_node(node, plan, pooled, x, fired, folded)
    note_call(pool, None)
    if fired.numel():
        show_count(node, fired[0], x.numel())
    return out, 2 + (norm is not None)


def _serves(node: BaseNode, x: Tensor) -> bool:
    """Whether a kernel may run a neuron together with its neighbors."""
    return (
        type(node).forward is BaseNode.forward
        and not _has_own_call(node)
        and only_shown(node)
        and node.step_mode == "m"
        and node.branches == 1
        and node.backend != "torch"
        and x.dim() > 2
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
    )


def _leaves_to_pool(node: BaseNode, pool: nn.Module, x: Tensor) -> bool:
    """Whether nobody sees the difference if the outputs of a neuron are not written before they are pooled."""
    return (
        x.dim() == 5
        and pool.step_mode == "m"
        and not (_has_own_call(pool) or hooked(pool) or pool._forward_hooks or node.stored_states)
        and wants_counts_only(node)
        and not (node._forward_hooks and padding() is not None)
    )


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
