"""The figures of a run report, as inline SVG; dense parts, such as spikes, are pictures inside it.

Every function takes plain arrays and returns an <svg> element. Figures are drawn on their own Agg canvas, without
pyplot, with a transparent ground; equal input gives equal bytes.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snntrain import plot
from snntrain.figure import (
    BLUE,
    FULL_WIDTH,
    GREEN,
    HALF_WIDTH,
    INK,
    MUTED,
    ORANGE,
    new_figure,
    shades,
    shortened,
    style,
    svg,
)
from snntrain.plot import curve_axis, draw_curve
from snntrain.run.report.output_panel import Answer, draw_output
from snntrain.run.report.picture import picture

Curve = Sequence[tuple[float, float]]  # (epoch, value) pairs

_CHANNELS_AS_LINES = 4  # sequences of more channels are drawn as an image
CLASSES_COUNTED = 20  # up to here a confusion matrix shows its counts

SPLIT_COLORS = {"train": BLUE, "val": ORANGE, "test": GREEN}


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
            draw_curve(axes, curve, label=f" {label}", color=SPLIT_COLORS.get(label, MUTED))
        curve_axis(axes, "epoch", as_percent=as_percent)
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
        return svg(plot.rates(layers, mean, over="epoch"), name)


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
        spikes: panel title → [T, n]; of many neurons some are drawn, see snntrain.plot.raster.
        output: [T, K], or None.
        answer: what the sample is, and what the net takes it for.
        step: name of the axis.
    """

    def draw(axes: Axes) -> str:
        return draw_output(axes, np.atleast_2d(output), answer)

    with style():
        return svg(plot.raster(spikes, step=step, below={} if output is None else {"output": draw}), "raster")


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


def _legend_above(axes: Axes, best_epoch: float | None) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if best_epoch is not None:
        handles.append(axes.lines[-1])
        labels.append(" best epoch")
    axes.legend(
        handles, labels, loc="lower right", bbox_to_anchor=(1.02, 0.985), ncols=3, handlelength=1.6, columnspacing=1.2
    )


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
