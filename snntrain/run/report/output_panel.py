"""The net's output over time for one sample, beside what it was to be: the last panel of a spike raster."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snntrain.data.target import Target
from snntrain.figure import BLUE, FAINT, GREEN, INK, ORANGE, RED, shortened

VALUES_DRAWN = 4
"""Of more values the first ones are drawn."""
_COLORS = (BLUE, ORANGE, GREEN, RED)


@dataclass
class Answer:
    """What a sample is, and what the net takes it for.

    Attributes:
        kind: of target and prediction.
        names: of the classes, labels or values; indices are shown where a name is missing.
        target: class [], values [D], labels [K], or one of these for each step; None: unknown.
        predicted: the same; None: unknown.
    """

    kind: Target
    names: Sequence[str] = ()
    target: np.ndarray | None = None
    predicted: np.ndarray | None = None

    def name(self, index: int) -> str:
        """The name of a class, label or value."""
        return str(self.names[index]) if index < len(self.names) else str(index)


def draw_output(axes: Axes, output: np.ndarray, answer: Answer) -> str:
    """Draw outputs [T, K] with what matters highlighted; returns a remark for the panel's title."""
    output = output.reshape(len(output), -1)
    if answer.target is None and answer.predicted is None:
        remark = _draw_highlights(axes, output, [], "")
    elif answer.kind is Target.CLASS:
        remark = _draw_highlights(axes, output, _of_class(answer), "other classes in gray")
    elif answer.kind is Target.LABELS:
        remark = _draw_highlights(axes, output, _of_labels(answer), "other labels in gray")
    elif answer.kind is Target.STEP_CLASSES:
        remark = _draw_steps(axes, output, answer)
    else:
        remark = _draw_values(axes, output, answer)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.96), ncols=4, handlelength=1.6, columnspacing=1.2)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y")
    return remark


def _of_class(answer: Answer) -> list[tuple[int, str, str]]:
    label, predicted = (None if one is None else int(one) for one in (answer.target, answer.predicted))
    if label == predicted:
        found = [(label, GREEN, "predicted and true")]
    else:
        found = [(label, ORANGE, "true"), (predicted, RED, "predicted")]
    return [
        (index, color, f"{role}: {shortened(answer.name(index), 24)}")
        for index, color, role in found
        if index is not None
    ]


def _of_labels(answer: Answer) -> list[tuple[int, str, str]]:
    true, said = answer.target > 0, answer.predicted > 0
    kinds = ((true & said, GREEN, "right"), (true & ~said, ORANGE, "missed"), (~true & said, RED, "wrong"))
    return [
        (int(index), color, f"{role}: {shortened(answer.name(index), 16)}")
        for which, color, role in kinds
        for index in np.flatnonzero(which)[:VALUES_DRAWN]
    ]


def _draw_highlights(axes: Axes, output: np.ndarray, highlights: Sequence[tuple[int, str, str]], others: str) -> str:
    time, highlighted = _time(output), {index for index, _, _ in highlights}
    for index in range(output.shape[1]):
        if index not in highlighted:
            axes.plot(time, output[:, index], color=FAINT, linewidth=1.0, zorder=1)
    for index, color, text in highlights:
        if 0 <= index < output.shape[1]:
            axes.plot(time, output[:, index], color=color, label=text, zorder=2, **_markers(output))
    return others if output.shape[1] > len(highlights) else ""


def _draw_steps(axes: Axes, output: np.ndarray, answer: Answer) -> str:
    """A mark at the output of each step's class: right or missed, and then at that of the predicted one."""
    time = _time(output)
    axes.plot(time, output, color=FAINT, linewidth=1.0, zorder=1)
    true, said = (one.astype(int).reshape(-1)[: len(output)] for one in (answer.target, answer.predicted))
    steps = np.arange(len(true))
    for which, classes, color, text in (
        (true == said, true, GREEN, "right"),
        (true != said, true, ORANGE, "true"),
        (true != said, said, RED, "predicted"),
    ):
        if which.any():
            at = output[steps[which], classes[which].clip(0, output.shape[1] - 1)]
            axes.plot(time[: len(true)][which], at, "o", color=color, markersize=4, label=text, zorder=2)
    return "a line for each class"


def _draw_values(axes: Axes, output: np.ndarray, answer: Answer) -> str:
    """Outputs and, dashed, targets; a prediction for the whole sample is dotted."""
    time, over_time = _time(output), answer.kind is Target.STEP_VALUES
    drawn = min(VALUES_DRAWN, output.shape[1])
    for index in range(drawn):
        color = _COLORS[index]
        name = shortened(answer.name(index), 20)
        axes.plot(time, output[:, index], color=color, label=name if drawn > 1 else "output", **_markers(output))
        target, predicted = (
            one.reshape(len(one), -1) if over_time else one for one in (answer.target, answer.predicted)
        )
        if over_time:
            axes.plot(time, target[:, index], color=INK if drawn == 1 else color, linestyle=(0, (4, 2)), linewidth=1.2)
        else:
            axes.axhline(target[index], color=INK if drawn == 1 else color, linestyle=(0, (4, 2)), linewidth=1.2)
            axes.axhline(predicted[index], color=color, linestyle=(0, (1, 1.5)), linewidth=1.2)
    told = "dashed: target" if over_time else "dashed: target, dotted: prediction"
    return told if drawn == output.shape[1] else f"{told}; {drawn} of {output.shape[1]:,} values"


def _time(output: np.ndarray) -> np.ndarray:
    return np.arange(1, len(output) + 1)


def _markers(output: np.ndarray) -> dict[str, object]:
    return {"marker": "o", "markersize": 3} if len(output) <= 40 else {}
