"""Learning-rate schedules from a config: per epoch or step, after a warm-up, of several parts, or on a plateau."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from hydra.utils import get_object, instantiate
from torch.optim import Optimizer, lr_scheduler

from snntrain.arguments import choice, integer, invalid
from snntrain.error import DamagedFile

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
    parts = schedule.get("schedules", [])
    if not isinstance(parts, list):
        raise invalid(where, "schedules", "a list of schedules", parts)
    plain, *parts = [
        {key: left if value == ALL else value for key, value in part.items()} for part in (schedule, *parts)
    ]
    monitor = schedule.get("monitor")
    ours = {"interval": interval, "warmup": warmup, "monitor": monitor, "schedules": parts}
    return ours, {key: value for key, value in plain.items() if key not in OF_OURS}


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
        trainer: knows how many epochs and steps the training has; None, or one that says is_trial = True because it
            runs a step only: not known, so 'all' is very many.

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
    if trainer is None or getattr(trainer, "is_trial", False):
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


def replan(checkpoint: dict[str, Any], task: pl.LightningModule) -> None:
    """Put the learning rate in a checkpoint where it would be had the run been planned as long as it is now.

    A cosine over the epochs of the run would otherwise stay at its end, or rise again. A schedule that does not depend
    on the length stays where it is, and ReduceLROnPlateau goes on as it was: the metrics that moved it are gone.

    Args:
        checkpoint: Lightning's, checked; "lr_schedulers" and the groups in "optimizer_states" are replaced.
        task: configures the optimizer and the schedule for its trainer.

    Raises: DamagedFile for a schedule that is further than the training can have brought it.
    """
    made = task.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
        return
    (saved,), most = checkpoint["lr_schedulers"], max(checkpoint["global_step"], checkpoint["epoch"] + 1)
    if not 0 <= saved["last_epoch"] <= min(most, MANY):
        raise DamagedFile(f"the checkpoint is damaged: its schedule is at {saved['last_epoch']} of {most} steps.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*lr_scheduler.step.*")  # the optimizer has not stepped, only the schedule
        for _ in range(saved["last_epoch"]):
            schedule.step()
    checkpoint["lr_schedulers"] = [schedule.state_dict()]
    for kept, group in zip(checkpoint["optimizer_states"][0]["param_groups"], optimizer.param_groups, strict=True):
        kept |= {name: value for name, value in group.items() if name != "params"}
