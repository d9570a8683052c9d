"""Checks every name and argument of a config before any data is read."""

import importlib
import os
import re
import sys
from collections.abc import Collection, Mapping
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntrain import registry
from snntrain.arguments import FUSE, choice, integer, invalid
from snntrain.binding import check_call
from snntrain.config.binding import check_mapping, resolve_name
from snntrain.config.compose import explain
from snntrain.config.contradictions import check_together
from snntrain.config.error import refusing
from snntrain.config.folders import config_files, groups
from snntrain.config.monitor import mode_of
from snntrain.config.ranges import check_finite
from snntrain.config.schema import Debug, Monitor, Paths, Sweep, top_level_keys
from snntrain.config.size import within_memory
from snntrain.config.targets import (
    FACTS,
    check_dotted,
    check_interface,
    check_keys_of_hydra,
    check_kind,
    check_no_passwords,
    check_no_placeholders,
    check_stray_targets,
    registered_kind,
    taken_by,
)
from snntrain.error import UsageError
from snntrain.registry import did_you_mean
from snntrain.signature import signature_of
from snntrain.task.schedule import MANY, split

# Packages that a `_target_` may come from, because a config from somebody else must not run arbitrary code. From these
# packages only classes of the kind that the place expects are allowed, see snntrain.config.targets.
TRUSTED = ("snntrain", "torch", "torchvision", "tonic", "lightning")

# Constructor arguments that snntrain.run.build adds to what the config says.
SUPPLIED = {
    "task": ("net", "encoder", "T", "num_classes", "num_targets", "optim", "seed"),
    "optim": ("params",),
    "optim.schedule": ("optimizer",),
    "trainer": ("callbacks", "logger", "default_root_dir"),
}


def check(config: DictConfig) -> dict[str, Any]:
    """Resolve a composed config and check all of it.

    Args:
        config: as composed, without Hydra's own settings.

    Returns: plain containers, interpolations resolved.
    Raises: UsageError with the place in the config, what was received, and what is allowed or was probably meant.
    """
    _check_model_keys(config)
    config = config.copy()
    if "task" in config and "outputs" not in config.task:  # a task of the user's own
        OmegaConf.update(config, "task.outputs", "${data.num_classes}", force_add=True)
    _check_task_of_data(config)
    try:
        if "monitor" in config:
            config.monitor.mode = mode_of(config.monitor.metric, config.monitor.mode)
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        place = error.full_key or "config"
        raise UsageError(f"{place}: {explain(error)}. Choose a value or correct the ${{…}}.") from error
    for key in top_level_keys():
        if key not in resolved:
            raise UsageError(f"{key} was taken out of the config (~{key}), but a run needs it. Leave out ~{key}.")
    check_no_passwords(resolved)
    check_resolved(resolved)
    check_together(resolved)
    return resolved


def check_resolved(resolved: dict[str, Any]) -> None:
    """Check a config without interpolations, such as that of a checkpoint."""
    if resolved.get("fuse") in (False, "False"):  # YAML reads a bare off as false
        resolved["fuse"] = "off"
    # These first: other keys refer to them, and would be blamed for their errors.
    first = ("name", "seed", "T", "monitor", "trainer", "surrogate", "neuron", "data", "task")
    check_finite({key: resolved[key] for key in (*first, *resolved) if key in resolved})
    _check_root(resolved)
    check_no_placeholders(resolved)
    if not resolved["trust"]:
        check_stray_targets(resolved)
    import_plugins(resolved["plugins"])
    for kind in ("surrogate", "neuron", "encoder"):
        check_named(kind, resolved[kind], kind)
    _check_norm(resolved["norm"])
    _check_data_facts(resolved["data"])
    _check_counts({"outputs": None, **resolved["task"]})
    _check_model(resolved)
    for group in ("trainer", "data", "task", "optim"):
        _check_target(resolved[group], group, resolved, SUPPLIED.get(group, ()))
    for name, callback in resolved["callbacks"].items():
        if isinstance(callback, Mapping) and not {"_target_", "name"} & callback.keys():
            _refuse_settings_without_callback(name)
        _check_target(callback, f"callbacks.{name}", resolved)
    if isinstance(resolved["logger"], Mapping) and resolved["logger"] and "_target_" not in resolved["logger"]:
        raise UsageError("logger has settings, but no logger was chosen. Choose one, logger=csv, or leave them out.")
    if resolved["logger"]:
        _check_target(resolved["logger"], "logger", resolved)


