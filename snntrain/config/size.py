"""Refuses tensors larger than the memory, before the operating system kills the process."""

import contextlib
import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.overrides import TorchFunctionMode

_OF_A_CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_BY_SIZES = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn)
_BY_A_SHAPE = (torch.full,)
_BY_A_LENGTH = (torch.arange, torch.eye)


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's."""
    if hasattr(os, "sysconf"):
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    else:
        sizes = [psutil.virtual_memory().total]
    for file in map(Path, _OF_A_CONTAINER):
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(file.read_text(encoding="ascii")))
    return min(sizes)


def in_words(size: int) -> str:
    """A number of bytes such as 25.6 GB."""
    units = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    power = min(max(0, len(str(size)) - 1) // 3, len(units) - 1)
    return f"{size / 1000**power:.3g} {units[power]}"


@contextlib.contextmanager
def within_memory() -> Iterator[None]:
    """Refuse to create a tensor in the block that is larger than the memory.

    Linux allocates more memory than it has and kills the process that uses it.

    Raises: ValueError with the shape and the size of the tensor.
    """
    with _Guard(machine_memory()):
        yield


class _Guard(TorchFunctionMode):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        shape = _shape(func, args)
        if shape:
            dtype = kwargs.get("dtype") or torch.get_default_dtype()
            size = prod(shape) * dtype.itemsize
            if size > self.limit:
                raise ValueError(
                    f"a tensor of shape {list(shape)} would take {in_words(size)}, more than the "
                    f"{in_words(self.limit)} of this machine."
                )
        return func(*args, **kwargs)


def _shape(func: Any, args: tuple) -> tuple[int, ...]:
    """The shape of the tensor that a call creates; () if it creates none."""
    if not args:
        return ()
    if func in _BY_SIZES or func in _BY_A_SHAPE:
        shape = args[0] if isinstance(args[0], (tuple, list)) else args if func in _BY_SIZES else ()
    elif func in _BY_A_LENGTH:
        shape = (args[0],) * (2 if func is torch.eye and len(args) == 1 else 1)
    else:
        shape = ()
    return tuple(shape) if all(isinstance(size, int) for size in shape) else ()
