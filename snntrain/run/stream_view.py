"""What a stream shows: a panel in the terminal while it runs, and a picture and an animation at its end."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from snntrain.files import replacing
from snntrain.stream import Cut, Window
from snntrain.terminal import bold, print_line, warn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from snntrain.run.streaming import Row, Totals

WIDTH = 79  # columns that the panel has at most
CLASSES_SHOWN = 10
REMEMBERED = 2_000  # windows that the picture shows
ANIMATED = 60  # windows of the last recording that the animation shows
_BLOCKS = " ▁▂▃▄▅▆▇█"
_HISTORY = 60  # windows of the line of events
_PER_SECOND = 10


class Shown:
    """The last windows of a stream.

    Args:
        classes: their names.
        window: length in ms.
        has_real_pace: whether latencies count from a window's end, and windows can be dropped.
    """

    def __init__(self, classes: Sequence[str], window: float, has_real_pace: bool) -> None:
        self.classes, self.window, self.has_real_pace = list(classes), window, has_real_pace
        self.name = ""
        self.rows: deque[tuple[str, Row]] = deque(maxlen=REMEMBERED)
        self.last: deque[Window] = deque(maxlen=ANIMATED)

    def add(self, name: str, row: "Row") -> None:
        """Remember a window of a recording, pipe or camera."""
        window, _ = row
        if name != self.name or (isinstance(window, Window) and window.cut.index == 0):
            self.name = name
            self.last.clear()
        self.rows.append((name, row))
        if isinstance(window, Window):
            self.last.append(window)

    def panel(self, totals: "Totals") -> Group:
        """The present state in so many columns."""
        if not self.last:
            return Group(Text("waiting for events …"))
        window = self.last[-1]
        cut = window.cut
        where = f"window {cut.index + 1:,}   {(cut.index + 1) * self.window / 1e3:.2f} s   {cut.events:,} events"
        lines = [bold(_clipped(self.name, WIDTH - 3 - cell_len(where)), f"   {where}")]
        scores = window.scores.numpy().astype(float)
        shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        order = np.argsort(-shares, kind="stable")[:CLASSES_SHOWN]
        names = [_clipped(str(self.classes[one]), 24) for one in sorted(order)]
        room = max(map(cell_len, names))
        for one, name in zip(sorted(order), names, strict=True):
            bar = "█" * round(shares[one] * (WIDTH - room - 12))
            style = "bold green" if one == window.decision else ""
            lines.append(Text.assemble((f" {name:>{room}} ", style), (bar, style or "dim"), f" {shares[one]:.2f}"))
        counts = [row[0].cut.events if isinstance(row[0], Window) else row[0].events for _, row in self.rows]
        recent = counts[-_HISTORY:]
        most = max([*recent, 1])
        bars = "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] for count in recent)
        lines += [Text(f" events {bars}"), Text(f" {self.told(totals)}")]
        return Group(*lines)

    def told(self, totals: "Totals") -> str:
        """The figures so far in one line."""
        p50, p99 = totals.percentile(50), totals.percentile(99)
        if p50 is None:
            return "no window was decided"
        slower = f", {totals.dropped:,} dropped" if self.has_real_pace else ""
        return f"{totals.windows:,} windows{slower}   latency p50 {p50:.1f} ms, p99 {p99:.1f} of {self.window:g} ms"

    def close(self, console: Console, totals: "Totals") -> None:
        """Say what the stream came to."""
        console.print(self.told(totals))
        if totals.dropped:
            warn(console, f"{totals.dropped:,} windows came faster than the net could follow, and were dropped.")
        if totals.late:
            warn(console, f"{totals.late:,} events came after the end of their window, and were left out.")
        if totals.different is not None:
            console.print(f"{totals.different:,} of {totals.spikes:,} spikes differ from batch mode")


class View:
    """The panel, kept in its place in a terminal; lines of text elsewhere.

    Args:
        console: where it is shown.
        shown: what is shown.
    """

    def __init__(self, console: Console, shown: Shown) -> None:
        self.console, self.shown = console, shown
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._since = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def refresh(self, totals: "Totals") -> None:
        """Show the present state, ten times a second at most."""
        if self._live is None:
            return
        now = self.console.get_time()
        if now - self._since >= 1 / _PER_SECOND:
            self._since = now
            self._live.update(self.shown.panel(totals), refresh=True)

    def say(self, text: str, is_problem: bool = False) -> None:
        """A line above the panel."""
        warn(self.console, text) if is_problem else print_line(self.console, text)

    def end_of_recording(self, totals: "Totals") -> None:
        """A line about the recording that has ended."""
        if self.shown.last:
            window = self.shown.last[-1]
            many = window.cut.index + 1
            decision = self.shown.classes[window.decision]
            self.say(f"{self.shown.name}: {decision}   ({many:,} windows, {many * self.shown.window / 1e3:.2f} s)")


def draw(shown: Shown, output: Path) -> None:
    """Write stream.png, the last windows as curves, and stream.gif, those of the last recording as they came."""
    from snntrain.figure import FULL_WIDTH, MUTED, new_figure, style
    from snntrain.plot import animate

    rows = [row for _, row in shown.rows]
    with style():
        figure = new_figure(FULL_WIDTH, 5.6)
        panels = figure.subplots(3, 1, sharex=True, height_ratios=[2.4, 1, 1.2])
        _draw_scores(panels[0], rows, shown)
        panels[1].bar(range(1, len(rows) + 1), [_cut(row).events for row in rows], width=1.0, color=MUTED, alpha=0.6)
        panels[1].set_ylabel("events")
        _draw_latencies(panels[2], rows, shown)
        for axes in panels:
            for place in _begins(shown):
                axes.axvline(place + 0.5, color=MUTED, linewidth=0.6, alpha=0.5)
            axes.grid(axis="y")
        panels[-1].set_xlabel(f"window of {shown.window:g} ms")
        panels[-1].set_xlim(0.5, len(rows) + 0.5)
        with replacing(output / "stream.png") as temporary:
            figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
    frames = np.stack([window.cut.frame for window in shown.last])
    if frames.ndim == 2:  # a row of channels
        frames = frames[:, None, None]
    scores = np.stack([window.scores.numpy() for window in shown.last])
    animate(frames, output / "stream.gif", scores=scores, classes=shown.classes, milliseconds=max(20, shown.window))


def _draw_scores(axes: "Axes", rows: Sequence["Row"], shown: Shown) -> None:
    """A curve for each class; those that were ever decided for are colored."""
    scores = np.full((len(rows), len(shown.classes)), np.nan)
    for place, (window, _) in enumerate(rows):
        if isinstance(window, Window):
            scores[place] = window.scores.numpy()
    decided = [window.decision for window, _ in rows if isinstance(window, Window)]
    often = [one for one, _ in sorted({(one, -decided.count(one)) for one in decided}, key=lambda pair: pair[1])]
    for one in range(len(shown.classes)):
        is_named = one in often[:6]
        look = {"label": f" {_clipped(str(shown.classes[one]), 16)}"} if is_named else {"color": "#c9cfd9", "zorder": 1}
        axes.plot(range(1, len(rows) + 1), scores[:, one], linewidth=1.6 if is_named else 0.9, **look)
    axes.set_ylabel("score")
    axes.set_title(_clipped(shown.name, 30) if not _begins(shown) else "a recording between two lines")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=6)


def _draw_latencies(axes: "Axes", rows: Sequence["Row"], shown: Shown) -> None:
    from snntrain.figure import BLUE, MUTED, RED

    known = [(place, latency) for place, (_, latency) in enumerate(rows, start=1) if latency is not None]
    lost = [place for place, (_, latency) in enumerate(rows, start=1) if latency is None]
    axes.plot(*zip(*known, strict=True), ".", color=BLUE, markersize=3)
    axes.plot(lost, [0] * len(lost), "x", color=RED, markersize=4, label=" dropped" if lost else None)
    axes.axhline(shown.window, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=" a window's length")
    axes.set_ylabel("latency in ms")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.95), ncols=2, fontsize=7.5)


def _begins(shown: Shown) -> list[int]:
    """Places between two windows at which another recording begins."""
    names = [(name, _cut(row).index) for name, row in shown.rows]
    return [place for place in range(1, len(names)) if names[place][1] <= names[place - 1][1]]


def _cut(row: Any) -> Cut:
    return row[0].cut if isinstance(row[0], Window) else row[0]


def _clipped(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: max(1, columns - 1)] + "…"
