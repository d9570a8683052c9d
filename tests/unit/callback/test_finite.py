"""Finite: a run ends at the first number that is none, says where and why, and keeps the best weights."""

import re
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from small_training import SGD, Patches, small_task, trainer
from torch import Tensor

from snntrain.callback import EMAWeightAveraging, Finite, ResumePoint
from snntrain.error import Diverged
from snntrain.task import Classification, OnlineClassification

NAN_FROM_EPOCH_2 = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 3, "eta_min": float("nan")}
BN_NET = [
    "Flatten",
    {"name": "Linear", "out_features": 12},
    "BatchNorm1d",
    "neuron",
    {"name": "Linear", "out_features": 3},
]


class Break(pl.Callback):
    """Overwrite one value of a tensor of the net after a step (from 1) of the run, as a plugin's mistake might."""

    def __init__(self, name: str, step: int, value: float = float("nan")) -> None:
        self.name, self.step, self.value = name, step, value

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
        if trainer.global_step == self.step:
            pl_module.net.state_dict()[self.name].view(-1)[0] = self.value


def best(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, "best", monitor="val/acc", mode="max", enable_version_counter=False)


def message(tmp_path: Path, task: pl.LightningModule, *callbacks: pl.Callback, data=None, **settings: object) -> str:
    """What a fit ends with."""
    with pytest.raises(Diverged) as caught:
        trainer(tmp_path, *callbacks, Finite(), **settings).fit(task, data or Patches())
    return str(caught.value)


def is_finite(checkpoint: Path) -> bool:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    return all(bool(tensor.isfinite().all()) for tensor in state.values())


@pytest.mark.parametrize(
    ("optim", "named"),
    [
        ({"lr": 1e30}, ("step 2 of 3 in epoch 1", "layers.1 (Linear)", "learning rate is too large (now 1e+30)")),
        ({"lr": float("inf")}, ("step 2 of 3 in epoch 1", "layers.1 (Linear)", "optim.lr is inf")),
        ({"weight_decay": float("inf")}, ("step 2 of 3 in epoch 1", "layers.1 (Linear)", "optim.weight_decay is inf")),
        ({"schedule": NAN_FROM_EPOCH_2}, ("step 1 of 3 in epoch 2", "optim.schedule set the learning rate to nan")),
    ],
    ids=["large lr", "infinite lr", "infinite decay", "schedule to nan"],
)
@pytest.mark.parametrize("kind", ["classification", "chunks", "online"])
def test_a_diverging_run_stops_within_two_steps_and_says_why(tmp_path, optim, named, kind):
    optim = SGD | optim
    if kind == "online":
        task = small_task()
        task = OnlineClassification(task.net, task.encoder, 3, 3, optim)
    else:
        task = small_task(optim=optim, chunk=2 if kind == "chunks" else None)
    said = message(tmp_path, task, max_epochs=4)
    said = re.sub("step [12] of 3 in epoch 1", "step 2 of 3 in epoch 1", said)  # whether the loss has it at once
    assert all(part in said for part in named), said


def test_weights_that_are_nan_behind_a_silent_neuron_are_found_although_the_loss_is_finite(tmp_path):
    losses = []

    class Losses(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, *args):
            losses.append(float(outputs["loss"]))

    said = message(tmp_path, small_task(), Losses(), Break("layers.1.weight", step=2))
    assert torch.tensor(losses).isfinite().all()
    assert "step 2 of 3 in epoch 1, weights are no longer finite" in said
    assert "layers.1 (Linear), 1 of 192 values of its weight" in said


def test_gradients_that_are_nan_stop_the_run_at_once(tmp_path):
    task = small_task()
    task.net.get_parameter("layers.3.bias").register_hook(lambda gradient: gradient * float("nan"))
    said = message(tmp_path, task)
    assert "step 2 of 3 in epoch 1" in said and "First in the order of the net: layers.1 (Linear)" in said


