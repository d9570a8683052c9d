"""Sequences on the CPU."""

from typing import Any

import torch

from snntrain.kernel.call import Gradients, Inputs, Results
from snntrain.kernel.compiled import Compiled
from snntrain.kernel.numba_source import BLOCK, source
from snntrain.kernel.plan import Plan

__all__ = ["BLOCK", "IO_DTYPES", "backward", "chunk_length", "forward"]

IO_DTYPES = (torch.float32, torch.float64)
SMALLEST_SHARE = 16_384  # element-steps that are worth waking another thread for


def chunk_length(plan: Plan, io: torch.dtype, T: int) -> int:
    """Steps between two kept states: what is kept stays under an eighth of the input, the chunk in the cache."""
    return max(8 * plan.states, 8 if T <= 64 else 16)


def forward(plan: Plan, inputs: Inputs, results: Results) -> None:
    """Run the sequence; results are written in place."""
    arrays = (
        inputs.x.numpy(),
        inputs.x_stride,
        *(state.numpy() for state in inputs.first),
        results.last.numpy(),
        inputs.kept.numpy(),
        results.out.numpy(),
        results.sequences.numpy(),
        inputs.values.numpy(),
        plan.constants[0],
        *_spread_parameters(inputs),
    )
    _call(plan, "forward", arrays, (inputs.T, inputs.K, inputs.M))


def backward(plan: Plan, inputs: Inputs, gradients: Gradients) -> None:
    """Pull gradients back through what forward ran; they are written in place."""
    if gradients.over_time:
        gradients.x.zero_()
    arrays = (
        inputs.x.numpy(),
        inputs.x_stride,
        *(state.numpy() for state in inputs.first),
        inputs.kept.numpy(),
        gradients.out.numpy(),
        *(g.numpy() for g in gradients.last),
        gradients.sequences.numpy(),
        gradients.x.numpy(),
        0 if gradients.over_time else plan.branches * inputs.M,
        gradients.first.numpy(),
        gradients.parameters.numpy(),
        inputs.values.numpy(),
        *plan.constants,
        *_spread_parameters(inputs),
        *(g.numpy() for g in gradients.spread),
    )
    _call(plan, "backward", arrays, (inputs.T, inputs.K, inputs.M))


def _spread_parameters(inputs: Inputs) -> tuple[Any, ...]:
    """The arguments for parameters that differ between neurons."""
    return (*(value.numpy() for value in inputs.spread), inputs.channel_stride) if inputs.spread else ()


def _call(plan: Plan, name: str, arrays: tuple[Any, ...], sizes: tuple[int, int, int]) -> None:
    if "cpu" not in plan.compiled:
        plan.compiled["cpu"] = Compiled(source(plan))
    T, _, M = sizes
    plan.compiled["cpu"].run(name, (*arrays, *sizes), M, BLOCK, threads=T * M // SMALLEST_SHARE)
