"""Metrics of every epoch, kept in the checkpoint so that a resumed run has them all."""

import csv
import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from snntrain.files import write_text


class EpochMetrics(pl.Callback):
    """Base of callbacks that read the metrics of an epoch: Lightning goes on showing those of the last validation."""

    _is_validated = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._is_validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._is_validated = True

    def metrics_of_epoch(self, trainer: pl.Trainer) -> dict[str, float]:
        """Name → value; in an epoch without validation there is no val/…"""
        return {
            name.removesuffix("_epoch"): float(value)
            for name, value in trainer.callback_metrics.items()
            if not name.endswith("_step") and (self._is_validated or not name.startswith("val/"))
        }


class History(EpochMetrics):
    """Collect one row of metrics per epoch and write them to a CSV file; of several processes the first one writes.

    Args:
        path: the file, rewritten whole after each epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._learning_rate = float("nan")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]  # at the end it is the next epoch's already

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = {"epoch": trainer.current_epoch + 1, "lr": self._learning_rate}
        self.rows.append({**row, **dict(sorted(self.metrics_of_epoch(trainer).items()))})
        if trainer.is_global_zero:
            write_text(self.path, self.as_csv())

    def as_csv(self) -> str:
        """The rows as CSV text; a metric that an epoch lacks is an empty cell."""
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [dict(row) for row in state_dict["rows"]]
