"""Build the objects of a run from its checked config.

Each function raises a UsageError that names what it cannot use: a key, a layer, a class, a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import get_object, instantiate
from lightning.fabric.plugins import Precision
from torch import Tensor, nn

from snntrain import __version__, registry
from snntrain.callback import (
    Advice,
    DelayAnnealing,
    EnergyModels,
    FitEnd,
    History,
    NeuroBench,
    OwnHandlers,
    Progress,
    Resetting,
    ResumePoint,
    Seeding,
    SynapticOperations,
    Throughput,
)
from snntrain.config.error import refusing
from snntrain.config.migration import FORMAT
from snntrain.config.size import within_memory
from snntrain.config.targets import FACTS, taken_by, target_given
from snntrain.data import DataModule
from snntrain.encoding import Encoder
from snntrain.error import UsageError
from snntrain.functional import reset_net
from snntrain.layer import set_fuse
from snntrain.layer.delay import learns_delays
from snntrain.model import builder
from snntrain.randomness import derived_seed
from snntrain.run.data_check import check_with_data
from snntrain.run.dry_pass import dry_pass
from snntrain.run.fine_tuning import prepare
from snntrain.run.folder import RunFolder
from snntrain.run.kept_graph import with_kept_graph
from snntrain.run.loggers import name_files
from snntrain.run.parallel.devices import one_device
from snntrain.run.parallel.layer_sync import refuse_unshared_statistics
from snntrain.run.plain_data import PlainData
from snntrain.run.size_check import check_size
from snntrain.run.trainer_plugins import plugins_of, plugins_without
from snntrain.run.unprofiled import Unprofiled
from snntrain.task import Supervised
from snntrain.task.contract import lacks_for_fit_end, resets_net, wants_index
from snntrain.task.optimizer import configure

_IN_A_CHECKPOINT = (type(None), bool, int, float, str, list, tuple, dict, Tensor)
_MIXED = ("16-mixed", "bf16-mixed", "16", "bf16", 16)  # names of Lightning's


@dataclass
class Run:
    """The objects of one run."""

    config: dict[str, Any]
    folder: RunFolder
    task: pl.LightningModule
    data: pl.LightningDataModule
    trainer: pl.Trainer
    history: History
    throughput: Throughput
    fit_end: list[FitEnd]
    resume_point: ResumePoint


def build_net(config: Mapping[str, Any]) -> nn.Module:
    """Build the network of a config, its weights drawn from the config's seed."""
    net = _layers_of(with_kept_graph(config))
    set_fuse(net, config["fuse"])
    return net


def _layers_of(config: Mapping[str, Any]) -> nn.Module:
    torch.manual_seed(derived_seed(config["seed"], "weights"))
    shape = net_shape(config)
    with refusing("model"), within_memory():
        if "layers" not in config["model"]:
            return builder.build_model(config, shape)
        with refusing("task"):
            step_mode = getattr(get_object(config["task"]["_target_"]), "step_mode", "m")
        return builder.build_model(config, shape, step_mode=step_mode)


