"""Check the state that an interrupted run left before any of it is restored.

A checkpoint may be damaged or come from another run; Lightning, torch and the callbacks restore it without checks.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import get_object
from lightning.pytorch.callbacks import ModelCheckpoint
from packaging.version import InvalidVersion, Version
from torch import Tensor

from snntrain.callback import History
from snntrain.callback.kept import own_checkpoints
from snntrain.error import DamagedFile, UsageError
from snntrain.run.parallel.devices import is_sharded
from snntrain.run.weights import load_weights
from snntrain.task import Classification
from snntrain.task.optimizer import parameter_groups
from snntrain.tree import walk

_NEEDED = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers", "epoch", "global_step")
_MOST_STEPS = 2**53
# States of optimizers that have the shape of their parameter.
_SHAPED = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "sum")


def check_state(
    content: Mapping[str, Any],
    task: pl.LightningModule,
    trainer: pl.Trainer,
    config: Mapping[str, Any],
    source: Path,
) -> None:
    """Refuse a checkpoint whose state is not that of this run.

    Args:
        content: of the checkpoint, as snntrain.run.checkpoint.read_checkpoint gives it.
        task, trainer: of the run that is to continue; the task gets the checkpoint's weights.
        config: of the run.
        source: the checkpoint's file.
    """
    lacking = [key for key in _NEEDED if key not in content]
    if lacking:
        raise UsageError(
            f"resume: {source} is not a checkpoint to continue from: it lacks {', '.join(lacking)}. Give a run folder "
            "or its checkpoints/last.ckpt."
        )
    _check_version(content, source)
    finite = {name for name, value in task.state_dict().items() if _is_finite(value)}
    for key in ("state_dict", "current_model_state"):
        if key in content:
            load_weights(task, content[key], f"resume: {source}")  # Lightning will too, with no message for the user
            _check_finite(content[key], key, source, finite)
    for name, _, value in walk(content.get("averaging_state", {})):
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise _damaged(source, f"averaging_state.{name}", "is no single number")
    for key in ("epoch", "global_step"):
        _check_count(content[key], key, source)
    _check_loops(content["loops"], trainer, content, source)
    _check_optimizers(content["optimizer_states"], task, config, source)
    _check_schedules(content["lr_schedulers"], config, source)
    _check_callbacks(content["callbacks"], trainer, source)


def _damaged(source: Path, place: str, why: str) -> DamagedFile:
    return DamagedFile(f"resume: {source} is damaged: {place} {why}. Continue from another checkpoint of the run.")


def _check_version(content: Mapping[str, Any], source: Path) -> None:
    written = content.get("pytorch-lightning_version")
    try:
        Version(written)
    except (InvalidVersion, TypeError) as error:
        raise _damaged(source, "pytorch-lightning_version", f"is {written!r}") from error


def _check_count(value: Any, place: str, source: Path) -> None:
    if type(value) is not int or not 0 <= value <= _MOST_STEPS:
        raise _damaged(source, place, f"must be a whole number from 0 to {_MOST_STEPS}, got {value!r}")


def _check_finite(state: Any, place: str, source: Path, names: set[str] | None = None) -> None:
    for path, _, value in walk(state):
        if (names is None or path in names) and not _is_finite(value):
            raise _damaged(source, f"{place}: {path}", "holds values that are not finite")


def _is_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    return not isinstance(value, float) or math.isfinite(value)


def _check_loops(loops: Any, trainer: pl.Trainer, content: Mapping[str, Any], source: Path) -> None:
    if not isinstance(loops, Mapping):
        raise _damaged(source, "loops", f"is {type(loops).__name__}, not a mapping")
    same_version = content["pytorch-lightning_version"] == pl.__version__  # otherwise Lightning migrates it on reading
    for name in ("fit_loop", "validate_loop", "test_loop", "predict_loop"):
        if name in loops:
            _check_like(loops[name], getattr(trainer, name).state_dict(), f"loops.{name}", source, same_version)
        elif same_version:
            raise _damaged(source, f"loops.{name}", "is missing")
    for place, _, value in walk(loops):
        if isinstance(value, int) and not isinstance(value, bool):
            _check_count(value, f"loops.{place}", source)


def _check_like(saved: Any, fresh: Any, place: str, source: Path, complete: bool = True) -> None:
    """Refuse a state whose keys or kinds of values differ from those of a fresh one."""
    if isinstance(fresh, Mapping):
        if not isinstance(saved, Mapping):
            raise _damaged(source, place, f"is {type(saved).__name__}, not a mapping")
        for key, value in fresh.items():
            if key in saved:
                _check_like(saved[key], value, f"{place}.{key}", source, complete)
            elif complete:
                raise _damaged(source, f"{place}.{key}", "is missing")
    elif isinstance(fresh, (list, tuple)):
        if not isinstance(saved, (list, tuple)):
            raise _damaged(source, place, f"is {type(saved).__name__}, not a list")
    elif isinstance(fresh, Tensor):
        if not isinstance(saved, Tensor) or saved.shape != fresh.shape:
            raise _damaged(source, place, f"must be a tensor of shape {list(fresh.shape)}")
    elif isinstance(fresh, (bool, str)):
        if type(saved) is not type(fresh):
            raise _damaged(source, place, f"is {type(saved).__name__}, not {type(fresh).__name__}")
    elif isinstance(fresh, (int, float)) and type(saved) not in (int, float):
        raise _damaged(source, place, f"is {type(saved).__name__}, not a number")
    elif isinstance(fresh, int) and type(saved) is not int:
        raise _damaged(source, place, f"must be a whole number, got {saved!r}")


def _check_optimizers(states: Any, task: pl.LightningModule, config: Mapping[str, Any], source: Path) -> None:
    if not isinstance(states, (list, tuple)) or not states:
        raise _damaged(source, "optimizer_states", "is no list of at least one state")
    _check_finite(states, "optimizer_states", source)
    shapes = _trained_shapes(task)
    for index, state in enumerate(states):
        place = f"optimizer_states[{index}]"
        if not isinstance(state, Mapping) or not {"state", "param_groups"} <= state.keys():
            raise _damaged(source, place, "lacks state or param_groups")
        groups, kept = state["param_groups"], state["state"]
        if not isinstance(groups, (list, tuple)) or not all(_is_group(group) for group in groups):
            raise _damaged(source, f"{place}.param_groups", "is no list of groups of parameters")
        if not isinstance(kept, Mapping) or not all(isinstance(entry, Mapping) for entry in kept.values()):
            raise _damaged(source, f"{place}.state", "is no mapping of mappings")
        if shapes is None or is_sharded(config["trainer"]):  # there parameters have names
            continue
        numbers = [number for group in groups for number in group["params"]]
        if sorted(numbers) != list(range(len(shapes))) or not set(kept) <= set(numbers):
            raise _damaged(source, place, f"is not that of {len(shapes)} parameters")
        for number, entry in kept.items():
            for name, value in entry.items():
                if name in _SHAPED and (not isinstance(value, Tensor) or value.shape != shapes[number]):
                    raise _damaged(
                        source, f"{place}.state.{number}.{name}", f"must have the shape {list(shapes[number])}"
                    )


def _trained_shapes(task: pl.LightningModule) -> list[torch.Size] | None:
    """Shapes of the parameters in the optimizer's order; None for a task that makes an optimizer of its own."""
    if type(task).configure_optimizers is not Classification.configure_optimizers:
        return None
    return [parameter.shape for group in parameter_groups(task.net) for parameter in group["params"]]


