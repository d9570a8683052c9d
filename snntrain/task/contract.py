"""What a run asks of a task, a LightningModule, and what it leaves out where a task does not offer it.

Every task has `net`, [T, N, *] → [T, N, K], and logs the monitored metric. A task of snntrain offers all of the rest; a
plain LightningModule offers what it has:

    wants_index = True     its batches are (x, y, index), with the places of the samples in their data set; else (x, y)
    resets_net = True      it resets the states of its net itself; else they are reset before each of its batches
    forward(x), scores(y)  x [N, *] → [T, N, K] → [N, K], for the raster, for predictions and for load(…).predict
    encoder, encoded(x, seeds), encoding_seeds(stage, batch), as in Classification, besides scores: fit-end callbacks
    test_arrays()          name → array of what the report shows of the test, small; asked on every process
    confusion              a torchmetrics confusion matrix, updated in test_step, where there is no test_arrays
    outputs(stage, x, batch) → [T, N, K], for statistics that are re-estimated (callbacks.running_statistics)
"""

import lightning.pytorch as pl
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torchmetrics import Metric

_OF_FIT_END = ("scores", "encoder", "encoded", "encoding_seeds")


def wants_index(task: pl.LightningModule) -> bool:
    """Whether the task's batches are (x, y, index)."""
    return getattr(task, "wants_index", False) is True


def resets_net(task: pl.LightningModule) -> bool:
    """Whether the task resets the states of its net itself."""
    return getattr(task, "resets_net", False) is True


def lacks_for_scores(task: pl.LightningModule) -> str:
    """Methods that scores of samples need and the task has not, joined; '' if it has all."""
    missing = [] if is_overridden("forward", task) else ["forward"]
    return ", ".join(missing if hasattr(task, "scores") else [*missing, "scores"])


def lacks_for_fit_end(task: pl.LightningModule) -> str:
    """What fit-end callbacks need and the task has not, joined; '' if it has all."""
    return ", ".join(name for name in _OF_FIT_END if not hasattr(task, name))


def test_arrays(task: pl.LightningModule) -> dict[str, Tensor]:
    """Name → array of what the task shows of its test; every process has to ask."""
    if hasattr(task, "test_arrays"):
        return task.test_arrays()
    confusion = getattr(task, "confusion", None)
    return {"confusion": confusion.compute()} if isinstance(confusion, Metric) else {}
