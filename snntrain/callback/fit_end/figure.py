"""Figures of the callbacks."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from snntrain.figure import BLUE, HALF_WIDTH, INK, MUTED, new_figure, style
from snntrain.headline import long_name
from snntrain.number_format import is_share, percent_tick


def headline_figure(values: Mapping[str, float], ann: float, name: str = "acc") -> Figure:
    """The headline metric of a converted net over time steps, beside that of its ANN.

    Args:
        values: T → metric.
        ann: the same for the ANN.
        name: of the metric.
    """
    with style():
        figure = new_figure(HALF_WIDTH, 2.9)
        axes = figure.add_subplot(title=f"{long_name(name)} over time steps")
        steps = sorted(map(int, values))
        axes.axhline(ann, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=" ANN")
        axes.plot(steps, [values[str(T)] for T in steps], color=BLUE, marker="o", markersize=4, label=" converted")
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [f"{T}" for T in steps])
        axes.xaxis.set_minor_locator(NullLocator())
        if is_share(name):
            axes.yaxis.set_major_formatter(percent_tick)
        axes.set_xlabel("T")
        axes.grid(axis="y")
        axes.legend(loc="lower right", labelcolor=INK)
        axes.figure.set_facecolor("none")
        return figure
