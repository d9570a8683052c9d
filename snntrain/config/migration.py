"""Migrates configs of earlier formats to the present one when they are read."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from snntrain.config.schema import Config
from snntrain.error import DamagedFile, UsageError
from snntrain.tree import DEEPEST, values_in

FORMAT = 4
"""Raise it with every key that configs gain or lose or whose meaning changes, and add a step to STEPS.

Checkpoints state the format under snntrain.format, run folders and records in provenance.json. If it is missing there,
it is 1.
"""


MOST_OF_A_CONFIG = 20_000
"""Most values that a config may have. A real one has a few hundred; OmegaConf takes a second for ten thousand."""


def migrate(config: Any, written_in: Any, source: str) -> dict[str, Any]:
    """The config in the present format, with every value that it had when it was written.

    Args:
        config: as read, with plain containers; it is not changed.
        written_in: the format it was written in.
        source: the file it comes from, for errors.

    Raises: UsageError for a format that is newer than this program or unknown; DamagedFile for something that is not a
    config, or lacks a key that every config of its format has.
    """
    if type(written_in) is not int:
        raise DamagedFile(f"{source} is damaged: it states the format {written_in!r}, which is no number.")
    if written_in > FORMAT:
        raise UsageError(
            f"{source} has format {written_in}; this snntrain reads formats 1 to {FORMAT}. Update snntrain."
        )
    if written_in not in (*STEPS, FORMAT):
        raise UsageError(f"{source} has format {written_in}; known are {', '.join(map(str, STEPS))} and {FORMAT}.")
    if values_in(config) > MOST_OF_A_CONFIG:
        raise DamagedFile(f"{source}: its config has more than {DEEPEST} levels or {MOST_OF_A_CONFIG:,} values.")
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise DamagedFile(f"{source}: its config is not a mapping of names to settings.")
    config = copy.deepcopy(dict(config))
    for number in range(written_in, FORMAT):
        try:
            config = STEPS[number](config)
        except (TypeError, AttributeError, KeyError, ValueError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DamagedFile(f"{source}: its config is not one of format {written_in} ({reason}).") from error
    _check_complete(config, source)
    return config


def _check_complete(config: Mapping[str, Any], source: str) -> None:
    """Refuse a config that lacks a key, because the default may have changed since it was written."""
    missing = []
    for key, default in asdict(Config()).items():
        if key not in config:
            missing.append(key)
        elif isinstance(default, dict) and isinstance(config[key], Mapping):
            missing += [f"{key}.{inner}" for inner in default if inner not in config[key]]
    if missing:
        raise DamagedFile(
            f"{source}: its config lacks {', '.join(missing)}, which every config of its format has. It was changed "
            "or is damaged; take another copy of it."
        )


def _from_1(config: dict[str, Any]) -> dict[str, Any]:
    """Format 1, until the end of November 2026. Its earliest configs have no norm, show, stages or sweep."""
    config = dict(config)
    config.setdefault("norm", {"name": "BatchNorm2d"})  # unused: no model had an entry "norm" then
    config.setdefault("stages", {})
    config.setdefault("show", None)
    config.setdefault("sweep", {"resume": False})
    if config.get("callbacks"):  # `finite` changes no result, only how early a diverging run ends
        config["callbacks"] = {"finite": {"_target_": "snntrain.callback.Finite", "stop": True}, **config["callbacks"]}
    data = config.get("data")
    if isinstance(data, dict) and str(data.get("_target_")).rpartition(".")[2] == "ImageFolder":
        # These defaults were in the code only, and transparency was ignored.
        hidden = {"crop_ratio": 0.875, "background": None, "normalize": False, "verify": True}
        config["data"] = hidden | data
    return config


_FIT_END = {"ann2snn": "AnnToSnn", "qat": "QuantizationAware", "lava": "LavaExport", "nir": "NirExport"}


# Statistics of normalization were those of the training in every validation.
_AS_THEY_ARE = {"_target_": "snntrain.callback.RunningStatistics", "until": 0, "batches": 32}
_CUBA = {"CubaLIFNode": "FloatCubaLIFNode", "LoihiCubaLIFNode": "CubaLIFNode"}


def _from_2(config: dict[str, Any]) -> dict[str, Any]:
    """Format 2: fit-end callbacks stood under `stages` and ran in this order, whatever theirs was.

    The name CubaLIFNode stood for the neuron in floating point, tasks had no `metrics`, `outputs` and `population`,
    data of which a part was held out for testing called it `test_fraction`, and recurrent layers had no `backend`.
    """
    stages = dict(config.pop("stages"))
    moved = {
        name: {**stages.pop(name), "_target_": f"snntrain.callback.{target}"}
        for name, target in _FIT_END.items()
        if name in stages
    }
    if stages:
        raise KeyError(f"stages.{next(iter(stages))}")
    neuron, task = dict(config["neuron"]), config.get("task")
    if neuron.get("name") in _CUBA:
        neuron["name"] = _CUBA[neuron["name"]]
    if isinstance(task, dict):
        ours = {"metrics": [], "population": 1} if str(task.get("_target_")).startswith("snntrain.task.") else {}
        config["task"] = {"outputs": config["data"].get("num_classes"), **task, **ours}
    config = {"init_from": None, "freeze": [], **config, "data": _data_of_2(config["data"])}
    if isinstance(config.get("model"), dict):
        config["model"] = _looped(config["model"])
    callbacks = {**(config.get("callbacks") or {}), **moved}
    if callbacks:
        callbacks = {"running_statistics": _AS_THEY_ARE, **callbacks}
    return {**config, "neuron": neuron, "callbacks": callbacks}


def _looped(part: Any) -> Any:
    """A part of a model whose recurrent layers, as all were then, are loops: fused ones round gradients otherwise."""
    if isinstance(part, list):
        return [_looped(item) for item in part]
    if not isinstance(part, dict):
        return part
    part = {key: _looped(value) for key, value in part.items()}
    is_recurrent = "name" not in part and isinstance(part.get("recurrent"), list) and "feedback" in part
    return {**part, "backend": "torch"} if is_recurrent else part


def _data_of_2(data: dict[str, Any]) -> dict[str, Any]:
    module, _, name = str(data.get("_target_")).rpartition(".")
    if not module.startswith("snntrain.data"):
        return data
    more = {"partial": False} if name in ("CIFAR10", "CIFAR100") else {}
    return {"split" if key == "test_fraction" else key: value for key, value in data.items()} | more


def _from_3(config: dict[str, Any]) -> dict[str, Any]:
    """Format 3: every layer ran by itself, which gives the same bits as `fuse: exact`."""
    return {"fuse": "exact", **config}


STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2, 3: _from_3}
