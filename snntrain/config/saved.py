"""Reads the config of a run folder or a record."""

from pathlib import Path
from typing import Any

from snntrain.config.migration import migrate
from snntrain.error import DamagedFile
from snntrain.files import read_json, read_yaml


def read_saved(folder: Path) -> dict[str, Any]:
    """The config of a run folder or a record in the present format.

    Raises: FileNotFoundError if there is no config.yaml; DamagedFile or UsageError naming the file that cannot be used.
    """
    path = folder / "config.yaml"
    return migrate(read_yaml(path), format_of(folder), str(path))


def format_of(folder: Path) -> int:
    """The format of a run folder's or a record's files; 1 if they do not state it.

    Raises: DamagedFile for a provenance.json that cannot be read.
    """
    path = folder / "provenance.json"
    try:
        written_in = read_json(path).get("format", 1)
    except FileNotFoundError:  # not one of format 2, which writes it before config.yaml
        return 1
    if type(written_in) is not int or written_in < 1:
        raise DamagedFile(f"{path} is damaged: its format must be a whole number ≥ 1, got {written_in!r}.")
    return written_in
