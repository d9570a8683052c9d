"""Forecasts: learn to tell the next values of a series, then go on with it from the net's own predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from snntrain import functional
from snntrain.arguments import flag, integer
from snntrain.data.standard import Standard
from snntrain.data.target import Target
from snntrain.leftover import naming_what_was_not_reset
from snntrain.registry import register
from snntrain.signature import merge_signature
from snntrain.task.evidence import Example, Pairs, Steps, ValueErrors
from snntrain.task.metric import SMAPE
from snntrain.task.sequence import SequencePrediction
from snntrain.task.supervised import Batch


@register("task")
class Forecast(SequencePrediction):
    """Train a network to predict the next values at every time step; test it in a closed loop.

    In training the net gets the true values of all steps. In validation and test it gets those of T steps, and then its
    own predictions, as many steps as there are targets: the last D inputs of a step are its newest values, so the next
    input is the last one without its first D numbers, with the D predicted ones at its end.

    Where the data set standardizes its values, the net learns standardized ones, of which losses are; metrics are of
    the values in their own units.

    Args:
        net: [T, N, F] → [T, N, D], D = num_targets, F a multiple of D; its last layer has no neuron as a rule.
        num_targets: values D of a step.
        horizon: steps that are predicted in the test, ≥ 1.
        changes: whether the net's outputs are the changes of the values since the newest ones of its input.
        loss: 'mse', 'mae', 'huber' or one of a plugin, or {name: …} with its arguments.
        Others as in SequencePrediction.

    Shapes: x [N, T, F]; targets float32 [N, T, D] in training, those after the T steps, [N, steps, D], otherwise.
        Sequences have one length.
    """

    TARGET = Target.STEP_VALUES
    TARGETS = (Target.STEP_VALUES,)
    HEADLINE = ("smape", "min")
    #: Whether the targets of validation and test come after the inputs.
    FOLLOWS = True

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        T: int,
        num_targets: int,
        optim: dict[str, Any],
        horizon: int,
        *,
        changes: bool = False,
        loss: str | Mapping[str, Any] = "mse",
        **common: Any,
    ) -> None:
        self.horizon = integer(self, "horizon", horizon, at_least=1)
        self.changes = flag(self, "changes", changes)
        self.standard: Standard | None = None
        super().__init__(net=net, encoder=encoder, T=T, num_targets=num_targets, optim=optim, loss=loss, **common)

    def new_headline(self) -> Metric:
        return SMAPE()

    def new_evidence(self, outputs: int) -> dict[str, Metric]:
        over_time = {"steps": Steps(self.horizon, of_classes=False), "example": Example(self.horizon, of_classes=False)}
        return {"errors": ValueErrors(outputs), "pairs": Pairs(outputs), **over_time}

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.standard = getattr(self.trainer.datamodule, "value_standard", None)

    def measurable(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        scores, target = super().measurable(scores, target)
        if self.standard is None:
            return scores, target
        return self.standard.inverse(scores), self.standard.inverse(target)

    def forward(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """The values after each step of x, all of which is given."""
        y_seq = super().forward(x, seeds)
        return y_seq + self.encoded(x, seeds)[..., -y_seq.shape[-1] :] if self.changes else y_seq

    def outputs(self, stage: str, x: Tensor, batch: Batch) -> Tensor:
        """The outputs for x: of its T steps in training, else of the steps after them, in a closed loop."""
        if stage == "train":
            return super().outputs(stage, x, batch)
        if len(batch) > 3:
            raise ValueError("Forecast: a closed loop needs sequences of one length, but the data have several.")
        functional.reset_net(self.net)
        x_seq = self.encoded(x, self.encoding_seeds(stage, batch))
        with self.compiled_or_not(), naming_what_was_not_reset(self.net):
            return functional.closed_loop(self._predicted, x_seq, batch[1].shape[1], next_input).float()

    def _predicted(self, x_seq: Tensor) -> Tensor:
        y_seq = self.net(x_seq)
        return y_seq + x_seq[..., -y_seq.shape[-1] :] if self.changes else y_seq


def next_input(predicted: Tensor, x: Tensor) -> Tensor:
    """The input after x [N, F], whose newest values are predicted [N, D]: the oldest D of x leave.

    Raises: ValueError if F is not a multiple of D.
    """
    values, features = predicted.shape[-1], x.shape[-1]
    if x.dim() != 2 or features % values:
        raise ValueError(
            f"Forecast: a step of {list(x.shape[1:])} numbers cannot hold predictions of {values}. Use "
            "data whose input at a step is these values, or several of them, the newest last."
        )
    return torch.cat([x[:, values:], predicted.to(x.dtype)], 1)


merge_signature(Forecast, positional=True, without=("num_classes",))
