"""Checks overrides on a command line: refuses keys given twice or without effect, and values of the wrong type."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntrain import registry
from snntrain.config.compose import explain
from snntrain.config.schema import Config, top_level_keys
from snntrain.error import UsageError
from snntrain.registry import did_you_mean
from snntrain.signature import takes
from snntrain.tree import walk

_GRAPHS = ("nir",)  # models whose layers and neurons are those of a file

# Hydra's settings that only a sweep reads.
_OF_SWEEPS = ("sweep", "sweeper", "launcher")

# What OmegaConf raises for values that it cannot read or that do not fit.
_REFUSALS = (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, AttributeError)


def key_of(override: str) -> str:
    """The key of an override, without + and ~, as in neuron.tau or optim/schedule."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def root_of(override: str) -> str:
    """The section of a config that an override changes, as in neuron."""
    return re.split(r"[./\[]", key_of(override))[0]


def refuse_repeated(overrides: Sequence[str]) -> None:
    """Refuse a key that is given twice, because one of the two would do nothing."""
    given: dict[str, str] = {}
    for override in overrides:
        key = key_of(override)
        if key in given:
            raise UsageError(f"{key} is given twice, {given[key]} and {override}. Keep one of them.")
        given[key] = override


def is_sweep(overrides: Sequence[str]) -> bool:
    """Whether a command line starts a sweep although it does not say -m."""
    chosen = {key_of(override): override.partition("=")[2] for override in overrides}
    return chosen.get("launch", "basic") != "basic" or chosen.get("hydra.mode", "").upper() == "MULTIRUN"


def check_command(overrides: Sequence[str], *, is_sweep: bool) -> None:
    """Refuse overrides that train.py would ignore. They have passed check_overrides."""
    refuse_repeated(overrides)
    for override in overrides:
        key, parts = key_of(override), key_of(override).split(".")
        if key == "paths.run":
            raise UsageError(f"{override}: the program fills it in. Give paths.runs=…, or hydra.run.dir=… to train.py.")
        if is_sweep and key == "hydra.run.dir":
            raise UsageError(f"{override} does nothing in a sweep. Its folder is named by hydra.sweep.dir.")
        if not is_sweep and parts[0] == "hydra" and parts[1:2] and parts[1] in _OF_SWEEPS:
            raise UsageError(f"{override} does nothing in a single run. For a sweep add -m.")
        if not is_sweep and OverridesParser.create().parse_override(override).is_sweep_override():
            raise UsageError(f"{override}: several values are a sweep, add -m. A list is written {key}=[…].")


def refuse_unused(config: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse a neuron, surrogate gradient or normalization chosen for a net that takes none.

    Do not call it for a sweep, where a choice may concern only some of the jobs.
    """
    from snntrain.config.check import import_plugins  # loads torch, which a misspelled key does not wait for

    raw = OmegaConf.to_container(config, resolve=False)
    import_plugins(raw["plugins"])  # a model or layer of theirs may take the neuron
    is_graph = raw["model"].get("name") in _GRAPHS
    reasons = {
        "neuron": "the net of model.file has the neurons of its graph"
        if is_graph
        else "this model says nowhere where the chosen neuron stands, or brings its own",
        "norm": "the net of model.file has the layers of its graph"
        if is_graph
        else "the layers of this model have no normalization",
        "surrogate": f"the neuron {raw['neuron'].get('name')} takes no surrogate gradient",
    }
    for group, reason in reasons.items():
        given = [override for override in overrides if root_of(override) == group]
        if given and not _is_used(group, raw):
            raise UsageError(f"{given[0]} does nothing: {reason}. Leave it out.")


def _is_used(group: str, raw: Mapping[str, Any]) -> bool:
    if group == "norm" and raw["model"].get("name") in _GRAPHS:
        return False
    if "layers" not in raw["model"]:  # a registered model decides itself about all but the neuron, which it is given
        return group != "neuron" or _takes_neuron("model", raw["model"].get("name"))
    others = str({key: value for key, value in raw.items() if key != group})
    if re.search(rf"\$\{{\.*{group}[.}}]", others):
        return True
    named = [value for _, _, value in walk([raw["model"]["layers"], raw["model"].get("blocks")])]
    return group in named or (group == "neuron" and any(_takes_neuron("layer", name) for name in named))


def _takes_neuron(kind: str, name: Any) -> bool:
    """Whether a registered model or layer is given the chosen neuron; an unknown name is refused later."""
    if not registry.has(kind, name):
        return kind == "model"
    return takes(registry.get(kind, name), "neuron")


def read_changes(overrides: Sequence[str], program: str) -> DictConfig:
    """Overrides key=value of a saved config as nested keys; those at the root have the types of the schema.

    The program that they were given to is named in the error for one that is repeated, not a key, or of the wrong type.
    """
    refuse_repeated(overrides)
    for override in overrides:
        _check_form(override, program)
    plain = [override.lstrip("+") for override in overrides]
    try:
        given = OmegaConf.from_dotlist(plain)
        for override in plain:
            OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.from_dotlist([override]))
    except _REFUSALS as error:
        wrong = next((word for word in plain if not _fits(word)), " ".join(plain))
        raise UsageError(f"{program}: {wrong} cannot be set: {explain(error)}.") from error
    return given


def _check_form(override: str, program: str) -> None:
    key, equals, _ = override.partition("=")
    if not equals or key.startswith("~"):
        raise UsageError(f"{override!r} is not key=value. `{program} --help` shows the keys.")
    if "/" in key:
        raise UsageError(f"{override}: {program} changes single keys of the saved config, and chooses no group.")
    root, known = root_of(override), top_level_keys()
    if root not in known:
        listing = ", ".join(known)
        raise UsageError(f"{root or override} is not a config key.{did_you_mean(root, known)} Known: {listing}.")


def _fits(override: str) -> bool:
    try:
        OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.from_dotlist([override]))
    except _REFUSALS:
        return False
    return True
