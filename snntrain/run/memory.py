"""Memory of the process: keep what is freed, which the allocator would otherwise fetch anew; the most that was used."""

import contextlib
import ctypes
import re
import sys
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Let glibc serve large tensors from memory it already has instead of pages that the kernel must zero first.

    By default glibc maps every block above 32 MiB anew. A sequence of activations soon is as large: with T = 16 the
    mapping costs a quarter of a training step on a CPU.

    Returns: whether the allocator accepted the settings; other C libraries do not have them.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def restart_peaks() -> None:
    """Let peak_memory count from now on, where the operating system lets a process ask for that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int]:
    """The most memory that the process held at a time, in bytes: "resident" in RAM, and "gpu" where torch used one.

    Libraries count, workers of a loader do not: they are processes of their own. Systems without Linux's /proc do not
    say what is resident.
    """
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        if peak := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
            found["resident"] = 1024 * int(peak[1])
    if torch.cuda.is_initialized():
        found["gpu"] = torch.cuda.max_memory_allocated()
    return found
