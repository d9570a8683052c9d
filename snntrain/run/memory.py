"""Keep freed memory in the process, which the allocator would otherwise return and fetch again at every step."""

import ctypes
import sys

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
