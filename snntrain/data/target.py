"""What a data set says about each sample, and whether its targets are that."""

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor


class Target(StrEnum):
    """Kinds of targets."""

    CLASS = "a class"
    """int64 [n], from 0 to K − 1."""
    VALUES = "values"
    """float32 [n, D]."""
    LABELS = "several labels"
    """float32 [n, K], 1 where a label holds, else 0."""
    STEPS = "a class or values at every step"
    """int64 [n, T] or float32 [n, T, D], of sequences that may end before the last step."""


def check_targets(kind: Target, targets: Tensor, count: int, where: Callable[[int], str], split: str) -> None:
    """Refuse targets that are not of a kind, naming the first sample at fault.

    Args:
        kind: as the data set declares it.
        targets: of a whole split.
        count: classes K, labels K or values D of a sample.
        where: position → name of the sample.
        split: name of the split.
    """
    shape, is_real = list(targets.shape), targets.is_floating_point()
    wanted = {Target.CLASS: "int64 [n]", Target.VALUES: f"float32 [n, {count}]", Target.LABELS: f"float32 [n, {count}]"}
    fits = not is_real and len(shape) == 1 if kind is Target.CLASS else is_real and shape[1:] == [count]
    if kind is not Target.STEPS and not fits:
        raise ValueError(
            f"data: the targets of the {split} split must be {kind.value}, {wanted[kind]}, but they have shape {shape} "
            f"and type {targets.dtype}."
        )
    if kind is Target.CLASS:
        wrong, rule = (targets < 0) | (targets >= count), f"from 0 to {count - 1}, as data.num_classes is {count}"
    elif kind is Target.LABELS:
        wrong, rule = ((targets != 0) & (targets != 1)).any(1), "0 or 1"
    elif is_real:
        wrong, rule = ~targets.flatten(1).isfinite().all(1), "finite numbers"
    else:
        wrong, rule = torch.zeros(len(targets), dtype=torch.bool), ""
    for place in wrong.nonzero().flatten()[:1].tolist():
        raise ValueError(
            f"data: {where(place)} of the {split} split has the label {targets[place].tolist()}; labels must be {rule}"
            ". Correct it."
        )
