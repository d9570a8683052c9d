"""Multi-label classification: samples or sequences in, any number of labels out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MultilabelF1Score, MultilabelStatScores

from snntrain.data.target import Target
from snntrain.registry import register
from snntrain.signature import merge_signature
from snntrain.task.evidence import MOST_LABELS, Instead
from snntrain.task.supervised import Supervised


@register("task")
class MultiLabel(Supervised):
    """Train a network to tell for each label whether it holds; resets the neurons before every batch.

    A label is predicted where its score, a logit, is above 0. Nets are judged by the mean of the labels' F1 scores.

    Args:
        net: [T, N, *] → [T, N, num_classes]; its last layer has no neuron as a rule, since spikes are ≥ 0.
        num_classes: number of labels K.
        loss: 'bce', 'focal', 'mse' or one of a plugin, or {name: …} with its arguments.
        Others as in Supervised.

    Shapes: as in Supervised, with targets float32 [N, K], 0 or 1.
    """

    TARGET = Target.LABELS
    HEADLINE = ("f1", "max")

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        T: int,
        num_classes: int,
        optim: dict[str, Any],
        *,
        loss: str | Mapping[str, Any] = "bce",
        **common: Any,
    ) -> None:
        self.num_classes = num_classes
        super().__init__(net=net, encoder=encoder, T=T, outputs=num_classes, optim=optim, loss=loss, **common)

    def new_headline(self) -> MultilabelF1Score:
        return MultilabelF1Score(self.num_classes, average="macro", validate_args=False)

    def new_evidence(self, outputs: int) -> dict[str, Metric]:
        counts = MultilabelStatScores(outputs, average=None, validate_args=False)
        return {"labels": counts, **({"instead": Instead(outputs)} if outputs <= MOST_LABELS else {})}

    def for_evidence(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        # As probabilities, because torchmetrics guesses from each batch whether it was given logits.
        return scores.sigmoid(), target.int()

    measurable = for_evidence

    def predicted(self, scores: Tensor) -> Tensor:
        return (scores > 0).to(scores.dtype)


merge_signature(MultiLabel, positional=True, without=("outputs", "offered"))
