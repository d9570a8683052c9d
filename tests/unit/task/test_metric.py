"""Metrics that a config adds, against scikit-learn and numpy, whatever the batches."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn

from snntrain.data.target import Target
from snntrain.registry import table
from snntrain.task.metric import make_metrics

SAMPLES, K = 41, 3
OF_CLASSES = {
    "f1": lambda p, y: sklearn.f1_score(y, p > 0.5, average="macro"),
    "precision": lambda p, y: sklearn.precision_score(y, p > 0.5, average="macro"),
    "recall": lambda p, y: sklearn.recall_score(y, p > 0.5, average="macro"),
    "auroc": lambda p, y: sklearn.roc_auc_score(y, p, average="macro"),
    "average_precision": lambda p, y: sklearn.average_precision_score(y, p, average="macro"),
}
OF_VALUES = {
    "mae": lambda found, y: np.abs(found - y).mean(),
    "mse": lambda found, y: ((found - y) ** 2).mean(),
    "r2": lambda found, y: np.mean(1 - ((found - y) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)),
    "smape": lambda found, y: (200 * np.abs(found - y) / (np.abs(found) + np.abs(y))).mean(),
    "pearson": lambda found, y: [np.corrcoef(found[:, d], y[:, d])[0, 1] for d in range(y.shape[1])],
}


def measured(name: str, kind: Target, outputs: int, scores: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """The metric of the test, updated with batches of 16."""
    metric = make_metrics([name], kind, outputs, taken=())["test"][name]
    for batch in zip(scores.split(16), target.split(16), strict=True):
        metric.update(*batch)
    return metric.compute().numpy()


def drawn(columns: int) -> torch.Tensor:
    return torch.randn(SAMPLES, columns, generator=torch.Generator().manual_seed(columns))


def test_every_registered_metric_has_a_formula_here():
    ours = {name for name, metric in table("metric").items() if metric.__module__.startswith("snntrain.")}
    assert ours == OF_CLASSES.keys() | OF_VALUES.keys()


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("kind", [Target.CLASS, Target.STEP_CLASSES])
def test_metrics_of_classes_are_scikit_learns_of_softmax(name, kind):
    """The last scores lie in [0, 1], as rates do: none of a batch are taken for probabilities on that account."""
    scores = drawn(K)
    scores[32:] = scores[32:].sigmoid()
    target = (scores + drawn(K).roll(1, 0)).argmax(1)
    p = scores.softmax(1).numpy()
    p = p if name in ("auroc", "average_precision") else np.eye(K)[p.argmax(1)]
    expected = OF_CLASSES[name](p, np.eye(K)[target])
    assert measured(name, kind, K, scores, target) == pytest.approx(expected, rel=1e-5)
    assert 0.3 < expected < 0.95


@pytest.mark.parametrize("name", OF_CLASSES)
def test_metrics_of_labels_are_scikit_learns(name):
    p = drawn(K).sigmoid()
    target = (p + 0.3 * drawn(K).roll(1, 0) > 0.5).int()
    expected = OF_CLASSES[name](p.numpy(), target.numpy())
    assert measured(name, Target.LABELS, K, p, target) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", OF_VALUES)
@pytest.mark.parametrize("kind", [Target.VALUES, Target.STEP_VALUES])
@pytest.mark.parametrize("values", [1, 2])
def test_metrics_of_values_are_their_formulas(name, kind, values):
    target = 2 * drawn(values) + 5
    scores = target + 0.5 * drawn(values).flip(0)
    expected = OF_VALUES[name](scores.double().numpy(), target.double().numpy())
    if values == 1:
        scores, target = scores[:, 0], target[:, 0]
    assert measured(name, kind, values, scores, target) == pytest.approx(np.squeeze(expected), rel=1e-4)
