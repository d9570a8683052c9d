"""Random draws inside the model: a function of (seed, stage, epoch, rank)."""

from typing import Any

import lightning.pytorch as pl
import torch

from snntrain.arguments import integer
from snntrain.randomness import derived_seed


class Seeding(pl.Callback):
    """Reseed torch at the first batch of each training epoch, and around each evaluation.

    Checkpoints hold no generator state; reseeding by epoch is what lets a resumed run draw the same numbers. It
    happens at the first batch and not at the epoch's start because starting loader workers draws from the same
    generator. An evaluation has a seed of its own and leaves the training's generator as it found it.

    Args:
        seed: the run's seed, ≥ 0.
    """

    def __init__(self, seed: int) -> None:
        self.seed = integer(self, "seed", seed, at_least=0)
        self._training_states: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int) -> None:
        if idx == 0:
            epoch = trainer.fit_loop.epoch_progress.current.processed
            torch.manual_seed(derived_seed(self.seed, "model", epoch, trainer.global_rank))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._training_states = [torch.get_rng_state()]
        if pl_module.device.type == "cuda":
            self._training_states.append(torch.cuda.get_rng_state(pl_module.device))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.set_rng_state(self._training_states[0])
        if pl_module.device.type == "cuda":
            torch.cuda.set_rng_state(self._training_states[1], pl_module.device)

    def _seed_evaluation(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int, *_: int
    ) -> None:
        if idx == 0:
            stage = "test" if trainer.testing or trainer.predicting else "val"  # predictions are those that were tested
            torch.manual_seed(derived_seed(self.seed, stage, trainer.global_rank))

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _seed_evaluation
