"""First checks of a config that comes with a checkpoint or run folder, before anything in it is used."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from snntrain.config.schema import Config
from snntrain.config.targets import check_no_placeholders
from snntrain.error import UsageError
from snntrain.tree import walk


def admit(config: Mapping[str, Any], source: str, trust: bool, writing: Iterable[str] = ()) -> dict[str, Any]:
    """A config from elsewhere, with the user's decision on trust in place of its own.

    Its names and arguments still have to pass snntrain.config.check.check_resolved.

    Args:
        config: as snntrain.config.migration.migrate returns it.
        source: its name in errors.
        trust: whether the user trusts it.
        writing: groups whose objects write files; these may not name a place outside the run folder.

    Raises: UsageError for a section of the wrong type or a placeholder and, if untrusted, for plugins or such a place.
    """
    check_no_placeholders(config)
    admitted = {**config, "trust": trust}
    _check_kinds(admitted, source)
    if admitted["plugins"] and not trust:
        plugins = ", ".join(admitted["plugins"])
        raise UsageError(f"{source} imports {plugins}. If you trust it, add trust=true, in Python trust=True.")
    if not trust:
        for group in writing:
            _refuse_places_outside(admitted, group, source)
    return admitted


def _check_kinds(config: Mapping[str, Any], source: str) -> None:
    for key, default in asdict(Config()).items():
        if isinstance(default, (str, dict, list)) and not isinstance(config[key], type(default)):
            allowed = {str: "text", dict: "a mapping", list: "a list"}[type(default)]
            if key != "logger":  # it may be null
                raise UsageError(f"{source}: {key} must be {allowed}, got {config[key]!r}.")
    if not all(isinstance(plugin, str) for plugin in config["plugins"]):
        raise UsageError(f"{source}: plugins must be a list of module names, got {config['plugins']!r}.")


def _refuse_places_outside(config: Mapping[str, Any], group: str, source: str) -> None:
    inside = [str(place) for place in (config["paths"].get("run"), config["paths"].get("runs")) if place]
    for path, _, value in walk(config.get(group) or {}, group):
        if path == "callbacks.lava.folder" and value:  # code in that folder would be run
            raise UsageError(f"{source}: {path} names a folder with code, {value!r}. Add trust=true if you trust it.")
        if isinstance(value, str) and names_a_place_outside(value, inside):
            raise UsageError(
                f"{source}: {path} names a place outside of the run folder, {value!r}. Add trust=true if you trust it."
            )


def names_a_place_outside(text: str, inside: Iterable[str]) -> bool:
    """Whether a text is a path outside of the working folder and of the folders `inside`."""
    has_address = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
    parts = PurePosixPath(text).parts
    leads_up = ".." in parts
    if any(text == place or text.startswith(f"{place}/") for place in inside) and not leads_up:
        return False
    return has_address or leads_up or os.path.isabs(text) or text.startswith("~")
