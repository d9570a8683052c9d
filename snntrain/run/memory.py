"""Keep freed memory in the process, where the allocator would hand it back and fetch it again at every step."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Let glibc serve large tensors from memory it has, not from pages that the kernel must zero first.

    By default it maps every block above 32 MiB afresh, which a sequence of activations reaches soon: with T = 16 that
    costs a quarter of a training step on a CPU.

    Returns: whether the allocator took the settings; other C libraries have none.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
