"""Metrics that a config adds to loss and accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torchmetrics import Metric

from snntrain.binding import bind_named
from snntrain.error import UsageError

_TAKEN = ("loss", "acc")


def make_metrics(settings: Sequence[Any], num_classes: int) -> nn.ModuleDict:
    """Build the metrics that a config lists, once for validation and once for the test.

    Args:
        settings: a name, or {name: …} with arguments, for each. What is registered is a torchmetrics.Metric of scores
            [N, K] and labels [N], or a function that returns one.
        num_classes: for those that take it.

    Returns: "val" and "test" → name → metric.
    Raises: ValueError for an unknown name or argument, and for a name that is logged already.
    """
    made: dict[str, dict[str, Metric]] = {"val": {}, "test": {}}
    for place, setting in enumerate(settings):
        path = f"task.metrics[{place}]"
        name = setting.get("name") if isinstance(setting, Mapping) else setting
        if name in (*_TAKEN, *made["val"]):
            raise UsageError(f"{path}: {name} is logged already. Register your metric under another name.")
        for metrics in made.values():
            metric = bind_named("metric", setting, path, offered={"num_classes": num_classes})
            metrics[name] = metric if isinstance(metric, Metric) else metric()
            if not isinstance(metrics[name], Metric):
                raise UsageError(f"{path}: {name} makes a {type(metrics[name]).__name__}, not a torchmetrics.Metric.")
    return nn.ModuleDict({stage: nn.ModuleDict(metrics) for stage, metrics in made.items()})
