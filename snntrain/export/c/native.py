"""CompiledNet: the C program in this process, the fast engine of an integer net for single samples on a CPU."""

import ctypes
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snntrain.arguments import integer
from snntrain.export.c.compiler import ELSEWHERE, NOT_INSTALLED, native_compiler
from snntrain.export.c.exported import export_c
from snntrain.export.error import CExportError
from snntrain.functional import repeat, repeated_step
from snntrain.quantize import IntegerNet

_SHARED = ("-shared", "-fPIC")


class CompiledNet:
    """An integer net as machine code, for one sample after the other; the same numbers as IntegerNet.

    Args:
        net: the integer net.
        sample_shape: of the input at one step, without the batch: [features], [C, L] or [C, H, W].
        event_driven: see export_c.
        flags: of the compiler; by default for this machine's processor.

    Shapes: x_seq [T, N, *] → logits [T, N, K].
    Raises: CExportError if the net has no form in C, or there is no compiler.
    """

    def __init__(
        self,
        net: IntegerNet,
        sample_shape: Sequence[int],
        *,
        event_driven: bool = True,
        flags: Sequence[str] = ("-O3", "-march=native"),
    ) -> None:
        compiler = native_compiler()
        if compiler is None:
            raise CExportError("", NOT_INSTALLED)
        # Each net has a library of its own, whose static buffers are its state.
        with tempfile.TemporaryDirectory(prefix="snntrain-c-") as folder:
            self._exported = export_c(net, folder, sample_shape, event_driven=event_driven)
            library = compiler.build(Path(folder), Path(folder) / "net.so", *flags, *_SHARED, sources=("net.c",))
            try:
                loaded = ctypes.CDLL(str(library))
            except OSError as error:
                raise CExportError("", f"the compiled net could not be loaded ({error})", ELSEWHERE) from error
        self._step, self._reset = loaded.snn_step, loaded.snn_reset
        self._step.argtypes, self._step.restype = (ctypes.c_void_p, ctypes.c_void_p), None
        self._reset.argtypes, self._reset.restype = (), None
        self._readout_start = self._exported.program.readout_start

    def __call__(self, x_seq: Tensor) -> Tensor:
        """Logits [T, N, K] of a sequence [T, N, *], from resting potentials."""
        T, N = x_seq.shape[:2]
        shape = self._exported.program.input.shape
        if tuple(x_seq.shape[2:]) != shape:
            raise ValueError(f"CompiledNet: it was made for samples {list(shape)}, got {list(x_seq.shape[2:])}.")
        step = repeated_step(x_seq)
        given = x_seq if step is None else step.unsqueeze(0)
        samples = np.ascontiguousarray(self._exported.integers(given.detach().cpu().float().numpy()).swapaxes(0, 1))
        outputs = np.empty((N, T, self._exported.program.output.count), np.int32)
        program = self._exported.program
        from_step = 0 if step is not None else program.input.count * samples.itemsize
        to_step = program.output.count * outputs.itemsize
        for n in range(N):
            self._reset()
            x, y = samples[n].ctypes.data, outputs[n].ctypes.data
            for t in range(T):
                self._step(x + t * from_step, y + t * to_step)
        return torch.from_numpy(outputs.swapaxes(0, 1).astype(np.float32) * self._exported.program.scale)

    def predict(self, x: Tensor, T: int) -> Tensor:
        """The mean output over T steps of a static input: [N, *] → [N, K]."""
        start = min(self._readout_start, max(integer(self, "T", T, at_least=1) - 4, 0))
        return self(repeat(x, T))[start:].mean(0)
