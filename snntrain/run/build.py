"""From a checked config to objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import get_object, instantiate
from torch import nn

from snntrain import __version__, registry
from snntrain.callback import History, Progress, ResumePoint, Seeding, SynapticOperations, Throughput
from snntrain.config.error import UsageError, refusing
from snntrain.encoding import Encoder
from snntrain.model import builder
from snntrain.parallel.devices import one_device
from snntrain.parallel.layer_sync import StepSyncBatchNorm, refuse_unshared_statistics
from snntrain.randomness import derived_seed
from snntrain.run.interruption import OwnHandlers
from snntrain.stage import Stage, in_order
from snntrain.task.optimizer import configure

CHECKPOINT_FORMAT = 1
_MIXED = ("16-mixed", "bf16-mixed", "16", "bf16", 16)  # names of Lightning's


@dataclass
class Run:
    """What one run is made of."""

    config: dict[str, Any]
    folder: Path
    task: pl.LightningModule
    data: pl.LightningDataModule
    trainer: pl.Trainer
    history: History
    throughput: Throughput
    stages: dict[str, Stage]


def build_net(config: Mapping[str, Any]) -> nn.Module:
    """The network of a config, its weights drawn from the config's seed.

    Raises: UsageError naming the layer that does not fit.
    """
    torch.manual_seed(derived_seed(config["seed"], "weights"))
    shape = net_shape(config)
    with refusing("model"):
        if "layers" in config["model"]:
            return builder.build_model(config, shape, step_mode=_step_mode(config))
        facts = {
            "sample_shape": shape,
            "num_classes": config["data"]["num_classes"],
            "neuron": lambda: builder.build_neuron(config["neuron"]),
        }
        return registry.build("model", **facts, **config["model"])


def net_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Shape of a sample at one step as the network gets it: that of the data, changed by some encoders."""
    shape = tuple(config["data"]["sample_shape"])
    with refusing("encoder"):
        encoder = registry.build("encoder", **config["encoder"])
        return encoder.encoded_shape(shape) if isinstance(encoder, Encoder) else shape


def _step_mode(config: Mapping[str, Any]) -> str:
    """The step mode that the config's task trains in."""
    with refusing("task"):
        return getattr(get_object(config["task"]["_target_"]), "step_mode", "m")


def _check_output(net: nn.Module, num_classes: int) -> None:
    shape = net.output_shapes[-1] if isinstance(net, builder.Net) else (num_classes,)
    if shape != (num_classes,):
        raise UsageError(
            f"model: the last layer gives {list(shape)} per sample, but the data has {num_classes} classes. End the "
            "model with {name: Linear, out_features: ${data.num_classes}}."
        )
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise UsageError("model: it has no parameters to train. Add a layer that has, such as Linear.")


def build_task(config: Mapping[str, Any]) -> pl.LightningModule:
    """The LightningModule of a config, with its network, encoder and optimiser settings.

    Raises: UsageError.
    """
    net = build_net(config)
    _check_output(net, config["data"]["num_classes"])
    is_ann = not getattr(net, "is_stateful", True)
    if is_ann and config["encoder"]["name"] not in ("DirectEncoder", "FramesEncoder"):
        raise UsageError(
            f"encoder: {config['encoder']['name']} makes sequences of spikes, but a model without spiking neurons "
            "reads the image itself in one step. Use encoder=direct."
        )
    takes_one_step = is_ann and config["encoder"]["name"] == "DirectEncoder"
    task = task_around(net, config, T=1 if takes_one_step else config["T"])
    with refusing("optim"):
        configure(net, config["optim"])  # a learning rate that torch refuses is refused now, not in the first epoch
    return task


def task_around(net: nn.Module, config: Mapping[str, Any], T: int, **changed: Any) -> pl.LightningModule:
    """The LightningModule of a config for a network that is there already.

    Args:
        net: [T, N, *] → [T, N, K].
        T: time steps.
        changed: constructor arguments that are to differ from the config's.

    Raises: UsageError.
    """
    with refusing("encoder"):
        encoder = registry.build("encoder", **config["encoder"])
    arguments = {"num_classes": config["data"]["num_classes"], "optim": config["optim"], "seed": config["seed"]}
    with refusing("task"):
        return instantiate(
            config["task"], net=net, encoder=encoder, T=T, **arguments | changed, _recursive_=False, _convert_="all"
        )


def build_stages(config: Mapping[str, Any], task: pl.LightningModule) -> dict[str, Stage]:
    """The stages of a config, each having looked at the network it is to work on.

    Raises: UsageError.
    """
    stages, net = {}, task.net
    for name in in_order(config.get("stages", {})):
        with refusing(f"stages.{name}"):
            stages[name] = instantiate(config["stages"][name], _convert_="all")
            net = stages[name].check(net, task, net_shape(config))
    return stages


