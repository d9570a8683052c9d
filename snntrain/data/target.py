"""What a data set says about each sample, and whether its targets are that."""

from collections.abc import Callable
from enum import StrEnum

from torch import Tensor


class Target(StrEnum):
    """Kinds of targets."""

    CLASS = "a class"
    """int64 [n], from 0 to K − 1."""
    VALUES = "values"
    """float32 [n, D]."""
    LABELS = "several labels"
    """float32 [n, K], 1 where a label holds, else 0."""
    STEP_CLASSES = "a class at every step"
    """int64 [n, T], from 0 to K − 1; 0 after the end of a sequence that has fewer steps."""
    STEP_VALUES = "values at every step"
    """float32 [n, T, D]; 0 after the end."""

    @property
    def is_counted_in_values(self) -> bool:
        """Whether data state num_targets, not num_classes."""
        return self in (Target.VALUES, Target.STEP_VALUES)


def learned_by(task: object) -> Target:
    """The kind of targets that a task learns; a class for one that does not say, such as a plain LightningModule."""
    return getattr(task, "TARGET", Target.CLASS)


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
    is_class = kind in (Target.CLASS, Target.STEP_CLASSES)
    dims = 2 if kind in (Target.VALUES, Target.LABELS, Target.STEP_CLASSES) else 3 if kind is Target.STEP_VALUES else 1
    if is_real == is_class or len(shape) != dims or (not is_class and shape[-1] != count):
        wanted = {
            Target.CLASS: "int64 [n]",
            Target.STEP_CLASSES: "int64 [n, T]",
            Target.STEP_VALUES: f"float32 [n, T, {count}]",
        }.get(kind, f"float32 [n, {count}]")
        raise ValueError(
            f"data: the targets of the {split} split must be {kind.value}, {wanted}, but they have shape {shape} and "
            f"type {targets.dtype}."
        )
    if is_class:
        wrong, rule = (targets < 0) | (targets >= count), f"from 0 to {count - 1}, as data.num_classes is {count}"
    elif kind is Target.LABELS:
        wrong, rule = (targets != 0) & (targets != 1), "0 or 1"
    else:
        wrong, rule = ~targets.isfinite(), "finite numbers"
    for place in wrong.flatten(1).any(1).nonzero().flatten()[:1].tolist() if wrong.dim() > 1 else _first(wrong):
        strange = targets[place][wrong[place]].flatten()[0].item() if wrong.dim() > 1 else int(targets[place])
        raise ValueError(
            f"data: {where(place)} of the {split} split has the label {strange}; labels must be {rule}. Correct it."
        )


def _first(wrong: Tensor) -> list[int]:
    return wrong.nonzero().flatten()[:1].tolist()
