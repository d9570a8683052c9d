"""What every event data set shares: its recordings are framed, cached and augmented."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snntrain.arguments import choice, flag, invalid
from snntrain.data.cache import Caching, open_cache
from snntrain.data.datamodule import DataModule
from snntrain.data.event_augmentation import EventAugmentation, EventChain
from snntrain.data.events import READERS, describe, read_events
from snntrain.data.framing import Framing
from snntrain.data.split import FrameSplit
from snntrain.data.unlabeled import check_each, files_below, no_labels
from snntrain.signature import take

#: Recordings read to estimate how many events a framing leaves out, if not all are read.
SAMPLED = 64
#: Recordings framed to predict the size of a cache.
PREDICTED = 32
#: Recordings whose durations show=data reports.
LOOKED_AT = 16
#: Usual range of a recording's duration in seconds. Outside of it, the unit of time is probably wrong.
SHORTEST, LONGEST = 1e-3, 600.0


@dataclass
class FrameReader:
    """Reads a recording, augments its events as a seed says, if one is given, and frames them."""

    read: Callable[[Any], np.ndarray]
    framing: Framing
    augmentation: EventChain | None = None

    def __call__(self, recording: Any, seed: int | None = None) -> np.ndarray:
        events = self.read(recording)
        return self.framing(events if seed is None else self.augmentation(events, seed))


class EventDataModule(DataModule, groups=(Caching,)):
    """Base of the event data sets: batches (x [N, T, C, H, W] or [N, T, F], labels [N], index [N]).

    Args:
        root: folder of the data.
        framing: how events become frames; its shape without T is the data's sample_shape.
        num_classes, sample_shape: as in DataModule.
        augment: augmentations of the training split; None: none. If one of them changes events, training frames are
            made anew each time and the cache serves validation and test only.
        verify: read every recording before training, unless all are cached, so that a damaged one is found at once;
            otherwise it is found when its batch comes.
        unsorted: "refuse" or "sort" recordings in which time goes back, see read_events.
        Others as in DataModule and Caching.

    Raises: as in DataModule, and ValueError naming a recording that is damaged.
    """

    VALIDATES_PER_CLASS = True
    #: Options of read_events with which a single file of the data set is read; None: it is read in another way.
    reading: Mapping[str, Any] | None = None
    #: Endings of its files; None: all that read_events reads.
    formats: Sequence[str] | None = None

    def __init__(
        self,
        root: str,
        framing: Framing,
        num_classes: int,
        *,
        augment: EventAugmentation | None = None,
        verify: bool = True,
        unsorted: str = "refuse",
        **common: Any,
    ) -> None:
        if not isinstance(framing, Framing):
            raise invalid(self, "framing", "a Framing, in YAML {_target_: snntrain.data.framing.Framing, …}", framing)
        self.SAMPLE_SHAPE = framing.shape[1:]
        self.caching = take(Caching, common)
        super().__init__(num_classes, **common)
        self.root, self.framing = Path(root), framing
        augment = augment or EventAugmentation()
        self.augment_events = augment.events(framing.sensor_size)
        self.augment = augment.frames(framing.shape)
        self.caching.check(self)
        self.verify = flag(self, "verify", verify)
        self.unsorted = choice(self, "unsorted", unsorted, ("refuse", "sort"))
        self.hashes: dict[str, str] = {}

    def fingerprint(self) -> dict[str, str]:
        return dict(self.hashes)

    def unlabeled(self, folder: Path) -> FrameSplit:
        if self.reading is None:
            return super().unlabeled(folder)
        paths = files_below(folder, self.formats or tuple(READERS), "recordings")
        read = partial(read_events, sensor_size=self.framing.sensor_size, **self.reading)
        split = FrameSplit(paths, no_labels(paths), FrameReader(read, self.framing), shape=self.framing.shape)
        if self.verify:
            check_each(split)
        return split

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        super().setup(stage)
        train = self.splits["train"]
        if self.augment_events:
            train.frame_augmented = replace(train.frame, augmentation=self.augment_events)

    @property
    def dt(self) -> float | None:
        """Length of a frame in ms; None where it differs from recording to recording, in all modes but 'window'."""
        return self.framing.window if self.framing.mode == "window" else None

    def assumed(self) -> dict[str, str]:
        split, framing = self.splits["train"], self.framing
        places = split.index[torch.linspace(0, len(split) - 1, min(LOOKED_AT, len(split))).long()].tolist()
        looked_at = [split.frame.read(split.recordings[place]) for place in places]
        seconds = sorted(float(events["t"][-1] - events["t"][0]) / 1e6 for events in looked_at)
        counts = sorted(map(len, looked_at))
        odd = "" if SHORTEST <= seconds[len(seconds) // 2] <= LONGEST else ": is that right? See data.time_unit."
        side = framing.downsample
        pixels = "" if side == 1 else f", squares of {side}×{side} pixels counted as one"
        more = f", {framing.window} ms each" if framing.mode == "window" else ""
        more += f", tau {framing.tau} ms" if framing.mode == "time_surface" else ""
        more += "; OFF and ON a channel each" if framing.polarity == "channels" else "; OFF and ON counted together"
        more += "; binary" if framing.binary else ""
        return {
            "sensor": f"{describe(framing.sensor_size)}{pixels}",
            "durations": f"{seconds[0]:.4g} to {seconds[-1]:.4g} s in {len(looked_at)} recordings{odd}",
            "events": f"{counts[0]:,} to {counts[-1]:,} in each of them",
            "frames": f"{framing.T} of mode {framing.mode}{more}",
            "frame cache": f"{'none' if split.cache is None else split.cache.describe()} (data.cache)",
            "time going back": f"{'refused' if self.unsorted == 'refuse' else 'sorted'} (data.unsorted)",
        } | super().assumed()

    def frames(
        self,
        source: str,
        *,
        recordings: Sequence[Any],
        labels: Sequence[int],
        read: Callable[[Any], np.ndarray],
        settings: Mapping[str, Any],
        caches: Path,
    ) -> FrameSplit:
        """All recordings of a source as a split, with the cache that the settings ask for.

        Args:
            source: name in `hashes` of the hash of its content.
            recordings: as `read` takes them.
            read: recording → events.
            settings: everything besides the content that the events depend on, for the cache's key.

        Raises: ValueError naming a recording that is damaged.
        """
        key = {"data": self.hashes[source], "read": dict(settings), "framing": self.framing.key()}
        shape, dtype = self.framing.shape, self.framing.dtype
        reader = FrameReader(read, self.framing)

        def some() -> Iterator[np.ndarray]:
            for recording in recordings[:: -(-len(recordings) // PREDICTED)]:
                with contextlib.suppress(ValueError):  # those that are damaged are named below, or in their batch
                    yield reader(recording)

        cache = open_cache(self.caching, caches, key, count=len(recordings), shape=shape, dtype=dtype, some=some)
        if cache is None or len(cache) < len(recordings):
            self._look_through(source, recordings, read)
        return FrameSplit(recordings, torch.tensor(labels), reader, shape=shape, cache=cache)

    def _look_through(self, source: str, recordings: Sequence[Any], read: Callable[[Any], np.ndarray]) -> None:
        """Read the recordings to find damaged ones now, and warn if the framing leaves out events."""
        step = 1
        if not self.verify:
            if self.framing.mode != "window":
                return
            step = -(-len(recordings) // SAMPLED)
        total = dropped = 0
        for recording in recordings[::step]:
            events = read(recording)
            total, dropped = total + len(events), dropped + self.framing.dropped(events)
        if dropped:
            warnings.warn(
                f"data: {dropped / total:.2%} of the events ({dropped:,} of {total:,}, {source}) come after T·window = "
                f"{self.framing.T * self.framing.window:g} ms and are in no frame. Raise data.framing.window or T to "
                "keep them.",
                stacklevel=2,
            )
