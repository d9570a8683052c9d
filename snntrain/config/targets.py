"""Checks that a `_target_` names a class of the kind that its place in the config expects.

Even a trusted package has functions that run files or fetch code, such as torch.load and torch.hub.load.
"""

import inspect
import re
from collections.abc import Collection, Mapping
from typing import Any

import lightning.pytorch as pl
from hydra.utils import get_object
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from snntrain.config.error import refusing
from snntrain.data import Augmentation, EventAugmentation, Framing, Target
from snntrain.error import UsageError, without_password
from snntrain.signature import takes
from snntrain.tree import walk

# Place in the config → classes allowed there; `callbacks` holds several, each under its name.
KINDS: dict[str, tuple[type, ...]] = {
    "data": (pl.LightningDataModule,),
    "task": (pl.LightningModule,),
    "optim": (Optimizer,),
    "optim.schedule": (LRScheduler,),
    "trainer": (pl.Trainer,),
    "callbacks": (pl.Callback,),
    "logger": (Logger,),
}
# Classes that may be built as arguments of those.
ARGUMENTS: tuple[type, ...] = (
    Augmentation,
    EventAugmentation,
    Framing,
    Profiler,
    Strategy,
    Accelerator,
    Precision,
    CheckpointIO,
    ClusterEnvironment,
    LayerSync,
    LRScheduler,
    Logger,
)
# Methods that a run calls on a user's class, besides those that Lightning calls.
_NEEDED = {
    "data": ("train_dataloader", "val_dataloader", "test_dataloader"),
    "task": ("training_step", "validation_step", "test_step"),
}
_BASES = {"data": "snntrain.data.DataModule", "task": "snntrain.task.Classification"}
# Of what the program passes to a task, the part that it cannot do without.
_HAS_TO_TAKE = ("net",)
#: Facts about the data that models refer to, which a plain LightningDataModule need not take.
FACTS = ("num_classes", "num_targets", "sample_shape")
_OF_HYDRA = ("_args_", "_partial_", "_recursive_", "_convert_", "_mode_")
_TRUST = "Set trust=true if you trust this config."


def expected_kinds(path: str) -> tuple[type, ...]:
    """The classes whose subclasses a place such as 'callbacks.ema' or 'trainer.plugins[0]' may name."""
    entry = re.fullmatch(r"(callbacks)\.[^.\[]+", path)
    return KINDS.get(entry[1] if entry else path, ARGUMENTS)


def registered_kind(path: str) -> str | None:
    """The kind of the registry whose classes a place in the config may also give by `name`; None if there is none."""
    return "callback" if re.fullmatch(r"callbacks\.[^.\[]+", path) else path if path in ("data", "task") else None


def check_dotted(dotted: str, path: str) -> None:
    """Refuse a private dotted name, whose module must not even be imported."""
    if any(part.startswith("_") for part in dotted.split(".")):
        raise UsageError(f"{path}._target_ {dotted!r} names something private. {_TRUST}")


def check_kind(target: Any, dotted: str, path: str) -> None:
    """Refuse anything but a class of the kind that the place expects, found by Hydra under the same name."""
    kinds = expected_kinds(path)
    if not (inspect.isclass(target) and issubclass(target, kinds)):
        listing = ", ".join(kind.__name__ for kind in kinds)
        raise UsageError(
            f"{path}._target_ {dotted!r} is not a class of the kind that belongs there ({listing}). {_TRUST}"
        )
    with refusing(f"{path}._target_ {dotted}"):
        found = get_object(dotted)  # Hydra looks up names in a different order than an import does
    if found is not target:
        raise UsageError(f"{path}._target_ {dotted!r} is ambiguous: a module hides behind another name. {_TRUST}")


