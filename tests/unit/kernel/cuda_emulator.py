"""Generated CUDA C without a GPU: run on the CPU by way of a C++ compiler, and compiled for a GPU."""

import ctypes
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from snntrain.kernel import cuda, cuda_binary

_HEADER = Path(__file__).with_name("cuda_on_cpu.h")
_CHECK = 'static_assert(THREADS <= 128, "");\n'

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++, which runs CUDA C here, is not installed")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")

_libraries: dict[str, ctypes.CDLL] = {}


class Emulator:
    """Stands in for cuda._launch and notes what was launched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launched: list[tuple[str, str]] = []

    def __call__(self, text, kernel, blocks, threads, arguments, device) -> None:
        self.launched.append((kernel, text))
        values = [np.array(value, np.int64 if isinstance(value, int) else None) for value in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        barriers = kernel == "backward" and "__syncthreads" in text
        getattr(self.library(text), f"launch_{kernel}")(blocks, threads, int(barriers), pointers)

    def library(self, text: str) -> ctypes.CDLL:
        """The kernels of a source, compiled for the CPU."""
        if text not in _libraries:
            path = self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]
            launchers = "\n".join(f"LAUNCHER({kernel})" for kernel in cuda.KERNELS.findall(text))
            path.with_suffix(".cpp").write_text(f'#include "{_HEADER}"\n{text}\n{launchers}\n{_CHECK}')
            half = ["-DHALF"] if "cvt.f32.f16" in text else []
            command = ["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-pthread", "-shared", "-fPIC", *half]
            done = subprocess.run(
                [*command, path.with_suffix(".cpp"), "-o", path.with_suffix(".so")], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            _libraries[text] = ctypes.CDLL(str(path.with_suffix(".so")))
        return _libraries[text]


class FakeDriver:
    """A library with the driver API's functions that runs kernels on the CPU and notes what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "libfakecuda.so"
        source, toolkit = Path(__file__).with_name("fake_driver.cpp"), shutil.which("nvcc")
        headers = [] if toolkit is None else [f"-I{_toolkit(toolkit) / 'include'}"]
        command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", *headers, source, "-o", self.path, "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self._library = ctypes.CDLL(str(self.path))
        self._library.take_notes.restype = ctypes.c_char_p

    def notes(self) -> list[str]:
        """What was called since the last time, with numbers."""
        return self._library.take_notes().decode().splitlines()


def _toolkit(nvcc: str) -> Path:
    """The folder of CUDA's toolkit, which nvcc knows even where it is called through a script."""
    done = subprocess.run([nvcc, "--dryrun", "-x", "cu", "/dev/null"], capture_output=True, text=True)
    return Path(re.search(r"_HERE_=(\S+)", done.stderr)[1]).parent


class FakeCompiler:
    """Makes "machine code" for FakeDriver: the path of a source's kernels on the CPU."""

    version = (0, 0)

    def __init__(self, folder: Path) -> None:
        self._emulator = Emulator(folder)

    def architectures(self) -> list[int]:
        return [90]

    def compiled(self, text: str, options: tuple[str, ...], *, to_ptx: bool = False) -> bytes:
        assert not to_ptx and options == ("-arch=sm_90", *cuda_binary.OPTIONS)
        return f"{int('__syncthreads' in text)}{self._emulator.library(text)._name}".encode()


def assembly(folder: Path, sources: list[str], architecture: str, *options: str) -> str:
    """PTX of several sources, made by nvcc with the driver's options."""
    text = "".join(
        "".join(f"#define {kernel} {kernel}_{index}\n" for kernel in cuda.KERNELS.findall(text))
        + f"namespace kernel_{index} {{\n{text}\n}}\n"
        + "".join(f"#undef {kernel}\n" for kernel in cuda.KERNELS.findall(text))
        for index, text in enumerate(sources)
    )
    (folder / "kernels.cu").write_text(text)
    command = [
        "nvcc",
        f"-arch={architecture}",
        *cuda_binary.OPTIONS,
        *options,
        "-keep",
        "-keep-dir",
        folder,
        "kernels.cu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # warnings, spilt registers
    return (folder / "kernels.ptx").read_text()


def forbidden(ptx: str) -> set[str]:
    """Instructions that round otherwise than torch does."""
    return set(re.findall(r"\bfma\.\S+|\bmad\.\S*f\d\d|\b\w+\.approx\.\S+|\b\w+\.full\.\S+|\S+\.ftz\S*", ptx))
