"""Other processes, dead and alive, identified as snntrain.process does."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from snntrain.process import this_process


def dead_process() -> dict[str, Any]:
    """A process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return this_process() | {"pid": ended.pid}


@contextlib.contextmanager
def living_process() -> Iterator[dict[str, Any]]:
    """A process that lives until the block ends."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield this_process() | {"pid": other.pid, "started": ticks_of(other.pid)}
    finally:
        other.communicate()


def ticks_of(pid: int) -> int:
    """Field 22 of proc(5)'s stat: the start of a process in clock ticks since the machine booted."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rpartition(")")[2].split()[19])
