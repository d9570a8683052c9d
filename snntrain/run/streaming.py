"""eval.py mode=stream: a trained network on events while they come, window by window."""

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from snntrain.arguments import Bounds
from snntrain.config.error import refusing
from snntrain.data import Framing, Target
from snntrain.data.event_datamodule import EventDataModule
from snntrain.data.event_source import Piece, pieces_of
from snntrain.data.events import read_events
from snntrain.data.target import learned_by
from snntrain.encoding import FramesEncoder
from snntrain.error import UsageError
from snntrain.files import replacing, write_json
from snntrain.run.interruption import Interrupted
from snntrain.run.stream_view import Shown, View, draw
from snntrain.spreadsheet import csv_text
from snntrain.stream import Cut, Stream, StreamError, Window, differing_spikes
from snntrain.terminal import print_line, terminal

PACES = ("real", "full")
#: Windows that may wait for the network at real pace; older ones are dropped.
MOST_WAITING = 10
#: Windows whose latencies are counted, and problems that are listed.
_COUNTED, _LISTED = 1_000_000, 100
_AT_ONCE = 64  # windows of a recording that are cut in advance

console = terminal()


@dataclass
class Totals:
    """What a stream came to."""

    windows: int = 0
    dropped: int = 0
    events: int = 0
    recordings: int = 0
    late: int = 0
    different: int | None = None
    spikes: int = 0
    latencies: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float | None:
        """A percentile of the latencies in ms; None: no window was decided."""
        return float(np.percentile(self.latencies, share)) if self.latencies else None


