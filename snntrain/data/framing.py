"""Events → frames [T, C, H, W], or [T, F] of a sensor without rows."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from snntrain.arguments import choice, flag, integer, invalid, real
from snntrain.data.events import SensorSize, checked, extent

MODES = ("time", "count", "window", "time_surface", "voxel")
#: Part of the cache's key: raise it when a mode's equation changes, so that earlier frames are not reused.
VERSION = 1


@dataclass
class Framing:
    """Turns a recording into T frames.

    With t_0 and t_1 the times of the first and last event, D = t_1 - t_0 + 1 µs, and n events, frame k counts the
    events i of each pixel and polarity with
        time          floor(T (t_i - t_0) / D) = k: T intervals of equal length that cover the whole recording
        count         floor(T i / n) = k: T groups of equally many events
        window        floor((t_i - t_0) / window) = k: intervals of a fixed length; later events are left out (see
                      `dropped`), and the last frames of a short recording are zero
    and holds instead of a count
        time_surface  exp(-(t_0 + (k+1) D / T - t_last) / tau), t_last the time of the pixel's last event up to the end
                      of frame k of "time"; 0 before its first event
        voxel         Σ_i max(0, 1 - |k - (T-1) (t_i - t_0) / (t_1 - t_0)|): each event shared by the two nearest frames
    Nothing is lost in "time", "count" and "voxel": each pixel's sum over the frames is its number of events. tonic's
    frames of equal time leave out the last event and up to T - 1 µs before it.

    Args:
        T: number of frames, ≥ 1.
        sensor_size: [height, width] of the camera, or the number of channels of a sensor with one row.
        mode: one of the five above.
        window: length of a frame in ms, rounded to the microsecond; required by "window" and given for no other mode.
        tau: time constant in ms, ≥ 0.001; required by "time_surface" and given for no other mode.
        binary: 1 where there are events instead of their number; not for surfaces and voxels.
        polarity: "channels" gives OFF and ON a channel each, in this order; "merge" counts them together. A sensor with
            one row has no polarity: "merge".
        downsample: side of the squares of pixels that are counted as one, ≥ 1; squares at the lower and right edge may
            be incomplete.

    Source: time surface: Lagorce et al., TPAMI 2017; voxel grid: Zhu et al., CVPR 2019.
    """

    T: int
    sensor_size: SensorSize
    mode: str = "time"
    window: float | None = None
    tau: float | None = None
    binary: bool = False
    polarity: str = "channels"
    downsample: int = 1

    def __post_init__(self) -> None:
        self.T = integer(self, "T", self.T, at_least=1)
        self.is_line = np.ndim(self.sensor_size) == 0
        self._extent = extent(self.sensor_size)
        self.sensor_size = self._extent[1] if self.is_line else list(self._extent)
        choice(self, "mode", self.mode, MODES)
        choice(self, "polarity", self.polarity, ("channels", "merge"))
        flag(self, "binary", self.binary)
        integer(self, "downsample", self.downsample, at_least=1)
        if self.is_line and self.polarity != "merge":
            raise invalid(self, "polarity", "'merge' for a sensor without rows", self.polarity)
        if self.binary and self.mode in ("time_surface", "voxel"):
            raise invalid(self, "binary", f"False in mode {self.mode}", self.binary)
        for name, mode in (("window", "window"), ("tau", "time_surface")):
            value = getattr(self, name)
            if self.mode == mode:
                setattr(self, name, real(self, name, value, at_least=1e-3))
            elif value is not None:
                raise invalid(self, name, f"None except in mode {mode}", value)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the frames."""
        height, width = (-(-size // self.downsample) for size in self._extent)
        return (self.T, width) if self.is_line else (self.T, 2 if self.polarity == "channels" else 1, height, width)

    @property
    def dtype(self) -> np.dtype:
        """The type that frames are stored in. It depends on the settings alone, because a cache holds one type.

        Counts have 16 bits: the busiest pixel of a long recording exceeds 255, and a saturated count would be wrong.
        Shares of events need the 24 bits of a float32, so that they add up to the number of events; for a single
        exponential the 11 bits of a float16 are enough.
        """
        if self.mode == "voxel":
            return np.dtype(np.float32)
        if self.mode == "time_surface":
            return np.dtype(np.float16)
        return np.dtype(np.uint8 if self.binary else np.uint16)

    def key(self) -> dict[str, Any]:
        """Everything that the frames of a recording depend on, for the key of a cache."""
        return {"version": VERSION, **asdict(self)}

    def __call__(self, events: np.ndarray) -> np.ndarray:
        """Frames of a recording.

        Args:
            events: as read_events returns them; without any, as an augmentation may leave it, the frames are zero.

        Raises: ValueError if an event lies outside the sensor, if time goes back, or if more than 65,535 events fall
            into one pixel of one frame.
        """
        if len(events) == 0:
            return np.zeros(self.shape, self.dtype)
        checked(events, self.sensor_size)
        place, elapsed = self._place(events), events["t"] - events["t"][0]
        if self.mode == "voxel":
            return self._voxels(place, elapsed)
        if self.mode == "time_surface":
            return self._surfaces(place, elapsed)
        frame = self._frame(elapsed)
        if self.mode == "window":
            inside = slice(np.searchsorted(frame, self.T))
            frame, place = frame[inside], place[inside]
        counts = np.bincount(frame * self._pixels + place, minlength=self.T * self._pixels)
        if self.binary:
            counts = counts > 0
        elif counts.max() > np.iinfo(self.dtype).max:
            raise ValueError(
                f"Framing: a pixel has {counts.max()} events in one frame, more than {np.iinfo(self.dtype).max}. Use "
                "more frames, less down-sampling or binary frames."
            )
        return counts.astype(self.dtype).reshape(self.shape)

    def dropped(self, events: np.ndarray) -> int:
        """Number of events after the last window, which are in no frame."""
        if self.mode != "window" or len(events) == 0:
            return 0
        return int((self._frame(events["t"] - events["t"][0]) >= self.T).sum())

    @property
    def _pixels(self) -> int:
        return int(np.prod(self.shape[1:]))

    def _place(self, events: np.ndarray) -> np.ndarray:
        """Number of each event's pixel within a frame."""
        _, height, width = (1, 1, self.shape[-1]) if self.is_line else self.shape[1:]
        place = events["y"].astype(np.int64) // self.downsample * width + events["x"] // self.downsample
        return place + events["p"] * (height * width) if self.polarity == "channels" else place

    def _frame(self, elapsed: np.ndarray) -> np.ndarray:
        """Number of each event's frame."""
        if self.mode == "count":
            return np.arange(len(elapsed)) * self.T // len(elapsed)
        if self.mode == "window":
            return elapsed // round(self.window * 1e3)
        return elapsed * self.T // (elapsed[-1] + 1)

    def _surfaces(self, place: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
        last = np.full(self._pixels, -np.inf)
        surfaces = np.empty((self.T, self._pixels), self.dtype)
        starts = np.searchsorted(self._frame(elapsed), np.arange(self.T + 1))
        for k in range(self.T):
            new = slice(starts[k], starts[k + 1])
            last[place[new]] = elapsed[new]  # if a pixel has several events, the last one wins
            end = (k + 1) * (elapsed[-1] + 1) / self.T
            surfaces[k] = np.exp((last - end) / (self.tau * 1e3))
        return surfaces.reshape(self.shape)

    def _voxels(self, place: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
        position = elapsed * (self.T - 1) / max(elapsed[-1], 1)
        frame = position.astype(np.int64)
        later = position - frame
        index = np.concatenate([frame, np.minimum(frame + 1, self.T - 1)]) * self._pixels + np.tile(place, 2)
        shares = np.bincount(index, np.concatenate([1 - later, later]), minlength=self.T * self._pixels)
        return shares.astype(self.dtype).reshape(self.shape)
