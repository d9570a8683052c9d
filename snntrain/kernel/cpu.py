"""Sequences on the CPU."""

from typing import Any

import torch

from snntrain.kernel import pooled_source
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
    if inputs.pooling is not None:
        _forward_pooled(plan, inputs, results)
        return
    _call(plan, "forward", _forward_arrays(plan, inputs, results, results.sequences), inputs)


def backward(plan: Plan, inputs: Inputs, gradients: Gradients) -> None:
    """Pull gradients back through what forward ran; they are written in place."""
    if inputs.pooling is not None:
        _backward_pooled(plan, inputs, gradients)
        return
    if gradients.over_time:
        gradients.x.zero_()
    arrays = (
        *_start(inputs),
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
        *_of_channels(inputs),
        *(g.numpy() for g in gradients.spread),
    )
    _call(plan, "backward", arrays, inputs)


def _forward_arrays(plan: Plan, inputs: Inputs, results: Results, more: torch.Tensor) -> tuple[Any, ...]:
    """The arguments of a kernel that runs a sequence; more: what it writes besides outputs and states."""
    return (
        *_start(inputs),
        results.last.numpy(),
        inputs.kept.numpy(),
        results.out.numpy(),
        more.numpy(),
        inputs.values.numpy(),
        plan.constants[0],
        *_of_channels(inputs),
    )


def _start(inputs: Inputs) -> tuple[Any, ...]:
    """The arguments for the input and for the states that the sequence begins with."""
    return inputs.x.numpy(), inputs.x_stride, *(state.numpy() for state in inputs.first)


def _of_channels(inputs: Inputs) -> tuple[Any, ...]:
    """The arguments for what differs between channels."""
    affine = inputs.affine
    values = inputs.spread if affine is None else [*inputs.spread, affine.scale, affine.shift]
    return (*(value.numpy() for value in values), inputs.channel_stride) if values else ()


def _call(plan: Plan, name: str, arrays: tuple[Any, ...], inputs: Inputs) -> None:
    normed = inputs.affine is not None
    key = "cpu" + ", affine" * normed
    if key not in plan.compiled:
        plan.compiled[key] = Compiled(source(plan, normed))
    T, M = inputs.T, inputs.M
    plan.compiled[key].run(name, (*arrays, T, inputs.K, M), M, BLOCK, threads=T * M // SMALLEST_SHARE)


def _forward_pooled(plan: Plan, inputs: Inputs, results: Results) -> None:
    count, block = _groups(inputs)
    fired = torch.zeros(-(-count // block) if results.fired.numel() else 0, dtype=torch.int64, device="cpu")
    _call_pooled(plan, "forward", _forward_arrays(plan, inputs, results, fired), inputs)
    if results.fired.numel():
        results.fired.copy_(fired.sum())


def _backward_pooled(plan: Plan, inputs: Inputs, gradients: Gradients) -> None:
    of_neurons = {p: torch.empty(inputs.M, dtype=plan.dtype, device="cpu") for p in plan.learnable if not plan.dims[p]}
    spread = iter(gradients.spread)
    arrays = (
        *_start(inputs),
        inputs.kept.numpy(),
        gradients.out.numpy(),
        *(g.numpy() for g in gradients.last),
        gradients.x.numpy(),
        0 if gradients.over_time else inputs.M,
        gradients.first.numpy(),
        inputs.values.numpy(),
        *plan.constants,
        *_of_channels(inputs),
        *((of_neurons[p] if p in of_neurons else next(spread)).numpy() for p in plan.learnable),
    )
    _call_pooled(plan, "backward", arrays, inputs)
    for values, of_blocks in zip(of_neurons.values(), gradients.parameters, strict=True):
        arrays, threads = (values.numpy(), of_blocks.numpy()), inputs.M // SMALLEST_SHARE
        _pooled_kernels(plan, inputs).run("totals", arrays, inputs.M, BLOCK, threads=threads)


def _groups(inputs: Inputs) -> tuple[int, int]:
    """How many groups of rows a step has, and how many of them make a block of about BLOCK neurons."""
    pictures, height = inputs.pictures, inputs.pooling.height
    line = pictures.columns * pictures.inner
    count = inputs.M // (pictures.rows * line) * -(-pictures.rows // height)
    return count, max(1, BLOCK // (height * line))


def _pooled_kernels(plan: Plan, inputs: Inputs) -> Compiled:
    normed = inputs.affine is not None
    name = f"cpu, {inputs.pooling}" + ", affine" * normed
    if name not in plan.compiled:
        plan.compiled[name] = Compiled(pooled_source.source(plan, inputs.pooling, normed))
    return plan.compiled[name]


def _call_pooled(plan: Plan, name: str, arrays: tuple[Any, ...], inputs: Inputs) -> None:
    count, block = _groups(inputs)
    pictures, T, M = inputs.pictures, inputs.T, inputs.M
    sizes = (pictures.rows, pictures.columns, pictures.inner, block, T, inputs.K, M)
    _pooled_kernels(plan, inputs).run(name, (*arrays, *sizes), count, block, threads=T * M // SMALLEST_SHARE)
