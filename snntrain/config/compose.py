"""Hydra composition, with suggestions for what is mistyped.

Command lines are checked against the groups and keys that exist before Hydra sees them, because Hydra's own messages
do not say what was probably meant.
"""

import re
from collections.abc import Sequence
from dataclasses import fields

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Sweep
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from snntrain.config.folders import SEARCHES, config_folders, groups, search_path, take_search_path
from snntrain.config.schema import register_schema, top_level_keys
from snntrain.error import UsageError
from snntrain.installation import CONF, command_of
from snntrain.registry import did_you_mean

_MAY_BE_LEFT_OUT = ("logger", "debug", "launch")  # by ~logger etc.
_MOVED = {"stages": "callbacks"}  # sections of earlier versions → where their keys are now


def check_overrides(arguments: Sequence[str]) -> None:
    """Refuse overrides that name a group, a choice or a top-level key which does not exist.

    Raises: UsageError with the nearest name and the allowed ones.
    """
    choices = groups()
    has_plugins = any(argument.lstrip("+").startswith("plugins=") for argument in arguments)
    for argument in arguments:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException as error:
            raise UsageError(
                f"{argument!r} is not an override: {str(error).splitlines()[-1 if '=' not in argument else 0]}. "
                "Write key=value; quote what the shell or Hydra would read otherwise, e.g. 'name=\"a b\"'."
            ) from error
        _check_override(override, argument, choices, has_plugins)


def _check_override(override: Override, argument: str, choices: dict[str, list[str]], has_plugins: bool) -> None:
    key = override.key_or_group
    root = re.split(r"[./]", key)[0]
    if any(isinstance(value, Sweep) for value in getattr(override.value(), "list", ())):
        raise UsageError(f"{argument}: range(…) and the like cannot stand among other values. List all of them.")
    if root == "hydra":
        _check_hydra(key, argument)
        return
    if root in _MOVED:
        now = argument.replace(root, _MOVED[root], 1)
        raise UsageError(f"{argument}: {root}.<name> is now {_MOVED[root]}.<name>. Write {now}.")
    if root == SEARCHES:
        raise UsageError(f"{argument}: a search is many runs; start it with {command_of('tune')} {argument}.")
    if root not in top_level_keys() and key not in choices:
        known = list(dict.fromkeys([*top_level_keys(), *choices]))
        listing = ", ".join(known[:60]) + ", …" * (len(known) > 60)  # --config-dir may name a large folder by mistake
        raise UsageError(
            f"{root or argument} is not a config group or key.{did_you_mean(root, known)} Known: {listing}."
        )
    if override.is_delete():
        _check_delete(key, root, argument)
        return
    if "/" in key and key not in choices:
        raise UsageError(f"{key} is not a config group.{did_you_mean(key, choices)} Groups: {', '.join(choices)}.")
    if key in choices:
        for value in _values(override, choices[key]):
            if isinstance(value, dict):
                raise UsageError(
                    f"{argument}: {key} is a group, so it is given the name of a file. Set keys one by one: "
                    f"{' '.join(f'{key}.{inner}={held}' for inner, held in value.items())}."
                )
            folders = [folder for folder in config_folders() if (folder / key / f"{value}.yaml").is_file()]
            if len(folders) > 1:
                raise UsageError(
                    f"{argument}: {value}.yaml is in {folders[0] / key} and in {folders[1] / key}. Rename yours."
                )
            if value not in choices[key]:
                if value == "None":
                    value, suggestion = "null", _instead_of_null(key, choices[key])
                else:
                    suggestion = did_you_mean(str(value), choices[key]) + _by_name(key, value) * has_plugins
                raise UsageError(
                    f"{argument}: {value!r} is not a choice of the group {key}.{suggestion} "
                    f"Choices: {', '.join(choices[key])}."
                )
    elif key.replace(".", "/") in choices and "." in key:
        group = key.replace(".", "/")
        raise UsageError(
            f"{argument}: {key} is a group of its own; write {group}=<one of {', '.join(choices[group])}>."
        )


def _check_hydra(key: str, argument: str) -> None:
    """Refuse a section of Hydra's own settings that does not exist, or all of them at once."""
    known = [field.name for field in fields(HydraConf)]
    section = re.split(r"[./]", key)[1] if key != "hydra" else ""
    if section not in known:
        raise UsageError(
            f"{argument}: Hydra's settings are hydra.<section>.<key>.{did_you_mean(section, known)} Used here: "
            "hydra.run.dir, hydra.sweep.dir, hydra.launcher."
        )


