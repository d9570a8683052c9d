"""Arguments of a device's driver: a whole sequence as vectors in one memory order."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pooling:
    """Pooling of a neuron's outputs over windows that lie side by side; rows and columns that fill none are left out.

    Attributes:
        kind: 'max' or 'average'.
        height, width: of a window.
    """

    kind: str
    height: int
    width: int


@dataclass(frozen=True)
class Pictures:
    """A step of neurons in memory: pictures one after the other, each rows × columns × inner numbers.

    Attributes:
        rows, columns: of a picture.
        inner: numbers in each place: the channels if they are innermost in memory, else 1.
    """

    rows: int
    columns: int
    inner: int


@dataclass(frozen=True)
class Affine:
    """What the neurons read in the place of x: fma(x, scale, shift), each [C].

    Attributes:
        scale, shift: of each channel.
    """

    scale: Tensor
    shift: Tensor


@dataclass
class Inputs:
    """What forward and backward read.

    Attributes:
        x: all inputs as a vector, step t from t·x_stride on, and there branch b from b·M on.
        x_stride: 0 where all steps have the same input.
        first: initial states, each [M], or [1] for all neurons.
        kept: [states, (T − 1) // K or 0, M]: the states before steps K, 2K, …; written by forward.
        values: parameters with one value for all neurons.
        spread: the others, each [C], or [T, C] where it differs from step to step; C is 1 or the number of channels.
        channel_stride: neuron m belongs to channel m // channel_stride modulo C.
        T, K, M: steps, steps from one kept state to the next, neurons.
        pooling: of the outputs, which then are the pooled ones only; None: there is none.
        pictures: what is pooled.
        affine: of the inputs, whose gradient is then that of its result; None: there is none.
    """

    x: Tensor
    x_stride: int
    first: list[Tensor]
    kept: Tensor
    values: Tensor
    spread: list[Tensor]
    channel_stride: int
    T: int
    K: int
    M: int
    pooling: Pooling | None = None
    pictures: Pictures | None = None
    affine: Affine | None = None


@dataclass
class Results:
    """What forward writes.

    Attributes:
        out: [T·M], or the pooled outputs.
        last: final states, [states, M].
        sequences: the states after every step, [states, T·M or 0]; none with pooling.
        fired: with pooling, how many outputs were not zero before it, int64 [1 or 0].
    """

    out: Tensor
    last: Tensor
    sequences: Tensor
    fired: Tensor | None = None


@dataclass
class Gradients:
    """What backward reads (incoming) and writes.

    Attributes:
        out: incoming, [T·M], or of the pooled outputs.
        last: incoming, of the final states, each [M], or [1] for all neurons.
        sequences: incoming, [states, T·M or 0].
        x: [T·branches·M], or [branches·M] if over_time.
        over_time: sum the gradient of x over time.
        first: [states, M or 0].
        parameters: of those with one value for all neurons, [learnable, blocks of neurons], float64.
        spread: of the others, if learnable: before the sum over neurons, each [M], or [T·M] for one of each step.
    """

    out: Tensor
    last: list[Tensor]
    sequences: Tensor
    x: Tensor
    over_time: bool
    first: Tensor
    parameters: Tensor
    spread: list[Tensor]
