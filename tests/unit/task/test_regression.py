"""Values and labels per sample: what is learned and measured, and what is refused."""

import pytest
import torch
from sklearn.metrics import f1_score
from small_training import SGD, trainer
from torch.utils.data import DataLoader, TensorDataset

from snntrain.data import Diabetes, Target
from snntrain.encoding import DirectEncoder
from snntrain.error import UsageError
from snntrain.model import build
from snntrain.task import Classification, MultiLabel, Regression
from snntrain.task.suited import suited

OPTIM = SGD | {"lr": 0.2}
X = torch.rand(96, 4, generator=torch.Generator().manual_seed(1))


def net(outputs: int):
    torch.manual_seed(2)
    layers = [{"name": "Linear", "out_features": 32}, "neuron", {"name": "Linear", "out_features": outputs}]
    return build(layers, (4,), {"name": "IFNode", "v_threshold": 0.5, "backend": "torch"})


def loader(target: torch.Tensor) -> DataLoader:
    return DataLoader(TensorDataset(X, target), batch_size=20)


def fit(task, target, tmp_path, epochs: int = 30):
    run = trainer(tmp_path, max_epochs=epochs)
    run.fit(task, loader(target), loader(target))
    return run


@pytest.mark.parametrize("values", [1, 3])
def test_regression_learns_and_its_error_is_that_of_all_samples(tmp_path, values):
    target = torch.stack([X.sum(1), X[:, 0] - X[:, 1], X.prod(1)], 1)[:, :values]
    task = Regression(net(values), DirectEncoder(), 4, values, OPTIM, metrics=["mae", "r2"])
    run = fit(task, target, tmp_path)
    task.eval()
    found = task.scores(task(X)).detach()
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    assert logged["val/rmse"] == pytest.approx(float((found - target).square().mean().sqrt()), rel=1e-5)
    assert logged["val/mae"] == pytest.approx(float((found - target).abs().mean()), rel=1e-5)
    shares = 1 - (found - target).square().sum(0) / (target - target.mean(0)).square().sum(0)
    assert logged["val/r2"] == pytest.approx(float(shares.mean()), rel=1e-4)
    assert logged["val/rmse"] < 0.5 * float(target.std())


def test_multilabel_learns_and_its_f1_is_scikit_learns(tmp_path):
    target = torch.stack([X[:, 0] > 0.5, X[:, 1] > X[:, 2], X.sum(1) > 2], 1).float()
    task = MultiLabel(net(3), DirectEncoder(), 4, 3, OPTIM, metrics=["auroc"])
    run = fit(task, target, tmp_path)
    task.eval()
    predicted = task.predicted(task.scores(task(X)))
    assert float(run.callback_metrics["val/f1"]) == pytest.approx(f1_score(target, predicted, average="macro"))
    assert f1_score(target, predicted, average="macro") > 0.7 and float(run.callback_metrics["val/auroc"]) > 0.8


@pytest.mark.parametrize(
    ("kind", "losses", "metrics"),
    [
        (Target.CLASS, ["cross_entropy", "mse", "tet"], ["f1", "auroc"]),
        (Target.VALUES, ["mse", "mae", "huber"], ["mae", "r2"]),
        (Target.LABELS, ["mse", "bce"], ["f1", "auroc"]),
    ],
)
def test_each_kind_of_targets_has_its_losses_and_metrics(kind, losses, metrics):
    assert set(losses) <= set(suited("loss", kind)) and set(metrics) <= set(suited("metric", kind))


def test_a_loss_or_metric_of_other_targets_is_refused_by_name():
    with pytest.raises(UsageError, match=r"task\.loss: cross_entropy compares with a class.*are values\. Use mse, mae"):
        Regression(net(1), DirectEncoder(), 4, 1, OPTIM, loss="cross_entropy")
    with pytest.raises(UsageError, match=r"task\.metrics\[0\]: r2 compares with values.*are a class\. Use f1"):
        Classification(net(3), DirectEncoder(), 4, 3, OPTIM, metrics=["r2"])


def test_tables_are_standardized_by_what_is_not_tested():
    data = Diabetes(1, (10,))
    data.setup()
    x = torch.cat([data.splits[name].x for name in ("train", "val")])
    y = torch.cat([data.splits[name].labels for name in ("train", "val")])
    torch.testing.assert_close(x.mean(0), torch.zeros(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(0), torch.ones(1), atol=1e-5, rtol=0)
    assert [len(split) for split in data.splits.values()] == [319, 35, 88]
