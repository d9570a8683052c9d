"""Shares of a batch, which threads take through all steps of a sequence side by side.

The rows of a batch do not depend on each other. Threads that share the product of each step instead have to be woken
for each: for the products of a recurrent layer that takes as long as the products.
"""

import ctypes
import functools
import itertools
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path

import torch

from snntrain.kernel.compiled import pool

# On the processors it was tested on, MKL adds up the products of fewer rows, or of more features, in an order that
# depends on the number of rows.
_LEAST_ROWS = 16
_MOST_FEATURES = 512
# Multiplications of a share in each step. Threads take turns at the interpreter between two steps.
_LEAST_WORK = 2**20


def shares_of(rows: int, features: int, dtype: torch.dtype, device: torch.device) -> list[slice]:
    """The rows of each thread, for products of [rows, features] with [features, features].

    Their values are those of undivided products to the last bit. There is one share where equal bits are not expected,
    where torch may use one thread only, or inside a dispatch mode, which sees only the thread that entered it.
    """
    if device.type != "cpu" or dtype != torch.float32 or features > _MOST_FEATURES:
        return [slice(0, rows)]
    count = min(torch.get_num_threads(), rows // _LEAST_ROWS, rows * features**2 // _LEAST_WORK)
    if count < 2 or _limit_of_this_thread() is None or torch._C._len_torch_dispatch_stack() > 0:
        return [slice(0, rows)]
    edges = [rows * index // count for index in range(count + 1)]
    return [slice(lo, hi) for lo, hi in itertools.pairwise(edges)]


def run_side_by_side(work: Callable[[slice], None], shares: list[slice]) -> None:
    """Call a function with every share, each in a thread of its own, whose products use that thread alone."""
    if len(shares) == 1:
        work(shares[0])
        return
    own, *others = shares
    is_inference = torch.is_inference_mode_enabled()  # a thread's own, as the grad mode is
    running = [pool(len(others)).submit(_alone, work, share, is_inference) for share in others]
    try:
        _alone(work, own, is_inference)
    finally:
        wait(running)
    for other in running:
        other.result()


def _alone(work: Callable[[slice], None], share: slice, is_inference: bool) -> None:
    torch.get_num_threads()  # torch sets the limit of a new thread when it is first asked: now, not in a product
    limit = _limit_of_this_thread()
    before = limit(1)
    try:
        with torch.inference_mode(is_inference), torch.no_grad():  # in this order: the first may switch gradients on
            work(share)
    finally:
        limit(before)


@functools.cache
def _limit_of_this_thread() -> Callable[[int], int] | None:
    """MKL's function that sets the number of threads of the calling thread's products, and returns the last one.

    None where torch multiplies with another library, on ARM for example.
    """
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        found = library.MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return None
    found.argtypes, found.restype = [ctypes.c_int], ctypes.c_int
    return found