def net_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Shape of a sample at one step as the network receives it: that of the data, which some encoders change."""
    shape = tuple(config["data"]["sample_shape"])
    with refusing("encoder"):
        encoder = registry.build("encoder", **config["encoder"])
        return encoder.encoded_shape(shape) if isinstance(encoder, Encoder) else shape


def _class_of(section: Mapping[str, Any]) -> str:
    """Name of the class that a section of the config builds; that class begins its error messages with it."""
    return section["_target_"].rpartition(".")[2]


def _check_task(task: pl.LightningModule) -> None:
    if not isinstance(getattr(task, "net", None), nn.Module):
        raise UsageError(
            f"task: {type(task).__name__} keeps no net, which a run needs. Write self.net = net in its constructor."
        )
    held = [name for name, value in task.hparams.items() if not isinstance(value, _IN_A_CHECKPOINT)]
    if held:
        names = ", ".join(held)
        raise UsageError(
            f"task: {type(task).__name__} keeps {names} with save_hyperparameters(), and a checkpoint with such an "
            f"object cannot be read again. Write self.save_hyperparameters(ignore=[{', '.join(map(repr, held))}])."
        )


def _check_output(net: nn.Module, outputs: int) -> None:
    shape = net.output_shapes[-1] if isinstance(net, builder.Net) else (outputs,)
    if shape != (outputs,):
        raise UsageError(
            f"model: the last layer gives {list(shape)} per sample, but task and data need {outputs} outputs. End the "
            "model with {name: Linear, out_features: ${task.outputs}}."
        )
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise UsageError("model: it has no parameters to train. Add a layer that has, such as Linear.")


@torch.no_grad()
def _check_outputs_of_model(task: Supervised, config: Mapping[str, Any]) -> None:
    """Refuse a registered model whose outputs the task cannot read; one that fails is left to the dry pass."""
    net, outputs = task.net, config["task"]["outputs"]
    scores = outputs // task.population
    leading = (task.T, 2 if task.T != 2 else 3) if task.step_mode == "m" else (2,)
    modes = [(module, module.training) for module in net.modules()]
    try:
        with torch.random.fork_rng(devices=[]):
            y = net.eval()(torch.zeros(*leading, *net_shape(config)))
    except Exception:
        return
    finally:
        for module, training in modes:
            module.training = training
        reset_net(net)
    has_steps = isinstance(y, Tensor) and y.shape[: len(leading)] == leading
    has_steps = has_steps and (task.population == 1 or y.shape[-1] == outputs)
    if has_steps and (task.step_mode != "m" or _ends(task.scores(y)) == (leading[-1], scores)):
        return
    found = list(y.shape) if isinstance(y, Tensor) else f"a {type(y).__name__}"
    raise UsageError(
        f"model: {config['model'].get('name')} gives {found} for an input of {[*leading, *net_shape(config)]}, but the "
        f"task reads one score per class or value at each step, {[*leading, outputs]}. Return that, or choose a "
        "task.readout of your own that makes scores of it."
    )


def _ends(scores: Tensor) -> tuple[int, int]:
    """Samples and outputs of scores [N, K], or [N, T, K] of sequences."""
    return scores.shape[0], scores.shape[-1]


def build_task(config: Mapping[str, Any]) -> pl.LightningModule:
    """Build the LightningModule of a config, with its network, encoder and optimizer settings."""
    net = build_net(config)
    _check_output(net, config["task"]["outputs"])
    is_ann = not getattr(net, "is_stateful", True)
    if is_ann and config["encoder"]["name"] not in ("DirectEncoder", "FramesEncoder"):
        raise UsageError(
            f"encoder: {config['encoder']['name']} makes sequences of spikes, but a model without spiking neurons "
            "reads the sample itself in one step. Use encoder=direct."
        )
    takes_one_step = is_ann and config["encoder"]["name"] == "DirectEncoder"
    task = task_around(net, config, T=1 if takes_one_step else config["T"])
    _check_task(task)
    if isinstance(task, Supervised) and not isinstance(net, builder.Net):
        _check_outputs_of_model(task, config)
    check_size(task, config)
    with refusing("optim"):
        configure(net, config["optim"])  # so that torch refuses a bad learning rate now and not in the first epoch
    return task


def task_around(net: nn.Module, config: Mapping[str, Any], T: int, **changed: Any) -> pl.LightningModule:
    """Build the LightningModule of a config around an existing network.

    Args:
        net: [T, N, *] → [T, N, K].
        T: time steps.
        changed: constructor arguments that replace those of the config.
    """
    with refusing("encoder"):
        encoder = registry.build("encoder", **config["encoder"])
    counts = {key: config["data"][key] for key in ("num_classes", "num_targets") if config["data"].get(key)}
    arguments = {"net": net, "encoder": encoder, "T": T, "optim": config["optim"], "seed": config["seed"]}
    arguments |= {**counts, **changed}
    own = {key: value for key, value in config["task"].items() if key != "outputs"}
    with refusing("task", _class_of(config["task"])):
        given = taken_by(get_object(own["_target_"]), arguments, arguments)
        task = instantiate(own, **given, _recursive_=False, _convert_="all")
    if isinstance(task, pl.LightningModule) and not hasattr(task, "T"):  # a plain one
        task.T = T
    return task


def build_data(config: Mapping[str, Any]) -> pl.LightningDataModule:
    """Build the datamodule of a config and read its files."""
    data = make_data(config)
    read_data(data)
    return data


def make_data(config: Mapping[str, Any]) -> pl.LightningDataModule:
    """Build the datamodule of a config without reading its files."""
    section = config["data"]
    with refusing("data", _class_of(section)):
        target = get_object(section["_target_"])
        kind = {"kind": target_given(target, get_object(config["task"]["_target_"]), section)}
        data = instantiate(
            taken_by(target, section, FACTS), **(kind if hasattr(target, "TARGETS") else {}), _convert_="all"
        )
    return (
        data
        if isinstance(data, DataModule)
        else PlainData(data, section.get("num_targets") or section.get("num_classes"))
    )


def match(task: pl.LightningModule, data: pl.LightningDataModule) -> None:
    """Let the data give the batches that the task wants. Raises: UsageError if they cannot."""
    if wants_index(task) and isinstance(data, PlainData) and not isinstance(task, Supervised):  # which can do without
        raise UsageError(
            f"task: {type(task).__name__} says wants_index = True, but the batches of {type(data.source).__name__}, a "
            "plain LightningDataModule, are (x, y). Use data=custom, or let the task do without the index."
        )
    data.gives_index = wants_index(task)


def read_data(data: pl.LightningDataModule) -> None:
    """Find and read the files of a datamodule."""
    with refusing("data", type(data).__name__):
        data.prepare_data()
        data.setup()


def build_trainer(
    config: Mapping[str, Any], callbacks: list[pl.Callback], logger: Any, dry: bool = False
) -> pl.Trainer:
    """Build the Trainer of a config; a dry one writes no checkpoints."""
    with refusing(f"trainer (accelerator {config['trainer'].get('accelerator')}; trainer=cpu runs everywhere)"):
        return instantiate(
            {"num_sanity_val_steps": 0, **config["trainer"]},
            profiler=config["trainer"].get("profiler") or Unprofiled(),
            plugins=plugins_of(config["trainer"]),
            callbacks=callbacks,
            logger=logger,
            default_root_dir=config["paths"]["run"],
            enable_checkpointing=not dry,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, Progress) for callback in callbacks),
            use_distributed_sampler=False,
            _convert_="all",
        )


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run stores in its checkpoints beside the weights: enough to rebuild the net from a checkpoint alone."""
    return {"format": FORMAT, "version": __version__, "config": dict(config)}


