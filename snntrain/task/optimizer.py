"""Optimizer and schedule from a config, with weight decay where it belongs."""

from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate
from torch import nn
from torch.optim import Optimizer

from snntrain import registry
from snntrain.layer import NeuNorm
from snntrain.task.schedule import make_schedule

_NORMALISATION = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, NeuNorm)


def parameter_groups(net: nn.Module) -> list[dict[str, Any]]:
    """Parameters in two groups: with the optimizer's weight decay, and without (neurons and normalization layers).

    A decayed time constant, threshold or BatchNorm scale drifts toward a value that means something else than 'small'.
    """
    spared = {
        id(parameter)
        for module in net.modules()
        if isinstance(module, (*registry.classes("neuron"), *_NORMALISATION))
        for parameter in module.parameters()
    }
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if id(p) not in spared]},
        {"params": [p for p in parameters if id(p) in spared], "weight_decay": 0.0},
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
    optimizer: Optimizer = instantiate(settings, parameter_groups(net), _convert_="all")
    return {"optimizer": optimizer, "lr_scheduler": make_schedule(optim["schedule"], optimizer, trainer)}
