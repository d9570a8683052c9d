"""Augmentations of events before framing, and of frames after it, by name.

If events are augmented, training frames are made anew in every epoch and the cache serves validation and test only.
Augmentations of frames (frame_…) start from cached frames. They come after all those of events, wherever they stand in
the list.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from snntrain.arguments import flag, integer, invalid, real
from snntrain.data.augmentation import named_entries
from snntrain.data.events import SensorSize, extent
from snntrain.data.tonic_package import import_tonic
from snntrain.randomness import seeded
from snntrain.registry import check_arguments

Events = Callable[[np.ndarray], np.ndarray]
Frames = Callable[[Tensor], Tensor]


class EventAugmentation:
    """Chooses the augmentations of an event data set: first those of events, then those of frames, each in their order.

    Args:
        transforms: entries in their order: a name, such as flip_left_right, or a name with arguments, such as
            {name: drop_events, p: 0.1}.
    """

    def __init__(self, transforms: Sequence[str | Mapping[str, Any]] = ()) -> None:
        self.entries: list[tuple[str, str, dict[str, Any]]] = []
        for entry in named_entries(transforms, "data.augment.transforms", (*EVENT_LEVEL, *FRAME_LEVEL), "augmentation"):
            path, name, arguments = entry
            with _naming(path):
                check_arguments(EVENT_LEVEL.get(name) or FRAME_LEVEL[name], arguments)
            self.entries.append(entry)

    def events(self, sensor_size: SensorSize) -> "EventChain | None":
        """The augmentations of events, for a sensor; None: there are none."""
        steps = self._steps(EVENT_LEVEL, sensor_size)
        return EventChain(steps) if steps else None

    def frames(self, shape: Sequence[int]) -> "FrameChain | None":
        """The augmentations of frames, for the shape [T, C, H, W] or [T, F]; None: there are none."""
        steps = self._steps(FRAME_LEVEL, shape[-1] if len(shape) == 2 else tuple(shape[-2:]))
        return FrameChain(steps) if steps else None

    def _steps(self, builders: Mapping[str, Callable[..., Any]], size: SensorSize) -> list[Any]:
        steps = []
        for path, name, arguments in self.entries:
            if name in builders:
                with _naming(path):
                    steps.append(builders[name](size, **arguments))
        return steps


class EventChain:
    """Augments events step by step, reproducibly by seed. They stay in the order of time.

    Args:
        steps: events → events.
    """

    def __init__(self, steps: Sequence[Events]) -> None:
        self.steps = steps

    def __call__(self, events: np.ndarray, seed: int) -> np.ndarray:
        events = events.copy()
        start = events["t"][:1].copy()
        events["t"] -= start  # tonic's time intervals begin at 0, not at the first event
        with seeded(seed):
            for step in self.steps:
                if len(events) == 0:
                    return events
                events = step(events)
        events = events[np.argsort(events["t"], kind="stable")]
        events["t"] += start
        return events


class FrameChain:
    """Augments all frames of a sample alike, step by step and reproducibly by seed.

    Args:
        steps: frames [T, C, H, W] → frames of the same shape.
    """

    def __init__(self, steps: Sequence[Frames]) -> None:
        self.steps = steps

    def __call__(self, frames: Tensor, seed: int) -> Tensor:
        pictures = frames[:, None, None] if frames.dim() == 2 else frames
        with seeded(seed):
            for step in self.steps:
                pictures = step(pictures)
        return pictures.reshape(frames.shape)


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _of_tonic(name: str, *arguments: Any, **named: Any) -> Events:
    transforms = import_tonic("transforms", f"data.augment: {name}")  # takes seconds to import
    return getattr(transforms, name)(*arguments, **named)


def _tonic_size(sensor: SensorSize) -> tuple[int, int, int]:
    height, width = extent(sensor)
    return width, height, 2


def _probability(owner: str, p: float) -> float:
    return real(owner, "p", p, at_least=0, at_most=1)


def _part(owner: str, name: str, value: float) -> float:
    return real(owner, name, value, at_least=0, below=1)


def time_jitter(sensor: SensorSize, /, std: float) -> Events:
    """Shift each event in time by a Gaussian of standard deviation std in ms."""
    return _of_tonic("TimeJitter", std=1e3 * real("time_jitter", "std", std, at_least=0), clip_negative=False)


def time_skew(sensor: SensorSize, /, low: float, high: float) -> Events:
    """Stretch time by a factor drawn from [low, high). Frames of equal time or count do not change."""
    low = real("time_skew", "low", low, above=0)
    return _of_tonic("TimeSkew", coefficient=(low, real("time_skew", "high", high, at_least=low)))


def time_reversal(sensor: SensorSize, /, p: float = 0.5, flip_polarity: bool = True) -> Events:
    """With probability p play the recording backwards and swap ON and OFF."""
    flag("time_reversal", "flip_polarity", flip_polarity)
    return _of_tonic("RandomTimeReversal", p=_probability("time_reversal", p), flip_polarities=flip_polarity)


def spatial_jitter(sensor: SensorSize, /, std: float) -> Events:
    """Move each event by a Gaussian of standard deviation std in pixels. Events that leave the sensor are dropped."""
    height, width = extent(sensor)
    std = real("spatial_jitter", "std", std, at_least=0)
    jitter = _of_tonic("SpatialJitter", _tonic_size(sensor), var_x=std**2, var_y=0.0 if height == 1 else std**2)

    def move(events: np.ndarray) -> np.ndarray:
        # In floats and rounded here: tonic truncates, which would pull every event half a pixel to the corner.
        fine = events.astype([(name, "f8" if name in "xy" else events.dtype[name]) for name in events.dtype.names])
        fine = jitter(fine)
        x, y = np.rint(fine["x"]), np.rint(fine["y"])
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        events = events.copy()
        events["x"], events["y"] = np.where(inside, x, 0), np.where(inside, y, 0)
        return events[inside]

    return move


def drop_events(sensor: SensorSize, /, p: float) -> Events:
    """Drop this part of the events, drawn at random."""
    return _of_tonic("DropEvent", p=_probability("drop_events", p))


def drop_time(sensor: SensorSize, /, part: float = 0.2) -> Events:
    """Drop the events of an interval that covers this part of the recording."""
    return _of_tonic("DropEventByTime", duration_ratio=_part("drop_time", "part", part))


def drop_area(sensor: SensorSize, /, part: float = 0.2) -> Events:
    """Drop the events of a box whose sides are this part of the sensor's."""
    _need_rows("drop_area", sensor)
    return _of_tonic("DropEventByArea", _tonic_size(sensor), area_ratio=_part("drop_area", "part", part))


