"""Checkpoints of runs: Lightning writes them whole or not at all, and the reader names what is wrong with one."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from snntrain.config.migration import FORMAT, migrate
from snntrain.error import DamagedFile, UsageError
from snntrain.files.archive import check_archive, write_checkpoint
from snntrain.run.weights import check_tree


class WholeCheckpoints(TorchCheckpointIO):
    """Let Lightning read and write checkpoints through check_archive and write_checkpoint.

    Lightning itself moves a file from TMPDIR. On another file system that is a copy, and a full disk or a kill then
    destroys the earlier checkpoint. Addresses such as s3://… are left to Lightning.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any | None = None
    ) -> None:
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(self, path: str | os.PathLike, *arguments: Any, **settings: Any) -> dict[str, Any]:
        if "://" not in str(path):
            check_archive(Path(path))
        return super().load_checkpoint(path, *arguments, **settings)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one of our checkpoints, with its config as the present program writes it.

    Loading runs no code from the file, and the file holds the values of every tensor in it.

    Raises: UsageError if it is missing or not from snntrain; DamagedFile if it is damaged.
    """
    if not path.is_file():
        raise UsageError(f"checkpoint: {path} does not exist. Give a run folder or a .ckpt file of one.")
    check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise pickle and torch errors of many kinds
        # torch's message advises to run the code that the file may hold.
        raise DamagedFile(
            f"checkpoint: {path} cannot be read: it holds more than tensors and plain containers, or is damaged "
            f"({type(error).__name__}). Use another checkpoint of the run."
        ) from error
    if not isinstance(content, dict) or "snntrain" not in content or "state_dict" not in content:
        raise UsageError(
            f"checkpoint: {path} was not written by snntrain; it lacks the entry 'snntrain'. Weights that torch.save "
            "wrote are loaded with load_state_dict, by the class or function that you register."
        )
    description, weights = content["snntrain"], content["state_dict"]
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise DamagedFile(f"checkpoint: {path} is damaged: its entry 'snntrain' does not say its format.")
    if description["format"] > FORMAT:
        raise UsageError(f"checkpoint: {path} was written by a newer snntrain ({description.get('version')}); update.")
    if "config" not in description:
        raise DamagedFile(f"checkpoint: {path} is damaged: its entry 'snntrain' holds no config.")
    if not isinstance(weights, dict):
        raise DamagedFile(f"checkpoint: {path} is damaged: its entry 'state_dict' is {type(weights).__name__}.")
    check_tree({key: value for key, value in content.items() if key != "snntrain"}, f"checkpoint: {path}")
    config = migrate(description["config"], description["format"], f"checkpoint: {path}")
    return {**content, "snntrain": {**description, "format": FORMAT, "config": config}}
