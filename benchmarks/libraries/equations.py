"""The LIF equations of each library, written out in numpy, and whether its spikes are those of its equations."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from libraries.cases import TAU, Arrays

#: Share of equal spikes from which on two results are taken for the same equations: float32 sums in another order
#: bring a potential to the other side of the threshold once in some hundred thousand times.
SAME = 0.999

HARD, SOFT, LATE = "to zero", "subtract", "subtract a step later"


@dataclass(frozen=True)
class Form:
    """How a library states the neuron h = (1 − 1/τ)·v + i/τ, s = Θ(h − 1).

    Attributes:
        reset: HARD: v = 0 after a spike; SOFT: v = h − s; LATE: v = h, and s is subtracted from the next h.
        delay: steps by which a spike comes late.
        strict: a spike needs h > 1 instead of h ≥ 1.
        note: what else a reader should know of it.
    """

    reset: str = HARD
    delay: int = 0
    strict: bool = False
    note: str = ""

    def differences(self) -> list[str]:
        """What differs from the neuron that the others are compared with, h ≥ 1 and reset to zero in the same step."""
        found = []
        if self.reset == SOFT:
            found.append("subtracts the threshold instead of a reset to zero")
        if self.reset == LATE:
            found.append("subtracts the threshold one step later, after the decay, instead of a reset to zero")
        if self.delay:
            found.append(f"spikes {self.delay} step late")
        if self.strict:
            found.append("spikes at h > 1 instead of h ≥ 1")
        return [*found, *([self.note] if self.note else [])]


def currents(arrays: Arrays) -> np.ndarray:
    """The input of the neurons [T, N, features], in float64."""
    x = arrays.x.astype(np.float64)
    return x @ arrays.weights[0].astype(np.float64).T if arrays.weights else x


def spikes(current: np.ndarray, form: Form) -> np.ndarray:
    """The spikes of a layer of neurons, in float64: slow and plain."""
    keep = 1 - 1 / TAU
    v, late = np.zeros(current.shape[1:]), 0.0
    found = np.zeros(current.shape, dtype=bool)
    for t, i in enumerate(current):
        h = keep * v + i / TAU - late
        s = h > 1 if form.strict else h >= 1
        if form.reset == HARD:
            v = np.where(s, 0.0, h)
        elif form.reset == SOFT:
            v = h - s
        else:
            v, late = h, s.astype(np.float64)
        if t + form.delay < len(found):
            found[t + form.delay] = s
    return found


def agreement(current: np.ndarray, measured: np.ndarray, form: Form) -> dict[str, Any]:
    """The share of equal spikes with the library's own equations and with the common ones, and the firing rate."""
    own = float((measured == spikes(current, form)).mean())  # two spikes in a step are not one
    return {
        "own": own,
        "same": own >= SAME,
        "common": float((measured == spikes(current, Form())).mean()),
        "firing": float((measured > 0).mean()),
        "differences": form.differences(),
    }
