"""Machine code of generated CUDA C, from the cache on disk or compiled."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from snntrain import cache_folder
from snntrain.files import replacing
from snntrain.kernel import cache

# NVRTC itself and not cupy.RawModule, which appends -ftz=true: with denormal numbers flushed to zero, a decaying
# potential would no longer be torch's.
OPTIONS = ("-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true")


class Compiler(Protocol):
    """NVRTC, called in one way or another."""

    version: tuple[int, int]

    def architectures(self) -> list[int]:
        """Compute capabilities that it makes machine code for, such as 90."""

    def compiled(self, text: str, options: Sequence[str], *, to_ptx: bool = False) -> bytes:
        """Machine code (CUBIN) of a source, or PTX. Raises: RuntimeError with the compiler's messages."""


def binary(text: str, capability: int, compiler: Compiler) -> bytes:
    """Machine code of a generated source from the cache on disk, compiled if it is not there or damaged.

    The capability of the GPU is that of its name, as in sm_90.
    """
    content = repr((text, capability, OPTIONS, compiler.version))
    name = hashlib.sha256(content.encode()).hexdigest()[:32]
    shared = cache_folder.configured("kernels")
    code = b"" if shared is None else _read(shared / "cuda" / name)  # which may be for reading only
    if code:
        return code
    own = cache_folder.writable("kernels")
    code = b"" if own in (None, shared) else _read(own / "cuda" / name)
    if code:
        return code
    code = compiled(text, capability, compiler)
    if own is not None:
        with contextlib.suppress(OSError), replacing(own / "cuda" / name) as temporary:
            temporary.write_bytes(hashlib.sha256(code).digest() + code)
        cache.drop_oldest(own / "cuda")
    return code


def compiled(text: str, capability: int, compiler: Compiler) -> bytes:
    """Machine code for a GPU; for one newer than NVRTC, PTX for the newest that it knows, which the driver translates.

    Raises: RuntimeError with the compiler's messages.
    """
    older = [known for known in compiler.architectures() if known <= capability]
    if not older:
        version = ".".join(map(str, compiler.version))
        raise RuntimeError(f"NVRTC {version} makes no code for a GPU of compute capability {capability / 10}.")
    newest = max(older)
    to_ptx = newest != capability
    architecture = f"-arch=compute_{newest}" if to_ptx else f"-arch=sm_{newest}"
    try:
        return compiler.compiled(text, (architecture, *OPTIONS), to_ptx=to_ptx)
    except RuntimeError as error:
        raise RuntimeError(f"A generated kernel does not compile:\n{error}") from error


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
