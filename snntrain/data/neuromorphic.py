"""The public event data sets, read by tonic."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snntrain.arguments import flag, real
from snntrain.data.cache import frames_folder
from snntrain.data.damage import check_readable, is_systems, one_line
from snntrain.data.download import fetch
from snntrain.data.event_arrays import check_stored
from snntrain.data.event_datamodule import EventDataModule
from snntrain.data.events import SensorSize
from snntrain.data.fingerprint import content_hash
from snntrain.data.source import missing_message
from snntrain.data.split import FrameSplit, held_out
from snntrain.data.tonic_reader import TonicReader
from snntrain.registry import register


class NeuromorphicDataModule(EventDataModule):
    """Base of the data sets that tonic reads, from <root>/<tonic's name> in tonic's layout.

    Args:
        root: the folder that holds the data set's folder.
        partial: use an incomplete data set with a warning instead of refusing it.
        download: fetch what is missing.
        test_fraction: part of each class that is held out for testing where the data set has no test set.
        Others as in EventDataModule.

    Raises: FileNotFoundError naming what is missing, its URL, its checksum and the folder to put it in; ValueError for
        an incomplete data set or a damaged recording.
    """

    TONIC: str  # name of the class in tonic.datasets
    SENSOR: SensorSize
    #: split → arguments of tonic's class, and its number of recordings; None: nobody published it.
    PARTS: Mapping[str, tuple[dict[str, Any], int | None]]
    AT_LEAST = ""  # "at least " where that number is a lower bound
    ENDING: str  # of the recordings
    #: What tonic does to the events, for show=data.
    CHANGED: Mapping[str, str] = {}

    def __init__(
        self, *, partial: bool = False, download: bool = False, test_fraction: float = 0.1, **common: Any
    ) -> None:
        super().__init__(**common)
        sensor = list(self.SENSOR) if np.ndim(self.SENSOR) else self.SENSOR
        if self.framing.sensor_size != sensor:
            raise ValueError(
                f"{type(self).__name__}: framing.sensor_size must be {sensor}, which is what the data has, got "
                f"{self.framing.sensor_size}. To make frames smaller, use framing.downsample."
            )
        self.partial = flag(self, "partial", partial)
        self.download = flag(self, "download", download)
        self.test_fraction = real(self, "test_fraction", test_fraction, above=0, below=1)

    @property
    def folder(self) -> Path:
        """Where tonic looks for the data set."""
        return self.root / self.TONIC

    def prepare_data(self) -> None:
        if self.download and not self.partial and any(self._is_short(part) for part in self.PARTS):
            fetch(type(self).__name__, self.root)

    def load(self) -> dict[str, FrameSplit]:
        return {part: self._read(part) for part in self.PARTS}

    def assumed(self) -> dict[str, str]:
        return {**self.CHANGED} | super().assumed()

    def _files(self, part: str) -> list[Path]:
        """The files that a part is read from."""
        return [path for path in self._place(part).rglob(f"*{self.ENDING}") if not path.name.startswith(".")]

    def _place(self, part: str) -> Path:
        """The folder of a part."""
        return self.folder

    def _archive(self, part: str) -> str:
        """The archive with a part; '': there is only one."""
        return ""

    def _missing(self, part: str) -> str:
        """The files of a part, as a pattern relative to the data set's folder."""
        return f"{(self._place(part) / '**').relative_to(self.folder)}/*{self.ENDING}"

    def _is_short(self, part: str) -> bool:
        whole = self.PARTS[part][1]
        return len(self._files(part)) < (whole or 1)

    def _check_present(self, part: str) -> list[Path]:
        name, files = type(self).__name__, self._files(part)
        if not files:
            raise FileNotFoundError(missing_message(name, self.root, self._missing(part), self._archive(part)))
        if self._is_short(part):
            count = (
                f"{len(files):,} of {self.AT_LEAST}{self.PARTS[part][1]:,} recordings of {name}'s {part} set are in "
                f"{self._place(part)}"
            )
            if not self.partial:
                raise ValueError(
                    f"data: only {count}. Fetch the rest with `python scripts/fetch_data.py name={name}`, or run with "
                    "data.partial=true to use what is there."
                )
            warnings.warn(f"data: only {count}: results are not those of the whole set.", stacklevel=2)
        return files

    def _read(self, part: str) -> FrameSplit:
        files = self._check_present(part)
        arguments, _ = self.PARTS[part]
        reader = TonicReader(self.TONIC, str(self.root), arguments, sensor_size=self.SENSOR, unsorted=self.unsorted)
        labels = self._labels(reader.dataset)
        wrong = [number for number, label in enumerate(labels) if not 0 <= label < self.num_classes]
        if wrong:
            raise ValueError(
                f"data: {reader.where(wrong[0])} has the label {labels[wrong[0]]}, but {type(self).__name__} has "
                f"{self.num_classes} classes, numbered from 0. Remove what does not belong to it."
            )
        source = f"{part} recordings"
        self.hashes[source] = content_hash(self.folder, files)
        return self.frames(
            source,
            recordings=range(len(labels)),
            labels=labels,
            read=reader,
            settings={"tonic": self.TONIC, "unsorted": self.unsorted},
            caches=frames_folder(self.root),
        )

    def _labels(self, dataset: Any) -> list[int]:
        return [int(label) for label in dataset.targets]


