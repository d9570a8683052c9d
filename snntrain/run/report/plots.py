"""The figures of a run report, as inline SVG; dense parts, such as spikes, are pictures inside it.

Every function takes plain arrays and returns an <svg> element. Figures are drawn on their own Agg canvas, without
pyplot, with a transparent ground; equal input gives equal bytes.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from snntrain.figure import (
    BLUE,
    DEPTHS,
    FULL_WIDTH,
    GREEN,
    HALF_WIDTH,
    INK,
    MUTED,
    ORANGE,
    new_figure,
    shades,
    style,
    svg,
)
from snntrain.number_format import percent, percent_tick
from snntrain.run.report.output_panel import Answer, draw_output, panel_title, shortened
from snntrain.run.report.picture import picture

Curve = Sequence[tuple[float, float]]  # (epoch, value) pairs

RASTER_WIDTH = 7.3  # inches
NEURONS_SHOWN = 128  # rows of one raster panel
_CHANNELS_AS_LINES = 4  # sequences of more channels are drawn as an image
CLASSES_COUNTED = 20  # up to here a confusion matrix shows its counts

SPLIT_COLORS = {"train": BLUE, "val": ORANGE, "test": GREEN}
SPIKE_COLORS = ("#4a86cc", "#2f9a8f", "#62a04a", "#b08a2a", "#cc6a4f", "#a964a3")  # on white and on black


def curve_plot(
    name: str,
    curves: Mapping[str, Curve],
    *,
    title: str,
    as_percent: bool = False,
    best_epoch: float | None = None,
    small: bool = False,
) -> str:
    """Metric over epochs, one line per curve.

    Args:
        name: a word unique in the page; it prefixes the ids inside the SVG.
        curves: label → (epoch, value) pairs; values that are not finite leave a gap.
        title: above the axes.
        as_percent: the values are shares, shown as percentages.
        best_epoch: epoch whose weights were kept, marked by a dashed line.
        small: a low strip over the full width instead of half a row.
    """
    with style():
        figure = new_figure(FULL_WIDTH if small else HALF_WIDTH, 1.5 if small else 2.9)
        axes = figure.add_subplot(title=title)
        for label, curve in sorted(curves.items()):
            _draw_curve(axes, curve, label=f" {label}", color=SPLIT_COLORS.get(label, MUTED))
        _epoch_axis(axes, as_percent)
        if best_epoch is not None:
            axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        if len(curves) > 1 or not small:
            _legend_above(axes, best_epoch)
        return svg(figure, name)


def firing_rate_plot(name: str, layers: Mapping[str, Curve], mean: Curve = ()) -> str:
    """Firing rate of every layer over epochs, colored by depth, with the mean over all layers.

    Args:
        name: a word unique in the page; it prefixes the ids inside the SVG.
        layers: layer path → (epoch, share of neurons that spike per step) pairs, first layer first.
        mean: the same for the whole net; may be empty.
    """
    with style():
        figure = new_figure(FULL_WIDTH, 3.2)
        axes = figure.add_subplot()
        stride = math.ceil(len(layers) / 24)  # a deep net names every second, third, … layer
        for depth, (path, curve) in enumerate(layers.items()):
            color = DEPTHS(depth / max(1, len(layers) - 1))
            label = f" {shortened(path, 30)}" if depth % stride == 0 else None  # a label that starts with '_' is hidden
            _draw_curve(axes, curve, label=label, color=color, clip_on=False)
        if mean:
            _draw_curve(axes, mean, label=" all layers", color=INK, linestyle=(0, (4, 2)), linewidth=1.4)
        _epoch_axis(axes, as_percent=True)
        axes.set_ylim(0, max(0.01, axes.get_ylim()[1]))
        axes.set_ylabel("neurons spiking per step")
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside right upper", ncols=1 + (len(handles) > 13), fontsize=8)
        return svg(figure, name)


def input_plot(sample: np.ndarray, *, is_sequence: bool = False) -> str:
    """One input sample, as an image or as a line over features.

    Args:
        is_sequence: [T, F] is a sequence: lines over time, or channels over time if there are many.
        sample: as in snntrain.run.report.picture; any other shape becomes a line.
    """
    sample = np.nan_to_num(np.asarray(sample, dtype=float))
    with style():
        if is_sequence and sample.ndim == 2 and sample.size:
            figure = new_figure(2.1, 1.9)
            _draw_channels(figure.add_subplot(xlabel="time step"), sample)
        elif sample.ndim in (2, 3, 4) and sample.size:
            shown = picture(sample)
            figure = new_figure(2.1, 2.1 * min(3.0, max(0.3, shown.shape[0] / shown.shape[1])), layout=None)
            axes = figure.add_axes((0, 0, 1, 1))
            axes.imshow(shown, cmap="gray", interpolation="nearest", aspect="auto")
            axes.set_axis_off()
        else:
            figure = new_figure(2.1, 1.9)
            axes = figure.add_subplot(xlabel="feature", ylabel="value")
            axes.plot(np.arange(sample.size), sample.ravel(), color=BLUE, linewidth=1.0)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.grid(axis="y")
        return svg(figure, "input")


def raster_plot(
    spikes: Mapping[str, np.ndarray], output: np.ndarray | None, answer: Answer, step: str = "time step"
) -> str:
    """Spikes of one sample, a panel per layer over shared time steps, and the net's output per step below.

    Args:
        spikes: panel title → [T, n]; at most NEURONS_SHOWN evenly spaced neurons are drawn, and the title says so.
        output: [T, K], or None.
        answer: what the sample is, and what the net takes it for.
        step: name of the axis.
    """
    panels = [(title, np.atleast_2d(array)) for title, array in spikes.items()]
    steps = max([array.shape[0] for _, array in panels] + [0 if output is None else len(output), 1])
    height = min(1.15, max(0.6, 9.0 / max(1, len(panels))))
    heights = [height] * len(panels) + [1.5] * (output is not None)
    gap, below = 0.34, 0.45
    total = sum(heights) + gap * len(heights) + below - 0.1
    with style():
        figure = new_figure(RASTER_WIDTH, total, layout=None)
        top = total + 0.1  # the first title needs less room than those between panels
        axes = None
        for index, panel_height in enumerate(heights):
            top -= gap + panel_height
            box = (0.55 / RASTER_WIDTH, top / total, 1 - 0.62 / RASTER_WIDTH, panel_height / total)
            axes = figure.add_axes(box, xlim=(0.4, steps + 0.6))
            axes.xaxis.set_major_locator(MultipleLocator(1) if steps <= 16 else MaxNLocator(12, integer=True))
            axes.tick_params(axis="x", labelbottom=index == len(heights) - 1)
            if index < len(panels):
                _draw_raster(axes, *panels[index], color=SPIKE_COLORS[index % len(SPIKE_COLORS)])
            else:
                panel_title(axes, "output", draw_output(axes, np.atleast_2d(output), answer))
        if axes is not None:
            axes.set_xlabel(step)
        return svg(figure, "raster")


def confusion_plot(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """Confusion matrix [K, K], rows true and columns predicted, each row shaded by its share of the class."""
    count = len(confusion)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = 5.4 if count > 12 else 4.9
    with style():
        figure = new_figure(side, side)
        axes = figure.add_subplot(xlabel="predicted", ylabel="true")
        opacity = np.sqrt(share)  # the root lifts rare mistakes
        axes.imshow(shades(opacity), interpolation="nearest")
        shown = range(0, count, math.ceil(count / 25))
        names = [shortened(classes[i], 14) for i in shown]
        turned = max((len(name) for name in names), default=0) * len(names) > 40
        axes.set_xticks(shown, names, rotation=90 if turned else 0, fontsize=8)
        axes.set_yticks(shown, names, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if count <= CLASSES_COUNTED:
            digits = len(str(confusion.max(initial=0)))
            size = min(9.0, 170 / count / max(2, digits))
            for row, column in np.argwhere(confusion):
                color = "#fffffe" if opacity[row, column] > 0.6 else INK  # white on the light page and on the dark one
                number = int(confusion[row, column])
                axes.text(
                    column, row, number, ha="center", va="center", fontsize=size, color=color, in_layout=False
                )  # inside the axes, so that the layout need not measure each number
        return svg(figure, "confusion")


def _draw_curve(axes: Axes, curve: Curve, **style) -> None:
    points = np.array(curve, dtype=float).reshape(-1, 2)
    points[~np.isfinite(points[:, 1]), 1] = np.nan
    marker = {"marker": "o", "markersize": 3} if len(points) < 12 else {}
    axes.plot(points[:, 0], points[:, 1], solid_capstyle="round", **marker, **style)


def _epoch_axis(axes: Axes, as_percent: bool) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_major_locator(MaxNLocator(4 if axes.figure.get_figheight() < 2 else 6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(percent_tick if as_percent else _plain))
    axes.margins(x=0.02)
    axes.grid(axis="y")


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}".replace("-", "−")


def _legend_above(axes: Axes, best_epoch: float | None) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if best_epoch is not None:
        handles.append(axes.lines[-1])
        labels.append(" best epoch")
    axes.legend(
        handles, labels, loc="lower right", bbox_to_anchor=(1.02, 0.985), ncols=3, handlelength=1.6, columnspacing=1.2
    )


def _draw_raster(axes: Axes, title: str, spikes: np.ndarray, color: str) -> None:
    steps, width = spikes.shape[0], int(np.prod(spikes.shape[1:]))
    spikes = spikes.reshape(steps, width)
    chosen = np.unique(np.linspace(0, width - 1, min(width, NEURONS_SHOWN)).round().astype(int))
    time, row = np.nonzero(spikes[:, chosen])
    reach = 0.36 if steps <= 40 else 0.5
    thickness = axes.bbox.height / axes.figure.dpi * 72 / max(1, len(chosen))
    marks = np.stack([np.stack([time + 1 - reach, row], 1), np.stack([time + 1 + reach, row], 1)], 1)
    axes.add_collection(
        LineCollection(
            marks, colors=color, linewidths=min(5.0, max(0.75, 0.9 * thickness)), capstyle="butt", rasterized=True
        ),
        autolim=False,
    )
    axes.set_ylim(-0.5, max(1, len(chosen)) - 0.5)
    axes.set_yticks([])
    axes.set_ylabel("neuron")
    axes.set_facecolor("#8892a012")
    drawn = f"{len(chosen)} of {width:,} neurons" if len(chosen) < width else f"{width:,} neurons"
    rate = f"{percent(np.count_nonzero(spikes) / max(1, spikes.size))} spiking"
    panel_title(axes, title, f"{drawn} · {rate}")


def _draw_channels(axes: Axes, sample: np.ndarray) -> None:
    """A sequence [T, F] over time."""
    if sample.shape[1] <= _CHANNELS_AS_LINES:
        axes.plot(
            np.arange(1, len(sample) + 1), sample, linewidth=1.0, **({"color": BLUE} if sample.shape[1] == 1 else {})
        )
        axes.set_ylabel("value" if sample.shape[1] == 1 else "channels")
        axes.grid(axis="y")
    else:
        extent = (0.5, len(sample) + 0.5, -0.5, sample.shape[1] - 0.5)
        low, high = sample.min(), sample.max()
        strength = (sample.T - low) / max(high - low, 1e-12)
        axes.imshow(shades(strength), origin="lower", aspect="auto", interpolation="nearest", extent=extent)
        axes.set_ylabel("channel")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
