"""Make the configs of runs comparable by removing the folders of one machine."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from snntrain.config.foreign import names_a_place_outside
from snntrain.config.schema import Paths
from snntrain.error import UsageError
from snntrain.tree import walk

# Groups of the config that name folders.
_WITH_FOLDERS = ("data", "callbacks", "logger", "trainer")


def portable(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A resolved config with the default folders instead of its own; its run folder is runs/<name>.

    Where a run was resumed from is a folder of one machine, too, and whoever repeats the run does not resume it.
    """
    default = Paths(run=f"runs/{name}")
    return {**relocated(config, asdict(default)), "resume": None}


def relocated(config: Mapping[str, Any], paths: Mapping[str, str | None]) -> dict[str, Any]:
    """A resolved config with the folders `paths` (data, runs, run) wherever it names its own."""
    own = config["paths"]
    moves = [(own.get(key), paths[key]) for key in ("run", "runs", "data")]
    moved = {key: _moved(value, moves) if key in _WITH_FOLDERS else value for key, value in config.items()}
    return {**moved, "paths": dict(paths)}


def _moved(node: Any, moves: list[tuple[str | None, str | None]]) -> Any:
    if isinstance(node, Mapping):
        return {key: _moved(value, moves) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_moved(value, moves) for value in node]
    if isinstance(node, str):
        for old, new in moves:
            if old and (node == old or node.startswith(f"{old}/")):
                return f"{new}{node[len(old) :]}"
    return node


def refuse_local_places(config: Mapping[str, Any]) -> None:
    """Refuse a portable config that still names a folder of one machine."""
    for group in _WITH_FOLDERS:
        for path, _, value in walk(config.get(group) or {}, group):
            if isinstance(value, str) and names_a_place_outside(value, ()):
                raise UsageError(
                    f"{path} is {value!r}, a place on this machine only, which a record cannot name. Put it under "
                    "paths.data and leave the key as the experiment has it."
                )
