"""How much each class counts in a loss: as given, or so that rare classes count as much as frequent ones."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from snntrain.arguments import Bounds
from snntrain.data.target import Target
from snntrain.error import UsageError
from snntrain.functional import real_steps

BALANCED = "balanced"
#: Annotation of an argument of a loss that a config gives as "balanced" or a list, and the loss gets as a tensor [K].
CLASS_WEIGHT = Tensor | str | Sequence[float] | None

_REMEDY = "Give a list of weights, or leave weight out."


class ClassWeights(nn.Module):
    """The weights of K classes or labels.

    "balanced" counts the labels of the training split before a training begins. A class then weighs n / (K·n_k), as in
    scikit-learn, so that the mean weight of the n training samples is 1. Where a sample has several labels, a label
    that holds weighs (n − n_k) / n_k, and one that does not weighs 1. Checkpoints hold the weights.

    Args:
        setting: "balanced", or a number ≥ 0 for each class.
        kind: of the targets.
        count: classes or labels K.
        path: the setting's place in the config.

    Attributes:
        values: float32 [K]; 1 until the labels are counted.
    """

    values: Tensor

    def __init__(self, setting: Any, kind: Target, count: int, path: str) -> None:
        super().__init__()
        self.kind, self.path = kind, path
        self.is_balanced = setting == BALANCED
        if not self.is_balanced:
            _check(setting, kind, count, path)
        self.is_known = not self.is_balanced
        self.register_buffer("values", torch.ones(count) if self.is_balanced else torch.tensor(setting).float())

    def forward(self) -> Tensor:
        """The weights. Raises: ValueError in a training whose labels were not counted."""
        if self.training and not self.is_known:
            raise ValueError(
                f"{self.path}={BALANCED}: the labels of the training split were not counted. A task with a method "
                "setup(stage) of its own calls super().setup(stage) in it."
            )
        return self.values

    def count(self, data: pl.LightningDataModule | None) -> None:
        """Balance the classes of the training split of a data module of snntrain, which was set up.

        Raises: UsageError for other data, and for a class without a sample.
        """
        if not self.is_balanced:
            return
        split = getattr(data, "splits", {}).get("train")
        labels = getattr(split, "labels", None)
        if not isinstance(labels, Tensor):
            found = "loaders" if data is None else type(getattr(data, "source", data)).__name__
            raise UsageError(
                f"{self.path}={BALANCED} counts the labels of the training split of a snntrain.data.DataModule, got "
                f"{found}. {_REMEDY}"
            )
        weights = self._balanced(labels, getattr(split, "lengths", None))
        for place in (~weights.isfinite() | (weights == 0)).nonzero().flatten()[:1].tolist():
            names = getattr(data, "CLASSES", None)
            name = place if names is None else names[place]
            if self.kind is Target.LABELS:
                raise UsageError(
                    f"{self.path}={BALANCED}: label {name} holds for all training samples, or for none. {_REMEDY}"
                )
            raise UsageError(f"{self.path}={BALANCED}: no training sample is of class {name}. {_REMEDY}")
        self.values.copy_(weights)
        self.is_known = True

    def _balanced(self, labels: Tensor, lengths: Tensor | None) -> Tensor:
        if self.kind is Target.LABELS:
            held = labels.double().sum(0)
            return (len(labels) - held) / held
        if labels.dim() == 2 and lengths is not None:
            labels = labels[real_steps(lengths, labels.shape[1]).T]
        counts = labels.flatten().bincount(minlength=len(self.values)).double()
        return counts.sum() / (len(counts) * counts)


def _check(setting: Any, kind: Target, count: int, path: str) -> None:
    allowed = Bounds(at_least=0)
    is_list = isinstance(setting, (list, tuple)) and all(allowed.allow(value) for value in setting)
    if not is_list or len(setting) != count or not any(setting):
        raise UsageError(
            f"{path} must be {BALANCED}, or a list of {count} numbers ≥ 0, one for each "
            f"{'label' if kind is Target.LABELS else 'class'} and not all of them 0; got {setting!r}."
        )
