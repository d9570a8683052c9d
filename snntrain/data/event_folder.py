"""Your own recordings, in a folder for each class."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from snntrain.arguments import invalid
from snntrain.data.cache import frames_folder
from snntrain.data.event_datamodule import EventDataModule
from snntrain.data.events import READERS, UNIT_OPEN, ending, options, read_events
from snntrain.data.fingerprint import content_hash
from snntrain.data.split import FrameSplit, held_out, tested_part
from snntrain.data.tonic_package import check_tonic
from snntrain.registry import register

#: Part of the cache's key: raise it when a reader changes, so that frames made from its earlier output are not reused.
READER = 2
#: Accepted names of the split folders, in upper or lower case.
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@register("data")
class EventFolder(EventDataModule):
    """Class folders of recordings in a format that read_events reads.

    Layouts: <root>/{train,test[,val]}/<class>/… (split: folder), or <root>/<class>/… (split: a fraction). Recordings
    may lie in subfolders of a class folder. Hidden files and files beside the class folders are ignored. Classes are
    numbered in the order of their names.

    Args:
        split: "folder", or the fraction of each class that is drawn for testing, in (0, 1), the same for every seed of
            a run. The record of the splits lists these recordings by their position in the sorted list of all
            recordings, classes first.
        formats: endings to read, such as [.bin]; other files are left out with a warning. None: all files must have the
            same ending.
        columns, time_unit, camera: as in read_events.
        cache_root: the data folder in which frames are cached, see frames_folder; default: the folder that root is in.
        Others as in EventDataModule.

    Raises: FileNotFoundError for a missing folder; ValueError naming an empty or missing class folder, mixed formats,
        or a recording that is truncated, empty, from another sensor or not in the order of time; ImportError naming the
        package that a format needs.
    """

    def __init__(
        self,
        *,
        split: str | float = "folder",
        formats: Sequence[str] | None = None,
        columns: str = "xytp",
        time_unit: str = "us",
        camera: str | None = None,
        cache_root: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.split = tested_part(self, split)
        self.formats = None if formats is None else [self._format(one) for one in formats]
        # Not in the root itself, where the cache would look like a class.
        self.caches = frames_folder(self.root.resolve().parent if cache_root is None else Path(cache_root))
        self.reading = options(self, columns=columns, time_unit=time_unit, camera=camera, unsorted=self.unsorted)

    def load(self) -> dict[str, FrameSplit]:
        if not self.root.is_dir():
            raise FileNotFoundError(f"data: there is no folder {self.root}. Set data.root to the folder of recordings.")
        if self.split != "folder":
            self.CLASSES, files = self._classes(self.root)
            self._check_formats([self.root])
            whole = self._frames("all", self.root, files)
            stay, out = held_out(whole.labels, self.split, "test split", per_class=True, classes=self.CLASSES)
            return {"train": whole.subset(stay), "test": whole.subset(out)}
        folders = self._split_folders()
        self._check_formats(list(folders.values()))
        found = {name: self._classes(folder) for name, folder in folders.items()}
        self.CLASSES = found["train"][0]
        for name, (classes, _) in found.items():
            odd = sorted(set(classes) ^ set(self.CLASSES))
            if odd:
                where = folders["train" if odd[0] in classes else name]
                raise ValueError(f"data: {where} has no class folder {odd[0]}. Every split needs all classes.")
        return {name: self._frames(name, folders[name], files) for name, (_, files) in found.items()}

    def assumed(self) -> dict[str, str]:
        suffix = next(iter(self.splits["train"].recordings)).suffix.lower()
        found = {}
        if suffix in UNIT_OPEN:
            found["unit of time"] = f"{self.reading['time_unit']} (data.time_unit)"
            found["columns"] = f"{self.reading['columns']}, of arrays [n, 4] (data.columns)"
        if suffix == ".aedat":
            found["camera"] = self.reading["camera"] or "the one that each file's header names"
            found["orientation"] = "x from the left, y from the bottom, as jAER counts (AEDAT 2)"
        if self.split != "folder":
            found["test"] = f"{self.split:.1%} of each class, the same for every seed (data.split)"
        return found | super().assumed()

    def _format(self, one: str) -> str:
        suffix = f".{str(one).lower().lstrip('.')}"
        if suffix not in READERS:
            raise invalid(self, "formats", f"a list of endings among {', '.join(READERS)}", one)
        return suffix

    def _split_folders(self) -> dict[str, Path]:
        folders: dict[str, Path] = {}
        for name, aliases in SPLIT_FOLDERS.items():
            here = [path for path in _folders(self.root) if path.name.lower() in aliases]
            if len(here) > 1:
                raise ValueError(f"data: {here[0]} and {here[1]} are both the {name} split. Rename one of them.")
            if here:
                folders[name] = here[0]
        for name in ("train", "test"):
            if name not in folders:
                listing = ", ".join(path.name for path in _folders(self.root)[:8]) or "no folder"
                raise FileNotFoundError(
                    f"data: {self.root} has no folder {name} (it has {listing}). For class folders without one, give "
                    "the part of them to test on: data.split=0.2."
                )
        return folders

    def _classes(self, folder: Path) -> tuple[tuple[str, ...], list[list[Path]]]:
        """Names of the classes and the recordings of each."""
        folders = _folders(folder)
        if not folders:
            raise ValueError(f"data: {folder} has no class folders. Put the recordings of each class into one.")
        files = [
            [path for path in _files(one) if self.formats is None or path.suffix.lower() in self.formats]
            for one in folders
        ]
        for one, recordings in zip(folders, files, strict=True):
            if not recordings:
                kind = f"no {', '.join(self.formats)} file" if self.formats else "no recording"
                raise ValueError(f"data: the class folder {one} holds {kind}. Fill it or remove it.")
        return tuple(one.name for one in folders), files

    def _check_formats(self, folders: Sequence[Path]) -> None:
        first: dict[str, Path] = {}
        left_out = 0
        for path in (path for folder in folders for one in _folders(folder) for path in _files(one)):
            if self.formats is None:
                first.setdefault(ending(path), path)
            else:
                left_out += path.suffix.lower() not in self.formats
        if len(first) > 1:
            (one, its), (other, others), *_ = first.items()
            raise ValueError(
                f"data: {self.root} mixes formats: {its} and {others}. Keep one of them, or list those to read: "
                f"data.formats=[{one},{other}]."
            )
        if ".bin" in (first or self.formats):
            check_tonic("data: reading .bin")
        if left_out:
            warnings.warn(f"data: {left_out} files of {self.root} are not of data.formats: left out.", stacklevel=2)

    def _frames(self, name: str, folder: Path, files: list[list[Path]]) -> FrameSplit:
        recordings = [path for one in files for path in one]
        labels = [label for label, one in enumerate(files) for _ in one]
        self.hashes[f"{name} recordings"] = content_hash(folder, recordings)
        read = partial(read_events, sensor_size=self.framing.sensor_size, **self.reading)
        return self.frames(
            f"{name} recordings",
            recordings=recordings,
            labels=labels,
            read=read,
            settings={"reader": READER, **self.reading},
            caches=self.caches,
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