def drop_pixels(sensor: SensorSize, /, p: float) -> Events:
    """Silence each pixel with probability p."""
    size, p = extent(sensor), _probability("drop_pixels", p)

    def silence(events: np.ndarray) -> np.ndarray:
        # tonic's version scans all events once per dropped pixel, which takes seconds for a sensor of 128×128.
        silent = np.random.random(size) < p
        return events[~silent[events["y"], events["x"]]]

    return silence


def event_drop(sensor: SensorSize, /) -> Events:
    """Apply drop_time, drop_area, drop_events or nothing, with parts as in Gu et al., IJCAI 2021."""
    _need_rows("event_drop", sensor)
    return _of_tonic("EventDrop", _tonic_size(sensor))


def flip_left_right(sensor: SensorSize, /, p: float = 0.5) -> Events:
    """Mirror the recording with probability p."""
    return _of_tonic("RandomFlipLR", _tonic_size(sensor), p=_probability("flip_left_right", p))


def flip_up_down(sensor: SensorSize, /, p: float = 0.5) -> Events:
    """Turn the recording upside down with probability p."""
    _need_rows("flip_up_down", sensor)
    return _of_tonic("RandomFlipUD", _tonic_size(sensor), p=_probability("flip_up_down", p))


def flip_polarity(sensor: SensorSize, /, p: float = 0.5) -> Events:
    """Swap ON and OFF in the whole recording with probability p."""
    return _of_tonic("RandomFlipPolarity", p=_probability("flip_polarity", p))