def test_the_first_module_of_a_non_finite_output_is_named_where_the_weights_are_finite(tmp_path):
    task = small_task(optim=SGD | {"lr": 0.0})
    task.net.get_submodule("layers.3").register_forward_hook(lambda module, inputs, y: y / 0)
    task.net.requires_grad_(False)
    task.register_parameter("unused", torch.nn.Parameter(torch.zeros(())))
    task.compute_loss = lambda y, target: (y.mean() + 0 * task.unused).nan_to_num(float("nan"), float("inf"))
    task.configure_optimizers = lambda: torch.optim.SGD([task.unused], 0.0, maximize=True)
    task.on_before_optimizer_step = lambda optimizer: task.unused.grad.zero_()
    assert "First in the order of the net: layers.3 (Linear), its output." in message(tmp_path, task)


def test_inputs_that_are_nan_are_the_cause(tmp_path):
    class Broken(Patches):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            x, *rest = batch
            return (x / 0, *rest)

    said = message(tmp_path, small_task(), data=Broken())
    assert "The inputs of this batch hold values that are not finite" in said


@pytest.mark.parametrize("what", ["val/loss", "val/score"])
def test_nan_in_the_validation_alone_stops_the_run_and_keeps_the_best_of_before(tmp_path, what):
    class Odd(Classification):
        def compute_loss(self, y_seq, target):
            broken = what == "val/loss" and self.current_epoch == 1 and not self.training
            return super().compute_loss(y_seq, target) * (float("nan") if broken else 1.0)

        def on_validation_epoch_end(self):
            self.log("val/score", float("nan") if what == "val/score" and self.current_epoch == 1 else 0.5)

    task = small_task()
    task.__class__ = Odd
    said = message(tmp_path, task, best(tmp_path), EarlyStopping("val/score", mode="max"), max_epochs=4)
    assert f"in the validation of epoch 2, {what} is NaN" in said
    assert f"The best weights of the epochs before are in {tmp_path / 'best.ckpt'}" in said
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 0


def test_a_training_that_keeps_no_best_weights_is_not_told_of_any(tmp_path):
    said = message(tmp_path, small_task(), Break("layers.1.weight", 1))
    assert "checkpoint" not in said and said.endswith(".")


@pytest.mark.parametrize("averaged", [False, True], ids=["weights", "their average"])
@pytest.mark.parametrize("name", ["layers.1.weight", "layers.2.running_mean", "layers.4.weight"])
def test_no_checkpoint_takes_a_value_that_is_not_finite(tmp_path, name, averaged):
    """Broken after the last step of epoch 2, where only the checkpoints of its end are left to be written."""
    more = [EMAWeightAveraging(0.5)] if averaged else []
    said = message(
        tmp_path,
        small_task(layers=BN_NET),
        *more,
        Break(name, step=6),
        best(tmp_path),
        ResumePoint(tmp_path, {}),
        max_epochs=4,
    )
    assert "epoch 2" in said and name.rpartition(".")[0] in said and name.rpartition(".")[2] in said
    for file in ("best.ckpt", "last.ckpt"):
        assert is_finite(tmp_path / file)


def test_with_stop_false_it_warns_once_and_the_best_checkpoint_stays(tmp_path, capsys):
    fit = trainer(tmp_path, Break("layers.1.weight", step=4), Finite(stop=False), best(tmp_path), max_epochs=4)
    fit.fit(small_task(), Patches())
    said = capsys.readouterr().out
    assert fit.current_epoch == 4
    assert said.count("warning: training diverged at step 1 of 3 in epoch 2") == 1
    assert is_finite(tmp_path / "best.ckpt")


def test_a_run_that_goes_on_from_broken_weights_stops_before_its_first_step(tmp_path):
    task = small_task()
    task.net.get_parameter("layers.1.weight").data[0] = float("inf")
    assert "before the first step, the weights are not finite" in message(tmp_path, task)


def test_weights_beyond_all_reason_count_as_diverged(tmp_path):
    said = message(tmp_path, small_task(optim=SGD | {"lr": 0.0}), Break("layers.1.weight", step=1, value=1e30))
    assert "at step 2 of 3 in epoch 1, weights are infinite or beyond 1e+15. First in the order of the net" in said


def test_it_changes_no_number(tmp_path):
    def trained(*callbacks: pl.Callback) -> list[Tensor]:
        task = small_task(layers=BN_NET, poisson=True)
        trainer(tmp_path, *callbacks).fit(task, Patches())
        return list(task.state_dict().values())

    assert all(map(torch.equal, trained(), trained(Finite())))
