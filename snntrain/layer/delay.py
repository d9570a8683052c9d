"""Learned delays of a layer with weights: one for each input channel (axonal), or one for each weight (synaptic).

In training a delay d of a real number of steps is interpolated over the whole steps 0 … max − 1,

    g[j] = exp(−(j − d)²/(2·width²)) / Σ_i exp(−(i − d)²/(2·width²)),

a window whose width shrinks, so that gradients first reach far and what is computed then comes close to a whole step.
In evaluation d is rounded: a delay is exactly one step, as chips compute it.

Source: Hammouamri et al., ICLR 2024, arXiv 2306.17670 (a convolution over time with learnable spacings).
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from snntrain.arguments import choice, flag, integer, invalid, real
from snntrain.base import MemoryModule
from snntrain.bounded import Bounded
from snntrain.layer.convolution import Conv1d, Conv2d, Conv3d
from snntrain.layer.dropout import DropConnectLinear
from snntrain.layer.linear import Linear
from snntrain.layer.taps import filtered, shifted, sum_of_taps
from snntrain.layer.weight_standardization import WSConv2d, WSLinear
from snntrain.registry import did_you_mean

KINDS = ("axonal", "synaptic")
LONGEST = 4096  # steps of `max`: a line of that many inputs is kept

_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_DENSE = (nn.Linear, DropConnectLinear)
_WITH_KERNELS = (Linear, Conv1d, Conv2d, Conv3d, WSLinear, WSConv2d)


@dataclass(frozen=True, kw_only=True)
class DelaySettings:
    """The key `delay` of a layer with weights. A delay is 0 … max − 1 steps."""

    max: int
    """Number of delays that there are, ≥ 1: 16 allows 0 … 15 steps."""
    kind: str = "axonal"
    """'axonal': one delay for each input channel. 'synaptic': one for each weight."""
    learn: bool = True
    """Learn the delays with the weights. false: they stay as they were drawn."""
    init: float | str = "uniform"
    """'uniform': drawn from 0 … max − 1. A number of steps: all start with it."""
    start_width: float | None = None
    """Width of the window of interpolation, in steps, when training begins, > 0; null: max."""
    final_width: float = 0.3
    """Width that it shrinks to, exponentially, > 0 and ≤ start_width."""
    until: float = 0.75
    """Share of the training after which the width is final_width, from 0 to 1."""
    lr_factor: float = 100.0
    """The learning rate of delays, which are counted in steps, is so many times optim.lr, > 0."""

    def __post_init__(self) -> None:
        integer("delay", "max", self.max, at_least=1, at_most=LONGEST)
        choice("delay", "kind", self.kind, KINDS)
        flag("delay", "learn", self.learn)
        if isinstance(self.init, str):
            if self.init != "uniform":
                near = did_you_mean(self.init, ["uniform"])
                raise ValueError(f"delay: init must be 'uniform' or a number of steps, got {self.init!r}.{near}")
        else:
            real("delay", "init", self.init, at_least=0, at_most=self.max - 1, alternative=" (max − 1), or 'uniform'")
        if self.start_width is not None:
            real("delay", "start_width", self.start_width, above=0, alternative=" or null")
        real("delay", "final_width", self.final_width, above=0)
        if self.start_width is not None and self.final_width > self.start_width:
            raise invalid("delay", "final_width", f"at most start_width = {self.start_width:g}", self.final_width)
        real("delay", "until", self.until, at_least=0, at_most=1)
        real("delay", "lr_factor", self.lr_factor, above=0)

    @property
    def widest(self) -> float:
        """Width at the start of the training."""
        return max(float(self.max), self.final_width) if self.start_width is None else self.start_width

    def width_at(self, progress: float) -> float:
        """The width after a share of the training, from 0 to 1."""
        passed = 1.0 if self.until == 0 else min(progress / self.until, 1.0)
        return self.widest * (self.final_width / self.widest) ** passed


class _DelayLine(MemoryModule):
    """Base of both kinds: the delays, the width of their window, and the line of the last max − 1 inputs.

    The line is state: chunks of a sequence and single steps go on from it. What would arrive after the last step of a
    sequence is dropped.
    """

    def __init__(self, shape: tuple[int, ...], how: DelaySettings, step_mode: str) -> None:
        super().__init__(step_mode)
        self.how = how
        value = self._first_delays(shape)
        if how.learn:
            self.delay = nn.Parameter(value)
            self.register_buffer("width", torch.tensor(how.widest))
        else:
            self.register_buffer("delay", value)
        self.is_interpolated = False  # also in evaluation
        self.register_memory("line", 0.0)

    def _first_delays(self, shape: tuple[int, ...]) -> Tensor:
        if self.how.init != "uniform":
            value = torch.full(shape, float(self.how.init))
            return value if self.how.learn else value.round()
        if self.how.learn:
            return torch.rand(shape) * (self.how.max - 1)
        return torch.randint(self.how.max, shape).float()

    @property
    def is_learned(self) -> bool:
        """Whether the delays are learned."""
        return self.how.learn

    @property
    def rounds(self) -> bool:
        """Whether delays are whole steps now, as in evaluation; fixed ones always are."""
        return not self.is_learned or not (self.training or self.is_interpolated)

    def steps(self) -> Tensor:
        """The delays in whole steps, int64; halves go to the even neighbor."""
        return self.delay.detach().round().clamp(0, self.how.max - 1).long()

    def window(self) -> Tensor:
        """The weights g[j] of the steps j = 0 … max − 1 for each delay, [max, *shape of the delays]."""
        delay = Bounded.apply(self.delay, 0.0, float(self.how.max - 1))
        j = torch.arange(self.how.max, dtype=delay.dtype, device=delay.device)
        distance = j.view(-1, *[1] * delay.dim()) - delay
        return torch.softmax(-(distance**2) / (2 * self.width.to(delay.dtype) ** 2), dim=0)

    def anneal(self, progress: float) -> None:
        """Give the window the width that it has after a share of the training, from 0 to 1."""
        if self.is_learned:
            self.width.fill_(self.how.width_at(progress))

    def state_shape(self, name: str, x: Tensor) -> torch.Size:
        return torch.Size((self.how.max - 1, *x.shape)) if name == "line" else super().state_shape(name, x)

    def materialize(self, x: Tensor) -> None:
        if isinstance(self.line, float):
            # One number, expanded: a sequence needs no memory for the inputs that it has not had, and kernels see it.
            self.line = x.new_full((), self.line).expand(self.state_shape("line", x))
        super().materialize(x)

    def single_step_forward(self, x: Tensor) -> Tensor:
        return self.multi_step_forward(x[None])[0]

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        before, kept = self.line, len(self.line)
        # Not a view of all inputs, which would keep them in memory.
        self.line = (x_seq if len(x_seq) >= kept else torch.cat([before, x_seq]))[-kept or len(x_seq) :].clone()
        return self.delayed(before, x_seq)

    def delayed(self, before: Tensor, x_seq: Tensor) -> Tensor:
        """The outputs for inputs [T, N, *], from them and the max − 1 inputs before them."""
        raise NotImplementedError(f"{type(self).__name__} must define delayed(before, x_seq).")

    def extra_repr(self) -> str:
        kind = "learned" if self.is_learned else "fixed"
        low, high = self.steps().aminmax() if self.delay.numel() else (0, 0)
        text = f"{kind}, {int(low)} … {int(high)} of max={self.how.max}"
        width = f", width={float(self.width):.3g}" if self.is_learned else ""
        return f"{text}{width}, step_mode={self.step_mode}"


class AxonalDelay(_DelayLine):
    """Delay each channel of the input by a number of steps of its own.

    y[t, n, c] = x[t − d[c], n, c], 0 where there is no such step yet; in training Σ_j g[j, c]·x[t − j, n, c].

    Args:
        num_channels: of the input, ≥ 1.
        how: see DelaySettings.
        channel_dim: of one step [N, *] the dim that holds the channels: 1 before a convolution, −1 before Linear.
        step_mode: 's' or 'm'.

    Shapes: [N, *] ('s') or [T, N, *] ('m'); output as input. Parameter, or buffer, `delay` [num_channels], in steps.
    State `line` [max − 1, N, *].
    """

    def __init__(self, num_channels: int, how: DelaySettings, channel_dim: int = -1, step_mode: str = "s") -> None:
        self.num_channels = integer(self, "num_channels", num_channels, at_least=1)
        self.channel_dim = integer(self, "channel_dim", channel_dim)
        if self.channel_dim == 0:
            raise invalid(self, "channel_dim", "a dim of one step other than 0, which is the batch", channel_dim)
        super().__init__((self.num_channels,), how, step_mode)

    def check_input(self, x: Tensor) -> None:
        """Raises: ValueError also for another number of channels."""
        super().check_input(x)
        dim = self._dim(x.dim() - (self.step_mode == "m")) + (self.step_mode == "m")
        if not 0 < dim < x.dim() or x.shape[dim] != self.num_channels:
            raise ValueError(
                f"{self._title()}: it has delays for {self.num_channels} channels, which are to be dim {dim} of the "
                f"input in step_mode {self.step_mode!r}, got shape {list(x.shape)}."
            )

    def _dim(self, rank: int) -> int:
        return self.channel_dim if self.channel_dim > 0 else rank + self.channel_dim

    def delayed(self, before: Tensor, x_seq: Tensor) -> Tensor:
        dim = self._dim(x_seq.dim() - 1) + 1
        if not self.rounds:
            return filtered(before, x_seq, self.window().to(x_seq.dtype), dim)
        return shifted(before, x_seq, self.steps(), dim)


class SynapticDelay(_DelayLine):
    """A layer whose weights each have a delay: a convolution over time with one tap for each weight.

    y[t, n, o] = b[o] + Σ_i w[o, i]·x[t − d[o, i], n, i]; in training Σ_j g[j, o, i]·w[o, i]·x[t − j, n, i]. Of a
    convolution over space each weight of its kernel has a delay.

    Args:
        layer: Linear, Conv1d, Conv2d, Conv3d, WSLinear or WSConv2d; its own forward is not called.
        how: see DelaySettings.
        step_mode: 's' or 'm'.

    Shapes: as the layer's. Parameter, or buffer, `delay` as the layer's weight, in steps. State `line` [max − 1, N, *].
    """

    def __init__(self, layer: nn.Module, how: DelaySettings, step_mode: str = "s") -> None:
        if type(layer) not in _WITH_KERNELS:
            names = ", ".join(kind.__name__ for kind in _WITH_KERNELS)
            raise invalid(self, "layer", f"one of {names}", type(layer).__name__)
        super().__init__(tuple(layer.weight.shape), how, step_mode)
        self.layer = layer

    @property
    def products_per_weight(self) -> int:
        """How many products with each weight evaluation computes: one for each step that is some weight's delay."""
        return len(self.steps().unique())

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        # As in the recurrent containers, and unlike neurons: nothing is summed up over time, so autocast reaches it.
        self.check_input(x)
        self.materialize(x if self.step_mode == "s" else x[0])
        return self.single_step_forward(x) if self.step_mode == "s" else self.multi_step_forward(x)

    def check_input(self, x: Tensor) -> None:
        """Raises: ValueError for what the layer refuses."""
        super().check_input(x)
        self.layer.step_mode = self.step_mode
        check = getattr(self.layer, "check_rank", self.layer.check_steps)
        check(x)

    def delayed(self, before: Tensor, x_seq: Tensor) -> Tensor:
        layer = self.layer
        weight = layer.get_weight() if hasattr(layer, "get_weight") else layer.weight
        if self.rounds:
            steps = self.steps()
            present = steps.unique()
            weights = weight * (steps == present.view(-1, *[1] * weight.dim()))
        else:
            present, weights = torch.arange(self.how.max), self.window().to(weight.dtype) * weight
        return sum_of_taps(layer, torch.cat([before, x_seq]), present.tolist(), weights, self.how.max)


