"""Arguments of a device's driver: a whole sequence as vectors in one memory order."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Inputs:
    """What forward and backward read.

    Attributes:
        x: all inputs as a vector, step t from t·x_stride on.
        x_stride: 0 where all steps have the same input.
        first: initial states, each [M], or [1] for all neurons.
        kept: [states, (T − 1) // K or 0, M]: the states before steps K, 2K, …; written by forward.
        values: parameters.
        T, K, M: steps, steps from one kept state to the next, neurons.
    """

    x: Tensor
    x_stride: int
    first: list[Tensor]
    kept: Tensor
    values: Tensor
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
        x: [T·M], or [M] if over_time.
        over_time: sum the gradient of x over time.
        first: [states, M or 0].
        parameters: [learnable, blocks of neurons], float64.
    """

    out: Tensor
    last: list[Tensor]
    sequences: Tensor
    x: Tensor
    over_time: bool
    first: Tensor
    parameters: Tensor
