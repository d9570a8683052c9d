"""NVRTC, the compiler of CUDA C that torch's CUDA wheels bring, found without CUDA_HOME and called through ctypes."""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

_PROBE = 'extern "C" __global__ void probe() {}'


class Missing(RuntimeError):
    """No usable NVRTC; the text says where it was looked for, or what is wrong with the one found."""


class Nvrtc:
    """An NVRTC library.

    Args:
        library: its file, or a name that the system's loader finds.

    Raises: Missing if it cannot be loaded or is no NVRTC.
    """

    def __init__(self, library: str) -> None:
        try:
            self._calls = ctypes.CDLL(library)
            major, minor = ctypes.c_int(), ctypes.c_int()
            self._call("Version", ctypes.byref(major), ctypes.byref(minor))
        except (OSError, AttributeError, RuntimeError) as error:
            raise Missing(f"{library} cannot be used ({error})") from error
        self.library = library
        self.version = (major.value, minor.value)

    def architectures(self) -> list[int]:
        """Compute capabilities that it makes machine code for, such as 90."""
        count = ctypes.c_int()
        self._call("GetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self._call("GetSupportedArchs", found)
        return list(found)

    def compiled(self, text: str, options: Sequence[str], *, to_ptx: bool = False) -> bytes:
        """Machine code (CUBIN) of a source, or PTX, which a driver translates.

        Raises: RuntimeError with the compiler's messages.
        """
        program = ctypes.c_void_p()
        self._call("CreateProgram", ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
        try:
            given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            if self._calls.nvrtcCompileProgram(program, len(options), given):
                raise RuntimeError(self._bytes(program, "ProgramLog").rstrip(b"\0").decode(errors="replace"))
            return self._bytes(program, "PTX" if to_ptx else "CUBIN")
        finally:
            self._calls.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", program, content)
        return content.raw

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._calls, f"nvrtc{name}")(*arguments)
        if status:
            text = self._calls.nvrtcGetErrorString
            text.restype = ctypes.c_char_p
            raise RuntimeError(f"nvrtc{name}: {text(status).decode()}")


def find() -> Nvrtc:
    """The NVRTC of this torch's CUDA version, proved to compile; for a torch without CUDA the newest that is installed.

    Raises: Missing.
    """
    built_for = torch.version.cuda
    majors = [int(built_for.partition(".")[0])] if built_for else [13, 12]
    problems = []
    for major in majors:
        for library in _candidates(major):
            try:
                found = Nvrtc(library)
                # It loads its built-in functions from a second file, which may be missing, only when it compiles.
                found.compiled(_PROBE, [f"-arch=compute_{min(found.architectures())}"], to_ptx=True)
                return found
            except Missing as error:
                problems.append(str(error))
            except RuntimeError as error:
                problems.append(f"{library} does not compile ({error})")
    versions = " or ".join(map(str, majors))
    in_files = [problem for problem in problems if "/" in problem]
    raise Missing(in_files[0] if in_files else f"there is no NVRTC of CUDA {versions} beside torch or on this system")


def _candidates(major: int) -> Iterator[str]:
    """Where NVRTC may be: NVIDIA's wheels, torch's own folder, what the system's loader knows, what torch links to."""
    torch_folder = Path(torch.__file__).parent
    if sys.platform == "win32":
        patterns = [f"nvidia/*/bin/nvrtc64_{major}*_0.dll", f"nvidia/*/bin/*/nvrtc64_{major}*_0.dll"]
        own, names = f"nvrtc64_{major}*_0.dll", [f"nvrtc64_{major}0_0.dll"]
    else:
        patterns = [f"nvidia/cuda_nvrtc/lib/libnvrtc.so.{major}", f"nvidia/cu{major}/lib/libnvrtc.so.{major}"]
        own, names = f"libnvrtc[.-]*so.{major}*", [f"libnvrtc.so.{major}"]
    roots = dict.fromkeys([torch_folder.parent, *(Path(entry) for entry in sys.path if entry)])
    for root in roots:
        for pattern in patterns:
            yield from map(str, sorted(root.glob(pattern)))
    yield from (str(file) for file in sorted((torch_folder / "lib").glob(own)) if "builtins" not in file.name)
    yield from names
    if torch.version.cuda:
        yield from map(str, sorted((torch_folder / "lib").glob("*caffe2_nvrtc.*")))
