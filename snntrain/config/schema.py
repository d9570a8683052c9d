"""The root of every config, typed: a key that is not here is refused."""

import operator
from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf


@dataclass
class Paths:
    """Folders.

    Attributes:
        data: where data sets lie, in torchvision's layout.
        runs: where new run folders are made.
        run: this run's folder; filled in by the program.
    """

    data: str = "data"
    runs: str = "runs"
    run: str | None = None


@dataclass
class Monitor:
    """The metric that says which epoch is best.

    Attributes:
        metric: its name, one that the task or a callback logs in every epoch, such as val/acc or val/loss.
        mode: whether it is to be large, 'max', or small, 'min'; null: as the metric says, see snntrain.config.monitor.
    """

    metric: str = "val/acc"
    mode: str | None = None


@dataclass
class Sweep:
    """A sweep (`-m`).

    Attributes:
        resume: skip the jobs that an earlier sweep finished and run the others again, those that were cut off from
            their checkpoints on: of the sweep in hydra.sweep.dir, or else the newest one of the same overrides.
    """

    resume: bool = False


@dataclass
class SweeperPlugin:
    """What Hydra's `hydra/sweeper: snntrain` builds: its basic sweeper, with records of the jobs."""

    _target_: str = "hydra_plugins.snntrain.JobSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


@dataclass
class Config:
    """One run.

    Attributes:
        name: last part of the run folder's name.
        seed: of weights, data order and every random draw, ≥ 0.
        T: time steps per sample, ≥ 1; an ANN (neuron=relu) ignores it.
        model, neuron, norm, surrogate, encoder, data, task, optim, trainer, callbacks, logger, debug: the choices of
            the groups of the same names in conf/.
        paths: folders.
        monitor: which metric picks the best epoch.
        plugins: importable modules that register the user's own neurons, layers, surrogates, encoders, models.
        trust: let `_target_` name anything, not only what plugins hold and, of snntrain, torch, torchvision, tonic and
            lightning, classes of the kind that belongs in the place.
        show: instead of training, 'model' prints the model's layers with shapes, parameters and operations; 'data'
            prints the classes of the data set, its license and citation, and draws samples into paths.runs.
        resume: 'auto' (the newest unfinished run of this config), a run folder, or a checkpoint file.
        sweep: of `-m` only.
    """

    name: str = "run"
    seed: int = 1
    T: int = 4
    model: dict[str, Any] = field(default_factory=dict)
    neuron: dict[str, Any] = field(default_factory=dict)
    norm: dict[str, Any] = field(default_factory=dict)
    surrogate: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    optim: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    debug: dict[str, Any] = field(default_factory=dict)
    paths: Paths = field(default_factory=Paths)
    monitor: Monitor = field(default_factory=Monitor)
    plugins: list[str] = field(default_factory=list)
    trust: bool = False
    show: str | None = None
    resume: str | None = None
    sweep: Sweep = field(default_factory=Sweep)


def top_level_keys() -> list[str]:
    """Keys that a config may have at its root."""
    return [f.name for f in fields(Config)]


def register_schema() -> None:
    """Make the schema known to Hydra; conf/config.yaml names it first in its defaults list.

    Also ${mul:a,b}, the product of two numbers, which OmegaConf does not have.
    """
    OmegaConf.register_new_resolver("mul", operator.mul, replace=True)
    ConfigStore.instance().store("schema", Config)
    ConfigStore.instance().store("snntrain", SweeperPlugin, group="hydra/sweeper")
