"""What the operations of a forward compute with: weights or activations, and averages over how many values."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakTensorKeyDictionary

# Operations that move values, choose among them or add them up: what went in as multiples of 1/n comes out as such.
# fmt: off
_KEEPING = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "permute", "transpose", "t",
    "expand", "clone", "_to_copy", "contiguous", "select", "slice", "unbind", "split", "split_with_sizes", "chunk",
    "stack", "cat", "index", "index_select", "gather", "narrow", "detach", "alias", "lift_fresh", "copy_",
    "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d",
    "max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_nearest3d", "im2col", "unfold", "roll", "flip", "repeat", "abs", "neg", "relu",
    "sum", "amax", "maximum", "add", "add_", "sub", "sub_", "rsub",
}
# fmt: on
_MOST = 2**16  # windows beyond this are no sums of spikes that a float could still tell apart


class Operands(TorchDispatchMode):
    """Watches a forward below a FlopCounterMode that was entered before it.

    Whatever the class of a module: a product applies weights if one of its two factors does not depend on the input,
    and else multiplies activations with each other.

    Args:
        counter: counts the operations.
        x: the input.

    Attributes:
        of_activations: floating-point operations so far in products of activations.
    """

    def __init__(self, counter: FlopCounterMode, x: Tensor) -> None:
        super().__init__()
        self.counter, self.of_activations = counter, 0
        self._divisors = WeakTensorKeyDictionary()  # of all tensors that depend on the input
        self._divisors[x] = 1

    def divisor(self, x: Tensor | None) -> int:
        """n if x holds multiples of 1/n wherever whole numbers were averaged: after AvgPool2d(2), 4."""
        return 1 if x is None else self._divisors.get(x, 1)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with self:  # in inference mode operations arrive that are made of others, which are to be seen each by itself
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        name = func.overloadpacket.__name__
        tensors = [*_tensors(args), *_tensors(tuple(kwargs.values()))]
        depend = [tensor for tensor in tensors if tensor in self._divisors]
        divisors = [self._divisors[tensor] for tensor in depend]
        before = self.counter.get_total_flops()
        output = func(*args, **kwargs)
        flops = self.counter.get_total_flops() - before
        if flops:
            factors = tensors[1:3] if name.startswith(("add", "baddb")) else tensors[:2]  # what is added comes first
            self.of_activations += flops if all(factor in self._divisors for factor in factors) else 0
        if depend:
            divisor = self._of_output(name, args, len(tensors), divisors, output)
            for tensor in _tensors((output,)):
                self._divisors[tensor] = divisor
        return output

    def _of_output(self, name: str, args: tuple[Any, ...], operands: int, divisors: list[int], output: Any) -> int:
        if name == "mean" or "avg_pool" in name:
            found = divisors[0] * _window(name, args, output)
        elif name in ("mul", "mul_") and operands == len(divisors):
            found = math.prod(divisors)
        elif name in _KEEPING and operands == len(divisors):
            found = math.lcm(*divisors)
        else:
            return 1
        return found if found <= _MOST else 1


def _window(name: str, args: tuple[Any, ...], output: Tensor) -> int:
    """Over how many values an operation averages; 1 where windows differ in size."""
    x = args[0]
    if name == "mean":
        return x.numel() // max(output.numel(), 1)
    if name.startswith(("adaptive", "_adaptive")):
        sizes = list(zip(x.shape, output.shape, strict=True))
        return math.prod(have // got for have, got in sizes) if not any(have % got for have, got in sizes) else 1
    dims = int(name[-2]) if name[-1] == "d" and name[-2].isdigit() else 2
    kernel, stride, padding, ceil_mode, with_padding, divisor = (*args[1:], *_DEFAULTS[len(args) - 1 :])
    kernel = _each(kernel, dims)
    if divisor:
        return int(divisor)
    stride, padding = _each(stride or kernel, dims), _each(padding, dims)
    for size, window, step, pads in zip(x.shape[-dims:], kernel, stride, padding, strict=True):
        leaves_rest = (size + 2 * pads - window) % step
        if (ceil_mode and leaves_rest) or (pads and not with_padding):
            return 1
    return math.prod(kernel)


_DEFAULTS: tuple[Any, ...] = (None, None, 0, False, True, None)  # of kernel_size … divisor_override


def _each(value: int | Sequence[int], dims: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


def _tensors(values: Any) -> list[Tensor]:
    """All tensors in nested tuples and lists, in order."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _tensors(value)
    return found


def whole_multiples(x: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """x·divisor as whole numbers, and whether it was none somewhere.

    An average in floating point times its divisor may miss the number by a few units in the last place.
    """
    y = x if divisor == 1 else x * divisor
    whole = y.round()
    if divisor == 1:
        return whole, (y != whole).any()
    room = (4 * torch.finfo(x.dtype).eps * whole.abs()).clamp(max=0.25)
    return whole, ~((y - whole).abs() <= room).all()  # so that NaN is none
