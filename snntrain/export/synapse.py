"""What lies between two layers of neurons: one convolution or dense layer, into which poolings are folded."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]


@dataclass(frozen=True)
class Pool:
    """Sums, or means, over windows [C, H, W].

    Attributes:
        average: means.
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    average: bool

    @property
    def area(self) -> int:
        """Values in a window."""
        return math.prod(self.kernel)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """[C, H, W] after it."""
        return (shape[0], *window_sizes(shape[1:], self.kernel, self.stride, self.padding, (1, 1)))


@dataclass(frozen=True, eq=False)
class Synapse:
    """A convolution or dense layer, in float64.

    Attributes:
        name: of the layer in the net.
        weight: [O, I/groups, kH, kW] or [out, in]; [O, I/groups, k] in NIR graphs alone.
        bias: [O], or None.
        weight_rec: [out, out], from the layer's own last spikes; dense only.
        area: values averaged by poolings that were folded into it; weights are then no multiples of what they were.
        delay: [I] or [in], whole steps by which each channel of the input comes later; None: by none.
    """

    name: str
    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1
    weight_rec: Tensor | None = None
    area: int = 1
    delay: Tensor | None = None

    @property
    def is_conv(self) -> bool:
        return self.weight.dim() > 2

    @property
    def weights(self) -> list[Tensor]:
        """All matrices, which share a scale."""
        return [self.weight] if self.weight_rec is None else [self.weight, self.weight_rec]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for one step, from that of the input."""
        if not self.is_conv:
            return (self.weight.shape[0],)
        sizes = window_sizes(shape[1:], self.weight.shape[2:], self.stride, self.padding, self.dilation)
        return (self.weight.shape[0], *sizes)


def diagonal(name: str, weight: Tensor, shape: tuple[int, ...]) -> Synapse:
    """One weight for each channel [C] (or neuron) of an input of this shape."""
    if len(shape) == 1:
        return Synapse(name, torch.diag(weight))
    return Synapse(name, weight.view(-1, 1, 1, 1), groups=weight.numel())


def of_pool(name: str, pool: Pool, channels: int) -> Synapse:
    """The pooling as a convolution of each channel."""
    weight = torch.ones(channels, 1, *pool.kernel, dtype=torch.float64)
    synapse = Synapse(name, weight, None, pool.stride, pool.padding, groups=channels)
    return _averaged(synapse, pool)


def conv_before_pool(conv: Synapse, pool: Pool) -> Synapse:
    """Convolution, then pooling, as one convolution.

    Raises: ValueError with the reason if there is none.
    """
    if pool.padding != (0, 0):
        raise ValueError("it pads what a convolution gives, which is not a convolution of the input")
    weight = _spread(conv.weight, conv.dilation, pool.kernel, conv.stride)
    stride = tuple(a * b for a, b in zip(conv.stride, pool.stride, strict=True))
    bias = None if conv.bias is None else conv.bias * pool.area  # each value of a window has it
    return _averaged(replace(conv, weight=weight, bias=bias, stride=stride, dilation=(1, 1)), pool, with_bias=True)


def pool_before_conv(pool: Pool, conv: Synapse, shape: tuple[int, ...]) -> Synapse:
    """Pooling of an input of this shape [C, H, W], then convolution, as one convolution.

    Raises: ValueError with the reason if there is none.
    """
    for size, out, kernel, stride, pads, conv_pads in zip(
        shape[1:], pool.output_shape(shape)[1:], pool.kernel, pool.stride, pool.padding, conv.padding, strict=True
    ):
        # A padded zero of the convolution stands for a window, which must see nothing of the input.
        if conv_pads and (pads or kernel > stride or out * stride < size):
            raise ValueError(
                "the convolution after it pads, and windows that overlap, pad or leave a rest have no zeros there"
            )
    far = tuple(a * b for a, b in zip(conv.dilation, pool.stride, strict=True))
    weight = _spread(conv.weight, far, pool.kernel, (1, 1))
    stride = tuple(a * b for a, b in zip(conv.stride, pool.stride, strict=True))
    padding = tuple(a * b + c for a, b, c in zip(conv.padding, pool.stride, pool.padding, strict=True))
    return _averaged(replace(conv, weight=weight, stride=stride, padding=padding, dilation=(1, 1)), pool)


def pool_before_dense(pool: Pool, dense: Synapse, shape: tuple[int, ...]) -> Synapse:
    """Pooling of an input of this shape [C, H, W], flattened, then a dense layer, as one dense layer."""
    if dense.delay is not None:
        raise ValueError("what it pools is delayed after it was flattened")
    pooled = pool.output_shape(shape)
    rest = []
    for size, out, kernel, stride, pads in zip(
        shape[1:], pooled[1:], pool.kernel, pool.stride, pool.padding, strict=True
    ):
        rest.append(size + 2 * pads - ((out - 1) * stride + kernel))
    maps = dense.weight.reshape(-1, 1, *pooled[1:])
    ones = torch.ones(1, 1, *pool.kernel, dtype=torch.float64)
    # The transpose of a sum over windows hands a weight on to every value of its window.
    spread = F.conv_transpose2d(maps, ones, stride=pool.stride)
    spread = F.pad(spread, (0, max(rest[1], 0), 0, max(rest[0], 0)))
    (pad_h, pad_w), (height, width) = pool.padding, shape[1:]
    spread = spread[..., pad_h : pad_h + height, pad_w : pad_w + width]
    return _averaged(replace(dense, weight=spread.reshape(dense.weight.shape[0], -1)), pool)


def _spread(weight: Tensor, far: Pair, window: Pair, step: Pair) -> Tensor:
    """Kernel of a sum over windows joined with a kernel whose values lie `far` apart; those of the window `step`."""
    out, into, height, width = weight.shape
    taps = torch.zeros(out * into, 1, (height - 1) * far[0] + 1, (width - 1) * far[1] + 1, dtype=weight.dtype)
    taps[..., :: far[0], :: far[1]] = weight.reshape(out * into, 1, height, width)
    ones = torch.ones(1, 1, *window, dtype=weight.dtype)
    joined = F.conv_transpose2d(taps, ones, dilation=step)
    return joined.reshape(out, into, *joined.shape[2:])


def _averaged(synapse: Synapse, pool: Pool, with_bias: bool = False) -> Synapse:
    if not pool.average:
        return synapse
    bias = synapse.bias / pool.area if with_bias and synapse.bias is not None else synapse.bias
    return replace(synapse, weight=synapse.weight / pool.area, bias=bias, area=synapse.area * pool.area)


def window_sizes(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> list[int]:
    """How many windows fit into each dim."""
    each = zip(sizes, kernel, stride, padding, dilation, strict=True)
    return [(size + 2 * pads - far * (taps - 1) - 1) // step + 1 for size, taps, step, pads, far in each]


def pair(value: int | tuple[int, ...]) -> Pair:
    """(value, value), or the tuple."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))
