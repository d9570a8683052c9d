"""Losses over time, each for the kinds of targets that it compares with."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from snntrain.binding import bind_named
from snntrain.data.target import Target
from snntrain.registry import register, table
from snntrain.task.suited import check_suited, suits

LOSSES = table("loss")
"""Name → loss, those of plugins included."""


class Loss(nn.Module):
    """The loss that a setting describes.

    A registered loss is a function, or a class whose objects are called. It takes by name what it needs of `y_seq`, the
    outputs [T, N, K], `scores` [N, K], what the readout makes of them, and `target`, in the form of its kind.

    Args:
        setting: a name, or {name: …} with the loss's arguments.
        kind: of the targets.
        offered: arguments for losses that take them and whose setting leaves them out.

    Raises: ValueError with the nearest name or argument, or for a loss of other targets.
    """

    def __init__(self, setting: Any, kind: Target, offered: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        check_suited("loss", setting, kind, "task.loss")
        self.loss = bind_named("loss", setting, "task.loss", ("y_seq", "scores", "target"), offered)
        call = self.loss.forward if isinstance(self.loss, nn.Module) else self.loss
        self.takes = frozenset(inspect.signature(call).parameters)

    def forward(self, y_seq: Tensor, read_out: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
        """The loss; scores are only computed for a loss that takes them."""
        given = {"y_seq": y_seq, "target": target}
        if "scores" in self.takes:
            given["scores"] = read_out(y_seq)
        return self.loss(**{name: value for name, value in given.items() if name in self.takes})


@register("loss")
@suits(Target.CLASS, Target.STEP_CLASSES)
def cross_entropy(scores: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the readout: scores [N, K], target [N], or [N, K] with shares where samples are mixed."""
    return F.cross_entropy(scores, target, label_smoothing=label_smoothing)


@register("loss")
@suits(*Target)
def mse(scores: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of the readout from values, or from one-hot classes (Fang et al., ICCV 2021)."""
    expected = F.one_hot(target, scores.shape[1]) if target.dim() == 1 else target
    return F.mse_loss(scores, expected.to(scores.dtype))


@register("loss")
@suits(Target.VALUES, Target.STEP_VALUES)
def mae(scores: Tensor, target: Tensor) -> Tensor:
    """Mean absolute distance of the readout [N, D] from values [N, D]."""
    return F.l1_loss(scores, target)


@register("loss")
@suits(Target.VALUES, Target.STEP_VALUES)
def huber(scores: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """Half the squared distance of the readout from values, growing linearly beyond delta > 0 (Huber, 1964)."""
    return F.huber_loss(scores, target, delta=delta)


@register("loss")
@suits(Target.LABELS)
def bce(scores: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of each label: the readout [N, K] holds logits, the target [N, K] 0 or 1."""
    return F.binary_cross_entropy_with_logits(scores, target)


@register("loss")
@suits(Target.CLASS)
def tet(y_seq: Tensor, target: Tensor, tet_weight: float, tet_potential: float, label_smoothing: float = 0.0) -> Tensor:
    """Temporal efficient training: the mean over time of each step's own cross-entropy, plus a pull toward one
    potential.

    Args:
        y_seq: outputs [T, N, K].
        target: [N] or [N, K].
        tet_weight: λ in (1 − λ)·mean_t CE(y[t], target) + λ·MSE(y_seq, tet_potential), in [0, 1].
        tet_potential: what the outputs are pulled to, usually the firing threshold.
        label_smoothing: of the cross-entropy.

    Source: Deng et al., ICLR 2022, arXiv 2202.11946.
    """
    of_every_step = torch.cat([target] * y_seq.shape[0])
    per_step = F.cross_entropy(y_seq.flatten(0, 1), of_every_step, label_smoothing=label_smoothing)
    return (1 - tet_weight) * per_step + tet_weight * (y_seq - tet_potential).square().mean()


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
