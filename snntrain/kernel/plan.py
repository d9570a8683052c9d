"""One neuron's kernels: traced once, compiled once, shared by all neurons that differ only in numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch

from snntrain.kernel import cache
from snntrain.kernel.graph import Unsupported, trace_backward, trace_forward
from snntrain.kernel.numba_source import constants, source

_PRECISION = {torch.float32: "float32", torch.float64: "float64"}


@dataclass
class Plan:
    """What it takes to run one neuron.

    Attributes:
        module: compiled `forward` and `backward`.
        forward_constants, backward_constants: the numbers in them.
        states: how many.
        learnable: which parameters get a gradient.
        dtype: of state and arithmetic.
    """

    module: ModuleType
    forward_constants: np.ndarray
    backward_constants: np.ndarray
    states: int
    learnable: tuple[int, ...]
    dtype: torch.dtype


def make_plan(
    step: Callable[..., Sequence[torch.Tensor]],
    states: int,
    parameters: int,
    learnable: Sequence[int],
    dtype: torch.dtype,
) -> Plan:
    """Trace a step and get its kernels.

    Args:
        step: (x, *states, *parameters) → (output, *new states), pure and pointwise.
        states, parameters: how many it takes.
        learnable: indices of the parameters whose gradient is wanted.
        dtype: of state and arithmetic, float32 or float64.

    Raises: Unsupported with the reason.
    """
    if dtype not in _PRECISION:
        raise Unsupported(f"kernels compute in float32 or float64, not {dtype}")
    forward = trace_forward(step, states, parameters, dtype)
    backward = trace_backward(step, states, parameters, learnable, dtype)
    text = source(forward, backward, states, parameters, len(learnable), _PRECISION[dtype])
    kind = np.dtype(_PRECISION[dtype])
    return Plan(
        cache.module(text),
        np.array(constants(forward), kind),
        np.array(constants(backward), kind),
        states,
        tuple(learnable),
        dtype,
    )