def _check_delete(key: str, root: str, argument: str) -> None:
    """Refuse to leave out a section that every run needs."""
    if key == "callbacks":
        raise UsageError(f"{argument}: write callbacks=[] for a run without callbacks.")
    if (key == root and key not in _MAY_BE_LEFT_OUT) or root in ("paths", "monitor", "sweep"):
        raise UsageError(f"{argument}: a run needs {key}. Give it another value, {key}=…, or leave the default.")
    if key == "optim/schedule":
        raise UsageError(f"{argument}: write optim/schedule=none for a learning rate that stays.")


def _instead_of_null(group: str, choices: list[str]) -> str:
    if "none" in choices:
        return f" Write {group}=none."
    if group == "callbacks":
        return " Write callbacks=[] for a run without callbacks."
    if group == "experiment":
        return " Leave it out for a run of none."
    return f" Write ~{group} for a run without it." if group in _MAY_BE_LEFT_OUT else ""


def _by_name(group: str, value: object) -> str:
    """How to choose what a plugin registers, which has no file in the group."""
    if group == "callbacks":
        return f" A plugin's callback is chosen with callbacks.{value}.name=<its class>."
    if group in ("neuron", "surrogate", "encoder", "data", "task"):
        return f" A plugin's {group} is chosen with {group}.name=<its class>."
    return ""


def _values(override: Override, choices: list[str]) -> list[object]:
    value = override.value()
    if isinstance(value, Glob):
        return value.filter(choices) or value.include
    values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [value]
    flat: list[object] = []
    for item in values:
        item = OverridesParser.create().parse_override(f"x={item}").value() if isinstance(item, str) else item
        flat.extend(item if isinstance(item, list) else [item])
    return [str(item) if not isinstance(item, dict) else item for item in flat]


def allow_new_nested_keys(arguments: Sequence[str]) -> list[str]:
    """`neuron.v_threshold=0.5` → `++neuron.v_threshold=0.5`, so that arguments missing from the YAML can be set.

    Whether the class has such an argument is checked after composition, with a suggestion, which Hydra cannot give.
    """
    nested = re.compile(r"^(?!hydra\.)[A-Za-z_]\w*(\.\w+)+=")
    return [f"++{argument}" if nested.match(argument) else argument for argument in arguments]


def explain(error: Exception) -> str:
    """An error of Hydra or OmegaConf in one line, without their internal details."""
    cause: BaseException = error
    while cause.__cause__ is not None and isinstance(cause, HydraException):
        cause = cause.__cause__
    internal = ("full_key:", "object_type=", "reference_type=", "Config search path:", "provider=")
    parts = [line.strip() for text in dict.fromkeys((str(error), str(cause))) for line in text.splitlines()]
    text = ": ".join(dict.fromkeys(part.rstrip(":") for part in parts if part and not part.startswith(internal)))
    text = text.replace(".: ", ". ").replace("is not a ListConfig, list or tuple", "is not a list such as [a,b]")
    return re.sub(r"field '([^']+)' is not Optional", r"\1 cannot be null", text)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the config of a command line without running anything.

    Args:
        overrides: as on the command line, e.g. ["neuron=plif", "T=8"].

    Raises: UsageError naming what is wrong and what was probably meant.
    """
    register_schema()
    overrides = take_search_path(overrides)  # first, since they may choose a file of these folders
    check_overrides(overrides)
    try:
        config = compose_with_hydra(overrides)
        HydraConfig.instance().set_config(config)
        config.name = config.name  # resolve its ${hydra:…}, which would change with the next command line composed
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(explain(error)) from error
    return without_hydra(config)


def compose_with_hydra(overrides: Sequence[str]) -> DictConfig:
    """The config of overrides that are known to be right, with Hydra's own settings."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra_compose("config", [*allow_new_nested_keys(overrides), *search_path()], return_hydra_config=True)


def without_hydra(config: DictConfig) -> DictConfig:
    """The config without Hydra's own settings."""
    from omegaconf import OmegaConf, open_dict

    config = config.copy()
    if "hydra" in config:
        OmegaConf.set_readonly(config, False)
        with open_dict(config):
            del config["hydra"]
    return config
