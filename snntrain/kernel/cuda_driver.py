"""The CUDA driver API through ctypes: load machine code and launch its kernels in torch's contexts."""

import ctypes
import functools
import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# As cuda.h declares them; the suffix _v2 belongs to the name of a function in the library.
_POINTER, _INT, _COUNT = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (_COUNT,),
    "cuDriverGetVersion": (_POINTER,),
    "cuDeviceGet": (_POINTER, _INT),
    "cuDevicePrimaryCtxRetain": (_POINTER, _INT),
    "cuCtxPushCurrent_v2": (_POINTER,),
    "cuCtxPopCurrent_v2": (_POINTER,),
    "cuModuleLoadData": (_POINTER, ctypes.c_char_p),
    "cuModuleGetFunction": (_POINTER, _POINTER, ctypes.c_char_p),
    "cuLaunchKernel": (_POINTER, *(_COUNT,) * 7, _POINTER, _POINTER, _POINTER),
    "cuGetErrorName": (_INT, _POINTER),
    "cuGetErrorString": (_INT, _POINTER),
}
LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: The character of `struct` for a kernel's argument: ints are its long long and pointers, numpy scalars its reals.
_CHARACTERS = {int: "q", np.float32: "f", np.float64: "d"}


class Driver:
    """The driver's library. Raises: OSError where there is none; RuntimeError where it finds no GPU."""

    def __init__(self, library: str = LIBRARY) -> None:
        self._library = ctypes.CDLL(library)
        for name, types in _SIGNATURES.items():
            getattr(self._library, name).argtypes = types
        self._contexts: dict[int, ctypes.c_void_p] = {}
        self._call("cuInit", 0)

    @property
    def version(self) -> tuple[int, int]:
        """The newest CUDA that it knows."""
        number = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(number))
        return number.value // 1000, number.value % 1000 // 10

    def load(self, code: bytes, names: Sequence[str], device: int) -> dict[str, int]:
        """Kernels of machine code or PTX on a device, by name."""
        module, found = ctypes.c_void_p(), {}
        self._call("cuCtxPushCurrent_v2", self._context(device))
        try:
            self._call("cuModuleLoadData", ctypes.byref(module), code)
            for name in names:
                function = ctypes.c_void_p()
                self._call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
                found[name] = function.value
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        return found

    def launch(
        self, function: int, blocks: int, threads: int, arguments: Sequence[Any], device: int, stream: int
    ) -> None:
        """Queue a kernel.

        Args:
            function: from `load`.
            blocks, threads: blocks of the grid and threads of a block.
            arguments: ints, which the kernel takes as long long or as pointers, and numpy scalars.
            device: its number.
            stream: CUstream as a number; 0 is the default stream.
        """
        layout, offsets = _layout(tuple(map(type, arguments)))
        buffer = ctypes.create_string_buffer(layout.size)
        layout.pack_into(buffer, 0, *arguments)
        start = ctypes.addressof(buffer)
        places = (ctypes.c_void_p * len(offsets))(*(start + offset for offset in offsets))
        # Autograd runs backward in threads of its own, in which a context need not be current.
        self._call("cuCtxPushCurrent_v2", self._context(device))
        try:
            self._call("cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, stream, places, None)
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _context(self, device: int) -> ctypes.c_void_p:
        """The primary context of a device: the one that torch's memory and streams belong to. It is never released."""
        if device not in self._contexts:
            handle, context = ctypes.c_int(), ctypes.c_void_p()
            self._call("cuDeviceGet", ctypes.byref(handle), device)
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), handle)
            self._contexts[device] = context
        return self._contexts[device]

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"The CUDA driver refused {name}: {self._error(status)}")

    def _error(self, status: int) -> str:
        texts = []
        for call in (self._library.cuGetErrorName, self._library.cuGetErrorString):
            text = ctypes.c_char_p()
            call(status, ctypes.byref(text))
            texts.append((text.value or b"error %d" % status).decode())
        return ", ".join(dict.fromkeys(texts))


@functools.cache
def _layout(types: tuple[type, ...]) -> tuple[struct.Struct, list[int]]:
    """How arguments lie in memory, aligned as in C, and where each begins."""
    text = "@"
    offsets = []
    for kind in types:
        text += _CHARACTERS[kind]
        offsets.append(struct.calcsize(text) - struct.calcsize(_CHARACTERS[kind]))
    return struct.Struct(text), offsets
