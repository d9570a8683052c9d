"""The public event data sets, read by tonic."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from snntrain.arguments import flag, real
from snntrain.data.cache import frames_folder
from snntrain.data.damage import check_readable, is_systems
from snntrain.data.download import fetch
from snntrain.data.event_arrays import check_stored
from snntrain.data.event_datamodule import EventDataModule
from snntrain.data.events import SensorSize
from snntrain.data.fingerprint import content_hash
from snntrain.data.source import missing_message
from snntrain.data.split import FrameSplit, held_out
from snntrain.data.tonic_package import check_tonic
from snntrain.data.tonic_reader import TonicReader
from snntrain.error import one_line
from snntrain.installation import command_of
from snntrain.registry import register


class Part(NamedTuple):
    """A part of a data set that tonic reads as one."""

    arguments: dict[str, Any]
    """Of tonic's class."""
    files: str
    """Pattern of its files, relative to the data set's folder."""
    count: int | None = None
    """Recordings in it; None: nobody published it."""
    archive: str = ""
    """The archive that brings it; '': there is only one."""


class NeuromorphicDataModule(EventDataModule):
    """Base of the data sets that tonic reads, from <root>/<tonic's name> in tonic's layout.

    Args:
        root: the folder that holds the data set's folder.
        partial: use an incomplete data set with a warning instead of refusing it.
        download: fetch what is missing.
        split: part of each class that is held out for testing where the data set has no test set.
        Others as in EventDataModule.

    Raises: FileNotFoundError naming what is missing, its URL, its checksum and the folder to put it in; ValueError for
        an incomplete data set or a damaged recording; ImportError where tonic is not installed.
    """

    TONIC: str  # name of the class in tonic.datasets
    SENSOR: SensorSize
    PARTS: Mapping[str, Part]  # by split
    AT_LEAST = ""  # "at least " where a part's count is a lower bound
    #: What tonic does to the events, for show=data.
    CHANGED: Mapping[str, str] = {}
    #: Options with which read_events gives the same events for one of its files as tonic; None: there are none.
    SINGLE: Mapping[str, Any] | None = None

    def __init__(self, *, partial: bool = False, download: bool = False, split: float = 0.1, **common: Any) -> None:
        check_tonic(f"data: {type(self).__name__}")
        super().__init__(**common)
        sensor = list(self.SENSOR) if np.ndim(self.SENSOR) else self.SENSOR
        if self.framing.sensor_size != sensor:
            raise ValueError(
                f"{type(self).__name__}: framing.sensor_size must be {sensor}, which is what the data has, got "
                f"{self.framing.sensor_size}. To make frames smaller, use framing.downsample."
            )
        if self.SINGLE is not None:
            self.reading = {**self.SINGLE, "unsorted": self.unsorted}
        self.partial = flag(self, "partial", partial)
        self.download = flag(self, "download", download)
        self.split = real(self, "split", split, above=0, below=1)

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
        return [path for path in self.folder.glob(self.PARTS[part].files) if not path.name.startswith(".")]

    def _is_short(self, part: str) -> bool:
        return len(self._files(part)) < (self.PARTS[part].count or 1)

    def _check_present(self, part: str) -> list[Path]:
        name, one, files = type(self).__name__, self.PARTS[part], self._files(part)
        if not files:
            raise FileNotFoundError(missing_message(name, self.root, one.files, one.archive))
        if self._is_short(part):
            count = (
                f"{len(files):,} of {self.AT_LEAST}{one.count:,} recordings of {name}'s {part} set are in "
                f"{self.folder / one.files.partition('**')[0]}"
            )
            if not self.partial:
                raise ValueError(
                    f"data: only {count}. Fetch the rest with `{command_of('fetch-data')} name={name}`, or run with "
                    "data.partial=true to use what is there."
                )
            warnings.warn(f"data: only {count}: results are not those of the whole set.", stacklevel=2)
        return files

    def _read(self, part: str) -> FrameSplit:
        files = self._check_present(part)
        arguments = self.PARTS[part].arguments
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


@register("data")
class NMNIST(NeuromorphicDataModule):
    """N-MNIST: 70,000 recordings of MNIST's digits on a screen, 34×34, three saccades of 100 ms each.

    Source: Orchard et al., Frontiers in Neuroscience 2015.
    """

    CLASSES = tuple("0123456789")
    TONIC, SENSOR, SINGLE = "NMNIST", (34, 34), {}
    PARTS = {
        "train": Part({"train": True}, "Train/**/*.bin", 60_000, "train.zip"),
        "test": Part({"train": False}, "Test/**/*.bin", 10_000, "test.zip"),
    }


