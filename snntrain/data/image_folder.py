"""Your own pictures, or ImageNet: a folder per class, read from disk as they are needed."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.datasets.folder import make_dataset

from snntrain.arguments import flag, integer, invalid, real
from snntrain.data.damage import some_of
from snntrain.data.datamodule import ImageDataModule
from snntrain.data.fingerprint import content_hash, listing_hash
from snntrain.data.picture import PICTURES, UNCERTAIN, BadPicture, background_color, decode, describe
from snntrain.data.picture_split import PictureSplit
from snntrain.data.split import Split, held_out, tested_part
from snntrain.data.unlabeled import check_each, files_below, no_labels
from snntrain.registry import register


@register("data")
class ImageFolder(ImageDataModule):
    """Pictures of any size in a folder per class, found by the rules of torchvision.datasets.ImageFolder.

    There are two layouts. Split folders: train/<class>/…, val/<class>/…, test/<class>/…; without test/, as in ImageNet,
    val/ is also tested on; without val/, a part of train/ is held out for validation. Or a single tree, <class>/…, of
    which a part of each class is held out for testing and one for validation, the same for every seed.

    Args:
        folder: the folder with one of these layouts.
        size: side of the square that the net sees: the shorter side is resized to size / crop_ratio and the center is
            cropped. A picture of that size is not resized. In training, an augmentation that begins with
            RandomResizedCrop crops from the whole picture instead.
        crop_ratio: in (0, 1]; 1 keeps all of the shorter side.
        background: color behind transparent pixels: black, white or [red, green, blue] from 0 to 255; None ignores
            transparency.
        split: part of each class of a single tree that is held out for testing, in (0, 1); "folder": the layout must be
            that of split folders.
        normalize: subtract ImageNet's mean and divide by its standard deviation, per channel.
        verify: open every file before training to find those that are not pictures, and hash the contents for the run's
            record; otherwise names, sizes and times are hashed. Truncated files are found on reading.
        Others as in ImageDataModule; sample_shape is [3, size, size], or [1, size, size] for gray.

    Raises: FileNotFoundError naming the folder; ValueError naming classes that are empty or missing in one split, or
    files that are not pictures.
    """

    VALIDATES_PER_CLASS = True
    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(
        self,
        folder: str,
        *,
        size: int = 224,
        crop_ratio: float = 0.875,
        split: str | float = 0.1,
        normalize: bool = False,
        verify: bool = True,
        background: str | Sequence[int] | None = "black",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.folder = Path(folder)
        self.size = integer(self, "size", size, at_least=1)
        if self.sample_shape not in ((1, size, size), (3, size, size)):
            allowed = f"[3, {size}, {size}], or [1, {size}, {size}] for gray"
            raise invalid(self, "sample_shape", allowed, list(self.sample_shape))
        self.crop_ratio = real(self, "crop_ratio", crop_ratio, above=0, at_most=1)
        self.split = tested_part(self, split)
        self.normalize = flag(self, "normalize", normalize)
        self.verify = flag(self, "verify", verify)
        self.background = background_color(self, background)
        self._sources: dict[str, list[Path]] = {}
        self._kinds: Counter[str] = Counter()
        self._hashes: dict[str, str] | None = None

    def load(self) -> dict[str, Split]:
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"data: {self.folder} is not a folder. Put one folder per class into it, or train/, val/ and perhaps "
                "test/ with one folder per class each; or set data.folder=…"
            )
        by_folder = (self.folder / "train").is_dir()
        if self.split == "folder" and not by_folder:
            raise FileNotFoundError(
                f"data: {self.folder} has no folder train. For class folders without one, give the part of them to "
                "test on: data.split=0.2."
            )
        self.CLASSES = self._classes(self.folder / "train" if by_folder else self.folder)
        splits = self._by_folder() if by_folder else self._by_ratio()
        for split in splits.values():
            self._normalize(split)
        return splits

    def unlabeled(self, folder: Path) -> Split:
        split = self._split(files_below(folder, PICTURES, "pictures"), labels=None)
        self._normalize(split)
        if self.verify:
            check_each(split)
        return split

    def fingerprint(self) -> dict[str, str]:
        if self._hashes is None:
            self._hashes = {
                root if self.verify else f"{root} (names, sizes and times)": (
                    content_hash(Path(root), paths) if self.verify else listing_hash(Path(root), paths)
                )
                for root, paths in self._sources.items()
            }
        return dict(self._hashes)

    def assumed(self) -> dict[str, str]:
        size, ratio = self.size, self.crop_ratio
        names = {None: "ignored", (0, 0, 0): "on black", (255, 255, 255): "on white"}
        background = names.get(self.background, f"on {self.background}")
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self._kinds.most_common())
        return {
            "pictures": kinds or "not looked at: data.verify=false",
            "size": f"shorter side to {max(size, round(size / ratio))}, the middle {size}×{size} cut out "
            f"(data.crop_ratio={ratio:g}); a picture of {size}×{size} is not resized",
            "values": "v/255 of 8 bits, v/65535 of 16; floats as they are"
            + (", then less ImageNet's mean, divided by its deviation (data.normalize)" if self.normalize else ""),
            "transparency": f"{background} (data.background)",
            "orientation": "upright, by EXIF where the file has it",
        } | super().assumed()

    def _by_folder(self) -> dict[str, PictureSplit]:
        there = [name for name in ("train", "val", "test") if (self.folder / name).is_dir()]
        splits = {name: self._read_tree(self.folder / name) for name in there}
        if there == ["train"]:
            raise FileNotFoundError(f"data: {self.folder} has train/ but neither val/ nor test/. Add one of them.")
        if "test" not in splits:
            warnings.warn(f"{self.folder} has no test/: val/ is validated and tested on.", stacklevel=2)
            splits["test"] = splits["val"]
        return splits

    def _by_ratio(self) -> dict[str, PictureSplit]:
        every = self._read_tree(self.folder)
        train, test = held_out(every.labels, self.split, "test split", per_class=True, classes=self.CLASSES)
        return {"train": every.subset(train), "test": every.subset(test)}

    def _classes(self, root: Path) -> tuple[str, ...]:
        classes = tuple(sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != "."))
        if not classes:
            raise FileNotFoundError(f"data: {root} holds no folders; there must be one per class.")
        self._check_facts(classes, None)  # before thousands of files are listed
        return classes

    def _read_tree(self, root: Path) -> PictureSplit:
        classes = self._classes(root)
        strange = sorted(set(classes) ^ set(self.CLASSES))
        if strange:
            raise ValueError(f"data: {root} and {self.folder / 'train'} differ in their classes: {some_of(strange)}.")
        numbers = {name: number for number, name in enumerate(classes)}
        found = make_dataset(str(root), numbers, PICTURES, allow_empty=True)
        labels = torch.tensor([label for _, label in found], dtype=torch.int64)
        counts = torch.bincount(labels, minlength=len(classes)).tolist()
        empty = [str(root / name) for name, count in zip(classes, counts, strict=True) if not count]
        if empty:
            endings = ", ".join(PICTURES)
            raise ValueError(f"data: no picture in {some_of(empty)}. Add some ({endings}), or remove the folder.")
        paths = [Path(path) for path, _ in found]
        self._check_files(root, paths, classes)
        self._sources[str(root)] = paths
        return self._split(paths, labels)

    def _split(self, paths: list[Path], labels: Tensor | None) -> PictureSplit:
        labels = no_labels(paths) if labels is None else labels
        return PictureSplit(paths, labels, self.sample_shape, crop_ratio=self.crop_ratio, background=self.background)

    def _normalize(self, split: Split) -> None:
        if self.normalize:
            split.normalize(*((self.MEAN, self.STD) if self.sample_shape[0] == 3 else ((0.449,), (0.226,))))

    def _check_files(self, root: Path, paths: list[Path], classes: Sequence[str]) -> None:
        known = set(paths)
        walked = (Path(place, name) for entry in classes for place, _, names in os.walk(root / entry) for name in names)
        others = sorted(str(path) for path in walked if path not in known and path.name[0] != ".")
        if others:
            warnings.warn(f"left out, their endings are not those of pictures: {some_of(others)}", stacklevel=2)
        broken = []
        for path in paths if self.verify else ():
            try:
                kinds = describe(path)
                if kinds[0] in UNCERTAIN:  # only its values show whether it can be used
                    decode(path, self.sample_shape[0], self.background)
                self._kinds.update(kinds)
            except BadPicture as error:
                broken.append(f"{path} {error.reason}")
        if broken:
            raise ValueError(f"data: {some_of(broken)}. Replace or remove what cannot be used.")
