"""What validations use after few updates: means over training batches; training itself stays as it was."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from small_training import Patches, small_task, trainer
from torch import nn

from snntrain import functional
from snntrain.callback import History, ResumePoint, RunningStatistics, Seeding
from snntrain.error import DamagedFile

LAYERS = ["Flatten", {"name": "Linear", "out_features": 12}, "BatchNorm1d", "neuron"]


def task() -> pl.LightningModule:
    neuron = {"name": "IFNode", "v_threshold": 0.4, "backend": "torch"}
    return small_task(neuron=neuron, layers=[*LAYERS, {"name": "Linear", "out_features": 3}])


def norm_of(module: pl.LightningModule) -> nn.Module:
    return module.net.layers[2]


class Watch(pl.Callback):
    """The statistics of each validation, and what the layer's input then had over the whole training set."""

    def __init__(self) -> None:
        self.used: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.whole: list[tuple[torch.Tensor, torch.Tensor]] = []

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        if batch_idx:
            return
        norm = norm_of(pl_module)
        self.used.append((norm.running_mean.clone(), norm.running_var.clone()))
        means, variances, sizes = [], [], []
        for x, *_ in trainer.datamodule.train_dataloader():
            before = functional_input(pl_module, x)
            means.append(before.mean(0)), variances.append(before.var(0)), sizes.append(len(x))
        share = torch.tensor(sizes) / sum(sizes)
        self.whole.append((share @ torch.stack(means), share @ torch.stack(variances)))


def functional_input(module: pl.LightningModule, x: torch.Tensor) -> torch.Tensor:
    """What reaches the normalization, of all steps and samples: [T·N, C]."""
    functional.reset_net(module.net)
    with torch.no_grad():
        return module.net.layers[1](module.net.layers[0](module.encoded(x))).flatten(0, 1)


def fit(folder: Path, until: int, epochs: int, resume: Path | None = None, watch: pl.Callback | None = None):
    best = ModelCheckpoint(dirpath=folder, filename="best", save_top_k=1, monitor="val/loss")
    callbacks = [Seeding(1), RunningStatistics(until=until), History(folder / "metrics.csv"), best]
    run = trainer(folder, *callbacks, *([watch] if watch else []), ResumePoint(folder, {}), max_epochs=epochs)
    module = task()
    run.fit(module, datamodule=Patches(), ckpt_path=resume, weights_only=True)
    return module, run


def test_a_validation_uses_the_means_over_the_training_batches(tmp_path):
    watch = Watch()
    fit(tmp_path, until=10**6, epochs=2, watch=watch)
    assert len(watch.used) == 2
    for used, whole in zip(watch.used, watch.whole, strict=True):
        torch.testing.assert_close(used, whole, rtol=1e-4, atol=1e-5)


def test_training_is_that_of_a_run_without(tmp_path):
    (_, with_it), (_, without) = (fit(tmp_path / str(until), until, epochs=3) for until in (10**6, 0))
    ours, theirs = (torch.load(tmp_path / str(until) / "last.ckpt") for until in (10**6, 0))
    statistics = ("running_mean", "running_var")
    for name, value in theirs["state_dict"].items():
        if not name.endswith(statistics):
            assert torch.equal(value, ours["state_dict"][name]), name
    kept = next(state for name, state in ours["callbacks"].items() if name.startswith("RunningStatistics"))["own"]
    assert kept.keys() and all(torch.equal(value, theirs["state_dict"][name]) for name, value in kept.items())
    assert with_it.callback_metrics["train/loss"] == without.callback_metrics["train/loss"]


def test_checkpoints_hold_the_statistics_that_were_judged(tmp_path):
    watch = Watch()
    module, _ = fit(tmp_path, until=10**6, epochs=2, watch=watch)
    saved = torch.load(tmp_path / "last.ckpt")["state_dict"]["net.layers.2.running_mean"]
    assert torch.equal(saved, watch.used[-1][0]) and torch.equal(norm_of(module).running_mean, saved)


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path):
    whole, _ = fit(tmp_path / "whole", until=10**6, epochs=4)
    fit(tmp_path / "part", until=10**6, epochs=2)
    resumed, _ = fit(tmp_path / "rest", until=10**6, epochs=4, resume=tmp_path / "part" / "last.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_enough_updates_and_frozen_layers_keep_their_own(tmp_path):
    module, watch = task(), Watch()
    norm_of(module).eval()
    before = norm_of(module).running_mean.clone()
    run = trainer(tmp_path, RunningStatistics(until=10**6), watch, max_epochs=1)
    run.fit(module, datamodule=Patches())
    assert torch.equal(watch.used[0][0], before)


@pytest.mark.parametrize(("until", "warns"), [(1, True), (10**6, False), (0, False)])
def test_statistics_that_still_lag_after_the_training_are_named_with_the_remedies(tmp_path, capsys, until, warns):
    """Pictures far from mean 0, and twelve updates; dropout draws nothing for the look at them."""
    module = small_task(
        neuron={"name": "IFNode", "backend": "torch"},
        layers=[*LAYERS, "Dropout", {"name": "Linear", "out_features": 3}],
    )
    module.encoder.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 100, *inputs[1:]))
    draws: list[torch.Tensor] = []
    watch = pl.Callback()
    watch.on_train_epoch_end = lambda *_: draws.append(torch.get_rng_state())
    trainer(tmp_path, RunningStatistics(until=until), watch, max_epochs=4).fit(module, datamodule=Patches())
    said = " ".join(capsys.readouterr().out.split())
    assert ("warning: the running mean of net.layers.2 is" in said and "larger norm.momentum" in said) == warns
    assert torch.equal(draws[-1], torch.get_rng_state()) and module.training


def test_statistics_of_another_net_are_refused(tmp_path):
    callback = RunningStatistics()
    callback.load_state_dict({"own": {"net.layers.2.running_mean": torch.zeros(5)}})
    with pytest.raises(DamagedFile, match=r"net\.layers\.2\.running_mean"):
        callback.on_train_start(None, task())
