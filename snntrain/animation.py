"""A moving picture of a recording, of the spikes that it causes in each layer, and of what the net believes so far."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snntrain.arguments import integer, invalid, real
from snntrain.figure import BLUE, GREEN, MUTED, new_figure, shortened, style
from snntrain.files import replacing

LAST_SHOWN = 1500  # ms that the last step stays
CLASSES_NAMED = 20  # of more classes the bars have no names
_WIDTH, _HEIGHT = 9.6, 2.7  # inches


def moment(
    frames: Any,
    step: int,
    layers: Mapping[str, Any] | None = None,
    scores: Any = None,
    classes: Sequence[str] = (),
    label: int | None = None,
    sample: int = 0,
    title: str = "",
) -> Figure:
    """One step: its events, the spikes of each layer, and the scores so far as bars.

    Args:
        frames: [T, C, H, W]; of two channels OFF is drawn in red and ON in blue, of others what is not 0 in blue.
        step: from 0 to T − 1.
        layers: of monitor.record; of maps [C, H, W] all are drawn, side by side.
        scores: after each step, [T, K].
        classes: names of the K classes; numbers where there is none.
        label: the true class, whose bar is green; None: that of the largest score is blue.
        sample: which one of the layers' batch.
        title: above the events; '': the number of the step.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or not 0 <= step < len(frames):
        raise invalid("animation", "frames and step", "frames [T, C, H, W] and a step of them", (frames.shape, step))
    spikes = {name: np.asarray(layer["spikes"][step, sample]) for name, layer in (layers or {}).items()}
    widths = [1.2, *(1.6 if maps.ndim == 3 else 1 for maps in spikes.values()), *([1] if scores is not None else [])]
    with style():
        figure = new_figure(_WIDTH * sum(widths) / max(sum(widths), 4), _HEIGHT)
        panels = list(figure.subplots(1, len(widths), width_ratios=widths, squeeze=False).flat)
        panels[0].imshow(_events(frames[step]), interpolation="nearest")
        panels[0].set_title(title or f"step {step + 1}: events", fontsize=9)
        for axes, (name, maps) in zip(panels[1:], spikes.items(), strict=False):
            axes.imshow(_side_by_side(maps), cmap="Oranges", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(f"{shortened(name, 16)}: {int((maps != 0).sum()):,} spikes", fontsize=9)
        for axes in panels[: 1 + len(spikes)]:
            axes.set(xticks=[], yticks=[])
        if scores is not None:
            _draw_bars(panels[-1], np.asarray(scores, dtype=float)[step], classes, label)
        return figure


def animate(
    events: Any,
    path: str | Path,
    layers: Mapping[str, Any] | None = None,
    scores: Any = None,
    classes: Sequence[str] = (),
    label: int | None = None,
    sample: int = 0,
    steps: int = 24,
    milliseconds: float = 250.0,
) -> Path:
    """Write an animation: a .gif, or a .png that moves.

    Args:
        events: frames [T, C, H, W], such as of a Framing; or events with the fields x, y, t, p, as read_events gives
            them, which are counted in so many steps of equal length.
        path: the file.
        steps: of events that are no frames yet, ≥ 1.
        milliseconds: that a step is shown, ≥ 20.
        Others as in moment.

    Returns: the path.
    Raises: ValueError for another ending.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in (".gif", ".png"):
        raise invalid("animate", "path", "a file .gif or .png", str(path))
    shown = round(real("animate", "milliseconds", milliseconds, at_least=20))
    array = np.asarray(events)
    frames = array if array.dtype.names is None else _counted(array, integer("animate", "steps", steps, at_least=1))
    pictures = []
    for step in range(len(frames)):
        figure = moment(frames, step, layers, scores, classes, label, sample)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=90)
        pictures.append(Image.open(buffer).convert("RGB"))
    first, *others = pictures
    with replacing(path) as temporary:
        first.save(
            temporary,
            format=path.suffix[1:].upper(),
            save_all=True,
            append_images=others,
            duration=[shown] * len(others) + [LAST_SHOWN],
            loop=0,
        )
    return path


def _counted(events: np.ndarray, steps: int) -> np.ndarray:
    """Events as numbers of events, [T, 2, H, W], in steps of equal length."""
    if len(events) == 0:
        raise invalid("animate", "events", "at least one event", "none")
    height, width = int(events["y"].max()) + 1, int(events["x"].max()) + 1
    elapsed = events["t"] - events["t"].min()
    frames = np.zeros((steps, 2, height, width), np.int64)
    when = elapsed * steps // (int(elapsed.max()) + 1)
    np.add.at(frames, (when, events["p"].astype(int), events["y"], events["x"]), 1)
    return frames


def _events(frame: np.ndarray) -> np.ndarray:
    """A frame [C, H, W] as colors on white."""
    picture = np.ones((*frame.shape[1:], 3))
    channels = ((0, (0.80, 0.22, 0.17)), (1, (0.18, 0.43, 0.70))) if len(frame) == 2 else ((None, (0.18, 0.43, 0.70)),)
    for channel, color in channels:
        picture[(frame != 0).any(0) if channel is None else frame[channel] != 0] = color
    return picture


def _side_by_side(maps: np.ndarray) -> np.ndarray:
    """Spikes as one picture: maps [C, H, W] in a grid with thin lines between, others in rows of ten or more."""
    if maps.ndim == 3:
        columns = int(np.ceil(np.sqrt(len(maps))))
        maps = np.pad(maps.astype(float), ((0, -len(maps) % columns), (0, 0), (0, 0)))
        framed = np.pad(maps, ((0, 0), (1, 1), (1, 1)), constant_values=0.15)
        return np.vstack([np.hstack(row) for row in framed.reshape(-1, columns, *framed.shape[1:])])
    flat = maps.astype(float).ravel()
    columns = max(10, int(np.ceil(np.sqrt(flat.size / 2))))
    return np.pad(flat, (0, -flat.size % columns)).reshape(-1, columns)


def _draw_bars(axes: Axes, scores: np.ndarray, classes: Sequence[str], label: int | None) -> None:
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    marked, color = (int(scores.argmax()), BLUE) if label is None else (label, GREEN)
    axes.barh(range(len(shares)), shares, color=[color if place == marked else MUTED for place in range(len(shares))])
    axes.set(xlim=(0, 1), ylim=(len(shares) - 0.5, -0.5), xticks=[0, 1])
    axes.set_title("answer so far", fontsize=9)
    if len(shares) <= CLASSES_NAMED:
        names = [shortened(str(classes[one]) if one < len(classes) else str(one), 12) for one in range(len(shares))]
        axes.set_yticks(range(len(shares)), names, fontsize=8)
    else:
        axes.set_yticks([])
        axes.set_xlabel(f"{len(shares):,} classes")
