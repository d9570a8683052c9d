"""The moving average against a loop over the weights of every step; where it ends up; resuming."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from small_training import Patches, small_task, trainer, weights

from snntrain.callback import History, ResumePoint, Seeding, SpikeStatistics
from snntrain.callback.ema import EMAWeightAveraging
from snntrain.task import Classification

NAMES = ("1.weight", "2.running_mean", "2.num_batches_tracked", "4.bias")


def task() -> Classification:
    layers = ["Flatten", {"name": "Linear", "out_features": 12}, "BatchNorm1d", "neuron"]
    return small_task(layers=[*layers, {"name": "Linear", "out_features": 3}], poisson=True)


def tensors(module: pl.LightningModule) -> dict[str, torch.Tensor]:
    return {name: module.net.state_dict()[f"layers.{name}"].clone() for name in NAMES}


class Watch(pl.Callback):
    """Weights after every step, and those of every validation and test."""

    def __init__(self) -> None:
        self.trained: list[dict[str, torch.Tensor]] = []
        self.validated: list[dict[str, torch.Tensor]] = []
        self.tested: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self.trained.append(tensors(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, *args) -> None:
        self.validated.append(tensors(pl_module))

    def on_test_batch_start(self, trainer, pl_module, *args) -> None:
        self.tested.append(tensors(pl_module))


def averages(trained: list[dict[str, torch.Tensor]], decay: float) -> list[dict[str, torch.Tensor]]:
    average, found = dict(trained[0]), []
    for count, step in enumerate(trained):
        d = min(decay, (1 + count) / (10 + count))
        for name, value in step.items():
            counted = name.endswith("tracked")
            average[name] = value if counted else d * average[name] + (1 - d) * value
        found.append(dict(average))
    return found


def fit(folder: Path, epochs: int, watch: Watch, resume: Path | None = None, decay: float = 0.8):
    best = ModelCheckpoint(dirpath=folder, filename="best", monitor="val/loss", save_top_k=1)
    history = History(folder / "metrics.csv")
    callbacks = (Seeding(1), history, SpikeStatistics(), EMAWeightAveraging(decay), watch, best)
    module, run = task(), trainer(folder, *callbacks, ResumePoint(folder, {}), max_epochs=epochs)
    run.fit(module, datamodule=Patches(), ckpt_path=resume, weights_only=True)
    return module, run, history.rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, watch = tmp_path_factory.mktemp("ema"), Watch()
    return folder, watch, *fit(folder, 4, watch)


@pytest.mark.slow
def test_validated_weights_are_the_average_of_those_after_every_step(trained):
    _, watch, module, *_ = trained
    by_hand = averages(watch.trained, 0.8)
    assert len(watch.trained) == 12 and len(watch.validated) == 4
    torch.testing.assert_close(watch.validated, by_hand[2::3])
    torch.testing.assert_close(tensors(module), by_hand[-1])  # and the model ends with them
    assert not torch.equal(watch.trained[-1]["1.weight"], by_hand[-1]["1.weight"])


def test_the_best_checkpoint_holds_and_tests_what_was_validated(trained):
    folder, watch, module, run, rows = trained
    run.test(module, datamodule=Patches(), ckpt_path=folder / "best.ckpt", weights_only=True, verbose=False)
    losses = [row["val/loss"] for row in rows]
    validated = watch.validated[losses.index(min(losses))]
    torch.testing.assert_close(watch.tested[0], validated, rtol=0, atol=0)
    saved = torch.load(folder / "best.ckpt", weights_only=True)
    rebuilt = task()
    rebuilt.load_state_dict(saved["state_dict"])  # what eval.py does
    torch.testing.assert_close(tensors(rebuilt), validated, rtol=0, atol=0)


def test_a_resumed_run_ends_as_an_uninterrupted_one(trained, tmp_path):
    _, whole, module, _, rows = trained
    fit(tmp_path, 2, Watch())
    watch = Watch()
    resumed, _, resumed_rows = fit(tmp_path, 4, watch, tmp_path / "last.ckpt")
    assert resumed_rows == rows
    torch.testing.assert_close(watch.trained, whole.trained[6:], rtol=0, atol=0)
    torch.testing.assert_close(tensors(resumed), tensors(module), rtol=0, atol=0)


def test_without_decay_the_average_is_the_last_step(tmp_path):
    plain = task()
    trainer(tmp_path, Seeding(1), max_epochs=2).fit(plain, datamodule=Patches())
    module, *_ = fit(tmp_path, 2, Watch(), decay=0.0)
    assert all(torch.equal(value, weights(module)[name]) for name, value in weights(plain).items())


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=rf"EMAWeightAveraging: decay must be .* got {decay}"):
        EMAWeightAveraging(decay)
