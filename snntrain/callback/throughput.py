"""Training speed in images per second."""

import time
from typing import Any

import lightning.pytorch as pl


class Throughput(pl.Callback):
    """Count training images of all processes and the seconds they took, without validation and the run's first batch.

    The first batch pays for warming up (allocations, loader workers), which would distort a short run's figure.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self._warm = False
        self._last: float | None = None

    @property
    def images_per_second(self) -> float | None:
        """Mean speed so far, None before the second batch."""
        return self.images / self.seconds if self.seconds else None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = time.perf_counter() if self._warm else None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        now, batch = time.perf_counter(), args[1]
        if self._last is not None:
            self.images += len(batch[1]) * trainer.world_size  # of an epoch's last batch others may have one less
            self.seconds += now - self._last
        self._warm, self._last = True, now

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = time.perf_counter()
