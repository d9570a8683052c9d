"""Metrics that a config adds to the loss and the headline of a task."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import (
    F1Score,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    PearsonCorrCoef,
    Precision,
    R2Score,
    Recall,
    SymmetricMeanAbsolutePercentageError,
)
from torchmetrics.classification import (
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MultilabelAUROC,
    MultilabelAveragePrecision,
)

from snntrain.binding import bind_named
from snntrain.data.target import Target
from snntrain.error import UsageError
from snntrain.registry import register
from snntrain.task.suited import check_suited, suits


def make_metrics(settings: Sequence[Any], kind: Target, outputs: int, taken: Sequence[str]) -> nn.ModuleDict:
    """Build the metrics that a config lists, once for validation and once for the test.

    Args:
        settings: a name, or {name: …} with arguments, for each. What is registered is a torchmetrics.Metric of scores
            and targets, or a function that returns one.
        kind: of the targets, for those that take it.
        outputs: scores K of a sample; metrics get it as num_classes, num_labels or num_outputs.
        taken: names that are logged already.

    Returns: "val" and "test" → name → metric.
    Raises: ValueError for an unknown name or argument, and for a name that is logged already.
    """
    made: dict[str, dict[str, Metric]] = {"val": {}, "test": {}}
    offered = {"kind": kind, **dict.fromkeys(("num_classes", "num_labels", "num_outputs"), outputs)}
    for place, setting in enumerate(settings):
        path = f"task.metrics[{place}]"
        name = setting.get("name") if isinstance(setting, Mapping) else setting
        check_suited("metric", setting, kind, path)
        if name in (*taken, *made["val"]):
            raise UsageError(f"{path}: {name} is logged already. Register your metric under another name.")
        for metrics in made.values():
            metric = bind_named("metric", setting, path, offered=offered)
            metrics[name] = metric if isinstance(metric, Metric) else metric()
            if not isinstance(metrics[name], Metric):
                raise UsageError(f"{path}: {name} makes a {type(metrics[name]).__name__}, not a torchmetrics.Metric.")
    return nn.ModuleDict({stage: nn.ModuleDict(metrics) for stage, metrics in made.items()})


_OF_CLASSES = (Target.CLASS, Target.LABELS, Target.STEP_CLASSES)
_OF_VALUES = (Target.VALUES, Target.STEP_VALUES)


def _of_classes(metric: type[Metric], kind: Target, num_classes: int, **more: Any) -> Metric:
    """A metric of torchmetrics for one class, or several labels, per sample."""
    if kind is Target.LABELS:
        return metric(task="multilabel", num_labels=num_classes, **more)
    return metric(task="multiclass", num_classes=num_classes, **more)


@register("metric")
@suits(*_OF_CLASSES)
def f1(kind: Target, num_classes: int, average: str = "macro") -> Metric:
    """F1: the harmonic mean of precision and recall of each class."""
    return _of_classes(F1Score, kind, num_classes, average=average)


@register("metric")
@suits(*_OF_CLASSES)
def precision(kind: Target, num_classes: int, average: str = "macro") -> Metric:
    """Of the samples that the net takes for a class, the share that is of it."""
    return _of_classes(Precision, kind, num_classes, average=average)


@register("metric")
@suits(*_OF_CLASSES)
def recall(kind: Target, num_classes: int, average: str = "macro") -> Metric:
    """Of the samples of a class, the share that the net takes for it."""
    return _of_classes(Recall, kind, num_classes, average=average)


class _OfSoftmax(Metric):
    """Of softmax's probabilities. torchmetrics guesses from each batch whether it was given logits, and gets a batch
    of rates wrong."""

    def update(self, scores: Tensor, target: Tensor) -> None:
        super().update(scores.softmax(1), target)


class _ClassAUROC(_OfSoftmax, MulticlassAUROC): ...


class _ClassAveragePrecision(_OfSoftmax, MulticlassAveragePrecision): ...


@register("metric")
@suits(*_OF_CLASSES)
def auroc(kind: Target, num_classes: int) -> Metric:
    """Area under the receiver operating characteristic of each class against all others, their mean."""
    return (MultilabelAUROC if kind is Target.LABELS else _ClassAUROC)(num_classes)


@register("metric")
@suits(*_OF_CLASSES)
def average_precision(kind: Target, num_classes: int) -> Metric:
    """Area under precision over recall of each class against all others, their mean."""
    return (MultilabelAveragePrecision if kind is Target.LABELS else _ClassAveragePrecision)(num_classes)


@register("metric")
@suits(*_OF_VALUES)
def mae(num_outputs: int) -> Metric:
    """Mean absolute error over samples and values."""
    return MeanAbsoluteError()


@register("metric")
@suits(*_OF_VALUES)
def mse(num_outputs: int) -> Metric:
    """Mean squared error over samples and values."""
    return MeanSquaredError()


@register("metric")
@suits(*_OF_VALUES)
def r2(num_outputs: int) -> Metric:
    """Share of the targets' variance that the predictions explain, the mean over the values of a sample."""
    return R2Score()


@register("metric")
@suits(*_OF_VALUES)
def pearson(num_outputs: int) -> Metric:
    """Correlation of predictions and targets; of one value per sample."""
    return PearsonCorrCoef(num_outputs=num_outputs)


class SMAPE(SymmetricMeanAbsolutePercentageError):
    """Symmetric mean absolute percentage error, the mean of 200·|p − t|/(|p| + |t|): from 0 to 200."""

    def compute(self) -> Tensor:
        return 100 * super().compute()


@register("metric")
@suits(*_OF_VALUES)
def smape(num_outputs: int) -> Metric:
    """Symmetric mean absolute percentage error over samples and values, from 0 to 200; for positive values."""
    return SMAPE()
