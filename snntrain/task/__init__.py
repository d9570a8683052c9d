"""LightningModules: the loss, the readout, the metrics and the optimizer of a training.

They may import the library and data, nothing of config or run.
"""

from snntrain.task import spike_loss  # noqa: F401  registers its losses
from snntrain.task.classification import Classification
from snntrain.task.forecast import Forecast
from snntrain.task.loss import LOSSES
from snntrain.task.multilabel import MultiLabel
from snntrain.task.online import OnlineClassification
from snntrain.task.readout import READOUTS
from snntrain.task.regression import Regression
from snntrain.task.sequence import SequencePrediction
from snntrain.task.suited import suits
from snntrain.task.supervised import Supervised

__all__ = [
    "LOSSES",
    "READOUTS",
    "Classification",
    "Forecast",
    "MultiLabel",
    "OnlineClassification",
    "Regression",
    "SequencePrediction",
    "Supervised",
    "suits",
]
