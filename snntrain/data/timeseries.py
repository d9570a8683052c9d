"""Time series of your own, a file for each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.arguments import choice, integer, invalid, real
from snntrain.data.arrays import SequenceSplit
from snntrain.data.damage import some_of
from snntrain.data.datamodule import SPLITS, DataModule
from snntrain.data.fingerprint import content_hash
from snntrain.data.series_file import ENDINGS, Series, read_series
from snntrain.data.split import held_out, tested_part
from snntrain.data.standard import STANDARDIZE, Standard, stacked
from snntrain.data.target import Target
from snntrain.data.unlabeled import files_below, no_labels
from snntrain.functional import real_steps
from snntrain.registry import register


class FileSequences(SequenceSplit):
    """Sequences that were read from files, which errors name."""

    paths: Sequence[Path] = ()

    def where(self, position: int) -> str:
        return str(self.paths[int(self.index[position])])


@register("data")
class TimeseriesFolder(DataModule):
    """A file for each sequence, with a row for each step and a column for each number: .csv, .npy or .parquet.

    The task chooses among the kinds of targets. A class or values at every step are those of the target's column;
    values and labels of a sequence are those of its last row; the class of a sequence is the one that its column holds
    in every row or, without a target, the folder that the file lies in.

    Args:
        folder: holds train/, test/ and perhaps val/, or files in any order, see split. Files may lie in folders inside.
        steps: of the longest sequence; follows T. Shorter ones are padded, and batches tell their lengths.
        shortest: fewest steps of a sequence, from 1 to `steps`; None: all have `steps`.
        target: a column, or a list of columns; None: class folders, <folder>/train/<class>/… or <folder>/<class>/….
        inputs: columns that the net gets, in this order; None: all but the target, in the order of the first file.
        split: "folder", or the fraction of the files that is drawn for testing, in (0, 1), the same for every seed.
        dt: time from a row to the next one in ms, > 0, which the report and show=data tell; None: it is not known.
        standardize: 'all' gives inputs and predicted values mean 0 and standard deviation 1 over the training files
            (before validation is held out); 'inputs' leaves values as they are, 'none' both.
        kind: of the targets; a run takes that of its task.
        Others as in DataModule; num_targets, or num_classes of classes and labels; sample_shape is [inputs].

    Raises: FileNotFoundError naming a folder; ValueError naming file and line of what cannot be used; ImportError
        naming the package that .parquet needs.
    """

    TARGETS = tuple(Target)
    HAS_STEPS = True

    def __init__(
        self,
        folder: str,
        *,
        steps: int,
        shortest: int | None = 1,
        target: str | int | Sequence[str | int] | None = None,
        inputs: Sequence[str | int] | None = None,
        split: str | float = "folder",
        standardize: str = "all",
        dt: float | None = None,
        kind: Target = Target.CLASS,
        **common: Any,
    ) -> None:
        self.TARGET = Target(kind)
        self.VALIDATES_PER_CLASS = self.TARGET is Target.CLASS
        super().__init__(**common)
        self.folder = Path(folder)
        self.steps = integer(self, "steps", steps, at_least=1)
        self.shortest = None if shortest is None else integer(self, "shortest", shortest, at_least=1, at_most=steps)
        self.target = _names(self, "target", target)
        self.inputs = _names(self, "inputs", inputs)
        self.split = tested_part(self, split)
        self.dt = None if dt is None else real(self, "dt", dt, above=0)
        self.standardize = choice(self, "standardize", standardize, STANDARDIZE)
        self.input_standard: Standard | None = None
        self.value_standard: Standard | None = None
        if not self.target and self.TARGET is not Target.CLASS:
            raise invalid(self, "target", f"a column, as the task learns {self.TARGET.value}", target)
        if len(self.target) > 1 and self.TARGET in (Target.CLASS, Target.STEP_CLASSES):
            raise invalid(self, "target", f"one column, as the task learns {self.TARGET.value}", target)

    def load(self) -> dict[str, FileSequences]:
        read = {name: [read_series(path, self.steps) for path in files] for name, files in self._files().items()}
        self._check_columns([series for part in read.values() for series in part], self.target)
        self._check_lengths([series for part in read.values() for series in part])
        targets = {name: self._targets(name, part) for name, part in read.items()}
        splits = {name: self._split(part, targets[name]) for name, part in read.items()}
        if self.split != "folder":
            (whole,) = splits.values()
            per_class = self.VALIDATES_PER_CLASS
            stay, out = held_out(whole.labels, self.split, "test split", per_class=per_class, classes=self.CLASSES)
            splits = {"train": whole.subset(stay), "test": whole.subset(out)}
        self._standardize(splits)
        return splits

    def unlabeled(self, folder: Path) -> FileSequences:
        paths = files_below(folder, ENDINGS, "time series")
        if self.standardize != "none" or not self.inputs:
            self.setup()  # mean, deviation and the order of the columns are those of the training files
        part = [read_series(path, self.steps) for path in paths]
        self._check_columns(part, ())
        self._check_lengths(part)
        split = self._split(part, no_labels(part))
        self._scale_inputs(split)
        return split

    def fingerprint(self) -> dict[str, str]:
        paths = [path for split in self.splits.values() for path in split.paths]
        return {str(self.folder): content_hash(self.folder, dict.fromkeys(paths))}

    def assumed(self) -> dict[str, str]:
        last = "" if self.TARGET in (Target.STEP_CLASSES, Target.STEP_VALUES) else ", of the last row"
        of_a_class = "the folder of a file" if not self.target else f"column {self.target[0]}, one class for each file"
        said = {
            "inputs": ", ".join(self.inputs),
            "target": of_a_class if self.TARGET is Target.CLASS else ", ".join(self.target) + last,
            "steps": f"up to {self.steps}, shorter ones are padded" if self.shortest else f"{self.steps} each",
        }
        if self.split != "folder":
            said["test"] = f"{self.split:.1%} of the files, drawn once, the same for every seed (data.split)"
        for what, standard in (("inputs", self.input_standard), ("values", self.value_standard)):
            shown = "as they are" if standard is None else f"standardized: {standard} of the training files"
            if what == "inputs" or self.TARGET.is_counted_in_values:
                said[f"scale of {what}"] = f"{shown} (data.standardize)"
        return said | super().assumed()

    def _files(self) -> dict[str, list[Path]]:
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"data: {self.folder} is not a folder. Set data.folder to the one that holds the time series."
            )
        if self.split != "folder":
            return {"all": files_below(self.folder, ENDINGS, "time series")}
        there = [name for name in SPLITS if (self.folder / name).is_dir()]
        missing = {"train", "test"}.difference(there)
        if missing:
            raise FileNotFoundError(
                f"data: {self.folder} has no folder {' and no folder '.join(sorted(missing))}. Add it, or let a part "
                "of the files be drawn for testing: data.split=0.2."
            )
        return {name: files_below(self.folder / name, ENDINGS, "time series") for name in there}

    def _check_columns(self, every: Sequence[Series], target: Sequence[str]) -> None:
        """Refuse files that lack a column or, where data.inputs does not name them, have another one."""
        first = every[0]
        others = tuple(name for name in first.columns if name not in self.target)
        takes_all, self.inputs = not self.inputs, self.inputs or others
        if not self.inputs:
            raise ValueError(f"data: {first.path} has no column besides {', '.join(self.target)}, so no inputs.")
        for series in every:
            for name in (*target, *self.inputs):
                if name not in series.columns:
                    has = some_of(list(series.columns))
                    raise ValueError(f"data: {series.header} has no column {name}. It has {has}.")
            more = [name for name in series.columns if name not in first.columns]
            if takes_all and more:
                raise ValueError(
                    f"data: {series.header} has the column {more[0]}, which {first.path} does not have. Name the "
                    "columns that the net gets, data.inputs=[…], or take it out."
                )
        self._check_facts(None, (len(self.inputs),))

    def _check_lengths(self, every: Sequence[Series]) -> None:
        longest = max(every, key=len)
        if len(longest) > self.steps:
            raise ValueError(
                f"data: {longest.path} has {len(longest):,} rows, but T={self.steps:,}. Set T={len(longest)}, or cut "
                "the file."
            )
        shortest, least = min(every, key=len), self.steps if self.shortest is None else self.shortest
        if len(shortest) < least:
            rule = f"T={least}, and data.shortest is null" if self.shortest is None else f"data.shortest={least}"
            raise ValueError(
                f"data: {shortest.path} has {len(shortest):,} rows, but {rule}. Set data.shortest={len(shortest)}, or "
                "take the file out."
            )

    def _targets(self, name: str, part: Sequence[Series]) -> Tensor:
        if self.TARGET in (Target.CLASS, Target.STEP_CLASSES):
            return self._classes(name, part)
        self.CLASSES = self.target
        self._check_facts(self.CLASSES, None)
        is_step = self.TARGET is Target.STEP_VALUES
        shape = (len(part), self.steps, len(self.target)) if is_step else (len(part), len(self.target))
        targets = torch.zeros(shape, dtype=torch.float64)
        for place, series in enumerate(part):
            rows = slice(None) if is_step else slice(len(series) - 1, None)
            found = torch.from_numpy(np.stack([series.numbers(column, rows) for column in self.target], 1))
            if is_step:
                targets[place, : len(found)] = found
            else:
                targets[place] = found[0]
        return targets

    def _classes(self, name: str, part: Sequence[Series]) -> Tensor:
        """Class numbers [n] or [n, T]; names of classes are those of the first split, "train" if there are folders."""
        named = [self._class_of(series, name) if not self.target else series.classes(self.target[0]) for series in part]
        if name in ("train", "all"):
            found = {text for texts in named for text in texts}
            self.CLASSES = tuple(sorted(found, key=_in_order))
            self._check_facts(self.CLASSES, None)
        numbers = {text: number for number, text in enumerate(self.CLASSES)}
        is_step = self.TARGET is Target.STEP_CLASSES
        targets = torch.zeros(len(part), *((self.steps,) if is_step else ()), dtype=torch.int64)
        for place, (series, texts) in enumerate(zip(part, named, strict=True)):
            for row, text in enumerate(texts):
                if text not in numbers:
                    where = series.place(row) if self.target else str(series.path)
                    raise ValueError(
                        f"data: {where}: class {text} is in no training file. They have {some_of(self.CLASSES)}."
                    )
                if not is_step and text != texts[0]:
                    raise ValueError(
                        f"data: {series.place(row)}: column {self.target[0]} changes from {texts[0]} to {text}, but "
                        "this task learns one class for each file. Use task=sequence for a class at every step."
                    )
            if is_step:
                targets[place, : len(texts)] = torch.tensor([numbers[text] for text in texts])
            else:
                targets[place] = numbers[texts[0]]
        return targets

    def _class_of(self, series: Series, name: str) -> list[str]:
        root = self.folder if name == "all" else self.folder / name
        parts = series.path.relative_to(root).parts
        if len(parts) < 2:
            raise ValueError(
                f"data: {series.path} lies in no folder of a class. Put it into one, or name the column that holds the "
                "class: data.target=…"
            )
        return [parts[0]]

    def _split(self, part: Sequence[Series], targets: Tensor) -> FileSequences:
        lengths = torch.tensor([len(series) for series in part])
        x = torch.zeros(len(part), self.steps, len(self.inputs), dtype=torch.float64)
        for place, series in enumerate(part):
            x[place, : len(series)] = torch.from_numpy(np.stack([series.numbers(name) for name in self.inputs], 1))
        made = FileSequences(x, targets, None if self.shortest is None else lengths)
        made.paths = [series.path for series in part]
        return made

    def _standardize(self, splits: dict[str, FileSequences]) -> None:
        """Scale inputs and values of all splits in place by what the training files say, and make them float32."""
        train, of_steps = splits["train"], self.TARGET is Target.STEP_VALUES
        if self.standardize != "none":
            remedy = "Leave it out, data.inputs=[…], or set data.standardize=none."
            self.input_standard = Standard.of(stacked(_real(train, train.x)), self.inputs, remedy)
        if self.standardize == "all" and self.TARGET.is_counted_in_values:
            values = _real(train, train.labels) if of_steps else [train.labels]
            remedy = "Choose another data.target, or set data.standardize=inputs."
            self.value_standard = Standard.of(stacked(values), self.target, remedy)
        for split in splits.values():
            self._scale_inputs(split)
            if self.value_standard is not None:
                split.labels = self.value_standard(split.labels)
                if of_steps:
                    split.labels[_beyond(split)] = 0
            elif split.labels.is_floating_point():
                split.labels = split.labels.float()

    def _scale_inputs(self, split: FileSequences) -> None:
        if self.input_standard is not None:
            split.x = self.input_standard(split.x)
        split.x = split.x.float()
        split.x[_beyond(split)] = 0


def _names(owner: object, argument: str, given: Any) -> tuple[str, ...]:
    """Names of columns; those of a plain array are numbers, which may be written as such."""
    listed = () if given is None else (given,) if isinstance(given, (str, int)) else given
    if not isinstance(listed, Sequence) or any(type(name) not in (str, int) for name in listed):
        raise invalid(owner, argument, "a column, a list of columns, or None", given)
    names = tuple(map(str, listed))
    if len(set(names)) < len(names):
        raise invalid(owner, argument, "columns that differ", given)
    return names


def _in_order(text: str) -> tuple[bool, int, str]:
    """Numbers by size, before texts by the alphabet."""
    is_number = text.lstrip("-").isdecimal()
    return (not is_number, int(text) if is_number else 0, text)


def _beyond(split: SequenceSplit) -> Tensor:
    """Which steps are padding: bool [n, T]."""
    if split.lengths is None:
        return torch.zeros(split.x.shape[:2], dtype=torch.bool)
    return ~real_steps(split.lengths, split.x.shape[1]).T


def _real(split: SequenceSplit, values: Tensor) -> list[Tensor]:
    """The rows [steps, D] of each sequence, without padding."""
    return [values[~_beyond(split)]]
