"""Draw samples of a data set: pictures, event frames over time, or channels over time."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from snntrain.figure import BLUE, BLUES, FAINT, INK, MUTED, RED
from snntrain.files import replacing
from snntrain.number_format import step_name

TOP, MARGIN = 0.95, 0.2  # inches above the samples, for the title, and around the figure
STEPS_SHOWN, NAME_LENGTH = 10, 16
_CHANNELS_AS_LINES = 4  # more of them are drawn as an image
_STYLE = {"font.family": ["DejaVu Sans"], "font.size": 8.5, "text.color": INK, "text.parse_math": False}


def sample_figure(
    path: Path,
    title: str,
    note: str,
    names: Sequence[str],
    rows: Sequence[np.ndarray],
    shape: Sequence[int],
    dt: float | None = None,
) -> None:
    """Draw samples into a PNG file.

    Args:
        path: the file.
        title, note: above the samples, one line each.
        names: of the classes, a row each.
        rows: per class its samples [n, *shape]; of sequences the first sample is drawn.
        shape: [C, H, W] of pictures, [T, C, H, W] of event frames: time in columns, ON events blue, OFF events red; [F]
            of features: lines; [T, F] of channels: time from left to right, channels upwards, or lines of a few.
        dt: length of a time step in ms; None: not known.
    """
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a class name in another script
        if len(shape) == 4:
            figure = _frames(names, [samples[0] for samples in rows])
        elif len(shape) == 3:
            figure = _pictures(names, rows)
        else:
            figure = _channels(names, [samples[0].reshape(-1, shape[-1]) for samples in rows], step_name(dt))
        height = figure.get_figheight()
        figure.text(MARGIN / figure.get_figwidth(), 1 - 0.22 / height, title, size=12, weight="bold", va="center")
        figure.text(MARGIN / figure.get_figwidth(), 1 - 0.47 / height, note, size=8.5, color=MUTED, va="center")
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=160, metadata={"Software": None})


def _pictures(names: Sequence[str], rows: Sequence[np.ndarray]) -> Figure:
    every = np.concatenate(rows)
    low, high = min(0.0, float(every.min())), max(1.0, float(every.max()))  # normalized pictures exceed [0, 1]
    grid = [[_colors((picture - low) / (high - low)) for picture in samples] for samples in rows]
    return _grid(names, grid, (), 0.72, top=TOP - 0.2)


def _frames(names: Sequence[str], samples: Sequence[np.ndarray]) -> Figure:
    steps = np.unique(np.linspace(0, len(samples[0]) - 1, STEPS_SHOWN).round().astype(int))
    grid = [
        [_polarities(sample[t], _strongest(sample)) for t in steps]
        + [_polarities(sample.sum(0), _strongest(sample.sum(0)))]
        for sample in samples
    ]
    headers = [f"t = {steps[0]}", *map(str, steps[1:]), "sum"]
    return _grid(names, grid, headers, 0.95, top=TOP)


def _channels(names: Sequence[str], samples: Sequence[np.ndarray], step: str) -> Figure:
    columns = min(4 if len(samples) <= 8 else 5, len(samples))
    lines = -(-len(samples) // columns)
    width, height = 2.0 * columns + 0.75, 1.75 * lines + TOP + 0.3
    figure = _figure(width, height)
    for number, (name, sample) in enumerate(zip(names, samples, strict=True)):
        line, column = divmod(number, columns)
        box = (0.6 + 2.0 * column, height - TOP - 1.75 * line - 1.3, 1.85, 1.3)
        axes = _axes(figure, box)
        axes.set_facecolor("#f6f8fb")
        across, up = _draw_channels(axes, sample, step)
        axes.set_title(name, loc="left", size=9, weight="bold", color=INK, pad=3)
        axes.tick_params(length=2, labelsize=7, labelcolor=MUTED, color=FAINT, labelleft=column == 0)
        if column == 0:
            axes.set_ylabel(up, size=8, color=MUTED)
        if number + columns >= len(samples):
            axes.set_xlabel(across, size=8, color=MUTED)
    return figure


def _draw_channels(axes: Axes, sample: np.ndarray, step: str) -> tuple[str, str]:
    """Draw [T, F]: few channels and the features of a single step as lines; returns the labels of the axes."""
    if len(sample) == 1 or sample.shape[1] <= _CHANNELS_AS_LINES:
        axes.plot(sample[0] if len(sample) == 1 else sample, linewidth=1.0)
        return ("feature" if len(sample) == 1 else step), "value"
    lowest = min(0.0, float(sample.min()))
    style = {"cmap": BLUES, "origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    axes.imshow(sample.T, vmin=lowest, vmax=_strongest(sample), **style)
    return step, "channel"


def _grid(
    names: Sequence[str], grid: Sequence[Sequence[np.ndarray]], headers: Sequence[str], side: float, top: float
) -> Figure:
    """Pictures [H, W, 3] in rows, each `side` inches wide, with a thin line of background between them."""
    columns = max(map(len, grid))
    height_of, width_of = grid[0][0].shape[:2]
    step, drop = side, side * height_of / width_of
    labels = [name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…" for name in names]
    left = MARGIN + 0.15 + 0.085 * max(map(len, labels))
    width, height = left + step * columns + MARGIN, top + drop * len(grid) + MARGIN
    figure = _figure(width, height)
    for line, (label, pictures) in enumerate(zip(labels, grid, strict=True)):
        y = height - top - drop * (line + 1)
        figure.text((left - 0.12) / width, (y + drop / 2) / height, label, ha="right", va="center", size=9)
        for column, picture in enumerate(pictures):
            # The last column of frames is their sum, set a little apart.
            apart = 0.1 if headers and column == len(headers) - 1 else 0.0
            axes = _axes(figure, (left + step * column + apart, y + 0.02, step - 0.04, drop - 0.04))
            axes.imshow(picture, interpolation="nearest", aspect="auto")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(bool(headers))
            if headers and line == 0:
                axes.set_title(headers[column], size=8.5, color=MUTED, pad=3)
    return figure


def _colors(picture: np.ndarray) -> np.ndarray:
    """[C, H, W] with values in [0, 1] → [H, W, 3]; anything but three channels is gray."""
    channels = picture if len(picture) == 3 else picture.mean(0, keepdims=True).repeat(3, axis=0)
    return np.moveaxis(channels, 0, -1).clip(0, 1)


def _polarities(frame: np.ndarray, strongest: float) -> np.ndarray:
    """[C, H, W] → [H, W, 3] on white: ON events blue, OFF red; of one channel, negative values count as OFF."""
    off, on = frame if len(frame) == 2 else (np.maximum(-frame.sum(0), 0), np.maximum(frame.sum(0), 0))
    both = on + off
    color = (
        sum(part[..., None] * np.array(matplotlib.colors.to_rgb(name)) for part, name in ((on, BLUE), (off, RED)))
        / np.where(both > 0, both, 1)[..., None]
    )
    ink = np.clip(np.maximum(on, off) / strongest, 0, 1)[..., None] ** 0.7  # keeps single events visible
    return (1 - ink * (1 - color)).clip(0, 1)


def _strongest(values: np.ndarray) -> float:
    """The value drawn in full color; single hot pixels must not make the others pale."""
    there = np.abs(values)[values != 0]
    return float(np.percentile(there, 98)) if there.size else 1.0


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Axes at (left, bottom, width, height) in inches."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_linewidth(0.6)
    return axes


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure
