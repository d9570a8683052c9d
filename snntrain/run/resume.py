"""Choose the folder a run works in and the checkpoint it continues from."""

import os
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from snntrain.error import DamagedFile, MissingFile, UsageError
from snntrain.process import is_alive, named
from snntrain.registry import did_you_mean
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.differences import RESUMABLE, differences
from snntrain.run.folder import RunFolder
from snntrain.run.longer import more_epochs, without_length
from snntrain.run.parallel.devices import is_first
from snntrain.terminal import print_line, terminal

console = terminal()


@dataclass
class Start:
    """The folder and checkpoint with which a run starts.

    Attributes:
        folder: the run folder.
        checkpoint: to continue from, None for a fresh start.
        fresh_folder: whether the folder was made for this very run and may be removed if the run is refused.
    """

    folder: Path
    checkpoint: Path | None = None
    fresh_folder: bool = True

    def written(self) -> dict[str, Any]:
        """As plain values, for other processes."""
        checkpoint = None if self.checkpoint is None else str(self.checkpoint)
        return {"folder": str(self.folder), "checkpoint": checkpoint, "fresh_folder": self.fresh_folder}

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Self:
        """What `written` gave."""
        checkpoint = written["checkpoint"]
        return cls(Path(written["folder"]), None if checkpoint is None else Path(checkpoint), written["fresh_folder"])


def choose_start(
    config: Mapping[str, Any], folder: Path, *, is_chosen: bool = True, earlier: Path | None = None
) -> Start:
    """Decide where to start and take the folder, in which no other process can work until this one has ended.

    Args:
        config: checked; resume is None, 'auto', a run folder or a checkpoint file.
        folder: the folder that was made for this run.
        is_chosen: whether the user named the folder: then a used one is refused, else <folder>_2, … is taken instead.
        earlier: where the same job of a sweep ran before. It continues there if it was cut off. If it failed it starts
            anew, because what it had learned may be the reason.

    Raises: UsageError if there is nothing to resume at the given path, the configs differ, or the folder holds
    another run.
    """
    start = _find_start(config, folder, earlier)
    if start.checkpoint is None or start.fresh_folder:
        return Start(_take_fresh(start.folder, is_chosen), start.checkpoint)
    _take_used(start.folder)
    return start


def _take_fresh(folder: Path, is_chosen: bool) -> Path:
    if not is_chosen:
        return RunFolder(folder).claim_fresh().path
    run = RunFolder(folder)
    if run.claim():
        return folder
    if not run.config.exists():
        raise UsageError(
            f"{folder} was taken by {named(run.owner)}. Choose another folder with hydra.run.dir=…, or, if that "
            f"process is gone, remove {run.owner_note}."
        )
    raise UsageError(
        f"{folder} holds a run already. Choose another folder with hydra.run.dir=…, or continue that run: "
        f"resume={folder}."
    )


def _take_used(folder: Path) -> None:
    run = RunFolder(folder)
    earlier = run.owner
    holder = run.take_over(is_named=True)
    if holder is not None:
        raise UsageError(f"resume: {folder} is still being run by {named(holder)}. Wait for it, or stop it first.")
    if earlier is not None and is_alive(earlier) is None:
        print_line(
            console,
            f"resume: {folder} is taken over from {named(earlier)}. It cannot be seen from here whether that still "
            "runs; if it does, stop it there.",
        )


def _find_start(config: Mapping[str, Any], folder: Path, earlier: Path | None) -> Start:
    resume = config["resume"]
    if earlier is not None and _can_continue(config, RunFolder(earlier)):
        return Start(earlier, RunFolder(earlier).last_checkpoint, fresh_folder=False)
    if resume is None:
        return Start(folder)
    if resume == "auto":
        found = _newest_unfinished(config, folder)
        return Start(folder) if found is None else Start(found.path, found.last_checkpoint, fresh_folder=False)
    path = Path(resume)
    if not path.exists():
        raise UsageError(
            f"resume: {path} does not exist.{did_you_mean(resume, ['auto'])} Give auto, a run folder or a .ckpt file."
        )
    checkpoint = RunFolder(path).last_checkpoint if path.is_dir() else path
    if path.is_dir() and (remark := RunFolder(path).verify()):
        _say(remark)
    _refuse_differences(config, read_checkpoint(checkpoint)["snntrain"]["config"], checkpoint)
    return Start(path, checkpoint, fresh_folder=False) if path.is_dir() else Start(folder, checkpoint)


