"""One recording of a data set that tonic knows → its events, read by tonic's own class."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from snntrain.data.damage import check_readable, decoding
from snntrain.data.event_arrays import check_array, check_ratio
from snntrain.data.events import BadRecording, SensorSize, as_events, checked
from snntrain.data.tonic_package import import_tonic


@dataclass
class TonicReader:
    """Reads the events of a sample, given its number.

    Attributes:
        kind: name of the class in tonic.datasets.
        root: paths.data.
        arguments: of the class: which of its parts.
        sensor_size, unsorted: as in read_events.
    """

    kind: str
    root: str
    arguments: dict[str, Any] = field(default_factory=dict)
    sensor_size: SensorSize = (0, 0)
    unsorted: str = "refuse"

    @cached_property
    def dataset(self) -> Any:
        theirs = getattr(import_tonic("datasets", f"data: {self.kind}"), self.kind)
        # Tonic would download the archive again where it is gone, even if everything it held is there. We have checked
        # for missing files before. The class's name decides in which folder tonic looks.
        present = type(self.kind, (theirs,), {"_check_exists": lambda dataset: True})
        dataset = present(self.root, **self.arguments)
        if dataset.data:  # sorted, because tonic's order depends on the file system
            pairs = zip(dataset.data, dataset.targets, strict=True)
            ordered = sorted((path, label) for path, label in pairs if not Path(path).name.startswith("."))
            dataset.data, dataset.targets = map(list, zip(*ordered, strict=True))
        return dataset

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker opens the data set again: tonic's class with our change cannot be pickled by name.
        return {name: value for name, value in self.__dict__.items() if name != "dataset"}

    def where(self, number: int) -> str:
        """The file of a sample, and its place in it where the file has several."""
        if self.dataset.data:
            return str(self.dataset.data[number])
        return f"{Path(self.root, self.kind, self.dataset.data_filename)}, sample {number}"

    def __call__(self, number: int) -> np.ndarray:
        try:
            with decoding(lambda reason: BadRecording(f"data: {self.where(number)}: {reason}"), ImportError):
                if self.dataset.data:
                    self._check_file(Path(self.dataset.data[number]))
                return checked(as_events(self.dataset[number][0]), self.sensor_size, self.unsorted)
        except ImportError as error:
            raise ImportError(
                f"data: {self.kind} needs the package {error.name}. Install it: pip install {error.name}."
            ) from error

    def _check_file(self, path: Path) -> None:
        """Refuse what tonic would not notice, or only after it had used up the memory."""
        check_readable(path)
        if path.suffix == ".bin" and path.stat().st_size % 5:
            raise ValueError("it is truncated: its size is not a multiple of 5 bytes per event")
        if path.suffix == ".npy":
            with path.open("rb") as file:
                check_array(file, path.stat().st_size)
        if path.suffix == ".mat":
            from scipy.io import whosmat

            declared = sum(8 * math.prod(shape) for _, shape, _ in whosmat(path))
            check_ratio(declared, path.stat().st_size)
