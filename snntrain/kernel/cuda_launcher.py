"""What compiles and launches kernels on NVIDIA GPUs: NVRTC of torch and the CUDA driver, or cupy."""

import functools
import logging
import os
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Protocol

import numpy as np
import torch

from snntrain.error import UsageError
from snntrain.kernel.cuda_binary import Compiler
from snntrain.kernel.cuda_driver import Driver
from snntrain.kernel.nvrtc import Missing, Nvrtc, find
from snntrain.registry import did_you_mean

_log = logging.getLogger(__name__)

VARIABLE = "SNNTRAIN_GPU_LAUNCHER"
"""Environment variable that chooses one of LAUNCHERS; without it the first that can be used serves."""


class Launcher(Protocol):
    """Runs machine code on GPUs, on torch's streams and memory. Its constructor raises Missing with the reason."""

    compiler: Compiler
    title: str
    """Its name and versions, for people."""

    def load(self, code: bytes, names: Sequence[str], device: torch.device) -> dict[str, Any]:
        """Kernels of machine code on a device, by name."""

    def launch(self, function: Any, blocks: int, threads: int, arguments: Sequence[Any], device: torch.device) -> None:
        """Queue a kernel on the device's current stream.

        Args:
            function: from `load`.
            blocks, threads: blocks of the grid and threads of a block.
            arguments: ints, which the kernel takes as long long or as pointers, and numpy scalars.
            device: of the kernel's memory.
        """


class DriverLauncher:
    """The NVRTC that comes with torch, and the driver's own library: nothing to install beside torch."""

    def __init__(self, compiler: Nvrtc | None = None, driver: Driver | None = None) -> None:
        self.compiler = compiler or find()
        try:
            self._driver = driver or Driver()
        except (OSError, AttributeError, RuntimeError) as error:
            raise Missing(f"the CUDA driver cannot be used ({error})") from error
        versions = (".".join(map(str, version)) for version in (self.compiler.version, self._driver.version))
        self.title = "NVRTC {} and the driver for CUDA {}".format(*versions)

    def load(self, code: bytes, names: Sequence[str], device: torch.device) -> dict[str, int]:
        return self._driver.load(code, names, device.index)

    def launch(self, function: int, blocks: int, threads: int, arguments: Sequence[Any], device: torch.device) -> None:
        self._driver.launch(function, blocks, threads, arguments, device.index, _stream(device))


class CupyLauncher:
    """cupy, for whatever reason torch's NVRTC cannot be used."""

    def __init__(self) -> None:
        try:
            import cupy

            self.compiler = CupyNvrtc()
            if not cupy.cuda.is_available():
                raise Missing("cupy finds no CUDA device")
        except ModuleNotFoundError as error:
            raise Missing("cupy is not installed") from error
        except Missing:
            raise
        except Exception as error:  # a cupy made for another CUDA fails in many ways
            raise Missing(f"{_cupy()} cannot be used ({str(error).strip() or type(error).__name__})") from error
        self._cupy = cupy
        self.title = f"cupy {cupy.__version__} and NVRTC {'.'.join(map(str, self.compiler.version))}"

    def load(self, code: bytes, names: Sequence[str], device: torch.device) -> dict[str, Any]:
        with self._cupy.cuda.Device(device.index):
            module = self._cupy.cuda.Module()
            module.load(code)
            return {name: module.get_function(name) for name in names}

    def launch(self, function: Any, blocks: int, threads: int, arguments: Sequence[Any], device: torch.device) -> None:
        # A kernel's arguments lie in memory as their C types: eight bytes for each int.
        packed = tuple(np.int64(value) if isinstance(value, int) else value for value in arguments)
        with self._cupy.cuda.Device(device.index):
            stream = self._cupy.cuda.ExternalStream(_stream(device))
            function((blocks,), (threads,), packed, stream=stream)


class CupyNvrtc:
    """The NVRTC that cupy finds. Needs cupy; any error of cupy's may be raised."""

    def __init__(self) -> None:
        from cupy.cuda import nvrtc

        self._nvrtc = nvrtc
        self.version = tuple(nvrtc.getVersion())  # cupy loads the library on its first use

    def architectures(self) -> list[int]:
        return list(self._nvrtc.getSupportedArchs())

    def compiled(self, text: str, options: Sequence[str], *, to_ptx: bool = False) -> bytes:
        program = self._nvrtc.createProgram(text, "kernel.cu", (), ())
        try:
            self._nvrtc.compileProgram(program, tuple(options))
            code = self._nvrtc.getPTX(program) if to_ptx else self._nvrtc.getCUBIN(program)
        except self._nvrtc.NVRTCError as error:
            raise RuntimeError(self._nvrtc.getProgramLog(program)) from error
        finally:
            self._nvrtc.destroyProgram(program)
        return code if isinstance(code, bytes) else code.encode()


LAUNCHERS: dict[str, Callable[[], Launcher]] = {"driver": DriverLauncher, "cupy": CupyLauncher}


@functools.cache
def launcher() -> Launcher | str:
    """What runs kernels on this machine's GPUs, or a sentence that says why nothing can and what to install.

    Raises: UsageError for a value of $SNNTRAIN_GPU_LAUNCHER that is not one of LAUNCHERS.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted and wanted not in LAUNCHERS:
        allowed = " or ".join(LAUNCHERS)
        raise UsageError(f"{VARIABLE} must be {allowed}, got {wanted!r}.{did_you_mean(wanted, LAUNCHERS)}")
    if torch.version.hip is not None:
        return "kernels are for NVIDIA GPUs, and this torch is built for ROCm"
    if torch.version.cuda is None:
        return "this torch is built without CUDA; install one built for it, see https://pytorch.org/get-started"
    if not torch.cuda.is_available():
        return "torch finds no GPU"
    problems = []
    for name in [wanted] if wanted else LAUNCHERS:
        try:
            found = LAUNCHERS[name]()
            _log.info("Kernels on GPUs: %s.", found.title)
            return found
        except Missing as error:
            problems.append(str(error))
    reason = f"{', and '.join(problems)}; {remedy()}"
    _log.info("No kernels on GPUs: %s.", reason)
    return reason


def remedy() -> str:
    """What to install so that kernels run with this torch, as half a sentence."""
    major = (torch.version.cuda or "13").partition(".")[0]
    # NVIDIA's wheels have lost the suffix with CUDA 13.
    nvrtc = "nvidia-cuda-nvrtc-cu12" if major == "12" else f"'nvidia-cuda-nvrtc=={major}.*'"
    return f"pip install {nvrtc}, or cupy-cuda{major}x"


def _cupy() -> str:
    """The name of the installed cupy, and what is wrong with it beside this torch."""
    names = {distribution.metadata["Name"] or "" for distribution in metadata.distributions()}
    installed = next((name for name in sorted(names) if name.startswith("cupy")), "cupy")
    major = (torch.version.cuda or "").partition(".")[0]
    wrong = installed.startswith("cupy-cuda") and installed != f"cupy-cuda{major}x"
    return f"{installed} beside a torch for CUDA {torch.version.cuda}" if wrong else installed


def _stream(device: torch.device) -> int:
    return torch.cuda.current_stream(device).cuda_stream