class _TrainAndTest(NeuromorphicDataModule):
    """Base of data sets with a folder and an archive for each of training and testing."""

    FOLDERS: Mapping[str, str]
    ARCHIVES: Mapping[str, str]

    def _place(self, part: str) -> Path:
        return self.folder / self.FOLDERS[part]

    def _archive(self, part: str) -> str:
        return self.ARCHIVES[part]


@register("data")
class NMNIST(_TrainAndTest):
    """N-MNIST: 70,000 recordings of MNIST's digits on a screen, 34×34, three saccades of 100 ms each.

    Args: as in NeuromorphicDataModule.
    Source: Orchard et al., Frontiers in Neuroscience 2015.
    """

    CLASSES = tuple("0123456789")
    TONIC, SENSOR, ENDING = "NMNIST", (34, 34), ".bin"
    PARTS = {"train": ({"train": True}, 60_000), "test": ({"train": False}, 10_000)}
    FOLDERS = {"train": "Train", "test": "Test"}
    ARCHIVES = {"train": "train.zip", "test": "test.zip"}


@register("data")
class DVSGesture(_TrainAndTest):
    """DVS128 Gesture: 11 gestures of 29 people, 128×128, cut into samples and with times in ms, as tonic offers it.

    Args: as in NeuromorphicDataModule.
    Source: Amir et al., CVPR 2017.
    """

    CLASSES = (
        *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise"),
        *("left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures"),
    )
    TONIC, SENSOR, ENDING = "DVSGesture", (128, 128), ".npy"
    CHANGED = {"unit of time": "ms in the files, made µs"}
    PARTS = {"train": ({"train": True}, 100), "test": ({"train": False}, 100)}
    AT_LEAST = "at least "  # tonic checks for 100
    FOLDERS = {"train": "ibmGestureTrain", "test": "ibmGestureTest"}
    ARCHIVES = {"train": "ibmGestureTrain.tar.gz", "test": "ibmGestureTest.tar.gz"}


