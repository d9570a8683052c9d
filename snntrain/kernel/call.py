"""Arguments of a device's driver: a whole sequence as vectors in one memory order."""

from dataclasses import dataclass

from torch import Tensor


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


@dataclass
class Results:
    """What forward writes.

    Attributes:
        out: [T·M].
        last: final states, [states, M].
        sequences: the states after every step, [states, T·M or 0].
    """

    out: Tensor
    last: Tensor
    sequences: Tensor


@dataclass
class Gradients:
    """What backward reads (incoming) and writes.

    Attributes:
        out: incoming, [T·M].
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