def _refuse_settings_without_callback(name: str) -> None:
    choices = groups()["callbacks"]
    if name in choices:
        raise UsageError(
            f"callbacks.{name} has settings, but this callback was not chosen. Add it, callbacks=[default,{name}], "
            "or leave them out."
        )
    raise UsageError(
        f"callbacks.{name} has settings, so it needs callbacks.{name}.name, a registered callback, or "
        f"callbacks.{name}._target_, a dotted name of a class."
        f"{did_you_mean(name, choices)}"
    )


def _check_root(config: Mapping[str, Any]) -> None:
    for key in config:
        if key not in top_level_keys():
            raise UsageError(f"{key} is not a config key.{did_you_mean(key, top_level_keys())}")
    with refusing():
        integer("config", "T", config["T"], at_least=1)
        integer("config", "seed", config["seed"], at_least=0)
        if config["seed"] >= 2**32:  # what NumPy's generator takes
            raise invalid("config", "seed", "an integer < 4294967296", config["seed"])
        choice("config", "fuse", config["fuse"], FUSE)
        choice("config", "monitor.mode", config["monitor"].get("mode"), ("max", "min"))
    for section, schema in (("paths", Paths), ("monitor", Monitor), ("debug", Debug), ("sweep", Sweep)):
        check_mapping(config[section], section)
        check_call(schema, config[section], section)
    mappings = ("model", "neuron", "norm", "surrogate", "encoder", "data", "task", "optim", "trainer", "callbacks")
    for key in mappings:
        check_mapping(config[key], key)
    if not re.fullmatch(r"[\w.,+=-]+", config["name"]):
        raise UsageError(
            f"name becomes part of a folder's name: letters, digits and . , + = - _ only, got {config['name']!r}."
        )


