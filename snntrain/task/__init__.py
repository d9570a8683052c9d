"""LightningModules: the loss, the metrics and the optimizer of a training."""

from snntrain.task.classification import Classification
from snntrain.task.loss import LOSSES
from snntrain.task.online import OnlineClassification
from snntrain.task.readout import READOUTS

__all__ = ["LOSSES", "READOUTS", "Classification", "OnlineClassification"]