def trainer_for_more(config: Mapping[str, Any], epochs: int, folder: Path) -> pl.Trainer:
    """Build a Trainer with a run's settings that trains for some more epochs, on one device, for a fit-end callback.

    It computes in single precision, in which integers are exact, even if the run uses half or double precision or a
    Precision plugin. Mixed precision (autocast) stays.
    """
    callbacks = [
        Seeding(config["seed"]),
        Throughput(),
        History(RunFolder(folder).metrics),
        Progress(),
        ResumePoint(RunFolder(folder).checkpoints, described(config)),
    ]
    if "finite" in config["callbacks"]:
        callbacks.insert(0, instantiate(config["callbacks"]["finite"], _convert_="all"))
    mixed = config["trainer"].get("precision") in _MIXED
    precision = config["trainer"]["precision"] if mixed else "32-true"
    trainer = {
        **one_device(config["trainer"]),
        "max_epochs": epochs,
        "profiler": None,
        "precision": precision,
        "plugins": plugins_without(Precision, config["trainer"]),
    }
    return build_trainer({**config, "trainer": trainer}, callbacks, logger=False)


def build_callbacks(config: Mapping[str, Any]) -> list[pl.Callback]:
    """Build the callbacks that a config names."""
    made = []
    for name, settings in config["callbacks"].items():
        with refusing(f"callbacks.{name}", _class_of(settings)):
            callback = instantiate(settings, _convert_="all")
        if isinstance(callback, FitEnd):
            callback.name, callback.is_deferred = name, True
            _refuse_surroundings(callback, settings)
        made.append(callback)
    return made


def _refuse_surroundings(callback: FitEnd, settings: Mapping[str, Any]) -> None:
    """A run has its own encoder, T and readout, so its fit-end callbacks take none."""
    for argument in callback.surroundings:
        if argument in settings:
            raise UsageError(
                f"callbacks.{callback.name}.{argument} is for a plain Lightning Trainer. Leave it out: here the run's "
                f"own {argument} is used."
            )


def check_fit_end(callbacks: Sequence[pl.Callback], task: pl.LightningModule, config: Mapping[str, Any]) -> None:
    """Let callbacks look at what they are to work on before training: fit-end ones, and those with a `check_task`.

    Args:
        callbacks: those of the config, in its order.
    """
    net = task.net
    for name, callback in zip(config["callbacks"], callbacks, strict=True):
        if hasattr(callback, "check_task"):
            with refusing(f"callbacks.{name}", type(callback).__name__):
                callback.check_task(task)
        if not isinstance(callback, FitEnd):
            continue
        if missing := lacks_for_fit_end(task):
            raise UsageError(
                f"callbacks.{callback.name}: {type(task).__name__} has no {missing}, by which samples are encoded and "
                "the net is read out. Derive the task from snntrain.task.Classification, or leave the callback out."
            )
        with refusing(f"callbacks.{callback.name}", type(callback).__name__):
            net = callback.check(net, task, net_shape(config))


def build(config: dict[str, Any], more_callbacks: Sequence[pl.Callback] = ()) -> Run:
    """Build everything a run needs. Nothing is written yet, and the data are read last.

    Args:
        config: checked, with paths.run set.
        more_callbacks: in addition to those of the config.
    """
    folder = RunFolder(Path(config["paths"]["run"]))
    task = build_task(config)
    chosen = build_callbacks(config)
    check_fit_end(chosen, task, config)
    data = make_data(config)
    match(task, data)
    prepare(task, config)
    dry_pass(task, config)
    read_data(data)
    check_with_data(task, data, config)
    history, throughput = History(folder.metrics), Throughput()
    operations = SynapticOperations(net_shape(config))
    counted = NeuroBench(operations)
    callbacks = [
        OwnHandlers(),
        Seeding(config["seed"]),
        throughput,
        history,
        operations,
        counted,
        EnergyModels(counted),
    ]
    if not resets_net(task):
        callbacks.append(Resetting())
    if learns_delays(task.net):
        callbacks.append(DelayAnnealing())
    resume_point = ResumePoint(folder.checkpoints, described(config))
    callbacks += [*chosen, Advice(), *more_callbacks, resume_point]
    with refusing("logger"):
        logger = name_files(instantiate(config["logger"], _convert_="all")) if config["logger"] else False
    trainer = build_trainer(config, callbacks, logger)
    if config["trainer"].get("sync_batchnorm"):
        with refusing():
            refuse_unshared_statistics(task)
    fit_end = [callback for callback in chosen if isinstance(callback, FitEnd)]
    return Run(config, folder, task, data, trainer, history, throughput, fit_end, resume_point)