@register("data")
class DVSGesture(NeuromorphicDataModule):
    """DVS128 Gesture: 11 gestures of 29 people, 128×128, cut into samples and with times in ms, as tonic offers it.

    Source: Amir et al., CVPR 2017.
    """

    CLASSES = (
        *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise"),
        *("left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures"),
    )
    TONIC, SENSOR, SINGLE = "DVSGesture", (128, 128), {"columns": "xypt", "time_unit": "ms"}
    CHANGED = {"unit of time": "ms in the files, made µs"}
    PARTS = {
        "train": Part({"train": True}, "ibmGestureTrain/**/*.npy", 100, "ibmGestureTrain.tar.gz"),
        "test": Part({"train": False}, "ibmGestureTest/**/*.npy", 100, "ibmGestureTest.tar.gz"),
    }
    AT_LEAST = "at least "  # tonic checks for 100


class _Undivided(NeuromorphicDataModule):
    """Base of data sets without a test set: a part of each class is held out, the same for every seed of a run."""

    def load(self) -> dict[str, FrameSplit]:
        whole = self._read("all")
        stay, out = self._divide(whole.labels)
        return {"train": whole.subset(stay), "test": whole.subset(out)}

    def assumed(self) -> dict[str, str]:
        how = f"{self.split:.1%} of each class, the same for every seed (data.split)"
        return {"test": how} | super().assumed()

    def _divide(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return held_out(labels, self.split, "test split", per_class=True, classes=self.CLASSES)


@register("data")
class CIFAR10DVS(_Undivided):
    """CIFAR10-DVS: 10,000 recordings of CIFAR-10's pictures on a screen, 128×128. Needs the package aedat.

    As in the literature, the first recordings of each class by name are for training and the last ones for testing, 9:1
    unless split says otherwise.

    Source: Li et al., Frontiers in Neuroscience 2017; the split: Fang et al., ICCV 2021.
    """

    CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    TONIC, SENSOR, SINGLE = "CIFAR10DVS", (128, 128), {}
    PARTS = {"all": Part({}, "**/*.aedat4", 10_000)}

    def _divide(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sides: tuple[list[int], list[int]] = ([], [])
        for label in labels.unique():
            places = labels.eq(label).nonzero().flatten().tolist()
            border = len(places) - round(self.split * len(places))
            sides[0].extend(places[:border])
            sides[1].extend(places[border:])
        return torch.tensor(sides[0]), torch.tensor(sides[1])


@register("data")
class NCaltech101(_Undivided):
    """N-Caltech101: 8,709 recordings of Caltech101's pictures on a screen, each moved into the corner of 180×240.

    Source: Orchard et al., Frontiers in Neuroscience 2015.
    """

    TONIC, SENSOR = "NCALTECH101", (180, 240)
    CHANGED = {"place": "each recording moved to the upper left corner: x and y less their smallest value"}
    PARTS = {"all": Part({}, "Caltech101/**/*.bin", 8_709)}

    def _labels(self, dataset: Any) -> list[int]:
        self.CLASSES = tuple(sorted(set(dataset.targets)))
        return [self.CLASSES.index(name) for name in dataset.targets]


@register("data")
class ASLDVS(_Undivided):
    """ASL-DVS: 100,800 recordings of 24 letters of American Sign Language, 180×240; j and z, which move, are not in it.

    Source: Bi et al., ICCV 2019.
    """

    CLASSES = tuple("abcdefghiklmnopqrstuvwxy")
    TONIC, SENSOR = "ASLDVS", (180, 240)
    CHANGED = {"orientation": "y from the top; the files count it from the bottom"}
    PARTS = {"all": Part({}, "**/*.mat", 100_800)}

    def _labels(self, dataset: Any) -> list[int]:
        return [self.CLASSES.index(dataset.classes[label]) for label in dataset.targets]


class _Heidelberg(NeuromorphicDataModule):
    """Base of data sets of spikes on 700 channels; each part is one HDF5 file."""

    SENSOR = 700
    CHANGED = {"unit of time": "s in the files, made µs"}

    def _read(self, part: str) -> FrameSplit:
        try:
            self._check_file(part)
            return super()._read(part)
        except (OSError, KeyError, ValueError) as error:
            if is_systems(error) or isinstance(error, FileNotFoundError) or str(error).startswith("data: "):
                raise
            _, file, _, archive = self.PARTS[part]
            raise ValueError(
                f"data: {self.folder / file} is damaged ({one_line(error)}). Unpack it again from {archive}: "
                f"{command_of('fetch-data')} name={type(self).__name__} --from {archive}"
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

    Source: Cramer et al., IEEE TNNLS 2022.
    """

    TONIC = "SHD"
    PARTS = {
        "train": Part({"train": True}, "shd_train.h5", archive="shd_train.h5.zip"),
        "test": Part({"train": False}, "shd_test.h5", archive="shd_test.h5.zip"),
    }


@register("data")
class SSC(_Heidelberg):
    """Spiking Speech Commands: 105,829 spoken words of 35 kinds as spikes of 700 channels, with a validation set.

    Source: Cramer et al., IEEE TNNLS 2022.
    """

    TONIC = "SSC"
    PARTS = {
        part: Part({"split": name}, f"ssc_{name}.h5", archive=f"ssc_{name}.h5.zip")
        for part, name in (("train", "train"), ("val", "valid"), ("test", "test"))
    }
