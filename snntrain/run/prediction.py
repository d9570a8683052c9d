"""Predict the test split of a run, or files without labels, and write predictions.csv."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from snntrain.config.error import refusing
from snntrain.data import DataModule, Split, Target
from snntrain.data.target import learned_by
from snntrain.error import UsageError
from snntrain.files import write_text
from snntrain.spreadsheet import csv_text
from snntrain.task.contract import lacks_for_scores
from snntrain.terminal import print_line, terminal

console = terminal()


@dataclass
class Files:
    """Files to predict.

    Attributes:
        split: their samples, without labels.
        names: their paths, relative to the folder that was named.
        classes: names of the classes.
    """

    split: Split
    names: list[str]
    classes: Sequence[str]


def check_predicts(task: pl.LightningModule) -> None:
    """Refuse a task that cannot say what it predicts."""
    if missing := lacks_for_scores(task):
        raise UsageError(
            f"eval: mode=predict needs a task with forward and scores; {type(task).__name__} lacks {missing}."
        )
    if not is_overridden("predict_step", task):
        task.predict_step = partial(_scores_of_a_batch, task)


def _scores_of_a_batch(task: pl.LightningModule, batch: Sequence[Tensor], batch_idx: int) -> dict[str, Tensor]:
    """What predict_step of snntrain's tasks gives, for a plain LightningModule."""
    x, target, *_ = batch
    scores = task.scores(task(x).float())
    return {"label": target, "predicted": scores.argmax(1), "scores": scores}


def read_files(data: pl.LightningDataModule, folder: Path, classes: Sequence[str] | None) -> Files:
    """Find the files to predict in a folder and in those inside it.

    Args:
        data: the run's, whose own files are not read.
        classes: names of the classes, as the checkpoint holds them; None: it does not.

    Raises: UsageError naming what cannot be used.
    """
    if not isinstance(data, DataModule):
        raise UsageError(
            "data.folder: the run's plain LightningDataModule does not say how a file becomes a sample. Read the files "
            "yourself and give the samples to snntrain.load(…).predict(x)."
        )
    with refusing("data"):
        split = data.unlabeled(folder)
    names = [Path(split.where(position)).relative_to(folder).as_posix() for position in range(len(split))]
    classes = classes or getattr(data, "CLASSES", None)
    if classes is None:
        console.print("This checkpoint is older and does not hold the names of the classes: they are numbered from 0.")
        classes = tuple(map(str, range(data.num_classes)))
    return Files(split, names, classes)


def predict_files(trainer: pl.Trainer, task: pl.LightningModule, data: DataModule, files: Files, output: Path) -> None:
    """Write what the task predicts of each file."""
    data.trainer = trainer
    found = _predicted(trainer.predict(task, dataloaders=data.in_order(files.split)), "predicted", "scores")
    names = files.names[: len(found["scores"])]  # trainer.limit_predict_batches leaves some out
    found = _in_units(data, found)
    _write(output, _rows(learned_by(task), files.classes, [{"file": name} for name in names], found))


def predict_test_split(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, output: Path
) -> None:
    """Write the targets of each sample of the test split, and what the task predicts."""
    found = _in_units(data, _predicted(trainer.predict(task, datamodule=data), "label", "predicted", "scores"))
    keys = [{"index": index} for index in range(len(found["label"]))]
    _write(output, _rows(learned_by(task), [str(name) for name in data.CLASSES], keys, found))


def _in_units(data: pl.LightningDataModule, found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Targets and predictions in the units of the data, where these are standardized for the net."""
    standard = getattr(data, "value_standard", None)
    if standard is None:
        return found
    values = {
        name: standard.inverse(torch.tensor(found[name])).tolist() for name in ("label", "predicted") if name in found
    }
    return {**found, **values}


def _rows(
    kind: Target, names: Sequence[str], keys: Sequence[dict[str, Any]], found: Mapping[str, list[Any]]
) -> Iterator[dict[str, Any]]:
    """The rows of the table, column → cell: one for each sample, or for each step of a sequence.

    Args:
        kind: of the targets.
        names: of the classes, labels or values.
        keys: first cells of each sample.
        found: label (of the test split), predicted and scores of each sample; steps of sequences of several lengths.
    """
    steps = found.get("steps", [None] * len(keys))
    parts = {name: found[name] for name in ("label", "predicted", "scores") if name in found}
    for key, length, *sample in zip(keys, steps, *parts.values(), strict=True):
        if kind not in (Target.STEP_CLASSES, Target.STEP_VALUES):
            yield {**key, **_cells(kind, names, dict(zip(parts, sample, strict=True)))}
            continue
        kind_of_step = Target.CLASS if kind is Target.STEP_CLASSES else Target.VALUES
        for step, of_step in enumerate(zip(*(values[:length] for values in sample), strict=True)):
            yield {**key, "step": step, **_cells(kind_of_step, names, dict(zip(parts, of_step, strict=True)))}


def _cells(kind: Target, names: Sequence[str], sample: Mapping[str, Any]) -> dict[str, Any]:
    if kind is Target.CLASS:
        of_classes = {part: names[sample[part]] for part in ("label", "predicted") if part in sample}
        if "label" not in sample:
            of_classes["predicted index"] = sample["predicted"]
        return {**of_classes, **{f"score {name}": score for name, score in zip(names, sample["scores"], strict=True)}}
    shown = ("label", "predicted", "scores") if kind is Target.LABELS else ("label", "predicted")
    return {
        f"{part.removesuffix('s') if part == 'scores' else part} {name}": value
        for part in shown
        if part in sample
        for name, value in zip(names, sample[part], strict=True)
    }


def _predicted(batches: Any, *columns: str) -> dict[str, list[Any]]:
    for batch in batches:
        if not isinstance(batch, dict) or not set(columns) <= batch.keys():
            raise UsageError(
                f"eval: mode=predict: predict_step of the task must give a dict with {', '.join(columns)}. Leave "
                "predict_step out: forward and scores are enough."
            )
    if batches and "steps" in batches[0]:
        columns = (*columns, "steps")
    return {key: [value for batch in batches for value in batch[key].tolist()] for key in columns}


def _write(output: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = list(rows)
    header = list(lines[0]) if lines else []
    write_text(output / "predictions.csv", csv_text([header, *(list(line.values()) for line in lines)]))
    print_line(console, f"{len(lines):,} predictions: {output / 'predictions.csv'}")
