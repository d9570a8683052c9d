"""Draw what happens in a network: spikes, potentials, firing rates, single neurons, and all of it as an animation.

    seen = monitor.record(net, x)
    plot.raster(seen).savefig("raster.png")

Each function returns a matplotlib figure, which a notebook shows as it is. The reports of runs are drawn by them, too.
Arrays may be numpy's or tensors on the CPU.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from snntrain.animation import animate, moment
from snntrain.arguments import integer, invalid
from snntrain.figure import (
    BLUE,
    DEPTHS,
    FULL_WIDTH,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    RED,
    new_figure,
    panel_title,
    shortened,
    style,
)
from snntrain.functional import set_step_mode
from snntrain.hooks import step_mode_of
from snntrain.monitor import firing_rates, kept_states, telling_neurons
from snntrain.number_format import percent, percent_tick
from snntrain.registry import table
from snntrain.signature import signature_of

__all__ = ["Trace", "animate", "moment", "potentials", "raster", "rates", "step_response", "surrogates"]

RASTER_WIDTH = 7.3  # inches
NEURONS_SHOWN = 128  # rows of one raster panel
SPIKE_COLORS = ("#4a86cc", "#2f9a8f", "#62a04a", "#b08a2a", "#cc6a4f", "#a964a3")  # on white and on black
_TRACE_COLORS = (BLUE, ORANGE, GREEN)
_COLUMNS = 3

Layers = Mapping[str, Any]  # what monitor.record returns


def raster(
    layers: Layers,
    sample: int = 0,
    step: str = "time step",
    below: Mapping[str, Callable[[Axes], str]] | None = None,
) -> Figure:
    """Every spike of one sample: a panel for each layer, over shared time steps.

    Args:
        layers: of monitor.record or recording; or name of a panel → spikes [T, n] of one sample.
        sample: which one of the batch.
        step: name of the axis.
        below: further panels: title → function that draws on the axes and returns a remark for the title.

    At most NEURONS_SHOWN evenly spaced neurons of a layer are drawn, and its title says so; the share that it tells
    counts all of them.
    """
    panels = [(title, _of_sample(layer, "spikes", sample)) for title, layer in layers.items()]
    further = dict(below or {})
    steps = max([len(spikes) for _, spikes in panels] + [1])
    height = min(1.15, max(0.6, 9.0 / max(1, len(panels))))
    heights = [height] * len(panels) + [1.5] * len(further)
    gap, bottom = 0.34, 0.45
    total = sum(heights) + gap * len(heights) + bottom - 0.1
    with style():
        figure = new_figure(RASTER_WIDTH, total, layout=None)
        top = total + 0.1  # the first title needs less room than those between panels
        for index, panel_height in enumerate(heights):
            top -= gap + panel_height
            box = (0.55 / RASTER_WIDTH, top / total, 1 - 0.62 / RASTER_WIDTH, panel_height / total)
            axes = figure.add_axes(box, xlim=(0.4, steps + 0.6))
            axes.xaxis.set_major_locator(MultipleLocator(1) if steps <= 16 else MaxNLocator(12, integer=True))
            axes.tick_params(axis="x", labelbottom=index == len(heights) - 1)
            if index < len(panels):
                _draw_raster(axes, *panels[index], color=SPIKE_COLORS[index % len(SPIKE_COLORS)])
            else:
                title = list(further)[index - len(panels)]
                panel_title(axes, title, further[title](axes))
            if index == len(heights) - 1:
                axes.set_xlabel(step)
        return figure


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
    threshold: float = float("nan")


def potentials(
    layers: Layers | Sequence[Trace],
    sample: int = 0,
    neurons: Mapping[str, Sequence[int]] | None = None,
    threshold: float | None = None,
    step: str = "time step",
) -> Figure:
    """Potentials over time, a panel for each layer, with spikes as marks above.

    Args:
        layers: of monitor.record or recording; layers without a potential "v" are left out. Or a Trace
            for each panel.
        sample: which one of the batch.
        neurons: layer → places of up to three of its neurons; those of a layer that is not named are the one that fires
            most, one in the middle of those that fire, and the silent one whose potential gets highest.
        threshold: drawn as a dashed line.
        step: name of the axis.

    Raises: ValueError if no layer has a potential, or a neuron is none of its layer's.
    """
    traces = list(_traces(layers, sample, neurons or {}, threshold)) if isinstance(layers, Mapping) else list(layers)
    if not traces:
        raise ValueError("potentials: no layer has a potential v. Record it: monitor.record(net, x, ('spikes', 'v')).")
    with style():
        figure = new_figure(FULL_WIDTH, 0.4 + 1.45 * len(traces))
        panels = figure.subplots(len(traces), 1, sharex=True, squeeze=False)[:, 0]
        steps = max(len(trace.v) for trace in traces)
        for axes, trace in zip(panels, traces, strict=True):
            _draw_trace(axes, trace, with_markers=steps <= 40)
        panels[-1].set_xlabel(step)
        panels[-1].set_xlim(0.4, steps + 0.6)
        panels[-1].xaxis.set_major_locator(MultipleLocator(1) if steps <= 16 else MaxNLocator(12, integer=True))
        return figure


def rates(layers: Layers, mean: Sequence[tuple[float, float]] = (), over: str = "time step") -> Figure:
    """Share of each layer's neurons that fire, over time, colored by depth.

    Args:
        layers: of monitor.record or recording, whose samples are averaged; or name of a curve → (x, share) pairs, first
            layer first.
        mean: (x, share) pairs of the whole net; may be empty.
        over: name of the axis.
    """
    recorded = {name: layer for name, layer in layers.items() if isinstance(layer, Mapping)}
    curves = {name: list(enumerate(shares, start=1)) for name, shares in firing_rates(recorded).items()}
    with style():
        figure = new_figure(FULL_WIDTH, 3.2)
        axes = figure.add_subplot()
        stride = -(-len(layers) // 24)  # a deep net names every second, third, … layer
        for depth, (name, curve) in enumerate((layers | curves if curves else layers).items()):
            color = DEPTHS(depth / max(1, len(layers) - 1))
            label = f" {shortened(name, 30)}" if depth % stride == 0 else None  # a label that starts with '_' is hidden
            draw_curve(axes, curve, label=label, color=color, clip_on=False)
        if len(mean):
            draw_curve(axes, mean, label=" all layers", color=INK, linestyle=(0, (4, 2)), linewidth=1.4)
        curve_axis(axes, over, as_percent=True)
        axes.set_ylim(0, max(0.01, axes.get_ylim()[1]))
        axes.set_ylabel("neurons spiking per step")
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside right upper", ncols=1 + (len(handles) > 13), fontsize=8)
        return figure


def surrogates(functions: Iterable[Any] | Mapping[str, Any] | None = None, reach: float = 1.5) -> Figure:
    """The gradient that surrogates use around the threshold (filled), and their spike (dotted).

    Args:
        functions: surrogates such as surrogate.ATan(2.0), or name → surrogate; None: every registered one that
            needs no arguments.
        reach: from −reach to reach around the threshold, > 0.
    """
    if functions is None:
        functions = {name: make() for name, make in table("surrogate").items() if not _needs_arguments(make)}
    if not isinstance(functions, Mapping):
        listed = list(functions)
        names = [type(function).__name__ for function in listed]
        functions = {
            name if names.count(name) == 1 else f"{number}. {function!r}": function
            for number, (name, function) in enumerate(zip(names, listed, strict=True), start=1)
        }
    if not functions:
        raise invalid("surrogates", "functions", "at least one surrogate", functions)
    with style():
        figure, panels = _grid(len(functions), 4, 1.6)
        for axes, (name, function) in zip(panels, functions.items(), strict=True):
            x = torch.linspace(-reach, reach, 601, requires_grad=True)
            spikes = function(x)
            (gradient,) = torch.autograd.grad(spikes.sum(), x)
            places, slope = x.detach().numpy(), gradient.numpy()
            axes.fill_between(places, slope, color=BLUE, alpha=0.25, linewidth=0)
            axes.plot(places, slope, color=BLUE, linewidth=1.2)
            axes.step(places, spikes.detach().numpy(), color=RED, linewidth=0.8, linestyle=":")
            axes.set_title(shortened(name, 26), fontsize=9)
        _label_below(panels, 4, "h − threshold")
        return figure


def step_response(neurons: Any, current: float | Sequence[float] = 1.5, T: int = 80) -> Figure:
    """What neurons answer to a current that is switched on for a while: the potential, and the spikes above it.

    Args:
        neurons: a neuron, or name → neuron; they are left as they were found. One that keeps no potential, such as
            SlidingPSN, shows its spikes alone, one that never fires its output.
        current: while it is on, for all neurons or one for each; it is on from T/10 to 3T/4, and 0 otherwise.
        T: time steps, ≥ 1.
    """
    integer("step_response", "T", T, at_least=1)
    named = neurons if isinstance(neurons, Mapping) else {type(neurons).__name__: neurons}
    strengths = [current] * len(named) if isinstance(current, (int, float)) else list(current)
    if len(strengths) != len(named):
        raise invalid("step_response", "current", f"one number, or one for each of {len(named)} neurons", current)
    begin, end = T // 10, 3 * T // 4
    with style():
        figure, panels = _grid(len(named), _COLUMNS, 1.6)
        for axes, (name, node), strength in zip(panels, named.items(), strengths, strict=True):
            x = torch.zeros(T, 1, getattr(node, "branches", 1))
            x[begin:end] = strength
            _draw_answer(axes, *_answer(node, x), is_spiking=getattr(node, "is_spiking", False))
            axes.axvspan(begin, end, color=ORANGE, alpha=0.08, linewidth=0)
            axes.set_title(shortened(name, 34), fontsize=9)
        _label_below(panels, _COLUMNS, "time step")
        return figure


def draw_curve(axes: Axes, curve: Any, **look: Any) -> None:
    """Draw (x, value) pairs; values that are not finite leave a gap."""
    points = np.array(curve, dtype=float).reshape(-1, 2)
    points[~np.isfinite(points[:, 1]), 1] = np.nan
    marker = {"marker": "o", "markersize": 3} if len(points) < 12 else {}
    axes.plot(points[:, 0], points[:, 1], solid_capstyle="round", **marker, **look)


def curve_axis(axes: Axes, over: str, *, as_percent: bool = False) -> None:
    """Axes of curves over whole numbers, such as epochs or time steps."""
    axes.set_xlabel(over)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_major_locator(MaxNLocator(4 if axes.figure.get_figheight() < 2 else 6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(percent_tick if as_percent else _plain))
    axes.margins(x=0.02)
    axes.grid(axis="y")


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}".replace("-", "−")


def _of_sample(layer: Any, name: str, sample: int) -> np.ndarray:
    """What one sample of a recorded layer did, [T, n]; an array is that already."""
    values = np.asarray(layer[name][:, sample]) if isinstance(layer, Mapping) else np.atleast_2d(np.asarray(layer))
    return values.reshape(len(values), -1)


def _draw_raster(axes: Axes, title: str, spikes: np.ndarray, color: str) -> None:
    steps, width = spikes.shape
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


def _traces(
    layers: Layers, sample: int, neurons: Mapping[str, Sequence[int]], threshold: float | None
) -> Iterator[Trace]:
    unknown = [name for name in neurons if name not in layers]
    if unknown:
        raise invalid("potentials", "neurons", f"neurons of {', '.join(layers)}", unknown[0])
    for title, layer in layers.items():
        if "v" not in layer:
            continue
        v = _of_sample(layer, "v", sample).astype(float)
        fired = _of_sample(layer, "spikes", sample) != 0 if "spikes" in layer else np.zeros(v.shape, bool)
        chosen = list(neurons.get(title, telling_neurons(v, fired)))
        if len(chosen) > len(_TRACE_COLORS) or not all(0 <= one < v.shape[1] for one in chosen):
            allowed = f"up to {len(_TRACE_COLORS)} places from 0 to {v.shape[1] - 1} for {title}"
            raise invalid("potentials", "neurons", allowed, chosen)
        yield Trace(title, chosen, v[:, chosen], fired[:, chosen], np.nan if threshold is None else threshold)


def _draw_trace(axes: Axes, trace: Trace, with_markers: bool) -> None:
    time = np.arange(1, len(trace.v) + 1)
    finite = trace.v[np.isfinite(trace.v)]
    ends = [*finite, trace.threshold] if np.isfinite(trace.threshold) else [*finite, 1.0]
    low, high = min(ends), max(ends)
    gap = 0.09 * (high - low or 1.0)
    if np.isfinite(trace.threshold):
        axes.axhline(trace.threshold, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for place, (neuron, color) in enumerate(zip(trace.neurons, _TRACE_COLORS, strict=False)):
        fired = trace.spikes[:, place]
        label = f"neuron {neuron:,}: {int(fired.sum()):,} spikes"
        marker = {"marker": "o", "markersize": 3} if with_markers else {}
        axes.plot(time, trace.v[:, place], color=color, linewidth=1.3, label=label, **marker)
        height = np.full(int(fired.sum()), high + gap * (1 + place))
        axes.plot(time[fired], height, "|", color=color, markersize=6, markeredgewidth=1.6)
    axes.set_ylim(low - gap, high + gap * (1 + len(trace.neurons)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylabel("v")
    axes.grid(axis="y")
    panel_title(axes, trace.title, "")
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.96), ncols=3, handlelength=1.4, columnspacing=1.2)


def _grid(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of so many small panels, in rows of up to `columns`."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(FULL_WIDTH * columns / max(columns, 2), max(2.2, height * rows))
    panels = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_axis_off()
    for axes in panels[:count]:
        axes.tick_params(labelsize=7)
    return figure, panels[:count]


def _needs_arguments(make: Callable[..., Any]) -> bool:
    empty, named = inspect.Parameter.empty, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return any(one.default is empty and one.kind is named for one in signature_of(make).parameters.values())


def _label_below(panels: Sequence[Axes], columns: int, label: str) -> None:
    for axes in panels[-columns:]:
        axes.set_xlabel(label)
        axes.tick_params(labelbottom=True)


def _answer(node: Any, x: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Output [T] of a neuron for a current [T, 1, branches], and its potential [T], if it has one."""
    mode, stored = step_mode_of(node), getattr(node, "stored_states", None)
    with kept_states(node), torch.no_grad():
        if mode is not None:
            set_step_mode(node, "m")
        keeps_v = stored is not None and "v" in node.state_names
        if keeps_v:
            node.stored_states = ("v",)
        try:
            output = node(x).flatten().numpy()
            v = node.v_seq.flatten().numpy() if keeps_v else None
        finally:
            if keeps_v:
                node.stored_states = stored
            if mode is not None:
                set_step_mode(node, mode)
    return output, v


def _draw_answer(axes: Axes, output: np.ndarray, v: np.ndarray | None, is_spiking: bool) -> None:
    potential = v if v is not None else output if not is_spiking else None
    top = 1.0
    if potential is not None:
        axes.plot(potential, color=BLUE, linewidth=1.2)
        top = max(float(potential.max()), 0.05)
    for when in np.flatnonzero(output) if is_spiking else []:
        axes.plot([when, when], [1.12 * top, (1.12 + 0.22 * float(output[when])) * top], color=RED, linewidth=1.3)
    axes.set_ylim(bottom=None if potential is not None else 0)
