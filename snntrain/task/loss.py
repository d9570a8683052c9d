"""Losses of a classifier over time. Targets are labels [N], or shares of the classes [N, K] where samples are mixed."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

LOSSES = ("cross_entropy", "mse", "tet")


def cross_entropy(scores: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the readout: scores [N, K], target [N] or [N, K]."""
    return F.cross_entropy(scores, target, label_smoothing=label_smoothing)


def mse(scores: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of the readout from the one-hot target, used on firing rates (Fang et al., ICCV 2021)."""
    expected = F.one_hot(target, scores.shape[1]) if target.dim() == 1 else target
    return F.mse_loss(scores, expected.to(scores.dtype))


def tet(y_seq: Tensor, target: Tensor, weight: float, potential: float, label_smoothing: float = 0.0) -> Tensor:
    """Temporal efficient training: the mean over time of each step's own cross-entropy, plus a pull toward one
    potential.

    Args:
        y_seq: outputs [T, N, K].
        target: [N] or [N, K].
        weight: λ in (1 − λ)·mean_t CE(y[t], target) + λ·MSE(y_seq, potential), in [0, 1].
        potential: what the outputs are pulled to, usually the firing threshold.
        label_smoothing: of the cross-entropy.

    Source: Deng et al., ICLR 2022, arXiv 2202.11946.
    """
    of_every_step = torch.cat([target] * y_seq.shape[0])
    per_step = F.cross_entropy(y_seq.flatten(0, 1), of_every_step, label_smoothing=label_smoothing)
    return (1 - weight) * per_step + weight * (y_seq - potential).square().mean()


class MeanLoss(Metric):
    """The mean over the samples of all processes, in single precision.

    Lightning's own mean weighs with the average of the processes' samples, rounded to a whole number.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "samples"):
            self.add_state(name, torch.zeros((), dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, loss: Tensor, samples: int) -> None:
        """Add the mean loss of a batch of so many samples."""
        self.total = self.total + loss.float() * samples
        self.samples = self.samples + samples

    def compute(self) -> Tensor:
        return self.total / self.samples
