"""Which folder a run works in, and which checkpoint it goes on from."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snntrain import checksums
from snntrain.checkpoint import read_checkpoint
from snntrain.config.saved import read_saved
from snntrain.error import DamagedFile, UsageError
from snntrain.files import newest_first, read_json, read_yaml
from snntrain.parallel.devices import is_first
from snntrain.registry import did_you_mean
from snntrain.run.owner import OWNER, claim, claim_fresh, is_alive, named, owner, take_over
from snntrain.run.results import read_results
from snntrain.terminal import terminal

# A run may go on with other values of these; any other difference would make it a different experiment.
_FREE = ("paths", "resume", "sweep", "name", "callbacks", "logger", "debug", "trust")
_FREE_WITHIN = ("data.root", "data.num_workers", "data.download", "trainer.log_every_n_steps")

console = terminal()


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
        raise UsageError(
            f"{folder} was taken by {named(owner(folder))}. Choose another folder with hydra.run.dir=…, or, if that "
            f"process is gone, remove {folder / OWNER}."
        )
    raise UsageError(
        f"{folder} holds a run already. Choose another folder with hydra.run.dir=…, or go on with that run: "
        f"resume={folder}."
    )


def _take_used(folder: Path) -> None:
    earlier = owner(folder)
    holder = take_over(folder, is_named=True)
    if holder is not None:
        raise UsageError(f"resume: {folder} is still being run by {named(holder)}. Wait for it, or stop it first.")
    if earlier is not None and is_alive(earlier) is None:
        console.print(
            f"resume: {folder} is taken over from {named(earlier)}, of which nobody can tell from here whether it "
            "still runs. Stop it there if it does.",
            soft_wrap=True,
        )


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
        _say(f"{path} is {checksums.UNVERIFIED}")
    _refuse_differences(config, read_checkpoint(checkpoint)["snntrain"]["config"], checkpoint)
    return Start(path, checkpoint, fresh_folder=False) if path.is_dir() else Start(folder, checkpoint)


def _newest_unfinished(config: Mapping[str, Any], folder: Path) -> Path | None:
    """The given folder, else the newest one under paths.runs, whose run has this config and did not finish.

    A run that cannot be read, or may be running elsewhere, is passed over with a line that names it.
    """
    runs = newest_first(Path(config["paths"]["runs"]).glob("**/config.yaml"))
    for file in [folder / "config.yaml", *runs]:
        try:
            if not _is_unfinished(config, file.parent, is_given=file.parent == folder):
                continue
        except (UsageError, OSError) as error:
            _say(f"resume=auto passes over {file.parent}: {error}")
            continue
        holder = owner(file.parent)
        if holder is None or is_alive(holder) is False:
            return file.parent
        if is_alive(holder) is None:
            _say(
                f"resume=auto passes over {file.parent}: it is held by {named(holder)}, of which nobody can tell from "
                f"here whether it still runs. If it does not: resume={file.parent}."
            )
    return None


def _is_unfinished(config: Mapping[str, Any], folder: Path, *, is_given: bool) -> bool:
    """Whether a folder holds a run of this config that did not finish and left a checkpoint.

    Raises: UsageError naming the file that cannot be read.
    """
    if not os.path.lexists(folder / "checkpoints/last.ckpt"):
        return False
    if read_results(folder).get("status") == "finished" and not is_given:
        return False
    if differences(config, read_saved(folder)):
        return False
    if not (folder / "checkpoints/last.ckpt").is_file():
        raise DamagedFile(f"{folder / 'checkpoints/last.ckpt'} is no file.")
    checksums.verify(folder)
    return True


def _can_go_on(config: Mapping[str, Any], folder: Path) -> bool:
    """Whether a folder holds a run of this config that was cut off and left a checkpoint."""
    if not (folder / "checkpoints/last.ckpt").is_file():
        return False
    try:
        if read_results(folder).get("status") in ("finished", "failed"):
            return False
        checksums.verify(folder)
        read_checkpoint(folder / "checkpoints/last.ckpt")
        return not differences(config, read_saved(folder))
    except (OSError, UsageError) as error:  # damaged by whatever cut it off: the job starts anew
        _say(f"{folder} is not resumed: {error}")
        return False


def refuse_other_data(content: Mapping[str, Any], checkpoint: Path, hashes: Mapping[str, str]) -> None:
    """Refuse to go on with data that are not those of the run so far.

    Args:
        content: of the checkpoint.
        checkpoint: its file; in a run folder, provenance.json beside it knows the data too.
        hashes: file → SHA-256 of the data as they are now.

    Raises: UsageError naming what changed.
    """
    saved = content["snntrain"].get("data")
    if saved is None:
        try:
            saved = read_json(checkpoint.parent.parent / "provenance.json").get("data")
        except FileNotFoundError:
            saved = None
    if not isinstance(saved, Mapping):
        _say(f"{checkpoint} does not say on which data its run was; they are not compared.")
        return
    if sorted(map(str, saved.values())) == sorted(hashes.values()):  # the same files, perhaps in another folder
        return
    changed = [name for name in {**saved, **hashes} if saved.get(name) != hashes.get(name)]
    raise UsageError(
        f"resume: the data changed since {checkpoint} was written: {', '.join(map(str, changed[:5]))}"
        f"{f' and {len(changed) - 5} more' if len(changed) > 5 else ''} "
        f"{'has' if len(changed) == 1 else 'have'} another SHA-256. Bring the former data back, or start a new run "
        "without resume."
    )


def _say(line: str) -> None:
    if is_first():
        console.print(line, soft_wrap=True)


def _refuse_differences(config: Mapping[str, Any], saved: Mapping[str, Any], checkpoint: Path) -> None:
    different = differences(config, saved)
    if different:
        raise UsageError(
            f"resume: {checkpoint} belongs to a run with another config: {'; '.join(different)}. "
            f"Give the same overrides again{_overrides_of(checkpoint)}, or start a new run without resume."
        )


def _overrides_of(checkpoint: Path) -> str:
    """The overrides that a run was started with, in words, where its folder tells."""
    try:
        given = read_yaml(checkpoint.parent.parent / "overrides.yaml", kind=list)
    except (OSError, UsageError):
        return ""
    kept = [str(override) for override in given if not str(override).lstrip("+").startswith(("resume=", "hydra."))]
    return f": {shlex.join(kept)}" if kept else ""


def differences(config: Any, saved: Any, path: str = "") -> list[str]:
    """What a config has otherwise than a saved one, in words; places in which a run may change are left out."""
    if isinstance(config, Mapping) and isinstance(saved, Mapping):
        found: list[str] = []
        for key in [*config, *(key for key in saved if key not in config)]:
            if path or key not in _FREE:
                found += differences(config.get(key), saved.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if config == saved or path in _FREE_WITHIN else [f"{path} is {config!r}, was {saved!r}"]
