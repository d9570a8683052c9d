"""Classification: images or sequences in, one class out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from snntrain.arguments import real
from snntrain.data.target import Target
from snntrain.registry import register
from snntrain.signature import merge_signature
from snntrain.task.mixing import Mixing, dominant
from snntrain.task.supervised import Batch, Supervised


@register("task")
class Classification(Supervised):
    """Train a network to tell classes apart; resets the neurons before every batch.

    Args:
        net: [T, N, *] → [T, N, num_classes].
        num_classes: number of classes K.
        loss: 'cross_entropy' or 'mse', of the readout; 'tet', of every step; one of a plugin, or {name: …} with its
            arguments, see snntrain.task.loss.Loss.
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
        label_smoothing: float = 0.0,
        tet_weight: float = 0.05,
        tet_potential: float = 1.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        **common: Any,
    ) -> None:
        self.num_classes = num_classes
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

    def new_evidence(self, outputs: int) -> dict[str, Metric]:
        return {"confusion": MulticlassConfusionMatrix(outputs)}

    @property
    def confusion(self) -> Metric:
        """Counts [K, K] of the last test, rows are true classes."""
        return self.evidence["confusion"]

    def measurable(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return scores, dominant(target)

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch as it is trained on: (x [N, *], labels [N]), or with mixing shares of the classes [N, K]."""
        x, target, *_ = batch
        return (x, target) if self.mixing is None else self.mixing(x, target)

    def predicted(self, scores: Tensor) -> Tensor:
        return scores.argmax(1)


merge_signature(Classification, positional=True, without=("outputs", "offered"))
