"""Losses over time, each for the kinds of targets that it compares with."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from snntrain.binding import bind_named
from snntrain.data.target import Target
from snntrain.error import UsageError
from snntrain.ranges import number, set_ranges
from snntrain.registry import register, table
from snntrain.signature import signature_of
from snntrain.task.class_weights import CLASS_WEIGHT, ClassWeights
from snntrain.task.suited import check_suited, suited, suits

LOSSES = table("loss")
"""Name → loss, those of plugins included."""


_FILLED_IN = ("y_seq", "scores", "target", "kind", "population", "firing_rates")


class Loss(nn.Module):
    """The loss that a setting describes.

    A registered loss is a function, or a class whose objects are called. It takes by name what it needs of

        y_seq         the outputs [T, N, K]
        scores        [N, K], what the readout makes of them
        target        in the form of its kind
        kind          that kind, a Target
        population    output neurons of each class, which y_seq holds the sums of
        firing_rates  [layers], the mean output of each spiking layer, through which gradients flow
        weight        annotated as CLASS_WEIGHT: the weights [K] of the classes that its setting describes
        loss          the value of the loss that its setting names, for one that adds to any other

    Args:
        setting: a name, or {name: …} with the loss's arguments.
        kind: of the targets.
        offered: arguments for losses that take them and whose setting leaves them out.
        count: classes, labels or values K; None: not known, so that no classes can be weighted.
        population: output neurons of each class.
        path: the setting's place, for errors.

    Raises: ValueError with the nearest name or argument, or for a loss of other targets.
    """

    def __init__(
        self,
        setting: Any,
        kind: Target,
        offered: Mapping[str, Any] | None = None,
        *,
        count: int | None = None,
        population: int = 1,
        path: str = "task.loss",
    ) -> None:
        super().__init__()
        check_suited("loss", setting, kind, path)
        self.kind, self.population = kind, population
        self.name = setting.get("name") if isinstance(setting, Mapping) else setting
        self.target = LOSSES.get(self.name) if isinstance(self.name, str) else None
        own = {} if self.target is None else signature_of(self.target).parameters
        setting = dict(setting) if isinstance(setting, Mapping) else setting
        self.inner, self.class_weights, more = None, None, []
        if "loss" in own and not inspect.isclass(self.target):
            if not isinstance(setting, dict) or "loss" not in setting:
                raise UsageError(f"{path}: {self.name} adds to another loss. Name it, {{name: {self.name}, loss: …}}.")
            inner, more = setting.pop("loss"), ["loss"]
            self.inner = Loss(inner, kind, offered, count=count, population=population, path=f"{path}.loss")
        if "weight" in own and own["weight"].annotation == CLASS_WEIGHT:
            weight = setting.pop("weight", None) if isinstance(setting, dict) else None
            more.append("weight")
            if weight is not None:
                self.class_weights = ClassWeights(weight, kind, count or 0, f"{path}.weight")
        self.loss = bind_named("loss", setting, path, (*_FILLED_IN, *more), offered)
        call = self.loss.forward if isinstance(self.loss, nn.Module) else self.loss
        self.takes = frozenset(inspect.signature(call).parameters)
        self.reads = self.takes | frozenset(own)  # what was offered too
        if population > 1 and not getattr(self.target, "of_populations", True):
            raise UsageError(
                f"{path}: {self.name} is of single neurons, but task.population={population} sums up those of a class. "
                f"Use {', '.join(suited('loss', kind, 'of_populations'))}, or task.population=1."
            )

    def forward(
        self,
        y_seq: Tensor,
        read_out: Callable[[Tensor], Tensor],
        target: Tensor,
        firing_rates: Callable[[], Tensor] | None = None,
    ) -> Tensor:
        """The loss; scores and firing rates are only computed for a loss that takes them."""
        given = {"y_seq": y_seq, "target": target, "kind": self.kind, "population": self.population}
        if "scores" in self.takes:
            given["scores"] = read_out(y_seq)
        if "firing_rates" in self.takes:
            if firing_rates is None:
                raise ValueError(
                    f"task.loss: {self.name} needs the firing rates of a forward, which are known in the steps of a "
                    "task only."
                )
            given["firing_rates"] = firing_rates()
        if self.class_weights is not None:
            given["weight"] = self.class_weights().to(y_seq.dtype)
        if self.inner is not None:
            given["loss"] = self.inner(y_seq, read_out, target, firing_rates)
        return self.loss(**{name: value for name, value in given.items() if name in self.takes})

    @property
    def parts(self) -> list["Loss"]:
        """This loss, and those that it adds to."""
        return [self, *([] if self.inner is None else self.inner.parts)]

    @property
    def takes_firing_rates(self) -> bool:
        """Whether the net's spiking layers must be watched."""
        return any("firing_rates" in part.takes for part in self.parts)

    def count_classes(self, data: pl.LightningDataModule | None) -> None:
        """Balance the classes by a data module's training labels where the setting says so, see ClassWeights."""
        for weights in self._class_weights():
            weights.count(data)

    def weigh_evenly(self) -> None:
        """Leave classes that were to be balanced as they are, for a training whose labels mean nothing."""
        for weights in self._class_weights():
            weights.is_known = True

    def _class_weights(self) -> list[ClassWeights]:
        return [part.class_weights for part in self.parts if part.class_weights is not None]


