"""Learning-rate schedules from a config: per epoch or step, after a warm-up, of several parts, or on a plateau."""

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from hydra.utils import get_object, instantiate
from torch.optim import Optimizer, lr_scheduler

from snntrain.arguments import choice, integer, invalid

INTERVALS = ("epoch", "step")
#: Keys of optim.schedule that are no arguments of torch's class.
OF_OURS = ("interval", "warmup", "monitor", "schedules")
#: As the value of an argument: all intervals of the training that are left after the warm-up.
ALL = "all"
MANY = 10**9


def split(schedule: Mapping[str, Any], total: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate our keys from the arguments of torch's class, in which 'all' becomes a number.

    Args:
        schedule: the section optim.schedule.
        total: intervals of the whole training, ≥ 1.

    Returns: interval, warmup, monitor and schedules; and `_target_` with its arguments.
    Raises: ValueError naming a key.
    """
    where = "optim.schedule"
    interval = choice(where, "interval", schedule.get("interval", "epoch"), INTERVALS)
    warmup = integer(where, "warmup", schedule.get("warmup", 0), at_least=0)
    left = total - warmup
    if left < 1:
        raise invalid(where, "warmup", f"less than the {total} {interval}s of the training", warmup)
    ours = {"interval": interval, "warmup": warmup, "monitor": None, "schedules": []} | {
        key: schedule[key] for key in OF_OURS if key in schedule
    }
    plain = {key: left if value == ALL else value for key, value in schedule.items() if key not in OF_OURS}
    if not isinstance(ours["schedules"], list):
        raise invalid(where, "schedules", "a list of schedules", ours["schedules"])
    ours["schedules"] = [
        {key: left if value == ALL else value for key, value in part.items()} for part in ours["schedules"]
    ]
    return ours, plain


def make_schedule(
    schedule: Mapping[str, Any], optimizer: Optimizer, trainer: pl.Trainer | None = None
) -> dict[str, Any]:
    """What a LightningModule returns as its "lr_scheduler".

    Args:
        schedule: the section optim.schedule: `_target_` of a torch schedule with its arguments, of which a count of
            intervals may be 'all'; interval: 'epoch' or 'step'; warmup: intervals in which the rate rises linearly
            from lr/(warmup + 1) to lr before the schedule begins; monitor: the metric of ReduceLROnPlateau; schedules:
            the parts of SequentialLR, which take over from each other at its milestones.
        optimizer: whose rate changes.
        trainer: knows how many epochs and steps the training has; None: not known, so 'all' is very many.

    Raises: ValueError naming a key.
    """
    ours, plain = split(schedule, _intervals(schedule, trainer))
    kind = get_object(plain["_target_"])
    if ours["schedules"]:
        plain["schedulers"] = [instantiate(part, optimizer, _convert_="all") for part in ours["schedules"]]
    made = instantiate(plain, optimizer, _convert_="all")
    if ours["warmup"]:
        rise = lr_scheduler.LinearLR(optimizer, 1 / (ours["warmup"] + 1), total_iters=ours["warmup"])
        made = lr_scheduler.SequentialLR(optimizer, [rise, made], milestones=[ours["warmup"]])
    stepped = {"scheduler": made, "interval": ours["interval"]}
    return {**stepped, "monitor": ours["monitor"]} if kind is lr_scheduler.ReduceLROnPlateau else stepped


def _intervals(schedule: Mapping[str, Any], trainer: pl.Trainer | None) -> int:
    """How many intervals of a schedule the training has.

    Lightning's own estimate sets the loaders up, which on resume is too early: their order depends on the epoch.
    """
    if trainer is None:
        return MANY
    epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else MANY
    if schedule.get("interval") != "step":
        return epochs
    batches: int | float = MANY
    if trainer.datamodule is not None:
        batches = len(trainer.datamodule.train_dataloader())
    limit = trainer.limit_train_batches
    batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
    steps = epochs * max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    return min(steps, MANY) if trainer.max_steps in (None, -1) else min(steps, trainer.max_steps)