def stream(task: pl.LightningModule, data: Any, own: Mapping[str, str], output: Path, classes: Sequence[str]) -> Totals:
    """Run the stream that a command line of eval.py describes, and write stream.csv, .json, .png and .gif.

    Raises: UsageError for a task, data or keys that cannot be streamed.
    """
    framing = _framing(task, data, own)
    pace, idle = own.get("pace", "real"), _number(own, "idle_s", 5.0, above=0)
    if pace not in PACES:
        raise UsageError(f"eval: pace must be one of 'real', 'full', got {pace!r}.")
    if own.get("compare", "false") not in ("true", "false"):
        raise UsageError(f"eval: compare must be true or false, got {own['compare']!r}.")
    with refusing("eval"):
        live = Stream(task.net, framing, lambda y_seq: task.scores(y_seq))
        live.warm_up()
    read = partial(read_events, sensor_size=framing.sensor_size, **data.reading)
    pieces = pieces_of(own["source"], framing.sensor_size, read, period=round(framing.window * 1e3), idle=idle)
    totals, shown = Totals(), Shown(classes, framing.window, has_real_pace=pace == "real")
    with (
        _short_collections(),
        replacing(output / "stream.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        file.write(csv_text([["recording", "window", "start_ms", "events", "decision", "score", "latency_ms"]]))
        with View(console, shown) as view, suppress(Interrupted, KeyboardInterrupt):
            for piece in pieces:
                for name, row in _play(live, piece, pace == "real", totals):
                    file.write(csv_text([_cells(name, row, classes)]))
                    shown.add(name, row)
                    view.refresh(totals)
                _tell(view, live, piece, totals, own.get("compare") == "true")
            for window, latency in _decided(live, live.cut_last(), totals, None):
                file.write(csv_text([_cells(shown.name, (window, latency), classes)]))
                shown.add(shown.name, (window, latency))
    totals.late = live.late
    _finish(totals, shown, framing, own["source"], output)
    return totals


@contextmanager
def _short_collections() -> Iterator[None]:
    """Leave everything that exists by now to later garbage collections.

    To walk through all that torch has loaded takes 0.2 s and more, which is tens of windows.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _framing(task: pl.LightningModule, data: Any, own: Mapping[str, str]) -> Framing:
    """Windows with the other settings of the run's framing; refuses runs that cannot be streamed."""
    if not isinstance(data, EventDataModule) or data.reading is None:
        raise UsageError(
            f"eval: mode=stream needs a run on recordings of events, and {type(data).__name__} reads none by itself."
        )
    if learned_by(task) is not Target.CLASS or not hasattr(task, "scores"):
        raise UsageError(f"eval: mode=stream decides between classes; {type(task).__name__} learns something else.")
    if not isinstance(getattr(task, "encoder", None), FramesEncoder):
        raise UsageError("eval: mode=stream hands frames to the net as they are, with encoder=frames.")
    if data.framing.mode in ("time_surface", "voxel"):
        raise UsageError(f"eval: mode=stream counts events in windows; this run saw frames of {data.framing.mode}.")
    if "window_ms" not in own and data.framing.mode != "window":
        raise UsageError(
            f"eval: this run saw frames of mode {data.framing.mode}, whose length differs from recording to recording. "
            "Say how long a window is: window_ms=10."
        )
    window = _number(own, "window_ms", data.framing.window, at_least=1e-3)
    if data.framing.mode != "window":
        print_line(
            console,
            f"The net was trained on {task.T} frames of mode {data.framing.mode} for each recording; windows of "
            f"{window:g} ms hold other numbers of events.",
        )
    return replace(data.framing, mode="window", window=window)


def _number(own: Mapping[str, str], key: str, default: float | None, **bounds: float) -> float:
    if key not in own:
        return default
    try:
        value = float(own[key])
    except ValueError:
        value = float("nan")
    allowed = Bounds(**bounds)
    if not allowed.allow(value):
        raise UsageError(f"eval: {key} must be {allowed}, got {own[key]!r}.")
    return value


Row = tuple[Window | Cut, float | None]  # a cut alone was dropped


def _play(live: Stream, piece: Piece, at_real_pace: bool, totals: Totals) -> Iterator[tuple[str, Row]]:
    """The windows of a piece as they are decided or dropped."""
    if piece.events is None:
        return
    if piece.arrival is not None:
        try:
            cuts = live.cut(piece.events)
        except StreamError as error:
            _note(totals, f"{piece.name}: {error} It begins anew.")
            live.restart()
            return
        due = {cut.index: piece.arrival for cut in cuts} if at_real_pace else None
        yield from ((piece.name, row) for row in _decided(live, cuts, totals, due))
        return
    live.restart()
    began, length = time.monotonic(), live.framing.window / 1e3
    for cuts in _in_parts(live, piece, totals):
        due = {cut.index: began + (cut.index + 1) * length for cut in cuts} if at_real_pace else None
        yield from ((piece.name, row) for row in _decided(live, cuts, totals, due))
    totals.recordings += 1


def _in_parts(live: Stream, piece: Piece, totals: Totals) -> Iterator[list[Cut]]:
    """The windows of a recording, some at a time, so that an hour of them need not lie in memory."""
    events, step = piece.events, round(live.framing.window * 1e3) * _AT_ONCE
    number = (events["t"] - events["t"][0]) // step
    bounds = [*np.flatnonzero(np.diff(number, prepend=-1)), len(events)]
    try:
        for first, last in pairwise(bounds):
            yield live.cut(events[first:last])
    except StreamError as error:
        _note(totals, f"{piece.name}: {error} The rest of it is left out.")
    yield live.cut_last()


def _decided(live: Stream, cuts: list[Cut], totals: Totals, due: Mapping[int, float] | None) -> Iterator[Row]:
    """Each window with its latency in ms: from its end, or at full pace from the call of the network."""
    waiting = list(cuts)
    while waiting:
        now = time.monotonic()
        if due is None:
            ready, waiting = waiting[:1], waiting[1:]
        else:
            if (early := due[waiting[0].index] - now) > 0:
                time.sleep(early)
                now = time.monotonic()
            ready = [cut for cut in waiting if due[cut.index] <= now]
            waiting = waiting[len(ready) :]
            oldest = now - MOST_WAITING * live.framing.window / 1e3
            dropped = [cut for cut in ready if due[cut.index] < oldest]
            ready = ready[len(dropped) :]
            totals.dropped += len(dropped)
            yield from ((cut, None) for cut in dropped)
        windows = live.decide(ready)
        ended = time.monotonic()
        for window in windows:
            latency = 1e3 * (ended - (now if due is None else due[window.cut.index]))
            totals.windows, totals.events = totals.windows + 1, totals.events + window.cut.events
            if len(totals.latencies) < _COUNTED:
                totals.latencies.append(latency)
            yield window, latency


def _tell(view: View, live: Stream, piece: Piece, totals: Totals, compare: bool) -> None:
    if piece.problem:
        _note(totals, f"{piece.name}: {piece.problem}")
        view.say(f"{piece.name}: {piece.problem}", is_problem=True)
    elif piece.arrival is None:
        view.end_of_recording(totals)
        if compare:
            different, spikes = differing_spikes(live.net, live.framing, piece.events)
            totals.different, totals.spikes = (totals.different or 0) + different, totals.spikes + spikes


def _note(totals: Totals, problem: str) -> None:
    if len(totals.problems) < _LISTED:
        totals.problems.append(problem)


def _cells(name: str, row: Row, classes: Sequence[str]) -> list[Any]:
    window, latency = row
    if isinstance(window, Cut):
        return [name, window.index, window.start / 1e3, window.events, "", "", ""]
    score, decision = float(window.scores.max()), classes[window.decision]
    return [name, window.cut.index, window.start / 1e3, window.cut.events, decision, f"{score:.6g}", f"{latency:.3f}"]


def _finish(totals: Totals, shown: Shown, framing: Framing, source: str, output: Path) -> None:
    p50, p99 = totals.percentile(50), totals.percentile(99)
    told = {
        "source": source,
        "window_ms": framing.window,
        "windows": totals.windows,
        "dropped": totals.dropped,
        "events": totals.events,
        "late_events": totals.late,
        "recordings": totals.recordings,
        "latency_ms": None if p50 is None else {"p50": p50, "p99": p99, "max": max(totals.latencies)},
        "compared": None if totals.different is None else {"different": totals.different, "spikes": totals.spikes},
        "problems": totals.problems,
    }
    write_json(output / "stream.json", told)
    shown.close(console, totals)
    if totals.windows:
        draw(shown, output)
    print_line(console, f"written: {output / 'stream.csv'}, .json" + (", .png, .gif" if totals.windows else ""))
