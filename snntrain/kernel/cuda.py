"""Kernels on NVIDIA GPUs: compiled by NVRTC and launched by cupy on torch's stream, on torch's memory."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain import cache_folder
from snntrain.files import replacing
from snntrain.kernel import cache
from snntrain.kernel.call import Gradients, Inputs, Results
from snntrain.kernel.cuda_source import BLOCK, IO, chunk_length, source
from snntrain.kernel.plan import Plan

__all__ = ["BLOCK", "IO_DTYPES", "backward", "chunk_length", "forward", "unavailable"]

IO_DTYPES = tuple(IO)  # any of them with either dtype of the plan
# NVRTC by way of cupy.cuda.nvrtc and not of cupy.RawModule, which appends -ftz=true: with denormal numbers flushed to
# zero, a decaying potential would no longer be torch's.
OPTIONS = ("-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true")
_functions: dict[tuple[str, str, int], Any] = {}


@functools.cache
def unavailable() -> str | None:
    """Why no kernel can run on this machine's GPUs, or None if they can."""
    if torch.version.hip is not None:
        return "kernels are for NVIDIA GPUs, and this torch is built for ROCm"
    try:
        import cupy
        from cupy.cuda import nvrtc

        nvrtc.getVersion()  # cupy loads the library on its first use
        if not cupy.cuda.is_available():
            return "cupy finds no CUDA device"
    except ModuleNotFoundError:
        return "cupy is not installed; install cupy-cuda12x or cupy-cuda13x, whichever fits the driver"
    except Exception as error:  # a cupy made for another CUDA fails in many ways
        return f"cupy cannot be used ({str(error).strip() or type(error).__name__})"
    return None


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
    import cupy

    # A kernel's arguments lie in memory as their C types: eight bytes for each int.
    packed = tuple(np.int64(value) if isinstance(value, int) else value for value in arguments)
    with cupy.cuda.Device(device.index):
        stream = cupy.cuda.ExternalStream(torch.cuda.current_stream(device).cuda_stream)
        _function(text, kernel, device.index)((blocks,), (threads,), packed, stream=stream)


def _function(text: str, kernel: str, device: int) -> Any:
    """A kernel, loaded on the current device; neurons that differ in numbers alone share it."""
    import cupy

    if (text, kernel, device) not in _functions:
        module = cupy.cuda.Module()
        module.load(binary(text, int(cupy.cuda.Device(device).compute_capability)))
        for name in ("forward", "backward"):
            _functions[text, name, device] = module.get_function(name)
    return _functions[text, kernel, device]


def binary(text: str, capability: int) -> bytes:
    """Machine code of a generated source from the cache on disk, compiled if it is not there or damaged.

    The capability of the GPU is that of its name, as in sm_90.
    """
    from cupy.cuda import nvrtc

    content = repr((text, capability, OPTIONS, nvrtc.getVersion()))
    name = hashlib.sha256(content.encode()).hexdigest()[:32]
    shared = cache_folder.configured("kernels")
    code = b"" if shared is None else _read(shared / "cuda" / name)  # which may be for reading only
    if code:
        return code
    own = cache_folder.writable("kernels")
    code = b"" if own in (None, shared) else _read(own / "cuda" / name)
    if code:
        return code
    code = _compiled(text, capability)
    if own is not None:
        with contextlib.suppress(OSError), replacing(own / "cuda" / name) as temporary:
            temporary.write_bytes(hashlib.sha256(code).digest() + code)
        cache.drop_oldest(own / "cuda")
    return code


def _read(file: Path) -> bytes:
    """What a file of the cache holds, nothing if it is missing or damaged."""
    try:
        content = file.read_bytes()
    except OSError:
        return b""
    digest, code = content[:32], content[32:]
    if digest != hashlib.sha256(code).digest():
        return b""
    with contextlib.suppress(OSError):
        os.utime(file)
    return code


def _compiled(text: str, capability: int) -> bytes:
    from cupy.cuda import nvrtc

    # A GPU newer than NVRTC gets code for the newest one known, which its driver translates.
    newest = max(known for known in nvrtc.getSupportedArchs() if known <= capability)
    architecture = f"-arch=sm_{newest}" if newest == capability else f"-arch=compute_{newest}"
    program = nvrtc.createProgram(text, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(program, (architecture, *OPTIONS))
        code = nvrtc.getCUBIN(program) if newest == capability else nvrtc.getPTX(program)
    except nvrtc.NVRTCError as error:
        raise RuntimeError(f"A generated kernel does not compile:\n{nvrtc.getProgramLog(program)}") from error
    finally:
        nvrtc.destroyProgram(program)
    return code if isinstance(code, bytes) else code.encode()
