"""Exponential moving average of the weights."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from snntrain.arguments import real
from snntrain.registry import register


@register("callback")
class EMAWeightAveraging(WeightAveraging):
    """Validate, keep and test averaged weights: w̄ ← d·w̄ + (1 − d)·w after each step, from the first step's w.

    The decay d grows with the number n of averaged steps, d = min(decay, (1 + n)/(10 + n)), so that a short training
    does not end with an average that mostly holds the untrained net.

    Checkpoints hold w̄ as the model's weights, and w beside them for a run that is resumed. Running statistics are
    averaged too. After training the model has w̄.

    Lightning's EMAWeightAveraging tests best.ckpt with w instead of w̄, does not count the batches of normalization
    layers, and leaves w̄ in the host's memory when the model goes to a GPU.

    Args:
        decay: in [0, 1); after a long training the average is over about the last 1/(1 − decay) steps.

    Source: Polyak & Juditsky, SIAM J. Control Optim. 30(4), 1992; Tarvainen & Valpola, NeurIPS 2017, arXiv 1703.01780.
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = real(self, "decay", decay, at_least=0, below=1)
        super().__init__(avg_fn=self._averaged)

    def _averaged(self, average: Tensor, current: Tensor, updates: Tensor) -> Tensor:
        if not average.is_floating_point():
            return current
        decay = ((1 + updates) / (10 + updates)).clamp(max=self.decay)
        return torch.lerp(average, current, (1 - decay).to(average.dtype))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._average_model.to(pl_module.device)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == TrainerFn.FITTING:  # else the weights that were loaded already are the averaged ones
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
