"""The other end of worker.py: a process per contender, of which one computes at a time."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WORKER = Path(__file__).resolve().parent / "worker.py"


class ContenderError(RuntimeError):
    """What a contender answered instead of a result, or how its process ended."""


class Process:
    """A contender that waits for requests.

    Args:
        command: of the process, which speaks worker.py's protocol.
        environment: added to that of this process; None as a value takes a variable out.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str | None]) -> None:
        merged = {**os.environ, **environment}
        # A pipe that nobody reads would fill up and stop the process.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 — closed with the process
        self._process = subprocess.Popen(
            command,
            env={key: value for key, value in merged.items() if value is not None},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send a request and wait for its answer. Raises: ContenderError with the library's own error."""
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContenderError(f"its process ended with {self._process.wait()}: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer["answer"]

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):  # it ended by itself, and left a request unread
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def environment(threads: int, ours: bool) -> dict[str, str | None]:
    """The same conditions for every contender: threads, and an allocator that keeps what is freed, as train.py's does.

    Args:
        threads: of torch, OpenMP and, through the affinity that worker processes are started with, XLA.
        ours: whether the process needs this folder's snntrain; others must not see it.
    """
    count = str(threads)
    found = {
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), count),
        "OMP_WAIT_POLICY": "passive",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
        "JAX_PLATFORMS": "cpu",
        "KINETO_LOG_LEVEL": "99",
        "PYTHONNOUSERSITE": "1",
    }
    if not ours:
        return {**found, "PYTHONPATH": None}
    folder = str(WORKER.parents[2])
    return {**found, "PYTHONPATH": os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])}


def start(name: str, python: Path | str, threads: int) -> Process:
    """The process of a contender, on as many cores as it may have threads."""
    command = [str(python), str(WORKER), name]
    if threads < (os.cpu_count() or 1) and sys.platform.startswith("linux"):
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
        command = ["taskset", "--cpu-list", cores, *command]
    return Process(command, environment(threads, ours=str(python) == sys.executable))