class _Undivided(NeuromorphicDataModule):
    """Base of data sets without a test set: a part of each class is held out, the same for every seed of a run."""

    def load(self) -> dict[str, FrameSplit]:
        whole = self._read("all")
        stay, out = self._divide(whole.labels)
        return {"train": whole.subset(stay), "test": whole.subset(out)}

    def assumed(self) -> dict[str, str]:
        how = f"{self.test_fraction:.1%} of each class, the same for every seed (data.test_fraction)"
        return {"test": how} | super().assumed()

    def _divide(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return held_out(labels, self.test_fraction, "test split", per_class=True, classes=self.CLASSES)


@register("data")
class CIFAR10DVS(_Undivided):
    """CIFAR10-DVS: 10,000 recordings of CIFAR-10's pictures on a screen, 128×128. Needs the package aedat.

    As in the literature, the first recordings of each class by name are for training and the last ones for testing, 9:1
    unless test_fraction says otherwise.

    Args: as in NeuromorphicDataModule.
    Source: Li et al., Frontiers in Neuroscience 2017; the split: Fang et al., ICCV 2021.
    """

    CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    TONIC, SENSOR, ENDING = "CIFAR10DVS", (128, 128), ".aedat4"
    PARTS = {"all": ({}, 10_000)}

    def _divide(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sides: tuple[list[int], list[int]] = ([], [])
        for label in labels.unique():
            places = labels.eq(label).nonzero().flatten().tolist()
            border = len(places) - round(self.test_fraction * len(places))
            sides[0].extend(places[:border])
            sides[1].extend(places[border:])
        return torch.tensor(sides[0]), torch.tensor(sides[1])


@register("data")
class NCaltech101(_Undivided):
    """N-Caltech101: 8,709 recordings of Caltech101's pictures on a screen, each moved into the corner of 180×240.

    Args: as in NeuromorphicDataModule.
    Source: Orchard et al., Frontiers in Neuroscience 2015.
    """

    TONIC, SENSOR, ENDING = "NCALTECH101", (180, 240), ".bin"
    CHANGED = {"place": "each recording moved to the upper left corner: x and y less their smallest value"}
    PARTS = {"all": ({}, 8_709)}

    def _place(self, part: str) -> Path:
        return self.folder / "Caltech101"

    def _labels(self, dataset: Any) -> list[int]:
        self.CLASSES = tuple(sorted(set(dataset.targets)))
        return [self.CLASSES.index(name) for name in dataset.targets]


@register("data")
class ASLDVS(_Undivided):
    """ASL-DVS: 100,800 recordings of 24 letters of American Sign Language, 180×240; j and z, which move, are not in it.

    Args: as in NeuromorphicDataModule.
    Source: Bi et al., ICCV 2019.
    """

    CLASSES = tuple("abcdefghiklmnopqrstuvwxy")
    TONIC, SENSOR, ENDING = "ASLDVS", (180, 240), ".mat"
    CHANGED = {"orientation": "y from the top; the files count it from the bottom"}
    PARTS = {"all": ({}, 100_800)}

    def _labels(self, dataset: Any) -> list[int]:
        return [self.CLASSES.index(dataset.classes[label]) for label in dataset.targets]


class _Heidelberg(NeuromorphicDataModule):
    """Base of data sets of spikes on 700 channels; each part is one HDF5 file."""

    SENSOR, ENDING = 700, ".h5"
    CHANGED = {"unit of time": "s in the files, made µs"}
    SPLITS: Mapping[str, str]  # part → its name in the file name

    def _file(self, part: str) -> str:
        return f"{self.TONIC.lower()}_{self.SPLITS[part]}.h5"

    def _files(self, part: str) -> list[Path]:
        path = self.folder / self._file(part)
        return [path] if path.is_file() else []

    def _missing(self, part: str) -> str:
        return self._file(part)

    def _archive(self, part: str) -> str:
        return f"{self._file(part)}.zip"

    def _read(self, part: str) -> FrameSplit:
        try:
            self._check_file(part)
            return super()._read(part)
        except (OSError, KeyError, ValueError) as error:
            if is_systems(error) or isinstance(error, FileNotFoundError) or str(error).startswith("data: "):
                raise
            raise ValueError(
                f"data: {self.folder / self._file(part)} is damaged ({one_line(error)}). Unpack it again from "
                f"{self._archive(part)}: python scripts/fetch_data.py name={type(self).__name__} --from "
                f"{self._archive(part)}"
            ) from error

    def _check_file(self, part: str) -> None:
        import h5py

        for path in self._files(part):
            check_readable(path)
            with h5py.File(path, "r") as file:
                check_stored({name: file[name] for name in ("labels", "spikes/times", "spikes/units")})

    def _labels(self, dataset: Any) -> list[int]:
        import h5py

        self.CLASSES = tuple(name.decode() for name in dataset.classes)
        with h5py.File(self.folder / dataset.data_filename) as file:
            return file["labels"][()].astype(int).tolist()


@register("data")
class SHD(_Heidelberg):
    """Spiking Heidelberg Digits: 10,420 spoken digits, English and German, as spikes of 700 channels of a cochlea.

    Args: as in NeuromorphicDataModule.
    Source: Cramer et al., IEEE TNNLS 2022.
    """

    TONIC = "SHD"
    SPLITS = {"train": "train", "test": "test"}
    PARTS = {"train": ({"train": True}, None), "test": ({"train": False}, None)}


@register("data")
class SSC(_Heidelberg):
    """Spiking Speech Commands: 105,829 spoken words of 35 kinds as spikes of 700 channels, with a validation set.

    Args: as in NeuromorphicDataModule.
    Source: Cramer et al., IEEE TNNLS 2022.
    """

    TONIC = "SSC"
    SPLITS = {"train": "train", "val": "valid", "test": "test"}
    PARTS = {part: ({"split": name}, None) for part, name in (("train", "train"), ("val", "valid"), ("test", "test"))}
