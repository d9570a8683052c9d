"""Which folder a run works in, and which checkpoint it goes on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from snntrain import checksums
from snntrain.checkpoint import read_checkpoint
from snntrain.config.error import UsageError
from snntrain.error import DamagedFile
from snntrain.parallel.devices import is_first
from snntrain.registry import did_you_mean
from snntrain.run.owner import claim, claim_fresh, is_alive, owner, take_over
from snntrain.run.results import read_results

# A run may go on with other values of these; any other difference would make it a different experiment.
_FREE = ("paths", "resume", "sweep", "name", "callbacks", "stages", "logger", "debug", "trust")
_FREE_WITHIN = ("data.root", "data.num_workers", "data.download", "trainer.log_every_n_steps")

console = Console(highlight=False)


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


def choose_start(
    config: Mapping[str, Any], folder: Path, *, is_chosen: bool = True, earlier: Path | None = None
) -> Start:
    """Decide where to start, and take the folder: no other process will start or go on in it while this one lives.

    Args:
        config: checked; resume is None, 'auto', a run folder or a checkpoint file.
        folder: the folder that was made for this run.
        is_chosen: the user named the folder, so a used one is refused; otherwise <folder>_2, … takes its place.
        earlier: where the same job of a sweep ran before; it goes on there if it was cut off, and is not resumed
            where it failed, since what it had learnt by then may be why.

    Raises: UsageError if there is nothing to resume at the given path, the configs differ, or the folder holds
    another run.
    """
    start = _find_start(config, folder, earlier)
    if not is_first():  # of several processes, that one decides for all
        return start
    if start.checkpoint is None or start.fresh_folder:
        return Start(_take_fresh(start.folder, is_chosen), start.checkpoint)
    _take_used(start.folder)
    return start


def _take_fresh(folder: Path, is_chosen: bool) -> Path:
    if not is_chosen:
        return claim_fresh(folder, "config.yaml")
    if claim(folder, "config.yaml"):
        return folder
    if not (folder / "config.yaml").exists():
        raise UsageError(f"{folder} was taken by {_named(owner(folder))}. Choose another folder with hydra.run.dir=….")
    raise UsageError(
        f"{folder} holds a run already. Choose another folder with hydra.run.dir=…, or go on with that run: "
        f"resume={folder}."
    )


def _take_used(folder: Path) -> None:
    holder = take_over(folder)
    if holder is not None:
        raise UsageError(f"resume: {folder} is still being run by {_named(holder)}. Wait for it, or stop it first.")


def _named(process: Mapping[str, Any] | None) -> str:
    return f"process {process.get('pid')} on {process.get('host')}" if process else "another process"


def _find_start(config: Mapping[str, Any], folder: Path, earlier: Path | None) -> Start:
    resume = config["resume"]
    if earlier is not None and _can_go_on(config, earlier):
        return Start(earlier, earlier / "checkpoints/last.ckpt", fresh_folder=False)
    if resume is None:
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
    if path.is_dir() and not checksums.verify(path):
        console.print(f"{path} is {checksums.UNVERIFIED}", soft_wrap=True)
    _refuse_differences(config, read_checkpoint(checkpoint)["snntrain"]["config"], checkpoint)
    return Start(path, checkpoint, fresh_folder=False) if path.is_dir() else Start(folder, checkpoint)


def _newest_unfinished(config: Mapping[str, Any], folder: Path) -> Path | None:
    """The given folder, else the newest one under paths.runs, whose run has this config and did not finish."""
    saved = [folder / "config.yaml", *sorted(Path(config["paths"]["runs"]).glob("**/config.yaml"), key=_age)]
    for file in saved:
        if not (file.parent / "checkpoints/last.ckpt").is_file():
            continue
        if is_alive(owner(file.parent)):  # not interrupted: it is running
            continue
        if read_results(file.parent).get("status") == "finished" and file.parent != folder:
            continue
        if not differences(config, yaml.safe_load(file.read_text(encoding="utf-8"))):
            try:
                checksums.verify(file.parent)
            except DamagedFile as damage:
                console.print(f"resume=auto passes over a run: {damage}", soft_wrap=True, markup=False)
                continue
            return file.parent
    return None


def _can_go_on(config: Mapping[str, Any], folder: Path) -> bool:
    """Whether a folder holds a run of this config that was cut off and left a checkpoint."""
    if not (folder / "checkpoints/last.ckpt").is_file():
        return False
    if read_results(folder).get("status") in ("finished", "failed"):
        return False
    try:
        checksums.verify(folder)
        read_checkpoint(folder / "checkpoints/last.ckpt")
        return not differences(config, yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, UsageError, yaml.YAMLError):
        return False  # damaged by whatever cut it off: the job starts anew


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