@register("loss")
@suits(Target.CLASS, Target.STEP_CLASSES)
def cross_entropy(scores: Tensor, target: Tensor, label_smoothing: float = 0.0, weight: CLASS_WEIGHT = None) -> Tensor:
    """Cross-entropy of the readout: scores [N, K], target [N], or [N, K] with shares where samples are mixed.

    With weights [K] of the classes it is the mean over the samples of weight times cross-entropy. It is not divided by
    the sum of a batch's weights, so that it does not depend on which samples share a batch.
    """
    if weight is None:
        return F.cross_entropy(scores, target, label_smoothing=label_smoothing)
    return F.cross_entropy(scores, target, weight, label_smoothing=label_smoothing, reduction="none").mean()


@register("loss")
@suits(Target.CLASS, Target.STEP_CLASSES, Target.LABELS)
def focal(
    scores: Tensor,
    target: Tensor,
    kind: Target,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    weight: CLASS_WEIGHT = None,
) -> Tensor:
    """Focal loss: a cross-entropy in which samples that are right already count little, −(1 − p)^gamma · log p.

    Args:
        scores: [N, K], logits.
        target: classes [N] or their shares [N, K], whose p is softmax's; or labels [N, K], whose p is the sigmoid's, of
            a label that does not hold 1 − p.
        kind: of the targets.
        gamma: focus, ≥ 0; 0: none.
        label_smoothing: ε of the targets (1 − ε)·y + ε/K, of labels (1 − ε)·y + ε/2.
        weight: of the classes, or of labels where they hold, [K].

    Source: Lin et al., ICCV 2017, arXiv 1708.02002, eq. 4 and 5.
    """
    if kind is Target.LABELS:
        log_p, log_not_p = F.logsigmoid(scores), F.logsigmoid(-scores)
        held = (1 - label_smoothing) * target + label_smoothing / 2
        of_held, of_others = (gamma * log_not_p).exp() * log_p, (gamma * log_p).exp() * log_not_p
        return -(held * of_held * (1 if weight is None else weight) + (1 - held) * of_others).mean()
    shares = F.one_hot(target, scores.shape[1]) if target.dim() == 1 else target
    shares = (1 - label_smoothing) * shares.to(scores.dtype) + label_smoothing / scores.shape[1]
    shares = shares if weight is None else shares * weight
    log_p = scores.log_softmax(1)
    not_p = (-log_p.expm1()).clamp_min(torch.finfo(scores.dtype).tiny)  # 0^gamma has no gradient for gamma < 1
    return -(shares * not_p**gamma * log_p).sum(1).mean()


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
def bce(scores: Tensor, target: Tensor, weight: CLASS_WEIGHT = None) -> Tensor:
    """Binary cross-entropy of each label: the readout [N, K] holds logits, the target [N, K] 0 or 1.

    Where a label holds, it counts by its weight [K].
    """
    return F.binary_cross_entropy_with_logits(scores, target, pos_weight=weight)


@register("loss")
@suits(Target.CLASS, step_by_step=False)
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


_SMOOTHING = number(at_least=0, below=1)
set_ranges(focal, "focal: gamma in the documentation", gamma=number(at_least=0), label_smoothing=_SMOOTHING)
set_ranges(huber, "torch.nn.functional.huber_loss: delta > 0", delta=number(above=0))


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
