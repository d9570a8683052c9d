"""Where config groups are looked up: in the folder that comes with snntrain, and in those of the user."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NoReturn

from snntrain.error import UsageError
from snntrain.installation import CHECKOUT, CONF

SEARCHES = "search"  # read by the program tune: no group of a run's config
_SEARCH_PATH = "hydra.searchpath"

_users_folders: list[Path] = []


def config_folders() -> list[Path]:
    """The folders in which config groups are looked up: ours, then the user's."""
    return [CONF, *_users_folders]


def config_files(group: str) -> list[Path]:
    """The YAML files of a group, e.g. "model", ours first."""
    return [file for folder in config_folders() for file in sorted((folder / group).glob("*.yaml"))]


def groups() -> dict[str, list[str]]:
    """Config group → its choices, e.g. "optim/schedule" → ["cosine", "none", "step"]."""
    found: dict[str, list[str]] = {}
    for folder in config_folders():
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group not in (".", SEARCHES) and file.stem not in found.setdefault(group, []):
                found[group].append(file.stem)
    return found


def add_config_folder(folder: Path) -> None:
    """Look config groups up in a folder of the user's as well.

    Args:
        folder: with a folder for each group, such as model/ or neuron/, and YAML files in these.

    Raises: UsageError if it does not exist.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Give one with folders for groups in it, such as {folder}/model.")
    if folder not in map(Path.absolute, config_folders()):
        _users_folders.append(folder)


def add_folder_beside_script() -> None:
    """Look config groups up in conf/ beside the user's script too, if there is one."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None:
        return
    beside = Path(script).resolve().parent / "conf"
    is_ours = CHECKOUT is not None and CHECKOUT in beside.parents
    if beside.is_dir() and not is_ours:
        add_config_folder(beside)


def take_search_path(overrides: Sequence[str]) -> list[str]:
    """Add the folders of hydra.searchpath=[file://…, pkg://…] to ours; returns the other overrides.

    Raises: UsageError for a folder or package that does not exist.
    """
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key == _SEARCH_PATH:
            for place in value.strip("[]").split(","):
                add_config_folder(_folder_at(place.strip().strip("'\"")))
    return [override for override in overrides if override.lstrip("+").partition("=")[0] != _SEARCH_PATH]


def take_config_folders(arguments: Sequence[str]) -> list[str]:
    """Add the folders of --config-dir and hydra.searchpath to ours; returns the other arguments.

    For programs that hand nothing to Hydra's own command line.

    Raises: UsageError for a folder that does not exist, or an option without one.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.error = _refuse
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    found, others = parser.parse_known_args(list(arguments))
    for folder in found.config_dir:
        add_config_folder(Path(folder))
    add_folder_beside_script()
    return take_search_path(others)


def _refuse(message: str) -> NoReturn:
    raise UsageError(f"{message}. Give the folder with your own config groups: --config-dir DIR.")


def _folder_at(place: str) -> Path:
    if not place.startswith("pkg://"):
        return Path(place.removeprefix("file://"))
    name = place.removeprefix("pkg://").replace("/", ".")
    try:
        return Path(str(resources.files(name)))
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        raise UsageError(f"{_SEARCH_PATH}: there is no package {name} to import.") from error


def search_path() -> list[str]:
    """The override by which Hydra finds the user's folders, if there are any."""
    listed = ",".join(f"'file://{folder}'" for folder in _users_folders)
    return [f"{_SEARCH_PATH}=[{listed}]"] if listed else []
