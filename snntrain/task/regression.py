"""Regression: samples or sequences in, one or several values out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanSquaredError, Metric

from snntrain.data.target import Target
from snntrain.registry import register
from snntrain.signature import merge_signature
from snntrain.task.evidence import Pairs, ValueErrors
from snntrain.task.supervised import Supervised


@register("task")
class Regression(Supervised):
    """Train a network to predict values; resets the neurons before every batch.

    The net learns standardized values where the data set standardizes them; losses and metrics are of what the data set
    gives.

    Args:
        net: [T, N, *] → [T, N, num_targets]; its last layer has no neuron as a rule, since spikes are ≥ 0.
        num_targets: values D of a sample.
        loss: 'mse', 'mae', 'huber' or one of a plugin, or {name: …} with its arguments.
        Others as in Supervised.

    Shapes: as in Supervised, with targets float32 [N, D].
    """

    TARGET = Target.VALUES
    HEADLINE = ("rmse", "min")

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        T: int,
        num_targets: int,
        optim: dict[str, Any],
        *,
        loss: str | Mapping[str, Any] = "mse",
        **common: Any,
    ) -> None:
        super().__init__(net=net, encoder=encoder, T=T, outputs=num_targets, optim=optim, loss=loss, **common)

    def new_headline(self) -> MeanSquaredError:
        return MeanSquaredError(squared=False)

    def new_evidence(self, outputs: int) -> dict[str, Metric]:
        return {"errors": ValueErrors(outputs), "pairs": Pairs(outputs)}

    def measurable(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        # torchmetrics takes samples [N] of a single value, and warns of [N, 1] in some metrics.
        return (scores[:, 0], target[:, 0]) if scores.shape[1] == 1 else (scores, target)


merge_signature(Regression, positional=True, without=("outputs", "offered"))
