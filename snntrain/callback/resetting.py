"""Reset the neurons for a task that does not do it itself."""

from typing import Any

import lightning.pytorch as pl

from snntrain import functional


class Resetting(pl.Callback):
    """Reset every module of the net that has a state before each batch, for a plain LightningModule."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        functional.reset_net(pl_module.net)

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        functional.reset_net(pl_module.net)

    def on_test_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        functional.reset_net(pl_module.net)

    def on_predict_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        functional.reset_net(pl_module.net)
