"""Classification: images or sequences in, one class out."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from snntrain import functional
from snntrain.arguments import choice, integer, real
from snntrain.task import loss as losses
from snntrain.task.optimizer import configure
from snntrain.task.readout import READOUTS, read_out


class Classification(pl.LightningModule):
    """Train a network to tell classes apart; resets the neurons before every batch.

    Args:
        net: [T, N, *] → [T, N, num_classes].
        encoder: (x [N, *], T) → [T, N, *].
        T: time steps per sample, ≥ 1; a network without state takes one.
        num_classes: number of classes K.
        optim: config of the optimiser, see snntrain.task.optimizer.
        readout: 'rate', 'membrane', 'last' or 'max', see read_out.
        readout_tau: time constant of the membrane readout, > 1.
        loss: 'cross_entropy' or 'mse', of the readout; 'tet', of every step.
        label_smoothing: of the cross-entropies, in [0, 1).
        tet_weight: λ of the TET loss, in [0, 1].
        tet_potential: potential that the TET loss pulls the outputs to.

    Shapes: forward takes x [N, *] and returns the outputs [T, N, K].
    Raises: ValueError naming the argument, the range and the value received.
    """

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        T: int,
        num_classes: int,
        optim: dict[str, Any],
        readout: str = "rate",
        readout_tau: float = 2.0,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.0,
        tet_weight: float = 0.05,
        tet_potential: float = 1.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.encoder = encoder
        self.T = integer(self, "T", T, at_least=1)
        self.readout = choice(self, "readout", readout, READOUTS)
        self.readout_tau = real(self, "readout_tau", readout_tau, above=1)
        self.loss = choice(self, "loss", loss, losses.LOSSES)
        self.label_smoothing = real(self, "label_smoothing", label_smoothing, at_least=0, below=1)
        self.tet_weight = real(self, "tet_weight", tet_weight, at_least=0, at_most=1)
        self.tet_potential = real(self, "tet_potential", tet_potential)
        self.optim = optim
        self.accuracy = nn.ModuleDict(
            {
                f"{stage}_acc": MulticlassAccuracy(num_classes, average="micro", validate_args=False)
                for stage in ("train", "val", "test")
            }
        )
        self.confusion = MulticlassConfusionMatrix(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self.net)
        return self.net(self.encoder(x, self.T))

    def scores(self, y_seq: Tensor) -> Tensor:
        """One score per class from the outputs over time: [T, N, K] → [N, K]."""
        return read_out(y_seq, self.readout, self.readout_tau)

    def compute_loss(self, y_seq: Tensor, target: Tensor) -> Tensor:
        """The loss of outputs [T, N, K] for labels [N]."""
        if self.loss == "tet":
            return losses.tet(y_seq, target, self.tet_weight, self.tet_potential, self.label_smoothing)
        if self.loss == "mse":
            return losses.mse(self.scores(y_seq), target)
        return losses.cross_entropy(self.scores(y_seq), target, self.label_smoothing)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step(batch, "train")[0]

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        _, scores = self._step(batch, "test")
        self.confusion.update(scores.argmax(1), batch[1])

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, target = batch
        scores = self.scores(self(x)).float()
        return {"label": target, "predicted": scores.argmax(1), "scores": scores}

    def on_test_epoch_start(self) -> None:
        self.confusion.reset()

    def configure_optimizers(self) -> dict[str, Any]:
        return configure(self.net, self.optim)

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> tuple[Tensor, Tensor]:
        x, target = batch
        y_seq = self(x).float()
        loss, scores = self.compute_loss(y_seq, target), self.scores(y_seq).detach()
        accuracy = self.accuracy[f"{stage}_acc"]
        with torch.no_grad():
            accuracy.update(scores, target)
        self.log(f"{stage}/loss", loss.detach(), on_step=stage == "train", on_epoch=True, batch_size=len(target))
        self.log(f"{stage}/acc", accuracy, on_step=False, on_epoch=True, batch_size=len(target))
        return loss, scores
