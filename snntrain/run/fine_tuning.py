"""Start from the weights of an earlier run (init_from=…), and keep parts of a net as they are (freeze=[…])."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn

from snntrain.config.error import refusing
from snntrain.error import UsageError
from snntrain.registry import did_you_mean
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.folder import RunFolder
from snntrain.run.parallel.devices import is_first
from snntrain.run.pretrained import WeightsFolder, find_pretrained
from snntrain.run.weights import load_weights
from snntrain.terminal import print_line, terminal

_PREFIX = "net."  # of the network's weights in a task
_LISTED = 6

console = terminal()


def load_initial_weights(task: pl.LightningModule, place: str) -> None:
    """Load what fits of an earlier run's best weights into a new net, and print what was loaded and what was not.

    An entry fits if the net has one of the same name and shape; a head for other classes keeps its random weights.

    Args:
        task: whose net is changed.
        place: a run folder, of which the best epoch's weights are taken; a checkpoint file; a recorded experiment, or
            an address hf://…, see snntrain.run.pretrained.

    Raises: UsageError if there is no such file, or nothing in it fits; DamagedFile.
    """
    found, where = _weights_of(place)
    source = f"init_from: {where}"
    saved = {name.removeprefix(_PREFIX): value for name, value in found.items() if name.startswith(_PREFIX)}
    own = task.net.state_dict()
    fitting = {name: value for name, value in saved.items() if name in own and _shape(own[name]) == _shape(value)}
    if not fitting:
        raise UsageError(f"{source}: none of its weights has a name and shape of this net. Choose the same model.")
    load_weights(task.net, {**own, **fitting}, source)
    _say("loaded", fitting, saved, where)
    _say("another shape here, left as initialized", {name for name in saved if name in own} - fitting.keys())
    _say("not in this net", saved.keys() - own.keys())
    _say("only in this net, left as initialized", own.keys() - saved.keys())


def _weights_of(place: str) -> tuple[Mapping[str, Any], str]:
    """The weights of a task, and where they come from. A file or folder is preferred to a record of the same name."""
    path = Path(place)
    if path.exists() and not (path / WeightsFolder.certificate.name).is_file():
        checkpoint = RunFolder(path).kept_checkpoint() if path.is_dir() else path
        if checkpoint is None:
            raise UsageError(f"init_from: {path} holds no checkpoint. Give a run folder or a .ckpt file of one.")
        return read_checkpoint(checkpoint)["state_dict"], str(checkpoint)
    found = find_pretrained(place, "init_from")
    about = found.certificate
    return found.weights(), f"{place}, the weights of {about.experiment}, seed {about.seed}"


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value)


def _say(what: str, names: Mapping[str, Any] | set[str], of: Mapping[str, Any] | None = None, source: str = "") -> None:
    if not names or not is_first():
        return
    if of is not None:
        print_line(console, f"init_from: {len(names)} of {len(of)} entries of {source} {what}")
        return
    listed = ", ".join(sorted(names)[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    print_line(console, f"init_from: {what}: {listed}")


def freeze(net: nn.Module, patterns: Sequence[str]) -> None:
    """Keep layers as they are: their parameters are not trained, and they stay in evaluation mode.

    Args:
        net: the network.
        patterns: names of layers, in which * stands for any text: layers.0, layers.0*.

    Raises: UsageError for a pattern that fits no layer, or if nothing is left to train.
    """
    names = {name: module for name, module in net.named_modules() if name}
    for pattern in patterns:
        chosen = [module for name, module in names.items() if fnmatch.fnmatchcase(name, pattern)]
        if not chosen:
            near = did_you_mean(pattern.rstrip("*"), names)
            raise UsageError(f"freeze: {pattern!r} is no layer of this net.{near} Layers: {', '.join(names)}.")
        for module in chosen:
            module.eval()
            module.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in net.parameters()):
        raise UsageError(f"freeze={list(patterns)} leaves nothing to train. Take a layer out.")


def prepare(task: pl.LightningModule, config: Mapping[str, Any]) -> None:
    """Apply init_from and freeze of a config to a new task. Raises: UsageError."""
    if config["init_from"] is not None:
        load_initial_weights(task, config["init_from"])
    with refusing("freeze"):
        freeze(task.net, config["freeze"])
