"""Encoders: static values [N, *] → sequences [T, N, *]; and what hands a sequence out step by step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snntrain.arguments import also_called, choice, flag, integer, real
from snntrain.base import MemoryModule, StateMismatchError, state_dtype
from snntrain.functional import repeat
from snntrain.randomness import uniform_steps
from snntrain.registry import register

Shape = tuple[int, ...]


class Encoder(nn.Module):
    """Base of the encoders: subclasses define encode(x, T), what they take and what comes out.

    Without T a call gives one step [N, *], for loops that go step by step: encoder(x) instead of encoder(x, T)[t].
    An encoder in which the steps depend on one another must know T from its constructor for that, and be reset between
    batches; StatefulEncoder does the same for any encoder.

    Shapes: x [N, *sample] → [T, N, *encoded_shape(sample)], of x's dtype.
    Raises: ValueError if T < 1, for an integer input, and if a value is NaN or lies outside [low, high].
    """

    #: Whether the spikes are drawn, so that forward heeds seeds.
    is_random = False

    #: Whether a step does not depend on the steps before it.
    steps_are_alike = False

    #: Time steps of every sequence, where they are known beforehand.
    T: int | None = None

    #: The values that can be encoded, and what they stand for.
    low, high = 0.0, 1.0
    meaning = "values"

    def forward(self, x: Tensor, T: int | None = None, seeds: Sequence[int] | None = None) -> Tensor:
        """The sequence of T steps, or the next step.

        Args:
            x: a batch.
            T: number of time steps, ≥ 1; None: one step [N, *].
            seeds: one integer per sample, which alone decides what is drawn for it; None: torch's generator does.
                Without meaning where nothing is drawn.
        """
        if T is None:
            return self.next_step(x, seeds)
        T = integer(self, "T", T, at_least=1)
        if self.T not in (None, T):
            raise ValueError(f"{type(self).__name__}: it was made for T = {self.T} time steps, but is to encode {T}.")
        self.check_input(x)
        return self.draw(x, T, seeds) if self.is_random else self.encode(x, T)

    def draw(self, x: Tensor, T: int, seeds: Sequence[int] | None) -> Tensor:
        """The sequence of an encoder that is_random; T and x are checked."""
        return self.encode(x, T)

    def next_step(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """The step [N, *] that a call without T gives."""
        if self.steps_are_alike:
            return self(x, 1, seeds)[0]
        if self.steps_in_turn is None:
            raise ValueError(
                f"{type(self).__name__}: the number of time steps is missing. Call encoder(x, T) for a sequence, or "
                f"StatefulEncoder({type(self).__name__}(), T) for one step per call."
            )
        if "_stepper" not in vars(self):  # not a child: it holds this encoder as one
            self.__dict__["_stepper"] = StatefulEncoder(self, self.steps_in_turn)
        return self._stepper(x, seeds)

    @property
    def steps_in_turn(self) -> int | None:
        """Steps of the sequences that calls without T hand out; None: only calls with T are possible."""
        return self.T

    def reset(self) -> None:
        """Begin a new sequence at the next call without T."""
        self.__dict__.pop("_stepper", None)

    def encode(self, x: Tensor, T: int) -> Tensor:
        """The sequence; T and x are checked."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(x, T).")

    def encoded_shape(self, sample_shape: Sequence[int]) -> Shape:
        """Shape of a sample at one step of the sequence, from its shape at one step of the data."""
        return tuple(sample_shape)

    def check_input(self, x: Tensor) -> None:
        """Refuse what cannot be encoded."""
        self.check_dtype(x)
        low, high = (float(bound) for bound in torch.aminmax(x)) if x.numel() else (self.low, self.high)
        if not (low >= self.low and high <= self.high):
            raise ValueError(
                f"{type(self).__name__}: inputs are {self.meaning} and must lie in [{self.low:g}, {self.high:g}], "
                f"got [{low:g}, {high:g}]. Scale the data to [{self.low:g}, {self.high:g}] or use the direct encoder."
            )

    def check_dtype(self, x: Tensor) -> None:
        """Refuse integers, whose scale nothing tells."""
        if not x.is_floating_point():
            raise ValueError(f"{type(self).__name__}: the input has dtype {x.dtype}; cast it to a float dtype.")


