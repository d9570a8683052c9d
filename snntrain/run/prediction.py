"""Predict the test split of a run, or files without labels, and write predictions.csv."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from snntrain.config.error import refusing
from snntrain.data import DataModule, Split
from snntrain.error import UsageError
from snntrain.files import write_text
from snntrain.spreadsheet import csv_text
from snntrain.task.contract import lacks_for_scores
from snntrain.terminal import terminal

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
    """Write the class and the scores of each file."""
    data.trainer = trainer
    found = _predicted(trainer.predict(task, dataloaders=data.in_order(files.split)), "predicted", "scores")
    header = ["file", "predicted", "predicted index", *(f"score {name}" for name in files.classes)]
    names = files.names[: len(found["scores"])]  # trainer.limit_predict_batches leaves some out
    rows = zip(names, found["predicted"], found["scores"], strict=True)
    _write(output, header, ([name, files.classes[index], index, *scores] for name, index, scores in rows))


def predict_test_split(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, output: Path
) -> None:
    """Write the label, the class and the scores of each sample of the test split."""
    found = _predicted(trainer.predict(task, datamodule=data), "label", "predicted", "scores")
    names = [str(name) for name in data.CLASSES]
    rows = enumerate(zip(*found.values(), strict=True))
    _write(
        output,
        ["index", "label", "predicted", *(f"score {name}" for name in names)],
        ([index, names[label], names[predicted], *scores] for index, (label, predicted, scores) in rows),
    )


def _predicted(batches: Any, *columns: str) -> dict[str, list[Any]]:
    for batch in batches:
        if not isinstance(batch, dict) or not set(columns) <= batch.keys():
            raise UsageError(
                f"eval: mode=predict: predict_step of the task must give a dict with {', '.join(columns)}. Leave "
                "predict_step out: forward and scores are enough."
            )
    return {key: [value for batch in batches for value in batch[key].tolist()] for key in columns}


def _write(output: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    lines = list(rows)
    write_text(output / "predictions.csv", csv_text([header, *lines]))
    console.print(f"{len(lines):,} predictions: {output / 'predictions.csv'}", soft_wrap=True)