def import_plugins(plugins: list[str]) -> None:
    """Import the modules that a config lists, from the working folder or installed. Raises: UsageError."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for plugin in plugins:
        try:
            importlib.import_module(plugin)
        except Exception as error:  # whatever the user's own code raises, including a SyntaxError
            raise UsageError(
                f"plugins: {plugin!r} cannot be imported from {os.getcwd()} or the installed packages: "
                f"{type(error).__name__}: {error}."
            ) from error


def check_named(kind: str, node: Any, path: str, supplied: Collection[str] = ()) -> None:
    """Check a mapping {name: <registered class>, arguments…} and build it once if it is cheap to build."""
    check_mapping(node, path)
    arguments = dict(node)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{path}.name must be the name of a registered {kind}, got {name!r}.")
    with refusing(path):
        target = registry.get(kind, name)
    check_call(target, arguments, path, supplied)
    if isinstance(arguments.get("surrogate_function"), Mapping):
        check_named("surrogate", arguments["surrogate_function"], f"{path}.surrogate_function")
        arguments["surrogate_function"] = registry.build("surrogate", **arguments["surrogate_function"])
    if (
        not supplied and kind != "layer"
    ):  # the class's own range checks; layers are built with their shapes a little later
        with refusing(path, target.__name__), within_memory():
            target(**arguments)


def _check_norm(norm: Any) -> None:
    from snntrain.model.builder import inferred_arguments
    from snntrain.model.choice import chosen_norm

    check_mapping(norm, "norm")
    with refusing("norm"):
        target, arguments = chosen_norm(norm, {})
    check_call(target, arguments, "norm", inferred=inferred_arguments(target))


def _check_model(resolved: Mapping[str, Any]) -> None:
    from snntrain.model import layer_list

    model = resolved["model"]
    if "layers" not in model:
        check_named("model", model, "model", supplied=("sample_shape", "num_classes", "neuron"))
        return
    if not isinstance(model["layers"], list) or not model["layers"]:
        raise UsageError(f"model.layers must be a list of at least one layer, got {model['layers']!r}.")
    with refusing():
        nodes = layer_list.parse(model["layers"], model.get("blocks"))
    for layer in layer_list.leaves(nodes):
        _check_layer(layer, resolved)
    if model.get("init") is not None:
        check_mapping(model["init"], "model.init")


def _check_layer(layer: Any, resolved: Mapping[str, Any]) -> None:
    from snntrain.layer.delay import DelaySettings
    from snntrain.model.builder import inferred_arguments
    from snntrain.model.choice import chosen_norm
    from snntrain.model.delay_key import delay_settings, takes_delay
    from snntrain.model.layer_class import layer_class
    from snntrain.model.layer_list import PLACEHOLDERS

    arguments = dict(layer.arguments)
    if layer.name == "neuron":
        neuron = resolved["neuron"]
        check_named("neuron", neuron if neuron["name"] == "ReLU" else {**neuron, **arguments}, layer.path)
        return
    with refusing(layer.path):
        if layer.name == "norm":
            target, arguments = chosen_norm(resolved["norm"], arguments)
        else:
            target = layer_class(layer.name, [*PLACEHOLDERS, *(resolved["model"].get("blocks") or {})])
    if layer.delay is not None:
        if takes_delay(layer):
            arguments["delay"] = layer.delay
        else:
            place = f"{layer.path}.delay"
            check_mapping(layer.delay, place)
            with refusing():
                registry.check_arguments(DelaySettings, layer.delay, title="delay", path=place)
            check_call(DelaySettings, layer.delay, place)
            with refusing(layer.path):
                delay_settings(layer.delay)
    check_call(target, arguments, layer.path, inferred=inferred_arguments(target))


def _check_model_keys(config: DictConfig) -> None:
    """Refuse a key of the model group that no ${model.<key>} reads: it would silently do nothing, so it is a typo.

    An unread key of one of our own model files is fine: it is left when a command line replaces model.layers.
    """
    raw = OmegaConf.to_container(config, resolve=False)
    model = raw["model"]
    if not isinstance(model, dict) or "layers" not in model:
        return
    known = {"layers", "blocks", "init", *re.findall(r"\$\{(?:model\.|\.+)(\w+)", str(raw))}
    unread = {key: value for key, value in model.items() if key not in known}
    ours = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in config_files("model")] if unread else []
    for key, value in unread.items():
        if not any(key in file and file[key] == value for file in ours):
            listing = ", ".join(sorted(known))
            raise UsageError(f"model.{key} is not used by this model.{did_you_mean(key, known)} Known: {listing}.")


def _check_task_of_data(config: DictConfig) -> None:
    """Refuse counts from which a task's outputs cannot be computed, before that fails as an interpolation."""
    task = OmegaConf.to_container(config.get("task"), resolve=False) or {}
    population, outputs = task.get("population", 1), task.get("outputs")
    if not str(population).startswith("${"):
        _check_counts({"population": population})
    for count, other, what in (("num_classes", "num_targets", "values"), ("num_targets", "num_classes", "classes")):
        has_other = config.data.get(count) is None and config.data.get(other) is not None
        if f"${{data.{count}}}" in str(outputs) and has_other:
            remedy = "task=regression" if what == "values" else "task=classification or task=multilabel"
            raise UsageError(f"task: its outputs are data.{count}, but these data have {what}. Use {remedy}.")