@register("encoder")
class DirectEncoder(Encoder):
    """Present the same input at every step; the first layer turns it into spikes.

    Takes any values and any dtype.

    Shapes: x [N, *] → [T, N, *], a view that repeats x without copying it.
    Source: Rueckauer et al., Front. Neurosci. 2017; Wu et al., AAAI 2019.
    """

    steps_are_alike = True

    def check_input(self, x: Tensor) -> None:
        """All inputs are taken."""

    def encode(self, x: Tensor, T: int) -> Tensor:
        return repeat(x, T)


@register("encoder")
class FramesEncoder(Encoder):
    """Present one frame per step, of data that comes in T frames.

    Shapes: x [N, T, *] → [T, N, *], a view.
    """

    def check_input(self, x: Tensor) -> None:
        """Any values, of a float dtype."""
        self.check_dtype(x)

    def encode(self, x: Tensor, T: int) -> Tensor:
        if x.dim() < 2 or x.shape[1] != T:
            found = f"{x.shape[1]} frames per sample" if x.dim() >= 2 else "no frames"
            raise ValueError(
                f"FramesEncoder: T is {T}, but the input, which must be [N, T, *], has shape {list(x.shape)}: {found}. "
                "Set T to the number of frames of the data, or use the direct encoder for static data."
            )
        return x.transpose(0, 1)


@register("encoder")
class PoissonEncoder(Encoder):
    """Fire at each step with a probability equal to the input (rate coding).

    With seeds, a sample's spikes depend on its seed and values alone: neither on the rest of the batch, nor on the
    device; those of a longer sequence begin as those of a shorter one do.

    Shapes: x [N, *], values in [0, 1] → spikes [T, N, *].
    Source: Heeger, Poisson Model of Spike Generation, 2000; Diehl & Cook 2015.
    """

    is_random = True
    steps_are_alike = True
    meaning = "firing probabilities"

    def draw(self, x: Tensor, T: int, seeds: Sequence[int] | None) -> Tensor:
        if seeds is None:
            # Not in half precision: its random numbers come in steps of 2^-11 or 2^-8, and 0 would be drawn too often.
            chance = torch.rand((T, *x.shape), dtype=state_dtype(x.dtype), device=x.device)
            return (chance < x).to(x.dtype)
        if x.dim() == 0 or len(seeds) != len(x):
            raise ValueError(
                f"PoissonEncoder: seeds must be one integer per sample, got {len(seeds)} for an input of shape "
                f"{list(x.shape)}."
            )
        steps = uniform_steps(seeds, T, x.shape[1:], x.device)
        return torch.stack([(chance < x).to(x.dtype) for chance in steps])


@register("encoder")
class PeriodicEncoder(Encoder):
    """Fire at regular intervals, as often as the input says (rate coding without chance).

    s[t] = ⌊(t + 1)·x⌋ − ⌊t·x⌋: a spike whenever the sum of the inputs so far reaches the next whole number, ⌊T·x⌋ in
    all. An input of 1/p fires at every p-th step: as few such fractions are floats, x counts as the next larger float.

    Shapes: x [N, *], values in [0, 1] → spikes [T, N, *].
    Source: the sum is the integrate-and-fire neuron with soft reset, as in Rueckauer et al., Front. Neurosci. 2017.
    """

    meaning = "firing rates"

    def encode(self, x: Tensor, T: int) -> Tensor:
        x_wide = x.to(state_dtype(x.dtype))
        x_wide = x_wide.nextafter(torch.ones_like(x_wide))
        steps = torch.arange(T + 1, dtype=x_wide.dtype, device=x.device).view(-1, *[1] * x.dim())
        # By products and not by a running sum, whose rounding errors would grow with t.
        return (steps * x_wide).floor().diff(dim=0).gt(0).to(x.dtype)


