"""Figures of what the test of a net shows: predictions against targets, residuals, quality over time steps.

Every function takes plain arrays and returns an <svg> element, as those of plots.py; numbers that are not finite are
left out.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from snntrain.figure import BLUE, FULL_WIDTH, GREEN, HALF_WIDTH, INK, MUTED, RED, new_figure, shortened, style, svg
from snntrain.number_format import percent_tick

VALUES_DRAWN = 6  # a panel each
CLASSES_NAMED = 12  # so many classes are named at the axis of an example
_COLUMNS = 3
_DASHED = (0, (4, 3))


def scatter_plot(pairs: np.ndarray, names: Sequence[str]) -> str:
    """Predictions over targets, a panel for each value; the dashed line is where both are equal.

    Args:
        pairs: [m, 2, D], targets and predictions.
        names: of the D values.
    """

    def draw(axes: Axes, target: np.ndarray, predicted: np.ndarray) -> None:
        ends = np.array([min(target.min(), predicted.min()), max(target.max(), predicted.max())])
        ends = ends + np.array([-1, 1]) * max(0.04 * (ends[1] - ends[0]), 1e-6 * abs(ends[1]), 1e-12)
        axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=_DASHED, zorder=1)
        size = float(np.clip(900 / math.sqrt(len(target)) / 10, 2, 16))
        axes.scatter(
            target,
            predicted,
            s=size,
            color=BLUE,
            alpha=0.2 + 0.5 / (1 + len(target) / 400),
            linewidths=0,
            rasterized=True,
        )
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel("target")
        axes.set_ylabel("predicted")

    return _panels("scatter", pairs, names, "Predictions against targets", 3.6, draw)


def residual_plot(pairs: np.ndarray, names: Sequence[str], unit: str) -> str:
    """Histogram of prediction − target of so many samples or steps (unit), a panel for each value.

    Other arguments as in scatter_plot.
    """

    def draw(axes: Axes, target: np.ndarray, predicted: np.ndarray) -> None:
        residuals = predicted - target
        bins = int(np.clip(2 * len(residuals) ** (1 / 3), 5, 60))
        axes.hist(residuals, bins=bins, color=BLUE, alpha=0.75)
        axes.axvline(0, color=INK, linewidth=1)
        axes.axvline(residuals.mean(), color=RED, linewidth=1.2, linestyle=_DASHED, label=" mean")
        axes.set_xlabel("predicted − target")
        axes.set_ylabel(unit)
        axes.legend(loc="upper right")

    return _panels("residuals", pairs, names, "Residuals", 3.6, draw)


def _panels(
    name: str,
    pairs: np.ndarray,
    names: Sequence[str],
    title: str,
    height: float,
    draw: Callable[[Axes, np.ndarray, np.ndarray], None],
) -> str:
    values = min(VALUES_DRAWN, pairs.shape[2])
    with style():
        if values == 1:
            figure, columns, rows = new_figure(HALF_WIDTH, height), 1, 1
        else:
            columns = 2 if values in (2, 4) else _COLUMNS
            rows = -(-values // columns)
            figure = new_figure(FULL_WIDTH, 2.9 * rows)
        for index in range(values):
            axes = figure.add_subplot(rows, columns, index + 1)
            axes.set_title(title if values == 1 else shortened(str(names[index]), 30))
            target, predicted = pairs[:, :, index].astype(float).T
            there = np.isfinite(target) & np.isfinite(predicted)
            if there.any():
                draw(axes, target[there], predicted[there])
            else:
                _say(axes, "no finite prediction")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.grid(True)
        return svg(figure, name)


def steps_plot(counts: np.ndarray, quality: np.ndarray, what: str, *, of_classes: bool, step: str = "time step") -> str:
    """Accuracy or RMSE over time steps, and below how many sequences have each step, if these are not all of them.

    Args:
        counts: sequences that have the step, [T].
        quality: their accuracy or RMSE, [T].
        what: which of the two.
        of_classes: whether it is an accuracy.
        step: name of the axis.
    """
    time, is_ragged = np.arange(1, len(counts) + 1), len(set(counts.tolist())) > 1
    with style():
        figure = new_figure(FULL_WIDTH, 3.6 if is_ragged else 2.6)
        heights = [3, 1.1] if is_ragged else [1]
        above, *below = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        shown = np.where((counts > 0) & np.isfinite(quality), quality, np.nan)
        above.plot(time, shown, color=GREEN if of_classes else BLUE, **_markers(time))
        above.set_title(f"{what} of each step")
        if of_classes:
            lowest = np.nanmin(shown, initial=1.0)
            above.set_ylim(max(0.0, lowest - 0.05) - 0.01, 1.01)
            above.yaxis.set_major_formatter(
                FuncFormatter(lambda share, _: percent_tick(share) if share < 1.001 else "")
            )
        else:
            above.set_ylim(bottom=0)
        above.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))  # 100 % has a mark
        above.grid(axis="y")
        for axes in below:
            axes.stairs(counts, np.arange(len(counts) + 1) + 0.5, fill=True, color=MUTED, alpha=0.35)
            axes.set_ylim(bottom=0)
            axes.set_ylabel("sequences")
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.grid(axis="y")
        last = (below or [above])[-1]
        last.set_xlabel(step)
        last.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        last.set_xlim(0.5, len(counts) + 0.5)
        return svg(figure, "steps")


def over_time_plot(found: np.ndarray) -> str:
    """Accuracy over the number of time steps that are read out.

    Args:
        found: [m, 2], time steps and accuracy.
    """
    time, share = found.T
    with style():
        figure = new_figure(HALF_WIDTH, 2.9)
        axes = figure.add_subplot(title="accuracy after t steps")
        axes.plot(time, share, color=GREEN, **_markers(time))
        axes.set_xlabel("time steps t")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_formatter(percent_tick)
        axes.grid(axis="y")
        return svg(figure, "over_time")


def example_plot(example: np.ndarray, names: Sequence[str], *, of_classes: bool, step: str = "time step") -> str:
    """Target and prediction of one sequence, step by step.

    Args:
        example: [L, 2, D], targets and predictions; D = 1 for classes.
        names: of the classes or values.
        of_classes: whether a step has a class.
        step: name of the axis.
    """
    time = np.arange(1, len(example) + 1)
    with style():
        if of_classes:
            return svg(_classes_over_time(time, example[:, :, 0], names, step), "example")
        values = min(3, example.shape[2])
        figure = new_figure(FULL_WIDTH, 0.5 + 1.9 * values)
        every = figure.subplots(values, 1, sharex=True, squeeze=False)[:, 0]
        for index, axes in enumerate(every):
            axes.plot(time, example[:, 0, index], color=INK, linestyle=(0, (4, 2)), linewidth=1.3, label=" target")
            axes.plot(time, example[:, 1, index], color=BLUE, label=" predicted", **_markers(time))
            one = "one test sequence"
            axes.set_title(one if values == 1 else f"{one}: {shortened(str(names[index]), 30)}")
            axes.grid(axis="y")
        _finish(every, time, step)
        return svg(figure, "example")


def _classes_over_time(time: np.ndarray, example: np.ndarray, names: Sequence[str], step: str) -> Figure:
    there = np.isfinite(example).all(1)
    target, predicted = example.T
    right = there & (target == predicted)
    count = len(np.unique(example[there]))
    figure = new_figure(FULL_WIDTH, float(np.clip(1.3 + 0.22 * count, 2.0, 4.2)))
    axes = figure.add_subplot(title="one test sequence")
    axes.plot(time, target, color=MUTED, drawstyle="steps-mid", linewidth=1.2, label=" target")
    size = float(np.clip(500 / max(1, len(time)), 2.5, 6))
    for which, color, mark, text in ((right, GREEN, "o", " right"), (there & ~right, RED, "X", " wrong")):
        axes.plot(time[which], predicted[which], mark, color=color, markersize=size, label=text, markeredgewidth=0)
    classes = [int(one) for one in np.unique(example[there])]
    if len(classes) <= CLASSES_NAMED and all(0 <= one < len(names) for one in classes):
        axes.set_yticks(classes, [shortened(str(names[one]), 18) for one in classes])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_ylabel("class")
    axes.grid(axis="y")
    axes.margins(y=0.12)
    _finish([axes], time, step)
    return figure


def _finish(every: Sequence[Axes], time: np.ndarray, step: str) -> None:
    every[0].legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=3)
    every[-1].set_xlabel(step)
    every[-1].xaxis.set_major_locator(MaxNLocator(12, integer=True))
    every[-1].set_xlim(0.5, len(time) + 0.5)


def _markers(time: np.ndarray) -> dict[str, object]:
    return {"marker": "o", "markersize": 3} if len(time) <= 60 else {}


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)
