"""Separate the options of train.py, which are Hydra's, from the overrides, and check them before Hydra runs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from snntrain.error import UsageError
from snntrain.installation import CONF
from snntrain.registry import did_you_mean

_FOLDERS = ("--config-dir", "-cd", "--config-path", "-cp")


@dataclass
class Options:
    """A parsed command line.

    Attributes:
        overrides: key=value, ~key.
        flags: the other options with their values.
        is_sweep: -m is among them.
        config_folder: of --config-dir, the user's own config groups.
        completes: a shell asks for completions; the words are not overrides then.
    """

    overrides: list[str]
    flags: list[str]
    is_sweep: bool
    config_folder: Path | None
    completes: bool


def read_options(arguments: Sequence[str]) -> Options:
    """Parse a command line; options may stand before, after and between the overrides.

    Raises: UsageError for an option that does not exist, has no value, or names a missing folder or file.
    """
    parser = get_args_parser()
    parser.error = _refuse
    parsed, unknown = parser.parse_known_intermixed_args(list(arguments))
    for word in unknown:
        name = word.partition("=")[0]
        known = [option for option in parser._option_string_actions if option.startswith("--")]
        near = did_you_mean(name, known)
        raise UsageError(f"{name} is not an option of train.py.{near} Overrides are key=value; -m starts a sweep.")
    left, flags = Counter([*parsed.overrides, parsed.config_dir, parsed.config_path]), []
    for word in arguments:
        if left[word]:
            left[word] -= 1
        elif word != "--" and word.partition("=")[0] not in _FOLDERS:
            flags.append(word)
    if parsed.config_path is not None:  # Hydra would take it as relative to one of our files
        flags += ["--config-path", str(Path(parsed.config_path).absolute())]
    folder = None if parsed.config_dir is None else Path(parsed.config_dir)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--config-dir: {folder} is not a folder.")
    _check_config_file(parsed.config_path, parsed.config_name)
    return Options(parsed.overrides, flags, parsed.multirun, folder, bool(parsed.shell_completion))


def _refuse(message: str) -> NoReturn:
    place, colon, what = message.removeprefix("argument ").partition(": ")
    what = what.replace("expected one argument", "needs a value").replace("invalid choice:", "cannot be")
    raise UsageError(f"{place.split('/')[0]} {what}." if colon else f"{message}.")


def _check_config_file(folder: str | None, name: str | None) -> None:
    """Check the file that replaces conf/config.yaml."""
    where = CONF if folder is None else Path(folder)
    if not where.is_dir():
        raise UsageError(f"--config-path: {where} is not a folder.")
    file = f"{'config' if name is None else name}".removesuffix(".yaml")
    if not (where / f"{file}.yaml").is_file():
        known = [path.stem for path in sorted(where.glob("*.yaml"))]
        raise UsageError(
            f"--config-name: there is no {where / file}.yaml.{did_you_mean(file, known)} There: "
            f"{', '.join(known) or 'none'}."
        )