@register("encoder")
class LatencyEncoder(Encoder):
    """Fire once per sequence, the sooner the larger the input (time to first spike).

    t = (T − 1)·(1 − x)                                       ('linear')
    t = (T − 1) − ln(α·x + 1),  α = e^(T − 1) − 1             ('log')

    t is rounded to the nearest step, halves to the even one: 1 fires at step 0, and 0 at the last one.

    Args:
        T: time steps, ≥ 1, of the sequences that calls without T hand out step by step; None: T comes with each call.
        function: 'linear' or 'log', which spreads small values over most of the sequence.

    Shapes: x [N, *], values in [0, 1] → spikes [T, N, *], one of each value.
    Source: Thorpe, Delorme & Van Rullen, Neural Networks 14, 2001 (linear); Hopfield, Nature 376, 1995 (log).
    """

    meaning = "intensities"

    @also_called(enc_function="function")
    def __init__(self, T: int | None = None, function: str = "linear") -> None:
        super().__init__()
        self.T = None if T is None else integer(self, "T", T, at_least=1)
        self.function = choice(self, "function", function, ("linear", "log"))

    def encode(self, x: Tensor, T: int) -> Tensor:
        x_wide, last = x.to(state_dtype(x.dtype)), T - 1
        if self.function == "linear":
            times = last * (1 - x_wide)
        else:  # α·x + 1 = e^(T − 1)·x + (1 − x); from the logarithms of both, as e^(T − 1) itself soon overflows
            times = last - torch.logaddexp(x_wide.log() + last, (-x_wide).log1p())
        return _spikes_at(times.round(), T).to(x.dtype)

    def extra_repr(self) -> str:
        return f"T={self.T}, function={self.function!r}"


