"""Sequence tasks: a class or a value at every time step."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from snntrain.arguments import invalid
from snntrain.data.target import Target
from snntrain.layer.padding import padding
from snntrain.registry import register
from snntrain.signature import merge_signature
from snntrain.task.evidence import Example, Pairs, Steps, ValueErrors
from snntrain.task.supervised import Supervised


@register("task")
class SequencePrediction(Supervised):
    """Train a network to tell a class, or values, at every time step; resets the neurons before every batch.

    The outputs of a step are its scores, without a readout over time. Steps beyond the end of a sequence take no part
    in the loss, its gradient, or any metric.

    Args:
        net: [T, N, *] → [T, N, K], K = num_classes or num_targets; its last layer has no neuron as a rule.
        num_classes: classes of a step; None: it has values.
        num_targets: values of a step; None: it has a class.
        loss: 'cross_entropy' or 'focal' of classes, 'mse', 'mae' or 'huber' of values, one of a plugin, or {name: …}
            with its arguments; None: cross_entropy or mse.
        Others as in Supervised.

    Shapes: x [N, T, *]; targets int64 [N, T] of classes or float32 [N, T, D] of values; a batch with sequences of
        several lengths holds (x, targets, index, lengths [N]).
    """

    TARGET = Target.STEP_CLASSES
    #: What data may give, at the door.
    TARGETS = (Target.STEP_CLASSES, Target.STEP_VALUES)
    HEADLINE = ("acc", "max")

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        T: int,
        optim: dict[str, Any],
        *,
        num_classes: int | None = None,
        num_targets: int | None = None,
        loss: str | Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        if (num_classes is None) == (num_targets is None):
            raise invalid(self, "num_classes", "an integer, or else num_targets", num_classes)
        self.num_classes = num_classes
        if num_targets is not None and self.TARGET is Target.STEP_CLASSES:
            self.TARGET, self.HEADLINE = Target.STEP_VALUES, ("rmse", "min")
        loss = loss or ("cross_entropy" if num_targets is None else "mse")
        outputs = num_targets or num_classes
        super().__init__(net=net, encoder=encoder, T=T, outputs=outputs, optim=optim, loss=loss, **common)

    def new_headline(self) -> Metric:
        if self.num_classes is None:
            return MeanSquaredError(squared=False)
        return MulticlassAccuracy(self.num_classes, average="micro", validate_args=False)

    def new_evidence(self, outputs: int) -> dict[str, Metric]:
        of_classes = self.num_classes is not None
        if of_classes:
            of_all_steps = {"confusion": MulticlassConfusionMatrix(outputs)}
        else:
            of_all_steps = {"errors": ValueErrors(outputs), "pairs": Pairs(outputs)}
        over_time = {"steps": Steps(self.T, of_classes=of_classes), "example": Example(self.T, of_classes=of_classes)}
        return {**of_all_steps, **over_time}

    def scores(self, y_seq: Tensor) -> Tensor:
        """The scores of every step: [T, N, K] → [N, T, K]."""
        return y_seq.transpose(0, 1)

    def compute_loss(self, y_seq: Tensor, target: Tensor) -> Tensor:
        """The mean loss of all real steps of outputs [T, N, K]."""
        scores, target = self.measurable(self.scores(y_seq), target)
        return self.loss_of(scores[None], lambda y: y[0], target)

    def for_evidence(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [P, K] and targets [P, *] of the real steps of all samples."""
        now = padding()
        if now is None:
            return scores.flatten(0, 1), target.flatten(0, 1)
        mask = now.mask.T
        return scores[mask], target[mask]

    measurable = for_evidence

    def samples(self, target: Tensor) -> int:
        """Real steps, which the means over several batches count."""
        now = padding()
        return target.shape[0] * target.shape[1] if now is None else int(now.lengths.sum())

    def predicted(self, scores: Tensor) -> Tensor:
        return scores if self.num_classes is None else scores.argmax(-1)


merge_signature(SequencePrediction, positional=True, without=("outputs", "offered", "readout", "readout_tau"))
