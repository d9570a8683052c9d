"""The keys that eval.py accepts: its own, and those of the saved config that change an evaluation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snntrain.config.overrides import key_of, read_changes, refuse_repeated, root_of
from snntrain.config.schema import top_level_keys
from snntrain.error import UsageError
from snntrain.registry import did_you_mean

#: Of mode=stream alone.
STREAM_KEYS = ("source", "window_ms", "pace", "idle_s", "compare")
OWN_KEYS = ("run", "checkpoint", "mode", "output", *STREAM_KEYS)
MODES = ("test", "predict", "stream", "audit")
USAGE = """Test, predict with, stream through or audit a trained network.

    python eval.py run=runs/2026-01-31/12-00-00_digits_csnn_lif             test on its best checkpoint
    python eval.py checkpoint=best.ckpt mode=predict output=predictions     from a checkpoint alone
    python eval.py checkpoint=best.ckpt mode=predict data.folder=/pictures  all pictures or recordings in a folder
    python eval.py checkpoint=best.ckpt mode=stream source=a.raw window_ms=10   a decision for every 10 ms of events
    python eval.py run=runs/2026-01-31/12-00-00_digits_csnn_lif mode=audit  faults of the net and the data

Keys: run=FOLDER or checkpoint=FILE; mode=test|predict|stream|audit; output=FOLDER (default: artifacts/ of the run
folder, or the checkpoint's folder). mode=predict writes predictions.csv: of the test split, or with data.folder=FOLDER
of the files in that folder, which need no labels. mode=stream takes source=RECORDING, a FOLDER that may grow, - for
packets on stdin, or a camera, dv or metavision, and writes stream.csv, .json, .png and .gif: window_ms is the length of
a window; pace is real (as the events came) or full (as fast as the net can); idle_s=5, after which a folder without
news ends the stream; compare=true counts spikes that differ from batch mode. mode=audit writes audit/audit.json. Other
keys change the saved config where that changes an evaluation: T, seed, fuse, paths.data, plugins, trust, and those of
data, encoder, neuron, norm, task and trainer, e.g. T=8 data.batch_size=256 trainer.accelerator=gpu.
debug.traceback=true shows where an error was raised."""

_TRAINING = "only training looks at it"
_FOLDER = "an evaluation makes no run folder; output=FOLDER says where its results go"

# Sections and keys of a config that change nothing here, and why.
_WITHOUT_EFFECT = {
    "name": _FOLDER,
    "surrogate": "only gradients use it",
    "neuron.surrogate_function": "only gradients use it",
    "neuron.detach_reset": "only gradients use it",
    "model.init": "the weights are those of the checkpoint",
    "data.augment": _TRAINING,
    "data.sampler": _TRAINING,
    "task.mixup": _TRAINING,
    "task.cutmix": _TRAINING,
    "task.chunk_gradient": _TRAINING,
    "task.compile": _TRAINING,
    "task.online_step": _TRAINING,
    "optim": _TRAINING,
    "callbacks": _TRAINING,
    "logger": _TRAINING,
    "monitor": "the best epoch was chosen in training",
    "paths.runs": _FOLDER,
    "paths.run": _FOLDER,
    "show": "it belongs to train.py",
    "init_from": _TRAINING,
    "freeze": _TRAINING,
    "resume": "it belongs to train.py",
    "sweep": "it belongs to train.py",
    "debug": "of debug only debug.traceback=true is known here",
}

# Of the trainer's keys, those that an evaluation looks at.
_OF_THE_TRAINER = ("accelerator", "devices", "precision", "strategy", "plugins", "deterministic", "benchmark")
_LIMITS = {"test": ("limit_test_batches",), "predict": ("limit_predict_batches",)}


@dataclass
class Request:
    """A command line of eval.py.

    Attributes:
        own: run or checkpoint, mode, output.
        changes: of the saved config, nested.
        words: the same, as they were typed.
        folder: whose files are to be predicted; None: the test split of the saved config.
    """

    own: dict[str, str]
    changes: DictConfig
    words: list[str]
    folder: Path | None = None


def read_request(arguments: Sequence[str]) -> Request:
    """Parse a command line and refuse what would do nothing."""
    own: dict[str, str] = {}
    words: list[str] = []
    refuse_repeated(arguments)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key.startswith(("-", "~")):
            raise UsageError(f"{argument!r} is not key=value. `python eval.py --help` shows the keys.")
        if key in OWN_KEYS:
            own[key] = value
        elif root_of(argument) in top_level_keys():
            words.append(argument)
        else:
            known = [*OWN_KEYS, *top_level_keys()]
            near = did_you_mean(root_of(argument), known)
            raise UsageError(f"{key} is not a key of eval.py.{near} Known: {', '.join(known)}.")
    if own.setdefault("mode", "test") not in MODES:
        raise UsageError(f"eval: mode must be one of 'test', 'predict', 'stream', 'audit', got {own['mode']!r}.")
    if ("run" in own) == ("checkpoint" in own):
        raise UsageError("eval: give either run=FOLDER or checkpoint=FILE.")
    _refuse_of_other_modes(own)
    if own.get("output") == "":
        raise UsageError("output= names no folder. Write output=FOLDER.")
    folder = _folder_of_files(words) if own["mode"] == "predict" else None
    for word in words:
        _refuse_without_effect(word, own["mode"])
    changes = read_changes(words, "eval.py")
    _refuse_several_devices(changes)
    return Request(own, changes, words, folder)


def _refuse_of_other_modes(own: Mapping[str, str]) -> None:
    if own["mode"] == "stream":
        if not own.get("source"):
            raise UsageError("eval: mode=stream needs source=RECORDING, a folder, - for stdin, or a camera.")
        return
    for key in STREAM_KEYS:
        if key in own:
            raise UsageError(f"eval: {key}={own[key]} belongs to mode=stream. Add that, or leave it out.")


def _folder_of_files(words: list[str]) -> Path | None:
    """Take data.folder=… out of the words: to predict, it is a folder of any files, not a key of the data set."""
    for word in words:
        key, _, value = word.partition("=")
        if key == "data.folder":
            if not value:
                raise UsageError("data.folder= names no folder. Write data.folder=FOLDER.")
            words.remove(word)
            return Path(value)
    return None


def _refuse_without_effect(word: str, mode: str) -> None:
    key = re.sub(r"\[.*", "", key_of(word))
    for place, reason in _WITHOUT_EFFECT.items():
        if key == place or key.startswith(f"{place}."):
            raise UsageError(f"{word} does nothing in an evaluation: {reason}.")
    root, _, rest = key.partition(".")
    if root in ("data", "encoder", "model", "neuron", "norm", "task", "trainer", "paths") and not rest:
        raise UsageError(f"{word}: eval.py changes single keys of the saved config, {root}.<key>=….")
    if re.search(r"\[|\.\d+(\.|$)", key_of(word)):
        raise UsageError(f"{word}: a list is given as a whole, {'.'.join(key.split('.')[:2])}=[…].")
    if mode == "stream" and root == "trainer":
        raise UsageError(f"{word} does nothing in a stream, which runs on the CPU without a Trainer.")
    takes = ("accelerator",) if mode == "audit" else (*_OF_THE_TRAINER, *_LIMITS.get(mode, ()))
    if root == "trainer" and rest.split(".")[0] not in takes:
        near = did_you_mean(rest, takes)
        raise UsageError(f"{word} does nothing in an evaluation.{near} Of the trainer it looks at {', '.join(takes)}.")


def _refuse_several_devices(changes: DictConfig) -> None:
    """Refuse several devices: an evaluation runs on one, also that of a run that trained on several."""
    devices = OmegaConf.select(changes, "trainer.devices")
    if devices is not None and devices != 1 and not (OmegaConf.is_list(devices) and len(devices) == 1):
        raise UsageError(f"eval: trainer.devices={devices}: an evaluation runs on one device. Leave it out.")


def refuse_unread(request: Request, config: Mapping[str, Any]) -> None:
    """Refuse changes that the net or the data of the saved config have no place for."""
    for word in request.words:
        if key_of(word) == "data.folder" and "folder" not in config["data"]:
            raise UsageError(f"{word}: to predict the files of a folder, add mode=predict.")
    model = config["model"]
    if not isinstance(model, Mapping) or "layers" not in model:
        return  # a registered model: its arguments are checked with its signature
    for word in request.words:
        key = key_of(word)
        if key == "T" and config["neuron"].get("name") == "ReLU":
            raise UsageError(f"{word} does nothing: a net of ReLUs takes one time step.")
        if root_of(word) == "model" and re.split(r"[.\[]", key)[1] not in ("layers", "blocks"):
            raise UsageError(
                f"{key} is not used by this model: its layers stand in the checkpoint with their sizes. Of the model "
                "only model.layers and model.blocks can be changed, without changing any weight's shape."
            )
        if root_of(word) == "norm" and "'norm'" not in str([model["layers"], model.get("blocks")]):
            raise UsageError(f"{word} does nothing: the layers of this model have no normalization. Leave it out.")