def check_interface(target: Any, path: str, supplied: Collection[str] = ()) -> None:
    """Refuse a data module or a task that lacks what a run needs, rather than fail after the training."""
    if path not in _NEEDED or not inspect.isclass(target):
        return
    for name in _NEEDED[path]:
        own, bases = getattr(target, name, None), (pl.LightningModule, pl.LightningDataModule)
        if own is None or own in [getattr(base, name, None) for base in bases]:
            raise UsageError(
                f"{path}._target_: {target.__name__} has no method {name}, which a run needs. Derive it from "
                f"{_BASES[path]}."
            )
    if missing := [name for name in supplied if name in _HAS_TO_TAKE and not takes(target, name)]:
        raise UsageError(
            f"{path}._target_: {target.__name__} does not take {', '.join(missing)}, which a run passes to it. Derive "
            f"it from {_BASES[path]}, or add **more to its arguments."
        )


def taken_by(target: Any, arguments: Mapping[str, Any], optional: Collection[str]) -> dict[str, Any]:
    """The arguments without those optional ones that the signature of a class does not have."""
    return {key: value for key, value in arguments.items() if key not in optional or takes(target, key)}


def offered_targets(data: Any, section: Mapping[str, Any]) -> tuple[Target, ...]:
    """The kinds of targets that a data set can give: one as a rule; () if it does not say.

    Args:
        data: its class. One with TARGETS gives the kind that the task learns, and takes it as its argument `kind`.
        section: its settings, of which num_classes or num_targets chooses among the kinds.
    """
    several = getattr(data, "TARGETS", None)
    if several is None:
        return (data.TARGET,) if hasattr(data, "TARGET") else ()
    has_values = section.get("num_targets") is not None
    return tuple(kind for kind in several if kind.is_counted_in_values == has_values)


def target_given(data: Any, task: Any, section: Mapping[str, Any]) -> Target | None:
    """The kind of targets that a data set gives to a task, classes both; None if it has none that the task learns.

    To a task that does not say what it learns it gives the first one that it has.
    """
    offered = offered_targets(data, section)
    wanted = getattr(task, "TARGETS", (task.TARGET,)) if hasattr(task, "TARGET") else offered
    return next((kind for kind in wanted if kind in offered), None)


def check_keys_of_hydra(node: Mapping[str, Any], path: str) -> None:
    """Refuse keys that make Hydra call a target in another way than was checked."""
    for key in _OF_HYDRA:
        if key in node:
            raise UsageError(f"{path}.{key} is a key of Hydra's that configs of snntrain do without. {_TRUST}")


def check_stray_targets(resolved: Mapping[str, Any]) -> None:
    """Refuse a `_target_` in a place where nothing is built."""
    for path, key, value in walk(resolved):
        group = re.split(r"[.\[]", path)[0]
        if key == "_target_" and group not in KINDS:
            remedy = (
                "A net of yours has a name: write @register('model') above its class, list its module in plugins, "
                "and give model.name."
                if group == "model"
                else _TRUST
            )
            raise UsageError(
                f"{path} {value!r}: nothing is built from a _target_ there; only {', '.join(KINDS)} have one. {remedy}"
            )


def check_no_placeholders(resolved: Mapping[str, Any]) -> None:
    """Refuse ${…} in a resolved config: Hydra would resolve it again, after our check."""
    for path, _, value in walk(resolved):
        if isinstance(value, str) and "${" in value:
            raise UsageError(f"{path} holds {value!r}: ${{…}} is not allowed in a config that is resolved already.")


def check_no_passwords(resolved: Mapping[str, Any]) -> None:
    """Refuse a URL with a password: the run folder, the report and the logger would show it."""
    for path, _, value in walk(resolved):
        if isinstance(value, str) and (shown := without_password(value)) != value:
            raise UsageError(
                f"{path}={shown} holds a password, which the files of the run would show. Leave it out of the URL. "
                "PostgreSQL's driver reads it from ~/.pgpass or the environment, PGPASSWORD, MLflow from "
                "MLFLOW_TRACKING_PASSWORD."
            )
