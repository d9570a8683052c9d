"""Learning-rate schedules: torch's closed forms, a linear warm-up before them, and what is refused."""

import math

import lightning.pytorch as pl
import pytest
import torch
from torch.optim import SGD, lr_scheduler
from torch.utils.data import TensorDataset

from snntrain.task.schedule import make_schedule

TORCH = "torch.optim.lr_scheduler"


def trainer(epochs: int, batches: int, **settings) -> pl.Trainer:
    """A Trainer that knows how long it will train."""
    made = pl.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, accelerator="cpu", **settings)
    made.datamodule = pl.LightningDataModule.from_datasets(TensorDataset(torch.zeros(batches)), batch_size=1)
    return made


def rates(schedule: dict, count: int, epochs: int, batches: int) -> list[float]:
    """The learning rates of the first intervals, for lr = 1."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_schedule(schedule, optimizer, trainer(epochs, batches))["scheduler"]
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_a_warm_up_rises_linearly_and_all_is_what_is_left_after_it(warmup):
    cosine = {"_target_": f"{TORCH}.CosineAnnealingLR", "T_max": "all", "interval": "step", "warmup": warmup}
    rising = [(step + 1) / (warmup + 1) for step in range(warmup)]
    left = 20 - warmup
    falling = [(1 + math.cos(math.pi * step / left)) / 2 for step in range(left)]
    assert rates(cosine, 20, 2, 10) == pytest.approx(rising + falling)


@pytest.mark.parametrize(
    ("settings", "steps"), [({"accumulate_grad_batches": 3}, 8), ({"limit_train_batches": 4}, 8), ({"max_steps": 5}, 5)]
)
def test_steps_are_those_that_the_trainer_takes(settings, steps):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = {"_target_": f"{TORCH}.CosineAnnealingLR", "T_max": "all", "interval": "step"}
    assert make_schedule(cosine, optimizer, trainer(2, 10, **settings))["scheduler"].T_max == steps


def test_parts_take_over_from_each_other_at_the_milestones():
    parts = [
        {"_target_": f"{TORCH}.ConstantLR", "factor": 1.0},
        {"_target_": f"{TORCH}.ExponentialLR", "gamma": 0.5},
    ]
    sequential = {"_target_": f"{TORCH}.SequentialLR", "schedules": parts, "milestones": [3]}
    assert rates(sequential, 6, 6, 10) == pytest.approx([1, 1, 1, 1, 0.5, 0.25])


def test_a_plateau_names_its_metric_to_lightning():
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = {"_target_": f"{TORCH}.ReduceLROnPlateau", "patience": 0, "factor": 0.1, "monitor": "val/loss"}
    made = make_schedule(plateau, optimizer)
    assert isinstance(made["scheduler"], lr_scheduler.ReduceLROnPlateau)
    assert made["monitor"] == "val/loss" and made["interval"] == "epoch"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"interval": "batch"}, "interval"),
        ({"warmup": -1}, "warmup"),
        ({"warmup": 5}, "less than the 5 epochs"),
        ({"schedules": "x"}, "schedules"),
    ],
)
def test_a_wrong_key_of_ours_is_refused_by_name(changed, named):
    with pytest.raises(ValueError, match=named):
        rates({"_target_": f"{TORCH}.ConstantLR", **changed}, 1, 5, 10)
