"""Run a network on events while they come: a decision for each window of time, with the states carried over.

    stream = Stream(net, Framing(T=20, sensor_size=[34, 34], mode="window", window=10))
    for events in packets:
        for window in stream.push(events):
            print(window.start, window.decision)

A window's frame, and the spikes that it causes, are those of the same framing and the same network in one batch.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from snntrain.arguments import invalid
from snntrain.data.event_fields import EVENT
from snntrain.data.events import as_events, checked
from snntrain.data.framing import Framing
from snntrain.functional import reset_net, set_step_mode
from snntrain.hooks import modules_with_step_mode, whole_sequence_module
from snntrain.monitor import record, recording

#: Events that one window may hold until it ends.
MOST_EVENTS = 2**24
#: Windows without an event that may lie between two events. A longer silence is refused: the net would run through it.
MOST_EMPTY = 1_000
#: A product with a matrix of a single row is computed by another kernel, which adds up in another order, than one of
#: several rows, as in a batch. A stream therefore computes its sample twice, which gives the bits of the batch.
_ROWS = 2


class StreamError(ValueError):
    """Raised for events that do not continue a stream; the text names why. The stream stays as it was."""


@dataclass(frozen=True)
class Cut:
    """A window whose end has come.

    Attributes:
        index: since the stream began, from 0.
        start: in µs, on the clock of the events.
        events: in the window.
        frame: what the network gets, [C, H, W] or [F].
    """

    index: int
    start: int
    events: int
    frame: np.ndarray


@dataclass(frozen=True)
class Window:
    """What a network makes of a window.

    Attributes:
        cut: the window.
        output: of the network, [K].
        scores: of the windows that a decision looks back on, [K].
    """

    cut: Cut
    output: Tensor
    scores: Tensor

    @property
    def start(self) -> int:
        """In µs, on the clock of the events."""
        return self.cut.start

    @property
    def decision(self) -> int:
        """The class with the largest score."""
        return int(self.scores.argmax())


class Stream:
    """Cuts events into windows and runs a network on each.

    Args:
        net: [T, N, *] → [T, N, K]. It is the stream's while that goes on: in evaluation, in step mode 'm', from reset
            states.
        framing: of mode "window"; its T is the number of last windows that a decision looks back on.
        read_out: outputs of these windows [t, 1, K], t ≤ T, → scores [1, K]; None: their mean.

    Attributes:
        late: events that came after the end of their window, and were left out.

    Raises: ValueError for another mode, and naming a module that has to see the whole sequence at once.
    """

    def __init__(self, net: nn.Module, framing: Framing, read_out: Callable[[Tensor], Tensor] | None = None) -> None:
        if not isinstance(framing, Framing) or framing.mode != "window":
            found = getattr(framing, "mode", framing)
            raise invalid(self, "framing", "a Framing of mode 'window', since others need the whole recording", found)
        if (found := whole_sequence_module(net)) is not None:
            path, module = found
            raise ValueError(
                f"Stream: {path or 'the network'} ({type(module).__name__}) needs the whole sequence at once, and a "
                "stream has no end. Train with another neuron or layer."
            )
        self.net, self.framing, self.late = net.eval(), framing, 0
        self.read_out = read_out or (lambda y_seq: y_seq.mean(0))
        self._one = replace(framing, T=1)
        self._length = round(framing.window * 1e3)
        if any(True for _ in modules_with_step_mode(net)):
            set_step_mode(net, "m")
        self.restart()

    def restart(self) -> None:
        """Begin a new recording: the states are reset, and the clock begins with the next event."""
        reset_net(self.net)
        self._begin: int | None = None
        self._index = 0
        self._waiting: list[np.ndarray] = []
        self._outputs: deque[Tensor] = deque(maxlen=self.framing.T)

    def warm_up(self) -> None:
        """Run the network on an empty window, so that the first real one need not wait for kernels; then restart()."""
        self.decide([Cut(0, 0, 0, np.zeros(self.framing.shape[1:], self.framing.dtype))])
        self.restart()

    def push(self, events: np.ndarray) -> list[Window]:
        """Take events, and run the network on the windows that end by them.

        Args:
            events: with the fields x, y, t in µs and p; within a window in any order.

        Raises: StreamError for events outside of the sensor, too many in a window, or too long after the last ones.
        """
        return self.decide(self.cut(events))

    def finish(self) -> list[Window]:
        """Run the network on the window that is still open; afterward the next recording may begin with restart()."""
        return self.decide(self.cut_last())

    def cut(self, events: np.ndarray) -> list[Cut]:
        """Take events, and give the windows that end by them, without running the network. Arguments as in push."""
        events = self._checked(events)
        if len(events) == 0:
            return []
        begin = int(events["t"].min()) if self._begin is None else self._begin
        numbers = (events["t"] - begin) // self._length
        late = numbers < self._index
        newest = int(numbers.max())
        self._refuse_gaps(np.unique(numbers[~late]))
        waiting = sum(map(len, self._waiting))
        if (most := waiting + int(np.bincount(numbers[~late] - self._index).max(initial=0))) > MOST_EVENTS:
            raise StreamError(f"more than {MOST_EVENTS:,} events in one window, {most:,}. Use shorter windows.")
        self._begin, self.late = begin, self.late + int(late.sum())
        order = np.argsort(numbers, kind="stable")
        events, bounds = events[order], np.searchsorted(numbers[order], np.arange(self._index, newest + 2))
        found = []
        for number, (first, last) in zip(range(self._index, newest + 1), pairwise(bounds), strict=True):
            self._waiting.append(events[first:last])
            if number < newest:
                found += self.cut_last()
        return found

    def cut_last(self) -> list[Cut]:
        """The window that is still open, as it is; none if there is no event in it."""
        events = np.concatenate(self._waiting) if self._waiting else np.zeros(0)
        if self._begin is None or not self._waiting:
            return []
        frame = self._one(events[np.argsort(events["t"], kind="stable")])[0]
        cut = Cut(self._index, self._begin + self._index * self._length, len(events), frame)
        self._index, self._waiting = self._index + 1, []
        return [cut]

    @torch.no_grad()
    def decide(self, cuts: Sequence[Cut]) -> list[Window]:
        """Run the network on windows, all in one call; those that are left out do not reach its states."""
        if not cuts:
            return []
        frames = torch.from_numpy(np.stack([cut.frame for cut in cuts]).astype(np.float32))
        outputs = self.net(self._as_batch(frames))[:, :1].float().cpu()
        windows = []
        for cut, output in zip(cuts, outputs, strict=True):
            self._outputs.append(output)
            scores = self.read_out(torch.stack(list(self._outputs)))[0]
            windows.append(Window(cut, output[0], scores))
        return windows

    def _as_batch(self, frames: Tensor) -> Tensor:
        """Frames [t, *] as the network gets them, [t, 2, *]."""
        device = next((parameter.device for parameter in self.net.parameters()), frames.device)
        return torch.stack([frames] * _ROWS, 1).to(device)

    def _checked(self, events: np.ndarray) -> np.ndarray:
        events = events if events.dtype == EVENT else as_events(events)
        if len(events):
            try:
                checked(events, self.framing.sensor_size, "sort")
            except ValueError as error:
                raise StreamError(str(error)) from None
        return events

    def _refuse_gaps(self, numbers: np.ndarray) -> None:
        """Raises: StreamError where events are further apart than the network may run through."""
        known = np.concatenate([[self._index], numbers])
        if len(known) > 1 and (widest := int(np.diff(known).max())) > MOST_EMPTY + 1:
            raise StreamError(
                f"there is no event for {widest * self.framing.window / 1e3:g} s, more than {MOST_EMPTY:,} windows. "
                "Begin anew after it: restart()."
            )


def differing_spikes(net: nn.Module, framing: Framing, events: np.ndarray) -> tuple[int, int]:
    """Compare a stream with a batch of the same frames: (spikes that differ, spikes), over all layers of neurons.

    Args:
        net, framing: as in Stream.
        events: of one recording, in the order of time.
    """
    stream = Stream(net, framing)
    with recording(net, ("spikes",)) as live:
        cuts = stream.cut(events) + stream.cut_last()
        for cut in cuts:
            stream.decide([cut])
    frames = replace(framing, T=len(cuts))(events)
    whole = record(net, torch.from_numpy(frames.astype(np.float32))[:, None], ("spikes",))
    different = sum(int((live[path]["spikes"][:, :1].cpu() != whole[path]["spikes"]).sum()) for path in whole)
    reset_net(net)
    return different, sum(int((layer["spikes"] != 0).sum()) for layer in whole.values())