def _newest_unfinished(config: Mapping[str, Any], folder: Path) -> RunFolder | None:
    """The given folder or else the newest one under paths.runs whose run has this config and did not finish.

    A run that cannot be read, or that may be running elsewhere, is skipped with a message that names it.
    """
    given = RunFolder(folder)
    for run in [given, *RunFolder.below(Path(config["paths"]["runs"]))]:
        try:
            if not _is_unfinished(config, run, ended=() if run == given else ("finished",)):
                continue
        except (UsageError, OSError) as error:
            _say(f"resume=auto skips {run}: {error}")
            continue
        holder = run.owner
        if holder is None or is_alive(holder) is False:
            return run
        if is_alive(holder) is None:
            _say(
                f"resume=auto skips {run}: it belongs to {named(holder)}, and it cannot be seen from here whether that "
                f"still runs. If it does not: resume={run}."
            )
    return None


def _is_unfinished(config: Mapping[str, Any], run: RunFolder, ended: Collection[str]) -> bool:
    """Whether a folder holds a run of this config that left a checkpoint and did not end in one of these ways."""
    if not os.path.lexists(run.last_checkpoint) or run.status() in ended:
        return False
    if differences(run.read_config(), config, free=RESUMABLE):
        return False
    if not run.last_checkpoint.is_file():
        raise DamagedFile(f"{run.last_checkpoint} is not a file.")
    run.verify()
    return True


def _can_continue(config: Mapping[str, Any], run: RunFolder) -> bool:
    """Whether a folder holds a run of this config that was cut off and left a checkpoint."""
    try:
        return _is_unfinished(config, run, ended=("finished", "failed")) and bool(read_checkpoint(run.last_checkpoint))
    except (OSError, UsageError) as error:  # what cut it off has damaged it, so the job starts anew
        _say(f"{run} is not resumed: {error}")
        return False


def refuse_other_data(content: Mapping[str, Any], checkpoint: Path, hashes: Mapping[str, str]) -> None:
    """Refuse to continue with data that are not those the run was trained on so far.

    Args:
        content: of the checkpoint.
        checkpoint: its file; in a run folder, provenance.json names the data too.
        hashes: file → SHA-256 of the present data.
    """
    saved = content["snntrain"].get("data")
    if saved is None:
        try:
            saved = RunFolder.of_checkpoint(checkpoint).read(RunFolder.provenance).get("data")
        except MissingFile:
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
        print_line(console, line)


def _refuse_differences(config: Mapping[str, Any], saved: Mapping[str, Any], checkpoint: Path) -> None:
    different = without_length(differences(saved, config, free=RESUMABLE), more_epochs(saved, config))
    if different:
        remark = " (it may become larger only)" if any(item.key == "trainer.max_epochs" for item in different) else ""
        raise UsageError(
            f"resume: {checkpoint} belongs to a run with another config: {'; '.join(map(str, different))}{remark}. "
            f"Give the same overrides again{_overrides_of(checkpoint)}, or start a new run without resume."
        )


def _overrides_of(checkpoint: Path) -> str:
    """The overrides that a run was started with, for a message; '' if its folder does not hold them."""
    try:
        given = RunFolder.of_checkpoint(checkpoint).read(RunFolder.overrides)
    except (OSError, UsageError):
        return ""
    kept = [override for override in given if not override.lstrip("+").startswith(("resume=", "hydra."))]
    return f": {shlex.join(kept)}" if kept else ""
