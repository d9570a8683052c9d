"""A metric against each varied parameter of a sweep, as inline SVG."""

import math
import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from snntrain.figure import BLUE, GREEN, HALF_WIDTH, INK, MUTED, ORANGE, RED, TEAL, VIOLET, new_figure, style, svg
from snntrain.lab.run_rows import Row
from snntrain.lab.run_table import REPEATED, value_of, varied
from snntrain.number_format import is_share, percent_tick

_LARGEST_LEGEND = 6  # so many values of a second parameter get a color each
_LONGEST_LABEL = 18
_COLORS = (BLUE, ORANGE, GREEN, RED, VIOLET, TEAL)


def sweep_plots(rows: Sequence[Row], metrics: Sequence[str]) -> list[tuple[str, str]]:
    """A (parameter, <svg> element) pair for each varied parameter and metric, from the runs that have the metric.

    Dots are runs, dashes the means of each value, joined where the values are numbers; colors tell the values of
    another varied parameter, where one has few enough. Seeds and folds are left out unless nothing else varies.
    """
    keys = varied(rows)
    shown = [key for key in keys if key not in REPEATED] or keys
    drawn = []
    for key in shown:
        for metric in metrics:
            members = [row for row in rows if math.isfinite(row.metrics.get(metric, math.nan))]
            if len({value_of(row, key) for row in members}) > 1:
                drawn.append((key, _plot(f"sweep{len(drawn)}", members, key, metric, _coloring(members, shown, key))))
    return drawn


def _coloring(rows: Sequence[Row], keys: Sequence[str], key: str) -> str | None:
    counts = {other: len({value_of(row, other) for row in rows}) for other in keys if other != key}
    fitting = {other: count for other, count in counts.items() if 1 < count <= _LARGEST_LEGEND}
    return min(fitting, key=fitting.__getitem__, default=None)


def _plot(name: str, rows: Sequence[Row], key: str, metric: str, other: str | None) -> str:
    values = list(dict.fromkeys(value_of(row, key) for row in rows))
    numbers = [_number(value) for value in values]
    is_numeric = all(number is not None for number in numbers)
    places = dict(zip(values, numbers if is_numeric else range(len(values)), strict=True))
    series = list(dict.fromkeys(value_of(row, other) for row in rows)) if other else [""]
    with style():
        figure = new_figure(HALF_WIDTH, 3.0)
        axes = figure.add_subplot(title=f"{metric} over {_short(key)}")
        for index, value in enumerate(series):
            members = [row for row in rows if not other or value_of(row, other) == value]
            color = _COLORS[index % len(_COLORS)] if other else INK
            shift = 0.0 if is_numeric or not other else 0.12 * (index - (len(series) - 1) / 2)
            points = [(places[value_of(row, key)] + shift, row.metrics[metric]) for row in members]
            _draw(axes, points, "-" if is_numeric else "none", color, _short(value))
        _axis(axes, places, is_numeric)
        if is_share(metric):
            axes.yaxis.set_major_formatter(percent_tick)
        axes.set_xlabel(_short(key))
        axes.grid(axis="y")
        if other:
            axes.legend(title=_short(other), fontsize=7.5, title_fontsize=7.5, ncols=1 + (len(series) > 3))
        return svg(figure, name)


def _draw(axes: Axes, points: Sequence[tuple[float, float]], line: str, color: object, label: str) -> None:
    by_place: dict[float, list[float]] = {}
    for place, value in points:
        by_place.setdefault(place, []).append(value)
    axes.plot(*zip(*points, strict=True), "o", color=color, alpha=0.45, markersize=4, markeredgewidth=0)
    means = sorted((place, statistics.fmean(values)) for place, values in by_place.items())
    style = {"marker": "_", "markersize": 13, "markeredgewidth": 1.8, "linewidth": 1.3, "linestyle": line}
    axes.plot(*zip(*means, strict=True), color=color, label=f" {label}", **style)


def _axis(axes: Axes, places: dict, is_numeric: bool) -> None:
    positions = sorted(places.values())
    if not is_numeric:
        axes.set_xticks(positions, [_short(value) for value in places], rotation=25 * (len(places) > 4), fontsize=7.5)
        axes.set_xlim(-0.5, len(places) - 0.5)
        return
    if positions[0] > 0 and positions[-1] / positions[0] >= 30:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(positions) <= 8:
        axes.set_xticks(positions, [f"{position:g}" for position in positions])
        axes.tick_params(axis="x", which="minor", bottom=False)
    axes.tick_params(labelcolor=MUTED)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
