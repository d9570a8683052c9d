"""Which folder a run works in, and which checkpoint it goes on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snntrain.config.error import UsageError
from snntrain.registry import did_you_mean
from snntrain.run.build import read_checkpoint
from snntrain.run.devices import is_first
from snntrain.run.results import read_results

# A run may go on with other values of these; any other difference would make it a different experiment.
_FREE = ("paths", "resume", "name", "callbacks", "stages", "logger", "debug", "trust")
_FREE_WITHIN = ("data.root", "data.num_workers", "data.download", "trainer.log_every_n_steps")


@dataclass
class Start:
    """Where a run starts.

    Attributes:
        folder: the run folder.
        checkpoint: what to go on from, None for a fresh start.
        fresh_folder: whether the folder was made for this very run and may be removed if the run is refused.
    """

    folder: Path
    checkpoint: Path | None = None
    fresh_folder: bool = True


def choose_start(config: Mapping[str, Any], folder: Path) -> Start:
    """Decide where to start.

    Args:
        config: checked; resume is None, 'auto', a run folder or a checkpoint file.
        folder: the folder that was made for this run.

    Raises: UsageError if there is nothing to resume at the given path, the configs differ, or the folder holds
    another run.
    """
    resume = config["resume"]
    if resume is None:
        if is_first() and (folder / "config.yaml").exists():  # of several processes it writes the file
            raise UsageError(
                f"{folder} holds a run already. Choose another folder with hydra.run.dir=…, or go on with that run: "
                f"resume={folder}."
            )
        return Start(folder)
    if resume == "auto":
        found = _newest_unfinished(config, folder)
        return Start(folder) if found is None else Start(found, found / "checkpoints/last.ckpt", fresh_folder=False)
    path = Path(resume)
    if not path.exists():
        raise UsageError(
            f"resume: {path} does not exist.{did_you_mean(resume, ['auto'])} Give auto, a run folder or a .ckpt file."
        )
    checkpoint = path / "checkpoints/last.ckpt" if path.is_dir() else path
    _refuse_differences(config, read_checkpoint(checkpoint)["snntrain"]["config"], checkpoint)
    return Start(path, checkpoint, fresh_folder=False) if path.is_dir() else Start(folder, checkpoint)


def _newest_unfinished(config: Mapping[str, Any], folder: Path) -> Path | None:
    """The given folder, else the newest one under paths.runs, whose run has this config and did not finish."""
    saved = [folder / "config.yaml", *sorted(Path(config["paths"]["runs"]).glob("**/config.yaml"), key=_age)]
    for file in saved:
        if not (file.parent / "checkpoints/last.ckpt").is_file():
            continue
        if read_results(file.parent).get("status") == "finished" and file.parent != folder:
            continue
        if not differences(config, yaml.safe_load(file.read_text(encoding="utf-8"))):
            return file.parent
    return None


def _age(file: Path) -> float:
    return -file.stat().st_mtime


def _refuse_differences(config: Mapping[str, Any], saved: Mapping[str, Any], checkpoint: Path) -> None:
    different = differences(config, saved)
    if different:
        raise UsageError(
            f"resume: {checkpoint} belongs to a run with another config: {'; '.join(different)}. "
            "Give the same overrides again, or start a new run without resume."
        )


def differences(config: Any, saved: Any, path: str = "") -> list[str]:
    """What a config has otherwise than a saved one, in words; places in which a run may change are left out."""
    if isinstance(config, Mapping) and isinstance(saved, Mapping):
        found: list[str] = []
        for key in [*config, *(key for key in saved if key not in config)]:
            if path or key not in _FREE:
                found += differences(config.get(key), saved.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if config == saved or path in _FREE_WITHIN else [f"{path} is {config!r}, was {saved!r}"]
