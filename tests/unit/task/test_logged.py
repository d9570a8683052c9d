"""Values logged in every batch: what Lightning's own log() would record, and seldom through it."""

from collections import Counter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from small_training import Patches, in_a_loop, small_task, trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from snntrain.task import supervised
from snntrain.task.logged import log_value

NEURON = in_a_loop({"name": "IFNode", "v_threshold": 0.4})


def with_lightning(task: pl.LightningModule, name: str, value: Any, samples: int, *, on_step: bool) -> None:
    task.log(name, value, on_step=on_step, on_epoch=not on_step, batch_size=samples)


class Seen(pl.Callback):
    """What callbacks are told after each batch and epoch."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def _look(self, trainer: pl.Trainer, *arguments: Any) -> None:
        told = (trainer.callback_metrics, trainer.logged_metrics)
        self.metrics += [{name: float(value) for name, value in metrics.items()} for metrics in told]

    on_train_batch_end = on_train_epoch_end = on_validation_batch_end = on_validation_end = on_test_end = _look


def recorded(folder: Path, **settings: Any) -> tuple[str, list[dict[str, float]]]:
    """The file of a training's and a test's logger, and what callbacks saw."""
    seen, logger = Seen(), CSVLogger(folder, name="", version="")
    made = trainer(folder, seen, logger=logger, log_every_n_steps=2, **settings)
    task, data = small_task(neuron=NEURON, metrics=[{"name": "f1"}]), Patches(batch_size=8)
    made.fit(task, datamodule=data)
    made.test(task, datamodule=data, verbose=False)
    return (folder / "metrics.csv").read_text(), seen.metrics


@pytest.mark.parametrize(
    "settings",
    [{}, {"val_check_interval": 5}, {"accumulate_grad_batches": 3}, {"check_val_every_n_epoch": 2, "max_epochs": 3}],
    ids=str,
)
def test_loggers_and_callbacks_get_what_lightnings_log_records(tmp_path, monkeypatch, settings):
    found = recorded(tmp_path / "ours", **settings)
    monkeypatch.setattr(supervised, "log_value", with_lightning)
    assert found == recorded(tmp_path / "lightning", **settings)
    assert found[0].count("\n") > 6 and "test/f1" in found[0]


def test_only_the_first_batch_of_an_epoch_goes_through_lightnings_log(tmp_path, monkeypatch):
    calls: Counter[str] = Counter()
    log = pl.LightningModule.log

    def counting(self: pl.LightningModule, name: str, *arguments: Any, **settings: Any) -> None:
        calls[name] += 1
        log(self, name, *arguments, **settings)

    monkeypatch.setattr(pl.LightningModule, "log", counting)
    trainer(tmp_path, max_epochs=3).fit(small_task(neuron=NEURON), datamodule=Patches(batch_size=4))
    assert calls == dict.fromkeys(("train/loss_step", "train/loss", "train/acc", "val/loss", "val/acc"), 3)


class TwoLoaders(pl.LightningModule):
    """Logs a metric and a plain number of each of two sets of numbers."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self.means, self.write = nn.ModuleList([MeanMetric(), MeanMetric()]), log

    def validation_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        mean = self.means[dataloader_idx]
        mean.update(batch[0])
        self.write(self, "mean", mean, len(batch[0]), on_step=False)
        self.write(self, "sum", batch[0].sum(), len(batch[0]), on_step=False)


def test_each_of_several_loaders_has_records_of_its_own(tmp_path):
    numbers = torch.linspace(-1, 3, 24).square()
    loaders = [DataLoader(TensorDataset(part), batch_size=5) for part in (numbers[:9], numbers[9:])]
    ours, lightnings = (
        trainer(tmp_path).validate(TwoLoaders(log), loaders, verbose=False) for log in (log_value, with_lightning)
    )
    assert ours == lightnings and ours[0].keys().isdisjoint(ours[1])
    assert ours[1]["mean/dataloader_idx_1"] == pytest.approx(float(numbers[9:].mean()))
