"""Training speed in images, or other samples, per second."""

import time
from typing import Any

import lightning.pytorch as pl


class Throughput(pl.Callback):
    """Count training images of all processes and the seconds they took, without validation and the run's first batch.

    The first batch pays for warming up (allocations, loader workers), which would distort a short run's figure.

    Attributes:
        unit: what is counted: "images", or "samples" if these are no pictures and no frames.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self.unit = "images"
        self._warm = False
        self._last: float | None = None

    @property
    def images_per_second(self) -> float | None:
        """Mean speed so far, None before the second batch."""
        return self.images / self.seconds if self.seconds else None

    @property
    def told(self) -> str:
        """The speed for people, such as 1,912 img/s; "" before the second batch."""
        speed = self.images_per_second
        return "" if speed is None else f"{speed:,.0f} {'img' if self.unit == 'images' else self.unit}/s"

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = time.perf_counter() if self._warm else None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        now, batch = time.perf_counter(), args[1]
        self.unit = "images" if getattr(batch[0], "ndim", 0) >= 4 else "samples"  # [N, C, H, W] or [N, T, C, H, W]
        if self._last is not None:
            self.images += len(batch[1]) * trainer.world_size  # of an epoch's last batch others may have one less
            self.seconds += now - self._last
        self._warm, self._last = True, now

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = time.perf_counter()