def with_delay(layer: nn.Module, how: DelaySettings) -> nn.Module:
    """A layer with weights, with delays: `delay` and `layer` one after the other (axonal), or a SynapticDelay.

    Raises: ValueError for a layer that has no such delays.
    """
    name = type(layer).__name__
    if how.kind == "synaptic":
        if type(layer) not in _WITH_KERNELS:
            known = ", ".join(kind.__name__ for kind in _WITH_KERNELS)
            raise ValueError(f"delay.kind=synaptic is for {known}, and {name} is none of them. Use kind: axonal.")
        return SynapticDelay(layer, how)
    if isinstance(layer, _CONVOLUTIONS):
        delay = AxonalDelay(layer.in_channels, how, channel_dim=1)
    elif isinstance(layer, _DENSE):
        delay = AxonalDelay(layer.in_features, how, channel_dim=-1)
    else:
        raise ValueError(f"delay is for layers with weights, Linear or convolutions, and {name} is none of them.")
    return nn.Sequential(OrderedDict(delay=delay, layer=layer))


def delay_lines(net: nn.Module) -> dict[str, AxonalDelay | SynapticDelay]:
    """Path → module of everything in a net that delays."""
    return {path: module for path, module in net.named_modules() if isinstance(module, _DelayLine)}


def learns_delays(net: nn.Module) -> bool:
    """Whether a net has delays that are learned."""
    return any(line.is_learned for line in delay_lines(net).values())


@contextlib.contextmanager
def interpolated(net: nn.Module) -> Iterator[None]:
    """Let learned delays be interpolated in the block as in training, also in evaluation."""
    lines = delay_lines(net).values()
    before = [line.is_interpolated for line in lines]
    for line in lines:
        line.is_interpolated = True
    try:
        yield
    finally:
        for line, value in zip(lines, before, strict=True):
            line.is_interpolated = value
