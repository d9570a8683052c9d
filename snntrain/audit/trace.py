"""What each module of a net returned in a run, and where two runs begin to differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.model.profile import first_tensor


@dataclass
class Part:
    """What a module returned for the probes: [T, p, *] if timed, else in the order of its calls."""

    values: Tensor
    timed: bool


@dataclass
class Trace:
    """One run of a net.

    Attributes:
        y: its outputs.
        has_steps: whether these are [T, N, *].
        parts: path of a module → what it returned, in the order in which modules first returned something.
    """

    y: Tensor
    has_steps: bool
    parts: dict[str, Part]


class Recorder:
    """Collects what modules return for some samples of a batch, whatever form the batch has inside the net."""

    def __init__(self, T: int, samples: int, probes: Sequence[int]) -> None:
        self.T, self.samples, self.probes = T, samples, list(probes)
        self.calls: dict[str, list[tuple[bool, Tensor]]] = {}
        self.unreadable: set[str] = set()

    def hook(self, path: str) -> Any:
        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            y = first_tensor(output)
            found = None if y is None or y.dim() == 0 else self._of_probes(y)
            if found is None:
                self.unreadable.add(path)
            else:
                self.calls.setdefault(path, []).append(found)

        return see

    def _of_probes(self, y: Tensor) -> tuple[bool, Tensor] | None:
        """(whether it is of all steps, its values for the probes); None where the dim of samples is not known."""
        leading = (self.T, self.samples)
        if y.shape[:2] == leading:
            return True, y[:, self.probes].clone()
        if y.shape[0] == self.T * self.samples:
            return True, y.unflatten(0, leading)[:, self.probes].clone()
        return (False, y[self.probes].clone()) if y.shape[0] == self.samples else None

    def parts(self) -> dict[str, Part]:
        found = {}
        for path, calls in self.calls.items():
            shapes = {values.shape for _, values in calls}
            if path in self.unreadable or len(shapes) > 1:
                continue
            whole = calls[0][0]
            if whole and len(calls) == 1:
                found[path] = Part(calls[0][1], timed=True)
            else:
                is_each_step = not whole and len(calls) == self.T
                found[path] = Part(torch.stack([values for _, values in calls]), timed=is_each_step)
        return found


@dataclass(frozen=True)
class Difference:
    """Where two runs begin to differ.

    Attributes:
        layer: path of the first module that returned something else; "" if only the outputs differ.
        share: part of its values that differ.
        largest: largest difference.
        reaches_outputs: whether the outputs of the net differ, too.
    """

    layer: str
    share: float
    largest: float
    reaches_outputs: bool = True

    def __str__(self) -> str:
        where = "" if self.reaches_outputs else ", which does not reach the outputs for these samples"
        return f"{self.share:.1%} of the values, by up to {self.largest:.3g}{where}"


def difference(
    a: Trace, b: Trace, *, columns: Sequence[int] | None = None, until: int | None = None
) -> Difference | None:
    """Where two runs differ, bit by bit; None if they do not.

    Args:
        columns: compare the outputs of these samples; None: of all.
        until: compare the steps before this one; None: all.
    """
    ya, yb = (_cut(trace, columns, until) for trace in (a, b))
    of_outputs = None if ya is None or yb is None else _compared(ya, yb)
    for path, part in a.parts.items():
        other = b.parts.get(path)
        if other is None or part.values.shape != other.values.shape or part.timed != other.timed:
            continue
        if not part.timed and (until is not None or of_outputs is None):
            continue  # what its values stand for is only guessed
        found = _compared(part.values[:until], other.values[:until])
        if found is not None:
            return Difference(path, *found, reaches_outputs=of_outputs is not None)
    return None if of_outputs is None else Difference("", *of_outputs)


def _cut(trace: Trace, columns: Sequence[int] | None, until: int | None) -> Tensor | None:
    if not trace.has_steps:
        return trace.y if until is None and columns is None else None if until is not None else trace.y[columns]
    y = trace.y[:until]
    return y if columns is None else y[:, columns]


def _compared(a: Tensor, b: Tensor) -> tuple[float, float] | None:
    """(share of values that differ, largest difference); None if all bits that count are the same."""
    a, b = (torch.nan_to_num(value.double(), nan=0.0) for value in (a, b))
    apart = a != b
    if not bool(apart.any()):
        return None
    return float(apart.double().mean()), float((a - b).abs().max())