@register("encoder")
class WeightedPhaseEncoder(Encoder):
    """Fire the digits of the input as a binary number of K digits, the most significant one first (phase coding).

    x ≈ Σ_k s[k]·2^−(1 + k), k = 0 … K − 1, rounded down; the largest such number, 1 − 2^−K, stands for all above it.
    After K steps the digits come again; calls without T hand out one period.

    Args:
        phases: K ≥ 1, of which T is a multiple; None: T.
        weighted: scale each spike by the weight of its digit, 2^−(1 + k), so that the K of a period add up to x.

    Shapes: x [N, *], values in [0, 1] → [T, N, *]: spikes, or 2^−(1 + k) and 0 if weighted.
    Source: Kim et al., Deep neural networks with weighted spikes, Neurocomputing 311, 2018.
    """

    meaning = "fractions"

    @also_called(K="phases")
    def __init__(self, phases: int | None = None, weighted: bool = False) -> None:
        super().__init__()
        self.phases = None if phases is None else integer(self, "phases", phases, at_least=1)
        self.weighted = flag(self, "weighted", weighted)

    def next_step(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        if "_stepper" in vars(self) and self._stepper.t == self._stepper.T:
            self.reset()
        return super().next_step(x, seeds)

    @property
    def steps_in_turn(self) -> int | None:
        return self.phases

    def encode(self, x: Tensor, T: int) -> Tensor:
        phases = self.phases or T
        if T % phases:
            raise ValueError(f"WeightedPhaseEncoder: T must be a multiple of phases = {phases}, got {T}.")
        rest = x.to(state_dtype(x.dtype))  # of 1, a rest of 1 stays at each digit: all of them are ones
        period = []
        for k in range(phases):
            rest = 2 * rest
            digit = rest.ge(1).to(rest.dtype)
            rest = rest - digit
            period.append(digit * 2.0 ** -(1 + k) if self.weighted else digit)
        return torch.stack(period * (T // phases)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"phases={self.phases}, weighted={self.weighted}"


@register("encoder")
class PopulationEncoder(Encoder):
    """Let m neurons with Gaussian receptive fields see each value; the closer its center, the sooner a neuron fires.

    a_i = exp(−(x − μ_i)² / 2σ²),  μ_i = x_min + (i − 3/2)·d,  σ = d / β,  d = (x_max − x_min) / (m − 2),  i = 1 … m

    Neuron i fires once, at step T·(1 − a_i) rounded to the nearest whole number, halves to the even one, or never where
    that is T.

    Args:
        m: neurons per value, ≥ 3.
        x_min, x_max: range of the values; the outer two centers lie d/2 outside of it.
        beta: β > 0; the larger, the narrower the fields.

    Shapes: x [N, C, *] → spikes [T, N, C·m, *], the m neurons of a channel side by side; x [N] → [T, N, m].
    Source: Bohte, Kok & La Poutré, Neurocomputing 48, 2002, with m = 15, β = 1.5 and 10 steps.
    """

    meaning = "values that the fields cover"

    def __init__(self, m: int = 8, x_min: float = 0.0, x_max: float = 1.0, beta: float = 1.5) -> None:
        super().__init__()
        self.m = integer(self, "m", m, at_least=3)
        self.low = real(self, "x_min", x_min)
        self.high = real(self, "x_max", x_max, above=self.low)
        self.beta = real(self, "beta", beta, above=0)

    def encoded_shape(self, sample_shape: Sequence[int]) -> Shape:
        channels, *rest = sample_shape or (1,)
        return (channels * self.m, *rest)

    def encode(self, x: Tensor, T: int) -> Tensor:
        if x.dim() == 0:
            raise ValueError("PopulationEncoder: the input must be a batch [N, *], got a single number.")
        channels = x.unsqueeze(1) if x.dim() == 1 else x
        x_wide = channels.to(state_dtype(x.dtype)).unsqueeze(2)  # [N, C, 1, *], for centers [m, 1 …]
        distance = (self.high - self.low) / (self.m - 2)
        centers = torch.arange(self.m, dtype=x_wide.dtype, device=x.device).sub(0.5).mul(distance).add(self.low)
        offset = (x_wide - centers.view(-1, *[1] * (x_wide.dim() - 3))) * (self.beta / distance)
        activation = (-0.5 * offset.square()).exp()
        return _spikes_at((T * (1 - activation)).round().flatten(1, 2), T).to(x.dtype)

    def extra_repr(self) -> str:
        return f"m={self.m}, x_min={self.low:g}, x_max={self.high:g}, beta={self.beta:g}"


def _spikes_at(times: Tensor, T: int) -> Tensor:
    """True at the step that times [*] say, none where that is T or later: [T, *]."""
    steps = torch.arange(T, dtype=times.dtype, device=times.device)
    return steps.view(-1, *[1] * times.dim()) == times


class StatefulEncoder(MemoryModule):
    """Hand out an encoder's sequence one step per call, for loops that go step by step.

        encoder = StatefulEncoder(PoissonEncoder(), T=8)
        for _ in range(8):
            y = net(encoder(x))
        functional.reset_net(encoder)

    The first call after a reset encodes its input, the next ones give the steps that follow.

    Args:
        encoder: (x, T) → [T, N, *].
        T: number of time steps, ≥ 1.

    Shapes: x [N, *] → [N, *encoded_shape].
    Raises: StateMismatchError if the batch changes in size before a reset; RuntimeError at a call after the last step.
    """

    def __init__(self, encoder: nn.Module, T: int) -> None:
        super().__init__("s")
        self.encoder = encoder
        self.T = integer(self, "T", T, at_least=1)
        self.register_memory("sequence", None)
        self.register_memory("t", 0)

    def supported_step_mode(self) -> tuple[str, ...]:
        return ("s",)

    def forward(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """The next step; seeds, for the first one, as the encoder takes them."""
        if self.sequence is None:
            self.sequence = self.encoder(x, self.T) if seeds is None else self.encoder(x, self.T, seeds)
        elif x.shape[:1] != self.sequence.shape[1:2]:
            raise StateMismatchError(
                f"{self._title()}: the sequence that was begun has {self.sequence.shape[1]} samples, but the input has "
                f"shape {list(x.shape)}. Call functional.reset_net(encoder) before each batch."
            )
        if self.t == self.T:
            raise RuntimeError(
                f"{self._title()}: all T = {self.T} steps were handed out. Call functional.reset_net(encoder) before "
                "the next sequence."
            )
        self.t += 1
        return self.sequence[self.t - 1]
