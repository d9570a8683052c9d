"""End a run early because its metric is worse than that of others."""

import math
from collections.abc import Callable

import lightning.pytorch as pl

from snntrain.callback.history import EpochMetrics
from snntrain.registry import did_you_mean


class Pruned(Exception):
    """The run is not worth finishing; the text says in which epoch and why."""


class Pruning(EpochMetrics):
    """Report the metric of every epoch and raise Pruned if the answer is to stop.

    The last epoch is reported but never pruned, which would save nothing. An epoch without validation has no
    val/ metric to report.

    Args:
        metric: its name, e.g. "val/acc".
        is_hopeless: takes the epoch, from 1, and the value; returns whether the run should end here.

    Raises: Pruned; ValueError if no epoch has such a metric.
    """

    def __init__(self, metric: str, is_hopeless: Callable[[int, float], bool]) -> None:
        self.metric = metric
        self.is_hopeless = is_hopeless

    # Not at the end of the validation: the history of the run is to have this epoch too.
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.metric.startswith("val/") and not self._is_validated:
            return
        metrics, epoch = self.metrics_of_epoch(trainer), trainer.current_epoch + 1
        if self.metric not in metrics:
            raise ValueError(
                f"Pruning: {self.metric!r} is not a metric of an epoch.{did_you_mean(self.metric, metrics)} "
                f"Metrics: {', '.join(sorted(metrics))}."
            )
        value = metrics[self.metric]
        stop = self.is_hopeless(epoch, value)
        if epoch == trainer.max_epochs:
            return
        if not math.isfinite(value):
            raise Pruned(f"in epoch {epoch} of {trainer.max_epochs}: {self.metric} is {value}")
        if stop:
            raise Pruned(
                f"after epoch {epoch} of {trainer.max_epochs}: {self.metric} {value:.6g} is behind the other runs"
            )