def noise(sensor: SensorSize, /, n: int) -> Events:
    """Add n events, spread evenly over the sensor and the recording."""
    add = _of_tonic("UniformNoise", _tonic_size(sensor), n=integer("noise", "n", n, at_least=0))

    def scatter(events: np.ndarray) -> np.ndarray:
        # tonic draws polarities from [0, 2), which as bools would all be ON.
        numbers = events.astype([(name, "i8") for name in events.dtype.names])
        return add(numbers).astype(events.dtype)

    return scatter


def frame_shift(size: SensorSize, /, pixels: int) -> Frames:
    """Shift the frames by up to this many pixels in each direction and fill with zeros."""
    height, width = extent(size)
    pixels = integer("frame_shift", "pixels", pixels, at_least=0)
    return v2.RandomCrop((height, width), padding=[pixels, 0 if height == 1 else pixels])


def frame_roll(size: SensorSize, /, pixels: int) -> Frames:
    """Shift the frames cyclically by up to this many pixels in each direction."""
    pixels = integer("frame_roll", "pixels", pixels, at_least=0)

    def roll(frames: Tensor) -> Tensor:
        down, right = torch.randint(-pixels, pixels + 1, (2,)).tolist()
        return frames.roll((down, right), (-2, -1))

    return roll


def frame_flip(size: SensorSize, /, p: float = 0.5) -> Frames:
    """Mirror the frames with probability p."""
    return v2.RandomHorizontalFlip(_probability("frame_flip", p))


def frame_rotate(size: SensorSize, /, degrees: float) -> Frames:
    """Rotate the frames by up to this angle in each direction."""
    _need_rows("frame_rotate", size)
    return v2.RandomRotation(real("frame_rotate", "degrees", degrees, at_least=0, at_most=180))


def frame_scale(size: SensorSize, /, part: float) -> Frames:
    """Enlarge or shrink the frames about their center, by up to this part of their size."""
    _need_rows("frame_scale", size)
    part = real("frame_scale", "part", part, at_least=0, below=1)
    return v2.RandomAffine(degrees=0, scale=(1 - part, 1 + part))


def frame_shear(size: SensorSize, /, degrees: float) -> Frames:
    """Shear the frames along their rows by up to this angle in each direction (Li et al., ECCV 2022)."""
    _need_rows("frame_shear", size)
    return v2.RandomAffine(degrees=0, shear=real("frame_shear", "degrees", degrees, at_least=0, below=90))


def frame_cutout(size: SensorSize, /, side: int) -> Frames:
    """Set a square with this side in pixels to zero (DeVries & Taylor, arXiv 1708.04552)."""
    _need_rows("frame_cutout", size)
    height, width = extent(size)
    side = integer("frame_cutout", "side", side, at_least=1)
    if side >= min(height, width):
        raise invalid("frame_cutout", "side", f"an integer < {min(height, width)}, the frame's side", side)
    part = side**2 / (height * width)
    return v2.RandomErasing(p=1.0, scale=(part, part), ratio=(1.0, 1.0))


def _need_rows(name: str, size: SensorSize) -> None:
    if np.ndim(size) == 0:
        raise ValueError(f"{name}: a sensor without rows has no pictures. Leave it out.")


EVENT_LEVEL: dict[str, Callable[..., Events]] = {
    step.__name__: step
    for step in (
        *(time_jitter, time_skew, time_reversal, spatial_jitter, drop_events, drop_time, drop_area, drop_pixels),
        *(event_drop, flip_left_right, flip_up_down, flip_polarity, noise),
    )
}
FRAME_LEVEL: dict[str, Callable[..., Frames]] = {
    step.__name__: step
    for step in (frame_shift, frame_roll, frame_flip, frame_rotate, frame_scale, frame_shear, frame_cutout)
}
