"""The figure of membrane potentials in a run's report."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator, MultipleLocator

from snntrain.figure import BLUE, FULL_WIDTH, GREEN, MUTED, ORANGE, new_figure, style, svg
from snntrain.run.report.output_panel import panel_title

_COLORS = (BLUE, ORANGE, GREEN)


@dataclass(frozen=True)
class Trace:
    """What a few neurons of a layer do over time.

    Attributes:
        title: of the layer.
        neurons: their places in the layer, [n].
        v: potentials after reset, [T, n].
        spikes: bool [T, n].
        threshold: NaN if it is not one number.
    """

    title: str
    neurons: Sequence[int]
    v: np.ndarray
    spikes: np.ndarray
    threshold: float


def potential_plot(traces: Sequence[Trace], step: str = "time step") -> str:
    """Potentials over time, a panel for each layer, with spikes as marks above; an <svg> element.

    Args:
        traces: one for each layer.
        step: name of the axis.
    """
    with style():
        figure = new_figure(FULL_WIDTH, 0.4 + 1.45 * len(traces))
        panels = figure.subplots(len(traces), 1, sharex=True, squeeze=False)[:, 0]
        steps = max(len(trace.v) for trace in traces)
        for axes, trace in zip(panels, traces, strict=True):
            time = np.arange(1, len(trace.v) + 1)
            finite = trace.v[np.isfinite(trace.v)]
            ends = [*finite, trace.threshold] if np.isfinite(trace.threshold) else [*finite, 1.0]
            low, high = min(ends), max(ends)
            gap = 0.09 * (high - low or 1.0)
            if np.isfinite(trace.threshold):
                axes.axhline(trace.threshold, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            for place, (neuron, color) in enumerate(zip(trace.neurons, _COLORS, strict=False)):
                fired = trace.spikes[:, place]
                label = f"neuron {neuron:,}: {int(fired.sum()):,} spikes"
                marker = {"marker": "o", "markersize": 3} if steps <= 40 else {}
                axes.plot(time, trace.v[:, place], color=color, linewidth=1.3, label=label, **marker)
                height = np.full(int(fired.sum()), high + gap * (1 + place))
                axes.plot(time[fired], height, "|", color=color, markersize=6, markeredgewidth=1.6)
            axes.set_ylim(low - gap, high + gap * (1 + len(trace.neurons)))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_ylabel("v")
            axes.grid(axis="y")
            panel_title(axes, trace.title, "")
            axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.96), ncols=3, handlelength=1.4, columnspacing=1.2)
        panels[-1].set_xlabel(step)
        panels[-1].set_xlim(0.4, steps + 0.6)
        panels[-1].xaxis.set_major_locator(MultipleLocator(1) if steps <= 16 else MaxNLocator(12, integer=True))
        return svg(figure, "potentials")
