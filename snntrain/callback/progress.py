"""Progress of a run: a live bar in a terminal, and one line per epoch everywhere."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from torchmetrics import Metric

from snntrain.callback.history import EpochMetrics
from snntrain.callback.spike_statistics import SpikeStatistics
from snntrain.callback.throughput import Throughput
from snntrain.headline import judged_by
from snntrain.registry import register
from snntrain.terminal import print_line, terminal

_SECONDS_BETWEEN_LINES = 30.0  # where there is no terminal, in epochs longer than that
_SECONDS_BETWEEN_UPDATES = 0.2  # reading loss and metric waits for the device, so not after every batch


@register("callback")
class Progress(EpochMetrics, ProgressBar):
    """Rich progress bar with loss, the task's headline metric, firing rate and images or samples per second."""

    def __init__(self) -> None:
        super().__init__()
        self.console = terminal()
        self._enabled = True
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._updated = 0.0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    # --- the live bar ------------------------------------------------------------------------------------------------

    def _start(self, description: str, total: int | float) -> None:
        self._stop()
        if not self._enabled or not self.console.is_terminal:
            return
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[metrics]}", style="dim", markup=False),
            console=self.console,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(description, total=None if total == float("inf") else total, metrics="")

    def _advance(self, batches: int, metrics: str | None = None) -> None:
        if self._bar is not None and self._task is not None:
            fields = {} if metrics is None else {"metrics": metrics}
            self._bar.update(self._task, completed=batches, **fields)

    def _stop(self, *arguments: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    # --- training ----------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._updated = time.monotonic()
        self._start(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", self.total_train_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is None:
            self._print_now_and_then(trainer, pl_module, outputs, batch_idx)
            return
        metrics = None
        if time.monotonic() - self._updated > _SECONDS_BETWEEN_UPDATES:
            self._updated = time.monotonic()
            metrics = "  ".join(self._live_metrics(trainer, pl_module, outputs))
        self._advance(batch_idx + 1, metrics)

    def _print_now_and_then(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch_idx: int
    ) -> None:
        if self._enabled and time.monotonic() - self._updated > _SECONDS_BETWEEN_LINES:
            self._updated = time.monotonic()
            place = f"  batch {batch_idx + 1}/{self.total_train_batches}"
            print_line(self.console, "   ".join([place, *self._live_metrics(trainer, pl_module, outputs)]))

    def _live_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any) -> list[str]:
        parts = [f"loss {float(outputs['loss']):.3f}"]
        name, _ = judged_by(pl_module)
        if f"train_{name}" in getattr(pl_module, "headline", {}):
            parts.append(f"{name} {float(_of_this_process(pl_module.headline[f'train_{name}']).compute()):.3f}")
        for callback in trainer.callbacks:
            if isinstance(callback, SpikeStatistics) and callback.training_rate is not None:
                parts.append(f"firing {callback.training_rate:.3f}")
        return [*parts, *_speed(trainer)]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()
        if not self._enabled:
            return
        metrics, (headline, _) = self.metrics_of_epoch(trainer), judged_by(pl_module)
        monitored = getattr(trainer.checkpoint_callback, "monitor", None)
        labels = {
            "train/loss": "loss",
            f"train/{headline}": headline,
            "val/loss": "val loss",
            f"val/{headline}": f"val {headline}",
            "val/firing_rate": "firing",
        }
        if monitored is not None:
            labels.setdefault(monitored, monitored.replace("/", " "))
        shown = {name: f"{label} {metrics[name]:.4f}" for name, label in labels.items() if name in metrics}
        for speed in _speed(trainer):
            shown["speed"] = speed
        first = f"epoch {trainer.current_epoch + 1:>3}/{trainer.max_epochs}"
        if self.console.is_terminal:  # where a broken line would be hard to read; metrics.csv has them all
            room = self.console.width - len(first)
            for name in ("speed", "val/firing_rate", "train/loss", f"train/{headline}", "val/loss", f"val/{headline}"):
                if sum(3 + len(text) for text in shown.values()) > room and name != monitored:
                    shown.pop(name, None)
        print_line(self.console, "   ".join([first, *shown.values()]))

    # --- evaluation --------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._start("validate", sum(trainer.num_val_batches))

    def on_test_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._start("test", sum(trainer.num_test_batches))

    def on_predict_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._updated = time.monotonic()
        self._start("predict", sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self._advance(args[3] + 1)
        if self._bar is None and self._enabled and time.monotonic() - self._updated > _SECONDS_BETWEEN_LINES:
            self._updated = time.monotonic()
            print_line(self.console, f"  predict   batch {args[3] + 1}/{sum(trainer.num_predict_batches)}")

    def _batch_ended(self, trainer: pl.Trainer, *args: Any) -> None:
        self._advance(args[3] + 1)

    on_validation_batch_end = on_test_batch_end = _batch_ended

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self._stop()

    on_test_end = on_predict_end = on_exception = _stop


def _of_this_process(metric: Metric) -> Metric:
    """The value of a metric on this process; computing it over all processes would wait for those that show nothing."""
    own = metric.clone()
    own.distributed_available_fn = lambda: False
    return own


def _speed(trainer: pl.Trainer) -> list[str]:
    for callback in trainer.callbacks:
        if isinstance(callback, Throughput) and callback.told:
            return [callback.told]
    return []