def _check_counts(task: Mapping[str, Any]) -> None:
    """Refuse counts of outputs that are none. A model that follows from them would be blamed for them later."""
    with refusing():
        for key in ("population", "outputs"):
            if key in task:
                integer("config", f"task.{key}", task[key], at_least=1)


def _check_data_facts(data: Mapping[str, Any]) -> None:
    with refusing():
        counts = {key: data[key] for key in ("num_classes", "num_targets") if data.get(key) is not None}
        if len(counts) != 1:
            raise UsageError(
                "data: a data set has either num_classes, of classes or labels, or num_targets, of values; got "
                f"{' and '.join(counts) or 'neither'}."
            )
        for key, count in counts.items():
            integer("data", key, count, at_least=1)
        shape = data.get("sample_shape")
        if not isinstance(shape, list) or not shape:
            raise UsageError(f"data.sample_shape must be a list of sizes such as [1, 28, 28], got {shape!r}.")
        for size in shape:
            integer("data", "sample_shape", size, at_least=1)


def _check_target(node: Any, path: str, config: Mapping[str, Any], supplied: Collection[str] = ()) -> None:
    check_mapping(node, path)
    kind = registered_kind(path)
    if kind and "name" in node and "_target_" not in node:
        _name_target(node, kind, path)
    arguments = dict(node)
    dotted = arguments.pop("_target_", None)
    package, dot, _ = str(dotted).partition(".")
    allowed = (*TRUSTED, *(plugin.split(".")[0] for plugin in config["plugins"]))
    if dot and package not in allowed and not config["trust"]:
        raise UsageError(
            f"{path}._target_ {dotted!r} would run code of {package!r}; allowed are {', '.join(allowed)}. "
            "List the package in plugins, or set trust=true if you trust this config."
        )
    is_ours = package in TRUSTED and not config["trust"]
    if is_ours:
        check_dotted(dotted, path)
        check_keys_of_hydra(node, path)
    target = resolve_name(dotted, path)
    if is_ours:
        check_kind(target, dotted, path)
    if kind and "name" in node and "name" not in signature_of(target).parameters:
        _name_target(node, kind, path)
        _check_target(node, path, config, supplied)
        return
    check_interface(target, path, supplied)
    if path == "optim":
        schedule = arguments.pop("schedule", None)
        _check_schedule(schedule, config)
    if path == "data":
        arguments = taken_by(target, arguments, FACTS)
        supplied = ("kind",) if hasattr(target, "TARGETS") else ()
    if path == "task":
        arguments.pop("outputs", None)
        supplied = tuple(taken_by(target, dict.fromkeys(supplied), supplied))
    for key, value in arguments.items():
        _check_nested_targets(value, f"{path}.{key}", config)
    check_call(target, arguments, path, supplied)


def _check_schedule(schedule: Any, config: Mapping[str, Any]) -> None:
    place = "optim.schedule"
    check_mapping(schedule, place)
    with refusing():
        ours, plain = split(schedule, MANY)
    supplied = SUPPLIED[place]
    _check_target(plain, place, config, (*supplied, "schedulers") if "schedules" in schedule else supplied)
    for index, part in enumerate(ours["schedules"]):
        _check_target(part, f"{place}.schedules[{index}]", config, supplied)


def _name_target(node: dict[str, Any], kind: str, path: str) -> None:
    """Put the `_target_` of a registered class in the place of its `name`, and of another one's `_target_`."""
    with refusing(f"{path}.name"):
        target = registry.get(kind, node.pop("name"))
    node["_target_"] = f"{target.__module__}.{target.__qualname__}"


def _check_nested_targets(value: Any, path: str, config: Mapping[str, Any]) -> None:
    # Hydra builds every `_target_`, however deeply it is nested in lists and mappings.
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_nested_targets(item, f"{path}[{index}]", config)
    elif isinstance(value, Mapping) and "_target_" in value:
        _check_target(value, path, config)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_nested_targets(item, f"{path}.{key}", config)