def build_data(config: Mapping[str, Any]) -> pl.LightningDataModule:
    """The datamodule of a config, its files found and read.

    Raises: UsageError naming the missing or corrupt file.
    """
    with refusing("data"):
        data = instantiate(config["data"], _convert_="all")
        data.prepare_data()
        data.setup()
    return data


def build_trainer(config: Mapping[str, Any], callbacks: list[pl.Callback], logger: Any) -> pl.Trainer:
    """The Trainer of a config.

    Raises: UsageError, for a missing accelerator as well.
    """
    with refusing(f"trainer (accelerator {config['trainer'].get('accelerator')}; trainer=cpu runs everywhere)"):
        return instantiate(
            {"num_sanity_val_steps": 0, **config["trainer"], **_layer_sync(config["trainer"])},
            callbacks=callbacks,
            logger=logger,
            default_root_dir=config["paths"]["run"],
            enable_checkpointing=True,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, Progress) for callback in callbacks),
            use_distributed_sampler=False,
            _convert_="all",
        )


def _layer_sync(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's argument that makes sync_batchnorm serve layers with step modes."""
    return {"plugins": [*trainer.get("plugins", ()), StepSyncBatchNorm()]} if trainer.get("sync_batchnorm") else {}


def stage_trainer(config: Mapping[str, Any], epochs: int, folder: Path) -> pl.Trainer:
    """A Trainer with a run's settings for some epochs more on one device, in a folder of a stage.

    Stages work in single precision (integers are exact in it), in a run of half or double precision too; autocast, of
    the mixed precisions, stays.

    Raises: UsageError.
    """
    description = {"format": CHECKPOINT_FORMAT, "version": __version__, "config": config}
    callbacks = [
        Seeding(config["seed"]),
        Throughput(),
        History(folder / "metrics.csv"),
        Progress(),
        ResumePoint(folder / "checkpoints", description),
    ]
    mixed = config["trainer"].get("precision") in _MIXED
    precision = config["trainer"]["precision"] if mixed else "32-true"
    trainer = {**one_device(config["trainer"]), "max_epochs": epochs, "profiler": None, "precision": precision}
    return build_trainer({**config, "trainer": trainer}, callbacks, logger=False)


def build(config: dict[str, Any], more_callbacks: Sequence[pl.Callback] = ()) -> Run:
    """Everything a run needs; nothing is written yet.

    Args:
        config: checked, with paths.run set.
        more_callbacks: besides those of the config.

    Raises: UsageError.
    """
    folder = Path(config["paths"]["run"])
    task = build_task(config)
    stages = build_stages(config, task)
    data = build_data(config)
    history, throughput = History(folder / "metrics.csv"), Throughput()
    description = {"format": CHECKPOINT_FORMAT, "version": __version__, "config": config}
    callbacks = [OwnHandlers(), Seeding(config["seed"]), throughput, history, SynapticOperations(net_shape(config))]
    for name, settings in config["callbacks"].items():
        with refusing(f"callbacks.{name}"):
            callbacks.append(instantiate(settings, _convert_="all"))
    callbacks += [*more_callbacks, ResumePoint(folder / "checkpoints", description)]
    with refusing("logger"):
        logger = instantiate(config["logger"], _convert_="all") if config["logger"] else False
    trainer = build_trainer(config, callbacks, logger)
    if config["trainer"].get("sync_batchnorm"):
        with refusing():
            refuse_unshared_statistics(task)
    if hasattr(task, "check_trainer"):
        with refusing("trainer"):
            task.check_trainer(trainer)
    return Run(config, folder, task, data, trainer, history, throughput, stages)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one of our checkpoints; loading runs no code of the file's.

    Raises: UsageError if it is missing, damaged, or not from snntrain.
    """
    if not path.is_file():
        raise UsageError(f"checkpoint: {path} does not exist. Give a run folder or a .ckpt file of one.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file provokes: zipfile, pickle and torch errors of many kinds
        reason = str(error).strip().split("\n")[0]
        raise UsageError(f"checkpoint: {path} cannot be read ({reason}). Use another checkpoint of the run.") from error
    if not isinstance(content, dict) or "snntrain" not in content or "state_dict" not in content:
        raise UsageError(f"checkpoint: {path} was not written by snntrain; it lacks the entry 'snntrain'.")
    description = content["snntrain"]
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise UsageError(f"checkpoint: {path} is damaged: its entry 'snntrain' does not say its format.")
    if description["format"] > CHECKPOINT_FORMAT:
        raise UsageError(f"checkpoint: {path} was written by a newer snntrain ({description.get('version')}); update.")
    if "config" not in description:
        raise UsageError(f"checkpoint: {path} is damaged: its entry 'snntrain' holds no config.")
    return content
