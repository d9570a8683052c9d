"""Made-up libraries behind the worker's protocol: python fake_contenders.py same|other|stated|broken|dies."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
from libraries import cases, worker
from libraries.equations import SOFT, Form

TINY = cases.Case("tiny", "tiny", 12, 3, (5,), (cases.linear(5, 4, 2.0), "neuron"), calls=2)
cases.CASES["tiny"] = TINY


class Fake:
    """A LIF neuron in float32, written by hand.

    "same" resets to zero; "stated" subtracts, and says so; "other" subtracts and says that it resets; "broken" cannot
    be built.
    """

    packages = ("numpy",)
    form = Form()

    def __init__(self, title: str) -> None:
        self.title = title
        if title == "stated":
            self.form = Form(reset=SOFT)

    def refusal(self, case: cases.Case) -> str | None:
        return None if case.name == "tiny" else "too large"

    def build(self, case: cases.Case, arrays: cases.Arrays) -> None:
        print("a library that prints")  # it must not reach the answers
        if self.title == "broken":
            raise ValueError("no such\nkernel")
        self.case, self.arrays = case, arrays
        self.currents = arrays.x @ arrays.weights[0].T

    def forget(self) -> None:
        self.y = None

    def forward(self) -> None:
        v = np.zeros_like(self.currents[0])
        self.y = np.zeros_like(self.currents)
        for t, i in enumerate(self.currents):
            v = v + (i - v) / 2
            self.y[t] = v >= 1
            v = v * (1 - self.y[t]) if self.title == "same" else v - self.y[t]

    def backward(self) -> None:
        self.found = np.ones((4, 5)) * (1 if self.title == "same" else -1)

    def output(self) -> np.ndarray:
        return self.y

    def gradient(self) -> np.ndarray:
        return self.found

    def rates(self) -> list[float]:
        return [float(self.y.mean())]


if __name__ == "__main__":
    if sys.argv[1] == "dies":
        sys.exit("the library took the process with it")
    worker.serve(lambda: Fake(sys.argv[1]))
