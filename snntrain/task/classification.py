"""Classification: images or sequences in, one class out."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from snntrain.arguments import integer, real
from snntrain.data.target import Target
from snntrain.hooks import whole_sequence_module
from snntrain.registry import register
from snntrain.signature import merge_signature, signature_of
from snntrain.task.evidence import AccuracyOverTime, Mistakes
from snntrain.task.mixing import Mixing, dominant
from snntrain.task.readout import after_each_step
from snntrain.task.supervised import Batch, Supervised


@register("task")
class Classification(Supervised):
    """Train a network to tell classes apart; resets the neurons before every batch.

    Args:
        net: [T, N, *] → [T, N, num_classes · population].
        num_classes: number of classes K.
        loss: a registered one for classes, such as 'cross_entropy', 'mse' or 'focal', of the readout, 'tet' or
            'ce_count', of the outputs over time, or one of a plugin; or {name: …} with its arguments, see
            snntrain.task.loss.Loss.
        population: output neurons of each class, one after another, ≥ 1. Their outputs are summed up before the loss,
            the readout and the metrics get them.
        label_smoothing: of the cross-entropies, in [0, 1). This and the next two reach every loss with such arguments.
        tet_weight: λ of the TET loss, in [0, 1].
        tet_potential: potential that the TET loss pulls the outputs to.
        mixup, cutmix: alpha > 0 mixes training samples, see Mixing; 0: off. If both are on, one of them for each batch.
            The training accuracy then counts the class with the largest share.
        Others as in Supervised.

    Shapes: as in Supervised, with targets int64 [N] of classes.
    """

    TARGET = Target.CLASS
    HEADLINE = ("acc", "max")

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        T: int,
        num_classes: int,
        optim: dict[str, Any],
        *,
        loss: str | Mapping[str, Any] = "cross_entropy",
        population: int = 1,
        label_smoothing: float = 0.0,
        tet_weight: float = 0.05,
        tet_potential: float = 1.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        **common: Any,
    ) -> None:
        self.num_classes, self.population = num_classes, integer(self, "population", population, at_least=1)
        offered = {
            "label_smoothing": real(self, "label_smoothing", label_smoothing, at_least=0, below=1),
            "tet_weight": real(self, "tet_weight", tet_weight, at_least=0, at_most=1),
            "tet_potential": real(self, "tet_potential", tet_potential),
        }
        super().__init__(
            net=net, encoder=encoder, T=T, outputs=num_classes, optim=optim, loss=loss, offered=offered, **common
        )
        self.label_smoothing, self.tet_weight, self.tet_potential = offered.values()
        alphas = real(self, "mixup", mixup, at_least=0), real(self, "cutmix", cutmix, at_least=0)
        self.mixing = Mixing(*alphas, num_classes) if any(alphas) else None

    def new_headline(self) -> MulticlassAccuracy:
        return MulticlassAccuracy(self.num_classes, average="micro", validate_args=False)

    def scores(self, y_seq: Tensor) -> Tensor:
        return super().scores(self.of_classes(y_seq))

    def compute_loss(self, y_seq: Tensor, target: Tensor) -> Tensor:
        return self.loss_of(self.of_classes(y_seq), lambda _: self.scores(y_seq), target)

    def of_classes(self, y_seq: Tensor) -> Tensor:
        """The outputs [*, K · population] summed up over the neurons of each class: [*, K]."""
        if self.population == 1:
            return y_seq
        return y_seq.unflatten(-1, (self.num_classes, self.population)).sum(-1)

    def without_effect(self) -> Iterator[str]:
        yield from super().without_effect()
        for name in ("label_smoothing", "tet_weight", "tet_potential"):
            value, silent = getattr(self, name), signature_of(Classification).parameters[name].default
            if value != silent and not any(name in part.reads for part in self.loss.parts):
                loss = self.loss.parts[-1].name
                yield f"task.{name}={value:g} has no effect, because the loss {loss} takes none. Set it to {silent:g}"

    def new_evidence(self, outputs: int) -> dict[str, Metric]:
        found: dict[str, Metric] = {"confusion": MulticlassConfusionMatrix(self.num_classes), "mistakes": Mistakes()}
        is_known = type(self).scores is Classification.scores and after_each_step(self.read_out) is not None
        if self.T > 1 and is_known and whole_sequence_module(self.net) is None:
            found["over_time"] = AccuracyOverTime(self.T)
        return found

    def scores_over_time(self, y_seq: Tensor) -> Tensor:
        """The scores after each time step, [T, N, K], for the readouts that after_each_step knows."""
        return after_each_step(self.read_out)(self.of_classes(y_seq))

    @property
    def confusion(self) -> Metric:
        """Counts [K, K] of the last test, rows are true classes."""
        return self.evidence["confusion"]

    def measurable(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return scores, dominant(target)

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch as it is trained on: (x [N, *], labels [N]), or with mixing shares of the classes [N, K]."""
        x, target, *_ = batch
        if self.mixing is not None and len(batch) > 3:
            raise ValueError(
                f"{type(self).__name__}: mixup and cutmix mix samples step by step, but the data have sequences of "
                "several lengths. Set task.mixup and task.cutmix to 0."
            )
        return (x, target) if self.mixing is None else self.mixing(x, target)

    def predicted(self, scores: Tensor) -> Tensor:
        return scores.argmax(1)


merge_signature(Classification, positional=True, without=("outputs", "offered"))
