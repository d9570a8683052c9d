"""Kernels on the CPU: a generated source compiled with numba, its kernels spread over torch's number of threads."""

import functools
import itertools
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import torch

from snntrain.kernel import cache

# A damaged entry of the on-disk cache fails with one while it is loaded; compiled code itself raises none of these.
_LOADING_ERRORS = (pickle.UnpicklingError, EOFError, ImportError, AttributeError, ValueError, KeyError, IndexError)
_repair = threading.Lock()
_pools: dict[int, tuple[int, ThreadPoolExecutor]] = {}


class Compiled:
    """The kernels of a source, each a function of its own arguments and of what it is to compute, lo and hi.

    Arguments that differ from call to call come after these two.
    """

    def __init__(self, source: str) -> None:
        _vectorize_loops_over_many_arrays()
        self.module: ModuleType = cache.module(source)

    def run(self, name: str, arguments: tuple[Any, ...], count: int, block: int, threads: int) -> None:
        """Let a kernel compute 0 … count − 1 once.

        Args:
            name: of the kernel.
            arguments: those before lo and hi.
            count, block, threads: see divided.
        """
        self.bound(name, arguments, divided(count, block, threads))()

    def bound(self, name: str, arguments: tuple[Any, ...], parts: list[tuple[int, int]]) -> Callable[..., None]:
        """A function of a kernel's arguments after lo and hi; each of the parts lo … hi − 1 is computed by a thread.

        The kernel is looked up once and not at every call, because a step of a recurrent layer takes no longer than a
        few lines of Python.
        """

        def shares() -> list[Callable[..., None]]:
            kernel = getattr(module, name)
            return [functools.partial(kernel, *arguments, lo, hi) for lo, hi in parts]

        module = self.module
        own, *others = shares()

        def run(*last: int) -> None:
            nonlocal module, own, others
            try:
                _run_together(own, others, last)
            except _LOADING_ERRORS:
                with _repair:
                    if self.module is module:  # else another thread has done it
                        self.module = cache.rebuild(module)
                    module = self.module
                own, *others = shares()
                _run_together(own, others, last)

        return run


def divided(count: int, block: int, threads: int) -> list[tuple[int, int]]:
    """The part lo … hi − 1 of 0 … count − 1 for each thread, of whole blocks; which one does not change any result.

    Args:
        count: of what is computed, neurons for example.
        block: how many of them stay together.
        threads: that are worth waking; torch.get_num_threads() is the limit.
    """
    blocks = -(-count // block)
    threads = max(1, min(threads, torch.get_num_threads(), blocks))
    edges = [min(count, block * (blocks * index // threads)) for index in range(threads + 1)]
    return list(itertools.pairwise(edges))


def _run_together(own: Callable[..., None], others: list[Callable[..., None]], last: tuple[int, ...]) -> None:
    running = [pool(len(others)).submit(other, *last) for other in others]
    own(*last)
    for other in running:
        other.result()


def pool(threads: int) -> ThreadPoolExecutor:
    """This process's executor, with at least this many threads."""
    process = os.getpid()  # a forked process has no threads of its parent's
    if _pools.get(process, (0, None))[0] < threads:
        _pools[process] = (threads, ThreadPoolExecutor(threads, thread_name_prefix="snntrain-kernel"))
    return _pools[process][1]


@functools.cache
def _vectorize_loops_over_many_arrays() -> None:
    """Let LLVM test all arrays of a loop for overlaps before it runs the loop's vector code.

    By default it gives up where the tests are many, which they are for a dozen parameters of each channel: the backward
    kernel of GatedLIFNode then takes four times as long. It concerns what numba compiles in this process.
    """
    from llvmlite import binding

    for option in ("runtime-memory-check-threshold=2000", "vectorize-memory-check-threshold=100000"):
        binding.set_option("snntrain", f"-{option}")
