"""Learning-rate schedules from a config: per epoch or step, after a warm-up, of several parts, or on a plateau."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object, instantiate
from torch.optim import Optimizer, lr_scheduler

from snntrain.arguments import choice, integer, invalid

INTERVALS = ("epoch", "step")
#: Keys of optim.schedule that are no arguments of torch's class.
OF_OURS = ("interval", "warmup", "monitor", "schedules")
#: As the value of an argument: all intervals of the training that are left after the warm-up.
ALL = "all"


def split(schedule: Mapping[str, Any], totals: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate our keys from the arguments of torch's class, in which 'all' becomes a number.

    Args:
        schedule: the section optim.schedule.
        totals: how many epochs and steps ("epoch", "step") the training has, ≥ 1 each.

    Returns: interval, warmup, monitor and schedules; and `_target_` with its arguments.
    Raises: ValueError naming a key.
    """
    where = "optim.schedule"
    interval = choice(where, "interval", schedule.get("interval", "epoch"), INTERVALS)
    warmup = integer(where, "warmup", schedule.get("warmup", 0), at_least=0)
    left = totals[interval] - warmup
    if left < 1:
        raise invalid(where, "warmup", f"less than the {totals[interval]} {interval}s of the training", warmup)
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


def make_schedule(schedule: Mapping[str, Any], optimizer: Optimizer, totals: Mapping[str, int]) -> dict[str, Any]:
    """What a LightningModule returns as its "lr_scheduler".

    Args:
        schedule: the section optim.schedule: `_target_` of a torch schedule with its arguments, of which a count of
            intervals may be 'all'; interval: 'epoch' or 'step'; warmup: intervals in which the rate rises linearly
            from lr/(warmup + 1) to lr before the schedule begins; monitor: the metric of ReduceLROnPlateau; schedules:
            the parts of SequentialLR, which take over from each other at its milestones.
        optimizer: whose rate changes.
        totals: as in split.

    Raises: ValueError naming a key.
    """
    ours, plain = split(schedule, totals)
    kind = get_object(plain["_target_"])
    if ours["schedules"]:
        plain["schedulers"] = [instantiate(part, optimizer, _convert_="all") for part in ours["schedules"]]
    made = instantiate(plain, optimizer, _convert_="all")
    if ours["warmup"]:
        rise = lr_scheduler.LinearLR(optimizer, 1 / (ours["warmup"] + 1), total_iters=ours["warmup"])
        made = lr_scheduler.SequentialLR(optimizer, [rise, made], milestones=[ours["warmup"]])
    stepped = {"scheduler": made, "interval": ours["interval"]}
    return {**stepped, "monitor": ours["monitor"]} if kind is lr_scheduler.ReduceLROnPlateau else stepped