def _is_group(group: Any) -> bool:
    if not isinstance(group, Mapping) or not isinstance(group.get("params"), (list, tuple)):
        return False
    if not all(type(number) in (int, str) for number in group["params"]):
        return False
    return type(group.get("lr", 0.0)) in (int, float, Tensor)


def _check_schedules(states: Any, config: Mapping[str, Any], source: Path) -> None:
    """torch makes every entry an attribute of the schedule: none may take the place of a method."""
    if not isinstance(states, (list, tuple)):
        raise _damaged(source, "lr_schedulers", f"is {type(states).__name__}, not a list")
    _check_finite(states, "lr_schedulers", source)
    schedule = config["optim"].get("schedule") or {}
    kind = get_object(schedule["_target_"]) if "_target_" in schedule else torch.optim.lr_scheduler.LRScheduler
    for index, state in enumerate(states):
        place = f"lr_schedulers[{index}]"
        if not isinstance(state, Mapping):
            raise _damaged(source, place, f"is {type(state).__name__}, not a mapping")
        for key in [*state, *(key for part in _parts(state) for key in part)]:
            if key == "optimizer" or not isinstance(key, str) or callable(getattr(kind, key, None)):
                raise _damaged(source, f"{place}.{key}", "is nothing that a schedule stores")
        for key in ("last_epoch", "_step_count"):
            if key in state and type(state[key]) is not int:
                raise _damaged(source, f"{place}.{key}", f"must be a whole number, got {state[key]!r}")


def _parts(schedule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The states of the schedules that a sequential one is made of."""
    parts = schedule.get("_schedulers", ())
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, (list, tuple)) else []


def _check_callbacks(states: Any, trainer: pl.Trainer, source: Path) -> None:
    if not isinstance(states, Mapping) or not all(isinstance(key, str) for key in states):
        raise _damaged(source, "callbacks", "is no mapping of names to states")
    for callback in trainer.callbacks:
        state = states.get(callback.state_key)
        if state is None:
            continue
        if isinstance(callback, ModelCheckpoint):
            own_checkpoints(state, callback, source)
        elif isinstance(callback, History):
            _check_rows(state, source)
        else:
            _check_like(state, callback.state_dict(), callback.state_key.split("{")[0], source)


def _check_rows(state: Any, source: Path) -> None:
    rows = state.get("rows") if isinstance(state, Mapping) else None
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise _damaged(source, "History", "holds no rows of metrics")
    for number, row in enumerate(rows, start=1):
        if not all(isinstance(name, str) and type(value) in (int, float) for name, value in row.items()):
            raise _damaged(source, f"History, row {number},", "is no mapping of names to numbers")
        if row.get("epoch") != number:
            raise _damaged(source, f"History, row {number},", f"is of epoch {row.get('epoch')!r}")
