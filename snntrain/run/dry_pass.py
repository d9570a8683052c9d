"""One step of training, validation and test on made-up data, before real data are read.

Some mistakes show only when values meet, such as a layer and an encoder that do not fit. Here they fail within a
second, not after the data were read or, in the test, after all the training.
"""

import contextlib
import copy
import inspect
import os
import random
import warnings
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from hydra.utils import get_object
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from snntrain import functional, registry
from snntrain.callback import OwnHandlers, Resetting, SpikeStatistics
from snntrain.config.binding import resolve_name
from snntrain.config.error import refusing
from snntrain.config.monitor import check_logged, watchers
from snntrain.config.targets import target_given
from snntrain.data.target import Target
from snntrain.encoding import FramesEncoder
from snntrain.error import UsageError
from snntrain.randomness import generator
from snntrain.run.interruption import interruptible
from snntrain.run.parallel.devices import in_group, is_on_cuda, is_sharded, one_device
from snntrain.task.contract import resets_net, wants_index

# Arguments of the trainer that do not change how a step is computed.
_NOT_OF_A_STEP = (
    "_target_",
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "max_time",
    "overfit_batches",
    "val_check_interval",
    "check_val_every_n_epoch",
    "limit_predict_batches",
    "num_sanity_val_steps",
    "log_every_n_steps",
    "profiler",
    "reload_dataloaders_every_n_epochs",
    "fast_dev_run",
    "sync_batchnorm",
)
_KNOWN_CALLBACKS = ("snntrain.", "lightning.", "pytorch_lightning.")  # of which only SpikeStatistics logs metrics


def dry_pass(task: pl.LightningModule, config: Mapping[str, Any]) -> None:
    """Train, validate and test a copy of the task on one small batch; the task and all generators stay as they were.

    Does nothing for a task whose weights are sharded: no single process may have the memory for all of them.

    Raises: UsageError naming the group or layer at fault; also for a monitored metric that was not logged, unless a
    callback that is not ours could log it: those do not run here.
    """
    if is_sharded(config["trainer"]):
        return
    samples = min(2, config["data"].get("batch_size", 2))
    batch, followed = (made_up_batch(config, samples, steps) for steps in (None, config["task"].get("horizon")))
    if not wants_index(task):
        batch, followed = batch[:2], followed[:2]
    with _generators_as_they_were(), warnings.catch_warnings(), interruptible():
        warnings.simplefilter("ignore")  # the run itself will show them, once
        tried, first_loss = copy.deepcopy(task), _FirstLoss()
        resetting = [] if resets_net(task) else [Resetting()]
        trainer = _trainer(config, [OwnHandlers(), *resetting, *_statistics(config), first_loss])
        trainer.is_trial = True  # its one step tells nothing of how long a warm-up may be
        if hasattr(tried, "check_trainer"):
            with refusing("trainer"):
                tried.check_trainer(trainer)
        try:
            trainer.fit(tried, _loader(batch), _loader(followed))
            logged = set(trainer.callback_metrics)
            trainer.test(tried, _loader(followed), verbose=False)
        except UsageError:
            raise
        except Exception as error:  # any layer, loss or task of the user may raise anything
            raise _refusal(error, tried, batch) from error
    if first_loss.value is not None and not np.isfinite(first_loss.value):
        raise UsageError(
            f"task: the loss of the untrained net on made-up data is {first_loss.value}, so it would learn nothing. "
            "Look for a very large or very small number in neuron, task, norm or model.init."
        )
    if all(settings["_target_"].startswith(_KNOWN_CALLBACKS) for settings in config["callbacks"].values()):
        for key, metric, _, _ in watchers(config, resolve_name):
            check_logged(key, metric, logged)


def made_up_batch(config: Mapping[str, Any], samples: int, steps: int | None = None) -> tuple[Tensor, ...]:
    """Make a batch (x, labels, index) in the shape of the config's data, with values in [0, 1).

    Args:
        steps: that have a target of their own; None: T.
    """
    shape = tuple(config["data"]["sample_shape"])
    if registry.get("encoder", config["encoder"]["name"]) is FramesEncoder:
        shape = (config["T"], *shape)
    x = torch.rand(samples, *shape, generator=generator(0, "dry pass"))
    batch = (x, _made_up_targets(config, samples, steps or config["T"]), torch.arange(samples))
    if config["data"].get("shortest") is None:
        return batch
    return *batch, torch.full((samples,), config["T"])


