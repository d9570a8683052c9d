"""Events of a camera, through the packages of its makers. No camera was at hand: the tests replace the packages.

Source: https://docs.inivation.com (dv-processing) and https://docs.prophesee.ai (Metavision SDK, OpenEB), for the names
of their functions.
"""

import importlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from snntrain.data.event_fields import EVENT
from snntrain.error import UsageError

#: Name of a source → (module that it needs, how to get that).
CAMERAS = {
    "dv": ("dv_processing", "pip install dv-processing"),
    "metavision": ("metavision_core.event_io", "Prophesee's Metavision SDK or OpenEB, see docs.prophesee.ai"),
}
_PAUSE = 0.0005  # s between two questions to a camera that has nothing


class Camera:
    """A camera that is open: iterating gives its events as they come, [n] of EVENT, until it stops.

    Args:
        name: 'dv' or 'metavision', with a serial number after a colon where several are connected.
        period: µs of events that a camera should give at a time.

    Attributes:
        sensor: (height, width).

    Raises: UsageError naming the package that is missing, or the maker's reason why no camera opens.
    """

    def __init__(self, name: str, period: int) -> None:
        kind, _, serial = name.partition(":")
        module, remedy = CAMERAS[kind]
        try:
            package = importlib.import_module(module)
        except ImportError as error:
            missing = module.partition(".")[0]
            raise UsageError(f"source={name} needs the package {missing}. Install it: {remedy}.") from error
        self.name = name
        try:
            self._events, self.sensor = _OPEN[kind](package, serial, period)
        except Exception as error:  # the makers' own errors have no common class
            raise UsageError(f"source={name}: no camera could be opened: {' '.join(str(error).split())}") from error

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._events


def _open_dv(dv: Any, serial: str, period: int) -> tuple[Iterator[np.ndarray], tuple[int, int]]:
    """iniVation's: a function of dv-processing 2, a class before that."""
    given = (serial,) if serial else ()
    camera = dv.io.camera.open(*given) if hasattr(dv.io, "camera") else dv.io.CameraCapture(*given)
    width, height = camera.getEventResolution()

    def events() -> Iterator[np.ndarray]:
        while camera.isRunning():
            batch = camera.getNextEventBatch()
            if batch is None:
                time.sleep(_PAUSE)
                continue
            yield _renamed(batch.numpy(), {"x": "x", "y": "y", "t": "timestamp", "p": "polarity"})

    return events(), (int(height), int(width))


def _open_metavision(event_io: Any, serial: str, period: int) -> tuple[Iterator[np.ndarray], tuple[int, int]]:
    """Prophesee's: an empty path is the first camera that is found."""
    found = event_io.EventsIterator(serial, mode="delta_t", delta_t=period)
    height, width = found.get_size()
    return (_renamed(batch, {name: name for name in EVENT.names}) for batch in found), (int(height), int(width))


def _renamed(batch: np.ndarray, names: dict[str, str]) -> np.ndarray:
    events = np.empty(len(batch), EVENT)
    for name, theirs in names.items():
        events[name] = batch[theirs]
    return events


_OPEN = {"dv": _open_dv, "metavision": _open_metavision}
