"""CIFAR-10 and CIFAR-100, and the base of the data sets that torchvision reads from files with known checksums."""

import hashlib
import warnings
from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from snntrain.arguments import flag
from snntrain.data import source
from snntrain.data.datamodule import ImageDataModule
from snntrain.data.download import fetch, md5
from snntrain.data.split import ImageSplit, Split
from snntrain.error import one_line
from snntrain.installation import command_of
from snntrain.registry import register


class VerifiedImages(ImageDataModule):
    """Base of pictures in files with published checksums, held in memory.

    Args:
        root: paths.data, the folder that holds the data set's files or their folder.
        download: fetch what is missing, verified.
        normalize: subtract MEAN and divide by STD, per channel. Otherwise values are in [0, 1], as spike encoders need.
        Others as in ImageDataModule.

    Raises: FileNotFoundError naming the missing file, where it comes from and goes to; ValueError naming a corrupt one;
    OSError if a download fails.
    """

    #: Mean and standard deviation of the training set, per channel.
    MEAN: tuple[float, ...]
    STD: tuple[float, ...]

    def __init__(self, root: str, *, download: bool = False, normalize: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.root = Path(root)
        self.download = flag(self, "download", download)
        self.normalize = flag(self, "normalize", normalize)

    @property
    @abstractmethod
    def files(self) -> dict[Path, str]:
        """The files that are read: path → MD5."""

    @abstractmethod
    def read(self, *, train: bool) -> tuple[Tensor, Tensor]:
        """Images uint8 [n, C, H, W] and labels [n], through torchvision, which raises RuntimeError for wrong files."""

    def prepare_data(self) -> None:
        if all(path.is_file() for path in self.files):
            return
        name = type(self).__name__
        by_hand = [self.root / file.name for file in source.find(name).files if file.unpack]
        if self.download:
            fetch(name, self.root)
        elif by_hand and all(archive.is_file() for archive in by_hand):
            fetch(name, self.root, given=by_hand)  # only unpacks

    def load(self) -> dict[str, ImageSplit]:
        name = type(self).__name__
        listed = [file.name for file in source.find(name).files]
        for path in self.files:
            if not path.is_file():
                what = {"file": path.name} if path.name in listed else {"missing": f"{path.parent.name}/{path.name}"}
                raise FileNotFoundError(source.missing_message(name, self.root, **what))
        try:
            splits = {key: ImageSplit(*self.read(train=key == "train")) for key in ("train", "test")}
        except RuntimeError as error:
            wrong = [str(path) for path, expected in self.files.items() if md5(path) != expected]
            if not wrong:
                raise ValueError(f"data: {name} in {self.root} cannot be read ({one_line(error)}).") from error
            raise ValueError(
                f"data: {', '.join(wrong)} is corrupt, its MD5 is not the published one. Delete it, then "
                f"run `{command_of('fetch-data')} name={name}` or train with data.download=true."
            ) from error
        for split in splits.values():
            self._normalize(split)
        return splits

    def unlabeled(self, folder: Path) -> Split:
        split = super().unlabeled(folder)
        self._normalize(split)
        return split

    def assumed(self) -> dict[str, str]:
        values = "v/255 of 8 bits"
        if self.normalize:
            values += f", then less {self.MEAN} and divided by {self.STD}, per channel (data.normalize)"
        return {"values": values} | super().assumed()

    def fingerprint(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.files}

    def _normalize(self, split: Split) -> None:
        if self.normalize:
            split.normalize(self.MEAN, self.STD)


@register("data")
class CIFAR10(VerifiedImages):
    """60,000 color pictures of 32×32 pixels in ten classes, 10,000 of them for testing.

    Args:
        partial: train on those of the training files that are there, with a warning, instead of refusing to.
        Others as in VerifiedImages.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """

    READER: type[datasets.CIFAR10] = datasets.CIFAR10
    CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    SAMPLE_SHAPE = (3, 32, 32)
    MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

    def __init__(self, root: str, *, partial: bool = False, **common: Any) -> None:
        super().__init__(root, **common)
        self.partial = flag(self, "partial", partial)

    @property
    def files(self) -> dict[Path, str]:
        theirs = self.READER
        listed = [*self._train_list(), *theirs.test_list, (theirs.meta["filename"], theirs.meta["md5"])]
        return {self.root / theirs.base_folder / name: checksum for name, checksum in listed}

    def load(self) -> dict[str, ImageSplit]:
        splits = super().load()
        count, all_files = len(self._train_list()), len(self.READER.train_list)
        if count < all_files:
            warnings.warn(
                f"data: only {count} of {all_files} training files of {type(self).__name__} are in "
                f"{self.root / self.READER.base_folder}: results are not those of the whole set.",
                stacklevel=2,
            )
        return splits

    def read(self, *, train: bool) -> tuple[Tensor, Tensor]:
        # torchvision refuses a data set unless all listed files are there; their checksums are still verified.
        reader = type(self.READER.__name__, (self.READER,), {"train_list": self._train_list()})
        pictures = reader(str(self.root), train=train)
        self.CLASSES = tuple(pictures.classes)
        return torch.from_numpy(pictures.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(pictures.targets)

    def _train_list(self) -> list[list[str]]:
        """Names and checksums of the training files that are to be read."""
        listed, folder = self.READER.train_list, self.root / self.READER.base_folder
        there = [one for one in listed if (folder / one[0]).is_file()] if self.partial else []
        return there or listed


@register("data")
class CIFAR100(CIFAR10):
    """60,000 color pictures of 32×32 pixels in a hundred classes, 10,000 of them for testing.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """

    READER = datasets.CIFAR100
    CLASSES = tuple(map(str, range(100)))  # their names are read from the files
    MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
