"""Narrow the windows in which delays are interpolated, and measure what rounding them costs."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.seed import isolate_rng

from snntrain.layer.delay import delay_lines, interpolated, learns_delays
from snntrain.task.supervised import Supervised

_SHARDED = ("FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy")


class DelayAnnealing(pl.Callback):
    """Give learned delays the width of their window before each training batch, by the share of the training so far.

    Each layer has its own start_width, final_width and until, see snntrain.layer.DelaySettings. The width follows from
    epoch and batch alone, so a resumed run has the same; one that is made longer has that of the longer run.

    Validation and test round the delays, as chips do. The test is run a second time with interpolated ones, and its
    headline metric is logged as test/<name>_interpolated, such as test/acc_interpolated: its difference to test/acc is
    what rounding costs. Of a task that is a plain LightningModule, and with a sharded strategy, it is left out.

    run.build adds it to every run whose net learns delays; a plain Trainer needs it in its callbacks.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.max_epochs in (None, -1) and trainer.max_steps in (None, -1):
            raise ValueError(
                "delay: the window of learned delays shrinks by the share of the training, whose length is not known. "
                "Set trainer.max_epochs, or trainer.max_steps."
            )

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int) -> None:
        progress = progress_of(trainer, idx)
        for line in delay_lines(pl_module.net).values():
            line.anneal(progress)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, Supervised) or type(trainer.strategy).__name__ in _SHARDED:
            return
        if not learns_delays(pl_module.net):
            return
        name, metric = pl_module.HEADLINE[0], pl_module.new_headline().to(pl_module.device)
        with isolate_rng(), interpolated(pl_module.net), trainer.precision_plugin.test_step_context():
            for batch in _test_batches(trainer):
                with pl_module.padded(batch):
                    scores = pl_module.scores(pl_module.outputs("test", batch[0], batch))
                    metric.update(*pl_module.measurable(scores, batch[1]))
        pl_module.log(f"test/{name}_interpolated", metric.compute())


def progress_of(trainer: pl.Trainer, batch_idx: int) -> float:
    """The share of the training that is over before a batch, from 0 to 1."""
    batches = trainer.num_training_batches
    in_epoch = batch_idx / batches if 0 < batches < float("inf") else 0.0
    epochs, steps = trainer.max_epochs, trainer.max_steps
    of_epochs = (trainer.current_epoch + in_epoch) / epochs if epochs not in (None, -1, 0) else 0.0
    of_steps = trainer.global_step / steps if steps not in (None, -1, 0) else 0.0
    return min(max(of_epochs, of_steps), 1.0)


def _test_batches(trainer: pl.Trainer) -> Iterator[Any]:
    loaders = trainer.test_dataloaders
    for loader, most in zip(loaders if isinstance(loaders, list) else [loaders], trainer.num_test_batches, strict=True):
        for idx, batch in enumerate(loader):
            if idx >= most:
                break
            batch = trainer.precision_plugin.convert_input(batch)
            yield trainer.strategy.batch_to_device(batch)
