"""One contender in a process of its own, in its own environment: it answers requests, one a line, as JSON.

python worker.py NAME, started by run.py. What a library prints goes to stderr, so that stdout holds answers alone.
"""

import ctypes
import gc
import importlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its files have names of their own
from libraries.cases import CASES, Arrays, Case
from libraries.equations import Form


class Contender(Protocol):
    """A library that takes part: it builds one case at a time, and computes a pass when the worker asks for one."""

    title: str
    packages: tuple[str, ...]  # whose versions are recorded; the first is the library
    form: Form

    def refusal(self, case: Case) -> str | None:
        """Why the library cannot state this case; None: it can."""

    def build(self, case: Case, arrays: Arrays) -> None:
        """Make the net with these weights and keep the inputs in the library's layout."""

    def forget(self) -> None:
        """Free what the pass before left, outside of the measured time."""

    def forward(self) -> None:
        """One pass from the reset state, kept for backward, and complete when it returns."""

    def backward(self) -> None:
        """Gradients of all parameters, and of the input where there are none; complete when it returns."""

    def step(self) -> None:
        """One step of the optimizer, in nets."""

    def output(self) -> np.ndarray:
        """What the last forward put out, [T, N, *]."""

    def gradient(self) -> np.ndarray:
        """What the last backward found for the first weight, or for the input."""

    def rates(self) -> list[float]:
        """How often the neurons of each layer fire; empty where there are none."""


def load(name: str) -> Contender:
    """The contender of contenders/<file>.py, with the options that its entry names."""
    entry = importlib.import_module("libraries.contenders").EVERY[name]
    return importlib.import_module(f"libraries.contenders.{entry.file}").Contender(**entry.options)


class Worker:
    """Answers requests about one contender."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.case: Case | None = None

    def answer(self, request: dict[str, Any]) -> Any:
        """The answer to {"do": a method's name, its arguments}."""
        arguments = dict(request)
        return {"describe": self.describe, "build": self.build, "run": self.run}[arguments.pop("do")](**arguments)

    def describe(self) -> dict[str, Any]:
        """Title, versions, and the cases that it can state."""
        versions = {}
        for package in (*self.contender.packages, "numpy"):
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                versions[package] = getattr(sys.modules.get(package), "__version__", "?")
        return {
            "title": self.contender.title,
            "versions": {**versions, "python": platform.python_version()},
            "form": vars(self.contender.form),
            "refusals": {name: reason for name, case in CASES.items() if (reason := self.contender.refusal(case))},
        }

    def build(self, case: str, arrays: str, outputs: str) -> dict[str, Any]:
        """Build a case, compile it, and measure the memory of a step.

        Args:
            case: its name.
            arrays: the file of Arrays.save.
            outputs: an .npz file to write output and gradient of a pass into.
        """
        self.case = CASES[case]
        gc.collect()
        given = Arrays.load(arrays)
        began = time.perf_counter()
        self.contender.build(self.case, given)
        self.contender.forward()
        self.contender.backward()
        first = time.perf_counter() - began
        self.contender.forget()  # what is compared comes after a reset, as the passes that are timed
        self.contender.forward()
        self.contender.backward()
        np.savez(outputs, output=self.contender.output(), gradient=self.contender.gradient())
        if self.case.is_net:
            self.contender.step()  # the optimizer allocates its state
        rates = self.contender.rates()
        own = self.contender.own_benchmark() if hasattr(self.contender, "own_benchmark") else None
        self.contender.forget()
        memory = peak_of(self._pass)
        return {"seconds_to_first": first, "rates": rates, "memory_bytes": memory, "own_benchmark": own}

    def run(self, rounds: int = 1, calls: int | None = None) -> dict[str, list[float]]:
        """Seconds of the parts of a training step, one value per round: the mean over its calls."""
        calls = calls or self.case.calls
        parts = {"forward": self.contender.forward, "backward": self.contender.backward}
        if self.case.is_net:
            parts["step"] = self.contender.step
        seconds: dict[str, list[float]] = {part: [] for part in parts}
        for _ in range(rounds):
            if calls > 1:
                self._pass()  # caches and processors wake up; long passes need no such thing
            sums = dict.fromkeys(parts, 0.0)
            for _ in range(calls):
                self.contender.forget()
                for part, call in parts.items():
                    sums[part] += seconds_of(call)
            for part, total in sums.items():
                seconds[part].append(total / calls)
        return seconds

    def _pass(self) -> None:
        self.contender.forget()
        self.contender.forward()
        self.contender.backward()
        if self.case.is_net:
            self.contender.step()


def seconds_of(call: Callable[[], None]) -> float:
    """Seconds of one call, which waits by itself for what it started."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def peak_of(call: Callable[[], None]) -> int | None:
    """Bytes that a call needs at most beyond what is in use before it; None where the system does not say."""
    status = Path("/proc/self/status")
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back first, or it would be used unseen
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        call()
        return None
    before = int(re.search(r"^VmRSS:\s+(\d+)", status.read_text(encoding="ascii"), re.MULTILINE)[1])
    call()
    peak = int(re.search(r"^VmHWM:\s+(\d+)", status.read_text(encoding="ascii"), re.MULTILINE)[1])
    return 1024 * max(peak - before, 0)


def serve(make: Callable[[], Contender]) -> None:
    """Answer the requests of stdin on stdout until it ends; an error is an answer, too."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        try:
            worker = worker or Worker(make())
            answer = {"answer": worker.answer(json.loads(line))}
        except Exception as error:  # any error of a library: the others are still measured
            text = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {text}" if text else type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(lambda: load(sys.argv[1]))
