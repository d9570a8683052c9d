"""Kernels on NVIDIA GPUs: compiled by NVRTC and launched on torch's stream, on torch's memory."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snntrain.kernel import cuda_launcher
from snntrain.kernel.call import Gradients, Inputs, Results
from snntrain.kernel.cuda_binary import binary
from snntrain.kernel.cuda_source import BLOCK, IO, chunk_length, source
from snntrain.kernel.plan import Plan

__all__ = ["BLOCK", "IO_DTYPES", "backward", "chunk_length", "forward", "unavailable"]

IO_DTYPES = tuple(IO)  # any of them with either dtype of the plan
#: The names of the kernels in a generated source.
KERNELS = re.compile(r"__global__ void __launch_bounds__\(THREADS\) (\w+)\(")
_functions: dict[tuple[str, str, torch.device], Any] = {}


def unavailable() -> str | None:
    """Why no kernel can run on this machine's GPUs and what to do about it, or None if they can."""
    found = cuda_launcher.launcher()
    return found if isinstance(found, str) else None


def forward(plan: Plan, inputs: Inputs, results: Results) -> None:
    """Run the sequence; results are written in place."""
    x, M = inputs.x, inputs.M
    V = _neurons_per_thread(M, inputs.x_stride, x, results.out)
    arguments = (
        _address(x),
        inputs.x_stride // V,
        *_scattered(inputs.first),
        _address(results.last),
        _address(inputs.kept),
        _address(results.out),
        _address(results.sequences),
        _address(inputs.values),
        *_spread_parameters(inputs),
        inputs.T,
        M // V,
    )
    _launch(_text(plan, x.dtype, V), "forward", -(-M // BLOCK), BLOCK // V, (*arguments, *plan.constants[0]), x.device)


def backward(plan: Plan, inputs: Inputs, gradients: Gradients) -> None:
    """Pull gradients back through what forward ran; they are written in place."""
    x, M = inputs.x, inputs.M
    V = _neurons_per_thread(M, inputs.x_stride, x, gradients.out, gradients.x)
    arguments = (
        _address(x),
        inputs.x_stride // V,
        *_scattered(inputs.first),
        _address(inputs.kept),
        _address(gradients.out),
        *_scattered(gradients.last),
        _address(gradients.sequences),
        _address(gradients.x),
        int(gradients.over_time),
        _address(gradients.first),
        _address(gradients.parameters),
        _address(inputs.values),
        *_spread_parameters(inputs),
        *map(_address, gradients.spread),
        inputs.T,
        M // V,
    )
    numbers = [number for graph in plan.constants for number in graph]
    _launch(_text(plan, x.dtype, V), "backward", -(-M // BLOCK), BLOCK // V, (*arguments, *numbers), x.device)


def _neurons_per_thread(M: int, x_stride: int, *vectors: Tensor) -> int:
    """2 where pairs of 16-bit elements can be read at once, else 1."""
    paired = vectors[0].element_size() == 2 and M % 2 == 0 and x_stride % 2 == 0
    return 2 if paired and all(vector.data_ptr() % 4 == 0 for vector in vectors) else 1


def _spread_parameters(inputs: Inputs) -> list[int]:
    """The arguments for parameters that differ between neurons."""
    if not inputs.spread:
        return []
    return [inputs.channel_stride, *(n for value in inputs.spread for n in (_address(value), value.shape[-1]))]


def _address(x: Tensor) -> int:
    return x.data_ptr() if x.numel() else 0


def _scattered(states: list[Tensor]) -> list[int]:
    """Address and step of vectors of all neurons, or of one value for all."""
    return [number for state in states for number in (_address(state), 1 if state.numel() > 1 else 0)]


def _text(plan: Plan, io: torch.dtype, V: int) -> str:
    compiled = plan.compiled.setdefault("cuda", {})
    if (io, V) not in compiled:
        compiled[io, V] = source(plan, io, V)
    return compiled[io, V]


def _launch(text: str, kernel: str, blocks: int, threads: int, arguments: Sequence[Any], device: torch.device) -> None:
    """Run a kernel of a generated source.

    Args:
        text: the source.
        kernel: its name there.
        blocks, threads: blocks of the grid and threads of a block.
        arguments: ints, which the kernel takes as long long or as pointers, and numpy scalars.
        device: on whose current stream it runs.
    """
    found = cuda_launcher.launcher()
    if isinstance(found, str):  # sequence.driver_for asks before
        raise RuntimeError(f"No kernel can run on {device}: {found}.")
    if (text, kernel, device) not in _functions:
        # Neurons that differ in numbers alone share a source.
        major, minor = torch.cuda.get_device_capability(device)
        code = binary(text, 10 * major + minor, found.compiler)
        for name, function in found.load(code, KERNELS.findall(text), device).items():
            _functions[text, name, device] = function
    found.launch(_functions[text, kernel, device], blocks, threads, arguments, device)
