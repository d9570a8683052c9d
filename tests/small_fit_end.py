"""A small net handed to a fit-end callback, and the check of a config's fit-end callbacks before training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from small_training import SGD, Patches, in_a_loop
from torch import nn

from snntrain.callback.fit_end import FitEnd, Trained
from snntrain.config import compose
from snntrain.config.check import check
from snntrain.encoding import DirectEncoder
from snntrain.run.build import build_callbacks, build_task, check_fit_end
from snntrain.task import Classification


def check_before_training(*overrides: str) -> None:
    config = check(compose(overrides))
    config["neuron"] = in_a_loop(config["neuron"])
    check_fit_end(build_callbacks(config), build_task(config), config)


def task_for(net: nn.Module, T: int, **changed: Any) -> Classification:
    return Classification(net, DirectEncoder(), T, 3, **{"optim": SGD, **changed})


def handed_over(
    folder: Path,
    net: nn.Module,
    *,
    T: int = 3,
    fine_tune: Callable[..., None] | None = None,
) -> Trained:
    data = Patches()
    data.setup()
    device, batches = torch.device("cpu"), len(data.test_dataloader())
    return Trained(net.eval(), data, folder, 1, T, device, batches, task_for, fine_tune)


def run(callback: FitEnd, trained: Trained) -> tuple[nn.Module, dict[str, float]]:
    """The net that the callback makes of the trained one, and its metrics."""
    return callback.run(trained, trained.folder, Console(quiet=True))