def _made_up_targets(config: Mapping[str, Any], samples: int, steps: int) -> Tensor:
    data, task = (get_object(config[group]["_target_"]) for group in ("data", "task"))
    kind = target_given(data, task, config["data"]) or Target.CLASS
    source, outputs = generator(0, "dry pass"), config["task"]["outputs"]
    if kind is Target.CLASS:
        return torch.arange(samples) % (outputs // config["task"].get("population", 1))
    if kind is Target.STEP_CLASSES:
        return torch.randint(outputs, (samples, steps), generator=source)
    shape = (samples, steps, outputs) if kind is Target.STEP_VALUES else (samples, outputs)
    values = torch.rand(*shape, generator=source)
    return (values > 0.5).float() if kind is Target.LABELS else values


@torch.no_grad()
def refusal_of_one_sample(task: pl.LightningModule, config: Mapping[str, Any]) -> str | None:
    """Why the task cannot train on a batch of one sample, which the last batch may be; None if it can."""
    x, *_ = made_up_batch(config, 1)
    with _generators_as_they_were():
        tried = copy.deepcopy(task).train()
        try:
            tried(x)
        except ValueError as error:
            return _first_line(error)
        except Exception:  # due to device or precision, with which the dry pass has tried it already
            return None
        finally:
            functional.reset_net(tried)
    return None


def _statistics(config: Mapping[str, Any]) -> list[pl.Callback]:
    """A SpikeStatistics if the config has one among its callbacks."""
    targets = [resolve_name(one["_target_"], f"callbacks.{name}") for name, one in config["callbacks"].items()]
    has_it = any(inspect.isclass(target) and issubclass(target, SpikeStatistics) for target in targets)
    return [SpikeStatistics()] if has_it else []


def _trainer(config: Mapping[str, Any], callbacks: list[pl.Callback]) -> pl.Trainer:
    from snntrain.run.build import build_trainer
    from snntrain.run.trainer_plugins import plugins_without

    kept = {key: value for key, value in one_device(config["trainer"]).items() if key not in _NOT_OF_A_STEP}
    own: dict[str, Any] = {
        "_target_": config["trainer"]["_target_"],
        "max_epochs": 1,
        "limit_train_batches": 1,
        "limit_val_batches": 1,
        "limit_test_batches": 1,
        "log_every_n_steps": 1,
    }
    # The dry pass trains in this process alone, even if it is one of a group.
    if in_group() and is_on_cuda(config["trainer"]):
        own["devices"] = [_own_device(config["trainer"].get("devices"))]
    plugins = [*plugins_without(ClusterEnvironment, config["trainer"]), LightningEnvironment()]
    return build_trainer({**config, "trainer": {**kept, **own, "plugins": plugins}}, callbacks, logger=False, dry=True)


def _loader(batch: tuple[Tensor, ...]) -> DataLoader:
    return DataLoader([batch], batch_size=None, collate_fn=tuple)  # a list of batches would be several loaders


def _own_device(devices: Any) -> int:
    """The GPU that this process of a group uses."""
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    return devices[rank] if isinstance(devices, list) else rank


class _FirstLoss(pl.Callback):
    """Keep the loss before the first update, which no learning rate has influenced."""

    value: float | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *more: Any) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            self.value = float(loss)


@contextlib.contextmanager
def _generators_as_they_were() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _refusal(error: Exception, task: pl.LightningModule, batch: tuple[Tensor, ...]) -> UsageError:
    place = _culprit(error.__traceback__, task)
    text = _first_line(error)
    return UsageError(
        text
        if text.startswith(place)
        else f"{place}: a step on made-up data of shape {list(batch[0].shape)} fails: {text}"
    )


def _culprit(traceback: TracebackType | None, task: pl.LightningModule) -> str:
    """The group of the config, or the layer, that the innermost known object of a traceback belongs to."""
    net = getattr(task, "net", None)
    layers = {module: path for path, module in net.named_modules()} if isinstance(net, nn.Module) else {}
    place = "task"
    while traceback is not None:
        owner = traceback.tb_frame.f_locals.get("self")
        if owner is getattr(task, "encoder", ...):
            place = "encoder"
        elif isinstance(owner, nn.Module) and layers.get(owner):
            place = _place_of(layers[owner], owner)
        elif owner is task:
            place = "task"
        elif isinstance(owner, LRScheduler):
            place = "optim.schedule"
        elif isinstance(owner, Optimizer):
            place = "optim"
        traceback = traceback.tb_next
    return place


def _place_of(path: str, layer: nn.Module) -> str:
    kind, number, *_ = [*path.split("."), ""]
    is_listed = kind == "layers" and number.isdigit()
    return f"model.layers[{number}] ({type(layer).__name__})" if is_listed else f"model.{path} ({type(layer).__name__})"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
