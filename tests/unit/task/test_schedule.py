"""Learning-rate schedules: torch's closed forms, a linear warm-up before them, and what is refused."""

import math

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from snntrain.task.schedule import make_schedule

TORCH = "torch.optim.lr_scheduler"


def rates(schedule: dict, count: int, totals: dict[str, int]) -> list[float]:
    """The learning rates of the first intervals, for lr = 1."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_schedule(schedule, optimizer, totals)["scheduler"]
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
    assert rates(cosine, 20, {"epoch": 2, "step": 20}) == pytest.approx(rising + falling)


def test_parts_take_over_from_each_other_at_the_milestones():
    parts = [
        {"_target_": f"{TORCH}.ConstantLR", "factor": 1.0},
        {"_target_": f"{TORCH}.ExponentialLR", "gamma": 0.5},
    ]
    sequential = {"_target_": f"{TORCH}.SequentialLR", "schedules": parts, "milestones": [3]}
    assert rates(sequential, 6, {"epoch": 6, "step": 60}) == pytest.approx([1, 1, 1, 1, 0.5, 0.25])


def test_a_plateau_names_its_metric_to_lightning():
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = {"_target_": f"{TORCH}.ReduceLROnPlateau", "patience": 0, "factor": 0.1, "monitor": "val/loss"}
    made = make_schedule(plateau, optimizer, {"epoch": 5, "step": 50})
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
        rates({"_target_": f"{TORCH}.ConstantLR", **changed}, 1, {"epoch": 5, "step": 50})
