"""The keys at the root of every config with their types. Other keys are refused."""

import operator
from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf


@dataclass
class Paths:
    """Folders."""

    data: str = "data"
    """Data sets, in torchvision's and tonic's layouts."""
    runs: str = "runs"
    """Where new run folders are made."""
    run: str | None = None
    """This run's folder; filled in by the program."""


@dataclass
class Monitor:
    """The metric that decides which epoch is best."""

    metric: str = "val/acc"
    """Its name, one that the task or a callback logs in every epoch, such as val/acc or val/loss."""
    mode: str | None = None
    """'max' or 'min': whether it should be large or small; null: known from its name, see snntrain.config.monitor."""


@dataclass
class Sweep:
    """A sweep (`-m`)."""

    resume: bool = False
    """Run only the jobs that failed or were cut off, the latter from their checkpoints: of the sweep in
    hydra.sweep.dir, or else of the newest one with the same overrides."""


@dataclass
class Debug:
    """Looking for errors. The choices overfit, fast and profile also set keys of the trainer."""

    traceback: bool = False
    """Show where in the code an error was raised."""


@dataclass
class Model:
    """A model that is a list of layers. Its other keys are its own: the list refers to them, ${model.<key>}."""

    layers: list[Any]
    """The entries in their order: names of layers, or {name: …} with arguments; see docs/models.md."""
    blocks: dict[str, Any] | None = None
    """Lists that entries of `layers` use by name, with $arguments of their own."""
    init: dict[str, Any] | None = None
    """How the weights of layers start, by their names."""


@dataclass
class Schedule:
    """Keys of optim.schedule beside the arguments of torch's class."""

    interval: str = "epoch"
    """'epoch' or 'step': what the schedule, its warm-up and T_max count."""
    warmup: int = 0
    """Intervals in which the rate rises linearly to lr before the schedule begins, ≥ 0."""
    monitor: str | None = None
    """The metric that ReduceLROnPlateau waits for."""
    schedules: list[Any] = field(default_factory=list)
    """The parts of SequentialLR, which take over from each other at its milestones."""


@dataclass
class SweeperPlugin:
    """Configures `hydra/sweeper: snntrain`, Hydra's basic sweeper with records of the jobs."""

    _target_: str = "hydra_plugins.snntrain.JobSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


@dataclass
class Config:
    """The settings of one run. A group without a sentence here holds the choice from conf/<its name>/."""

    name: str = "run"
    """Last part of the run folder's name."""
    seed: int = 1
    """Of weights, data order and every random draw, ≥ 0."""
    T: int = 4
    """Time steps per sample, ≥ 1; an ANN (neuron=relu) ignores it."""
    model: dict[str, Any] = field(default_factory=dict)
    neuron: dict[str, Any] = field(default_factory=dict)
    norm: dict[str, Any] = field(default_factory=dict)
    surrogate: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    fuse: str = "exact"
    """'exact': on CPUs a batch normalization, a neuron and the pooling after it run as one kernel where that changes no
    bit; 'fast': so they do, and a Linear or 1×1 Conv2d whose inputs are mostly zero multiplies with the others only, in
    float32 on CPUs, which rounds otherwise and is another run; 'off': every layer runs by itself."""
    data: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    """What is learned. `outputs`: scores that the model ends with, from data and task; models refer to it."""
    optim: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    debug: dict[str, Any] = field(default_factory=dict)
    paths: Paths = field(default_factory=Paths)
    monitor: Monitor = field(default_factory=Monitor)
    plugins: list[str] = field(default_factory=list)
    """Importable modules that register your own neurons, layers, surrogates, encoders, models, data sets, tasks,
    losses, readouts, metrics, callbacks, conversion methods and report sections."""
    trust: bool = False
    """Let `_target_` name anything. Otherwise it may only name what plugins hold and, from snntrain, torch,
    torchvision, tonic and lightning, classes of the kind that belongs in the place."""
    show: str | None = None
    """Instead of training, 'model' prints the model's layers with shapes, parameters and operations; 'data' prints the
    data set's classes, license and citation, and draws samples into paths.runs; 'kernels' prints what runs fused on
    each device of this machine, by what, or why not; 'audit' prints faults of the net, the encoder and the data."""
    resume: str | None = None
    """'auto' (the newest unfinished run of this config), a run folder, or a checkpoint file."""
    init_from: str | None = None
    """A run folder, a checkpoint file, a recorded experiment or hf://owner/name whose weights the net starts with, as
    far as their names and shapes fit."""
    freeze: list[str] = field(default_factory=list)
    """Layers that are not trained and stay in evaluation mode, by name: layers.0, layers.0*."""
    sweep: Sweep = field(default_factory=Sweep)


def _first_of(*keys: str, _root_: DictConfig) -> Any:
    return next((value for key in keys if (value := OmegaConf.select(_root_, key)) is not None), None)


def _frame_shape(key: str, *, _root_: DictConfig) -> list[int]:
    """The shape of a frame under these settings of a framing, as Framing.shape says it without its first number.

    Settings of no meaning count as none here: Framing refuses them by name.
    """
    framing = OmegaConf.select(_root_, key)
    side, size = framing.get("downsample"), framing.get("sensor_size")
    sizes = list(size) if isinstance(size, ListConfig) else [size]
    is_whole = all(type(one) is int and one > 0 for one in (*sizes, side))
    sizes = [-(-one // side) for one in sizes] if is_whole else [1]
    return [2 if framing.get("polarity") == "channels" else 1, *sizes] if len(sizes) == 2 else sizes


def top_level_keys() -> list[str]:
    """Keys that a config may have at its root."""
    return [f.name for f in fields(Config)]


def register_schema() -> None:
    """Make the schema known to Hydra; conf/config.yaml names it first in its defaults list.

    Also ${mul:a,b}, the product of two numbers, ${first_of:a.b,c.d}, the value of the first key that the config has,
    and ${frame_shape:data.framing}, which OmegaConf does not have.
    """
    OmegaConf.register_new_resolver("mul", operator.mul, replace=True)
    OmegaConf.register_new_resolver("add", operator.add, replace=True)
    OmegaConf.register_new_resolver("first_of", _first_of, replace=True)
    OmegaConf.register_new_resolver("frame_shape", _frame_shape, replace=True)
    ConfigStore.instance().store("schema", Config)
    ConfigStore.instance().store("snntrain", SweeperPlugin, group="hydra/sweeper")
