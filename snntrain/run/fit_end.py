"""Give the fit-end callbacks of a run its best weights, its data, and a way to train with its settings."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import get_class
from torch import nn

from snntrain.callback.fit_end import FitEnd, Trained
from snntrain.callback.fit_end.around import best_checkpoint
from snntrain.error import UsageError
from snntrain.run.build import Run, build_task, described, task_around, trainer_for_more
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.folder import RunFolder
from snntrain.run.parallel.devices import is_sharded
from snntrain.run.resume_state import check_state
from snntrain.run.weights import load_weights
from snntrain.terminal import print_line, terminal


def task_with_best_weights(built: Run) -> pl.LightningModule:
    """Copy the run's task with its best weights, in evaluation mode."""
    task, best = build_task(built.config), best_checkpoint(built.trainer)
    if best is None and is_sharded(built.config["trainer"]):
        best = built.folder.last_checkpoint  # This rank holds only a shard of the weights.
    if best is None:
        task.load_state_dict(built.task.state_dict())
    else:
        load_weights(task, read_checkpoint(Path(best))["state_dict"], f"checkpoint: {best}")
    return task.eval()


def handed_over(
    built: Run, task: pl.LightningModule, device: torch.device, test_batches: int, *, is_resumed: bool
) -> Trained:
    """What the first fit-end callback works on.

    Args:
        task: a copy with the best weights.
        device: where to compute.
        test_batches: how many batches the run's test had.
        is_resumed: whether a fine-tuning may continue from what an earlier part of the run left.
    """
    return Trained(
        net=task.net,
        data=built.data,
        folder=built.folder.artifacts,
        seed=built.config["seed"],
        T=task.T,
        device=device,
        test_batches=test_batches,
        task_for=lambda net, T: task_around(net, built.config, T),
        fine_tune=partial(fine_tune, built.config, built.data, is_resumed),
        description=described(built.config),
    )


def fine_tune(
    config: Mapping[str, Any],
    data: pl.LightningDataModule,
    is_resumed: bool,
    net: nn.Module,
    T: int,
    epochs: int,
    lr: float | None,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Do what Trained.fine_tune promises, with a run's config and data; the learning rate falls as a cosine."""
    optim = dict(config["optim"])
    optim["lr"] = optim["lr"] / 10 if lr is None else lr
    optim["schedule"] = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": epochs}
    task = task_around(net, config, T, optim=optim)
    trainer = trainer_for_more(config, epochs, folder)
    last = RunFolder(folder).last_checkpoint
    resumed = last if is_resumed and _can_continue(last, {**config, "optim": optim}, task, trainer) else None
    say(f"fine-tuning for {epochs} epochs" + (f", resumed from {resumed}" if resumed else ""))
    trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)


def _can_continue(path: Path, config: Mapping[str, Any], task: pl.LightningModule, trainer: pl.Trainer) -> bool:
    """Whether an interrupted fine-tuning left this checkpoint, for the same fit-end callbacks."""
    if not path.is_file():
        return False
    try:
        content = read_checkpoint(path)
        if _fit_end_settings(content["snntrain"]["config"]) != _fit_end_settings(config):
            return False
        check_state(content, task, trainer, config, path)
    except UsageError as error:
        print_line(terminal(), f"{error} The fine-tuning begins anew.")
        return False
    return True


def _fit_end_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the fit-end callbacks among the callbacks."""
    return {
        name: settings
        for name, settings in config["callbacks"].items()
        if issubclass(get_class(settings["_target_"]), FitEnd)
    }
