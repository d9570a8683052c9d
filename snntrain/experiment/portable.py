"""Configs of runs, made comparable: without the folders of one machine, and key by key."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from snntrain.config.error import UsageError
from snntrain.config.foreign import names_a_place_outside
from snntrain.config.schema import Paths
from snntrain.tree import walk

# What may differ between two runs of one experiment: none of it changes a result.
_FREE = ("paths", "resume", "sweep", "show", "debug", "trust", "logger", "name")
_FREE_WITHIN = ("data.num_workers", "data.download", "data.prefetch", "data.persistent_workers", "data.cache_gb")
_FREE_OF_TRAINER = ("trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.profiler")
# Groups in which folders stand.
_WITH_FOLDERS = ("data", "callbacks", "logger", "trainer")

Difference = tuple[str, Any, Any]  # key, recorded value, value now
ABSENT = "—"


def portable(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A resolved config with the default folders instead of its own.

    Args:
        config: resolved, of a run or composed.
        name: of the experiment; its run folder is called runs/<name>.
    """
    default = Paths(run=f"runs/{name}")
    return relocated(config, asdict(default))


def relocated(config: Mapping[str, Any], paths: Mapping[str, str | None]) -> dict[str, Any]:
    """A resolved config with other folders, wherever its own ones stand.

    Args:
        paths: data, runs, run.
    """
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
    """Refuse a portable config that still names a folder of one machine.

    Raises: UsageError naming the key.
    """
    for group in _WITH_FOLDERS:
        for path, _, value in walk(config.get(group) or {}, group):
            if isinstance(value, str) and names_a_place_outside(value, ()):
                raise UsageError(
                    f"{path} is {value!r}, a place on this machine only, which a record cannot name. Put it under "
                    "paths.data and leave the key as the experiment has it."
                )


def differences(recorded: Any, now: Any, path: str = "") -> list[Difference]:
    """What differs between two configs, key by key, but for what cannot change a result.

    A key that one of them lacks and the other leaves empty does nothing, and is no difference.
    """
    if path in _FREE or path in _FREE_WITHIN or path in _FREE_OF_TRAINER:
        return []
    if isinstance(recorded, Mapping) and isinstance(now, Mapping):
        keys = [*recorded, *(key for key in now if key not in recorded)]
        found = [_entry(recorded, now, key, f"{path}.{key}" if path else str(key)) for key in keys]
        return [difference for part in found for difference in part]
    if isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        pairs = enumerate(zip(recorded, now, strict=True))
        return [item for index, pair in pairs for item in differences(*pair, f"{path}[{index}]")]
    return [] if recorded == now and type(recorded) is type(now) else [(path, recorded, now)]


def _entry(recorded: Mapping[str, Any], now: Mapping[str, Any], key: str, path: str) -> list[Difference]:
    if key in recorded and key in now:
        return differences(recorded[key], now[key], path)
    there = recorded.get(key, now.get(key))
    if not there or path in (*_FREE, *_FREE_WITHIN, *_FREE_OF_TRAINER):
        return []
    return [(path, recorded.get(key, ABSENT), now.get(key, ABSENT))]
