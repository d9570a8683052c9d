"""A run that is trained for more epochs: what its config may change, and where its learning rate goes on."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from run_folders import whole_config
from sampled import sampled
from small_training import SGD, Patches, small_task, trainer

from snntrain.callback import History, ResumePoint, Seeding
from snntrain.error import DamagedFile, UsageError
from snntrain.run.differences import differences
from snntrain.run.longer import Replanned, check_longer, more_epochs, without_length
from snntrain.task.schedule import replan

TORCH = "torch.optim.lr_scheduler"
SCHEDULES = {
    "cosine": {"_target_": f"{TORCH}.CosineAnnealingLR", "T_max": "all"},
    "per step after a warm-up": {
        "_target_": f"{TORCH}.CosineAnnealingLR",
        "T_max": "all",
        "interval": "step",
        "warmup": 2,
    },
    "one cycle": {"_target_": f"{TORCH}.OneCycleLR", "total_steps": "all", "max_lr": 0.2, "interval": "step"},
    "step": {"_target_": f"{TORCH}.StepLR", "step_size": 1, "gamma": 0.5},
}


class Rates(pl.Callback):
    """The learning rate and the momentum of each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        (group,) = trainer.optimizers[0].param_groups
        self.seen.append((float(group["lr"]), float(group["momentum"])))


def fit(folder, schedule, epochs, *callbacks, resume=None):
    rates = Rates()
    best = ModelCheckpoint(dirpath=folder, filename="best", monitor="val/loss")
    always = [Seeding(1), History(folder / "metrics.csv"), best, rates, ResumePoint(folder, {})]
    task = small_task(optim=SGD | {"momentum": 0.9, "schedule": schedule})
    run = trainer(folder, *always, *callbacks, max_epochs=epochs)
    run.fit(task, datamodule=Patches(), ckpt_path=resume, weights_only=True)
    return task, rates.seen


@pytest.mark.parametrize("schedule", sampled(SCHEDULES.values(), 4), ids=SCHEDULES)
def test_the_rate_goes_on_where_a_run_of_that_length_has_it(tmp_path, schedule):
    whole, planned = fit(tmp_path / "whole", schedule, 4)
    _, first = fit(tmp_path / "part", schedule, 2)
    longer, rest = fit(tmp_path / "longer", schedule, 4, Replanned(), resume=tmp_path / "part/last.ckpt")
    assert rest == planned[len(first) :]
    if schedule is SCHEDULES["step"]:  # which does not depend on the length, and so neither does anything else
        assert all(torch.equal(value, longer.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_plateau_goes_on_as_it_was():
    plateau = {"_target_": f"{TORCH}.ReduceLROnPlateau", "monitor": "val/loss"}
    content = {"lr_schedulers": [{"last_epoch": 2, "best": 0.3}], "global_step": 6, "epoch": 1}
    replan(content, small_task(optim=SGD | {"schedule": plateau}))
    assert content["lr_schedulers"] == [{"last_epoch": 2, "best": 0.3}]


def test_a_schedule_further_than_its_run_is_not_counted_up():
    content = {"lr_schedulers": [{"last_epoch": 2**50}], "global_step": 6, "epoch": 1}
    with pytest.raises(DamagedFile, match="of 6 steps"):
        replan(content, small_task(optim=SGD))


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({"trainer": {"max_epochs": 9}, "optim": {"schedule": {"T_max": 9}}}, []),
        ({"trainer": {"max_epochs": 9}, "optim": {"schedule": {"T_max": 8}}}, ["optim.schedule.T_max"]),
        ({"trainer": {"max_epochs": 9}, "T": 9, "optim": {"schedule": {"T_max": 9}}}, ["T"]),
        ({"trainer": {"max_epochs": 3}, "optim": {"schedule": {"T_max": 4}}}, ["trainer.max_epochs"]),
        ({"trainer": {"max_epochs": -1}, "optim": {"schedule": {"T_max": 4}}}, ["trainer.max_epochs"]),
    ],
)
def test_only_a_greater_length_and_what_follows_it_may_differ(changed, left):
    before = {"trainer": {"max_epochs": 4}, "T": 4, "optim": {"schedule": {"T_max": 4}}}
    now = before | changed
    assert [item.key for item in without_length(differences(before, now), more_epochs(before, now))] == left


class OwnOptimizer(pl.LightningModule):
    def configure_optimizers(self):
        raise NotImplementedError


def test_a_schedule_of_the_users_own_is_refused_by_name():
    config = whole_config(trainer={"max_epochs": 9})
    content = {"snntrain": {"config": whole_config(trainer={"max_epochs": 4})}, "lr_schedulers": [{}]}
    with pytest.raises(UsageError, match=r"max_epochs was 4, got 9.*OwnOptimizer\.configure_optimizers.*init_from"):
        check_longer(content, OwnOptimizer(), config)
