"""What a stage gets, gives, and in which order stages follow one another."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch import nn

from snntrain import checksums

ORDER = ("ann2snn", "qat", "lava", "nir")


@dataclass
class Trained:
    """What a stage works on. A stage may change `task` and `net`: both are copies.

    Attributes:
        task: the run's LightningModule with the best weights, in evaluation.
        net: what the stage before made, at first the task's network: [T, N, *] → [T, N, K].
        data: the run's datamodule, set up.
        config: of the run, resolved.
        folder: the run folder.
        T: time steps that `net` is to run.
        device: where to compute.
        test_batches: how many batches of the test set are to be looked at.
        task_for: (net, T, **changed) → a LightningModule like `task` around another net.
        trainer_for: (epochs, folder) → a Trainer with the run's settings, which leaves its resume point in the folder.
        resume_from: (file, config, task, trainer) → the file if the trainer may go on from it, None if it has to begin
            anew; None where the run goes on from no earlier one in the same folder.
        description: what a checkpoint of the run says of itself under "snntrain": format, version, config.
    """

    task: pl.LightningModule
    net: nn.Module
    data: pl.LightningDataModule
    config: Mapping[str, Any]
    folder: Path
    T: int
    device: torch.device
    test_batches: int
    task_for: Callable[..., pl.LightningModule]
    trainer_for: Callable[[int, Path], pl.Trainer]
    resume_from: Callable[[Path, Mapping[str, Any], pl.LightningModule, pl.Trainer], Path | None] | None = None
    description: Mapping[str, Any] = field(default_factory=dict)


class Stage(ABC):
    """One step after training."""

    @abstractmethod
    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        """Refuse, before any training, what the stage could not do after it.

        Args:
            net: what the stage before would hand on, at first the task's network with fresh weights; must stay as it
                is.
            task: as built.
            sample_shape: of what the network gets at one step.

        Returns: what the stage would hand on.
        Raises: ValueError saying what does not fit and what to do.
        """

    @abstractmethod
    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        """Do the work.

        Args:
            folder: for the stage's files.
            console: for progress.

        Returns: the network for the next stage, and metrics without the stage's name. A stage that changes how many
        steps the network runs sets trained.T.
        """


def in_order(stages: Iterable[str]) -> list[str]:
    """Names of stages, first to last."""
    return sorted(stages, key=ORDER.index)


def run_stages(
    stages: Mapping[str, Stage],
    trained: Trained,
    metrics: dict[str, float],
    seconds: dict[str, float],
    console: Console,
) -> None:
    """Run all stages in ORDER, each on what the one before made.

    Args:
        stages: name → stage.
        metrics, seconds: filled in as stages end, so that an error loses only what comes after it.
    """
    for name in in_order(stages):
        began = time.perf_counter()
        trained.net, found = stages[name].run(trained, trained.folder / "artifacts" / name, console)
        checksums.register(trained.folder, f"artifacts/{name}")  # what it wrote through other libraries
        metrics.update({f"{name}/{key}": value for key, value in found.items()})
        seconds[name] = round(time.perf_counter() - began, 3)
