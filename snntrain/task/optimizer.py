"""Optimizer and schedule from a config, with weight decay where it belongs."""

from collections import defaultdict
from numbers import Real
from typing import Any

import lightning.pytorch as pl
from hydra.utils import get_object, instantiate
from torch import nn
from torch.optim import Optimizer

from snntrain import registry
from snntrain.arguments import invalid
from snntrain.layer import NeuNorm, delay_lines
from snntrain.layer.delay import learns_delays
from snntrain.signature import signature_of
from snntrain.task.schedule import make_schedule

_NORMALIZATION = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, NeuNorm)


def parameter_groups(net: nn.Module, lr: float | None = None) -> list[dict[str, Any]]:
    """Parameters in two groups: with the optimizer's weight decay, and without (neurons and normalization layers).

    A decayed time constant, threshold or BatchNorm scale drifts toward a value that means something else than 'small'.
    Learned delays follow in groups of their own, without weight decay; they are counted in steps, so that they need a
    larger rate.

    Args:
        net: whose parameters are trained.
        lr: the optimizer's rate, of which that of delays is a multiple (lr_factor); None: it is not needed.
    """
    delays: dict[float, list[nn.Parameter]] = defaultdict(list)
    for line in delay_lines(net).values():
        if line.is_learned and line.delay.requires_grad:
            delays[line.how.lr_factor].append(line.delay)
    apart = {id(parameter) for group in delays.values() for parameter in group}
    neurons = registry.table("neuron").values()  # those of the net have been imported with it
    spared = {
        id(parameter)
        for module in net.modules()
        if isinstance(module, (*neurons, *_NORMALIZATION))
        for parameter in module.parameters()
    }
    parameters = [p for p in net.parameters() if p.requires_grad and id(p) not in apart]
    groups = [
        {"params": [p for p in parameters if id(p) not in spared]},
        {"params": [p for p in parameters if id(p) in spared], "weight_decay": 0.0},
        *(
            {"params": group, "weight_decay": 0.0, **({} if lr is None else {"lr": factor * lr})}
            for factor, group in delays.items()
        ),
    ]
    return [group for group in groups if group["params"]]


def configure(net: nn.Module, optim: dict[str, Any], trainer: pl.Trainer | None = None) -> dict[str, Any]:
    """What LightningModule.configure_optimizers returns.

    Args:
        net: whose parameters are trained.
        optim: `_target_` and arguments of the optimizer, and under `schedule` those of a learning-rate schedule, see
            snntrain.task.schedule.
        trainer: knows how many epochs and steps the training has; None: not known.
    """
    settings = {key: value for key, value in optim.items() if key != "schedule"}
    optimizer: Optimizer = instantiate(
        settings, parameter_groups(net, _rate_for_delays(net, settings)), _convert_="all"
    )
    return {"optimizer": optimizer, "lr_scheduler": make_schedule(optim["schedule"], optimizer, trainer)}


def _rate_for_delays(net: nn.Module, settings: dict[str, Any]) -> float | None:
    """The learning rate of an optimizer, which a config may leave out; None for a net that learns no delays."""
    if not learns_delays(net):
        return None
    default = signature_of(get_object(settings["_target_"])).parameters.get("lr")
    rate = settings.get("lr", None if default is None else default.default)
    if isinstance(rate, bool) or not isinstance(rate, Real):
        raise invalid("optim", "lr", "a number, of which the rate of delays is a multiple", rate)
    return float(rate)
