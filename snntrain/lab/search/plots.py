"""The figures of a study's report, as <svg> elements."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter
from optuna.trial import FrozenTrial, TrialState

from snntrain.figure import (
    BLUE,
    FAINT,
    FULL_WIDTH,
    GREEN,
    HALF_WIDTH,
    INK,
    MUTED,
    ORANGE,
    new_figure,
    style,
    svg,
)
from snntrain.lab.search.settings import Objective, Parameter, Search
from snntrain.number_format import is_share, metric, percent_tick

_SMALL = {"textcoords": "offset points", "fontsize": 7.5}
_PALE_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75}


def history_plot(trials: Sequence[FrozenTrial], index: int, objective: Objective) -> str:
    """Draw an objective of every trial over its number, and the best value so far."""
    with style():
        figure = new_figure(FULL_WIDTH, 2.7)
        axes = figure.add_subplot(title=f"{objective.metric}, to be {objective.direction}d")
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
        if complete:
            numbers, values = [t.number for t in complete], [t.values[index] for t in complete]
            best = (np.maximum if objective.direction == "maximize" else np.minimum).accumulate(values)
            axes.step(numbers, best, where="post", color=GREEN, linewidth=1.4, label=" best so far", zorder=1)
            axes.scatter(numbers, values, s=22, color=BLUE, label=" finished", zorder=3)
        if pruned:
            values = [t.values[0] for t in pruned]
            axes.scatter(
                [t.number for t in pruned], values, s=22, marker="x", color=ORANGE, label=" pruned, last value"
            )
        axes.set_xlabel("trial")
        _shares_in_percent(axes.yaxis, objective)
        axes.grid(axis="y")
        axes.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside right upper", fontsize=8)
        return svg(figure, f"history{index}")


def epochs_plot(trials: Sequence[FrozenTrial], objective: Objective) -> str:
    """Draw the metric of every trial over its epochs."""
    with style():
        figure = new_figure(FULL_WIDTH, 2.9)
        axes = figure.add_subplot(title=objective.metric)
        for state, color in ((TrialState.COMPLETE, BLUE), (TrialState.PRUNED, ORANGE)):
            for trial in trials:
                if trial.state is state and trial.intermediate_values:
                    points = sorted(trial.intermediate_values.items())
                    axes.plot(*zip(*points, strict=True), color=color, linewidth=1, alpha=0.65, clip_on=False)
                    axes.plot(*points[-1], "x" if state is TrialState.PRUNED else "o", color=color, markersize=4)
        axes.set_xlabel("epoch")
        _shares_in_percent(axes.yaxis, objective)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y")
        return svg(figure, "epochs")


def importance_plot(shares: Mapping[str, Mapping[str, float]]) -> str:
    """Draw a bar for each parameter and objective."""
    with style():
        paths = list(next(iter(shares.values())))
        figure = new_figure(FULL_WIDTH, 0.8 + 0.3 * len(paths) * len(shares))
        axes = figure.add_subplot()
        height = 0.8 / len(shares)
        for index, (metric, of_paths) in enumerate(shares.items()):
            places = [place + (index - (len(shares) - 1) / 2) * height for place in range(len(paths))]
            values = [of_paths[path] for path in paths]
            color = (BLUE, ORANGE, GREEN, MUTED)[index % 4]
            bars = axes.barh(places, values, height=0.9 * height, color=color, label=f" {metric}")
            axes.bar_label(bars, [f"{100 * value:.0f} %" for value in values], padding=4, color=INK, fontsize=8)
        axes.set_yticks(range(len(paths)), paths)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.08)
        axes.xaxis.set_major_formatter(percent_tick)
        axes.grid(axis="x")
        if len(shares) > 1:
            figure.legend(loc="outside right upper", fontsize=8)
        return svg(figure, "importance")


def pareto_plot(trials: Sequence[FrozenTrial], objectives: Sequence[Objective], best: Sequence[int]) -> str:
    """Draw the first objective over each of the others, with the numbers of the trials of the front."""
    with style():
        others = list(enumerate(objectives))[1:]
        figure = new_figure(FULL_WIDTH, 3.6 * len(others))
        for row, (index, objective) in enumerate(others):
            axes = figure.add_subplot(len(others), 1, row + 1)
            axes.set_xlabel(f"{objective.metric} ({objective.direction})")
            axes.set_ylabel(f"{objectives[0].metric} ({objectives[0].direction})")
            _shares_in_percent(axes.xaxis, objective)
            _shares_in_percent(axes.yaxis, objectives[0])
            front = sorted((t for t in trials if t.number in best), key=lambda t: t.values[index])
            rest = [t for t in trials if t.number not in best]
            axes.scatter(
                [t.values[index] for t in rest], [t.values[0] for t in rest], s=24, color=FAINT, label=" others"
            )
            across, up = [t.values[index] for t in front], [t.values[0] for t in front]
            line = "-" if len(objectives) == 2 else ""
            axes.plot(across, up, line, color=BLUE, linewidth=1, drawstyle="steps-post", zorder=2)
            axes.scatter(across, up, s=30, color=BLUE, label=" Pareto front", zorder=3)
            for trial in front:
                place = (trial.values[index], trial.values[0])
                axes.annotate(f"{trial.number}", place, (4, -10), color=INK, **_SMALL)
            axes.grid()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
        return svg(figure, "front")


def parallel_plot(trials: Sequence[FrozenTrial], search: Search, best: Sequence[int]) -> str:
    """Draw parameters and objectives side by side, one line per trial: stronger is better, the best are orange."""
    scales = [(path, *_scale(p, [t.params[path] for t in trials])) for path, p in search.parameters.items()]
    for index, objective in enumerate(search.objectives):
        values = [t.values[index] for t in trials]
        ticks = [
            (_share(v, min(values), max(values)), metric(v, objective.metric))
            for v in sorted({min(values), max(values)})
        ]
        scales.append((objective.metric, [_share(v, min(values), max(values)) for v in values], ticks))
    first = [t.values[0] if search.objectives[0].direction == "maximize" else -t.values[0] for t in trials]
    with style():
        figure = new_figure(FULL_WIDTH, 3.4)
        axes = figure.add_subplot()
        order = sorted(range(len(trials)), key=lambda i: first[i])  # the best on top
        for rank, i in enumerate(order):
            strength = 0.15 + 0.7 * rank / max(1, len(order) - 1)
            is_best = trials[i].number in best
            path = [places[i] for _, places, _ in scales]
            look = (
                {"color": ORANGE, "linewidth": 1.8} if is_best else {"color": BLUE, "linewidth": 1.1, "alpha": strength}
            )
            axes.plot(path, clip_on=False, **look)
        for column, (_, _, ticks) in enumerate(scales):
            axes.axvline(column, color=MUTED, linewidth=0.8, zorder=0)
            for height, text in ticks:
                axes.annotate(text, (column, height), (4, 0), va="center", zorder=5, bbox=_PALE_BOX, **_SMALL)
        axes.set_xticks(range(len(scales)), [name for name, _, _ in scales])
        axes.set_xlim(-0.05, len(scales) - 0.75)
        axes.set_ylim(-0.06, 1.06)
        axes.set_yticks([])
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        return svg(figure, "parallel")


def slice_plot(trials: Sequence[FrozenTrial], search: Search) -> str:
    """Draw an objective over each parameter."""
    figures = []
    with style():
        for index, objective in enumerate(search.objectives):
            columns = min(3, len(search.parameters))
            rows = math.ceil(len(search.parameters) / columns)
            figure = new_figure(FULL_WIDTH if columns > 1 else HALF_WIDTH, 2.6 * rows)
            for place, (path, parameter) in enumerate(search.parameters.items()):
                axes = figure.add_subplot(rows, columns, place + 1)
                _draw_slice(axes, trials, index, path, parameter)
                axes.set_xlabel(path)
                _shares_in_percent(axes.yaxis, objective)
                if place % columns == 0:
                    axes.set_ylabel(objective.metric)
            figures.append(svg(figure, f"slice{index}"))
    return "".join(figures)


def _draw_slice(axes: Axes, trials: Sequence[FrozenTrial], index: int, path: str, parameter: Parameter) -> None:
    names = None if parameter.choices is None else [str(value) for value in parameter.choices]
    for state, color, marker in ((TrialState.PRUNED, ORANGE, "x"), (TrialState.COMPLETE, BLUE, "o")):
        shown = [t for t in trials if t.state is state]
        across: list[Any] = [t.params[path] for t in shown]
        if names is not None:
            across = [parameter.choices.index(value) for value in across]
        axes.scatter(across, [t.values[index] for t in shown], s=20, color=color, marker=marker)
    if names is not None:
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif parameter.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=7))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid()


def _shares_in_percent(axis: Axis, objective: Objective) -> None:
    if is_share(objective.metric):
        axis.set_major_formatter(percent_tick)


def _scale(parameter: Parameter, values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights of values on an axis from 0 to 1, and its ticks."""
    if parameter.choices is not None:
        last = len(parameter.choices) - 1
        heights = [parameter.choices.index(value) / last for value in values]
        return heights, [(place / last, str(value)) for place, value in enumerate(parameter.choices)]
    bend = math.log if parameter.log else float
    low, high = bend(parameter.low), bend(parameter.high)
    back = math.exp if parameter.log else float
    ticks = [(share, f"{back(low + share * (high - low)):.3g}") for share in (0.0, 0.5, 1.0)]
    return [_share(bend(value), low, high) for value in values], ticks


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if high == low else (value - low) / (high - low)
