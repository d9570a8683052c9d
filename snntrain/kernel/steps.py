"""Single steps of a plan on a device: what a loop over time calls that computes something between the steps."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from snntrain.kernel.plan import Plan


@dataclass
class Parameters:
    """Parameters of the neurons, as in call.Inputs.

    Attributes:
        values: those with one value for all neurons.
        spread: the others, each [C], or [T, C].
        channel_stride: neuron m belongs to channel m // channel_stride modulo C.
    """

    values: Tensor
    spread: list[Tensor]
    channel_stride: int


@dataclass
class Forward:
    """What the steps of a forward read and write.

    Attributes:
        inputs: [T, M], or [1, M] if they are not needed afterward; step t adds x[t] to row t, which is then its input.
        x: what is added, as a vector, step t from t·x_stride on; empty: nothing.
        x_stride: 0 where all steps have the same x.
        states: [states, 2, M]; step t reads [:, t % 2] and writes the other.
        kept: [states, (T − 1) // K or 0, M]: written before the steps K, 2K, ….
        out: [T, M].
        parameters: of the neurons.
        K: steps from one kept state to the next.
    """

    inputs: Tensor
    x: Tensor
    x_stride: int
    states: Tensor
    kept: Tensor
    out: Tensor
    parameters: Parameters
    K: int


@dataclass
class Backward:
    """What the steps of a backward read and write.

    Attributes:
        inputs: [T, M], those of forward.
        history: [states, K, M]; `again` fills it from row 0, the states before a step that K divides.
        g_out: gradients of the outputs, [T, M]; [0, M]: there are none.
        g_fed_back: gradient of the output of the step at hand by way of later ones, [M].
        g_inputs: [T, M]; may be `inputs`.
        g_states: [states, M]: of the states after the step at hand; it becomes that of those before it.
        sums: [learnable, M]: the gradients of the parameters, of every neuron by itself: those of the step at hand
            where a parameter has values of its own for each step, else added up over the steps.
        parameters: of the neurons.
        K: as in forward.
    """

    inputs: Tensor
    history: Tensor
    g_out: Tensor
    g_fed_back: Tensor
    g_inputs: Tensor
    g_states: Tensor
    sums: Tensor
    parameters: Parameters
    K: int


Step = Callable[[int], None]


def steps_driver_for(device: torch.device) -> ModuleType:
    """The module that runs single steps on a kind of device for which sequence.driver_for finds a driver.

    It has forward(plan, Forward) → step, called with t = 0, 1, …;
    backward(plan, Backward) → (again, step): again(begin, end) before the steps end − 1, …, begin.
    """
    if device.type == "cuda":
        from snntrain.kernel import cuda_steps

        return cuda_steps
    from snntrain.kernel import cpu_steps

    return cpu_steps


def chunk_length(plan: Plan) -> int:
    """Steps between two kept states: what is kept fills an eighth of the input, and a chunk stays in the cache."""
    return 8 * max(plan.states, 1)
