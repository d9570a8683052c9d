"""Run folders and sweep folders as rows of a table, whatever state they are in."""

import contextlib
import datetime
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snntrain.error import DamagedFile
from snntrain.files import checksums, damage
from snntrain.process import is_alive
from snntrain.run.folder import RunFolder
from snntrain.run.results import MONITOR, exact_metrics, monitor_of
from snntrain.sweep.jobs import SWEEP, Job, read_jobs, read_sweep

# Keys of the config that say where a run lies, not what it computes.
_PLACES = ("paths.run", "paths.runs", "sweep.resume", "resume")
_OUTCOMES = ("finished", "failed", "interrupted", "pruned")


@dataclass
class Row:
    """One run, or one job of a sweep that may never have got a run folder.

    Attributes:
        name: the job's number, or the folder's path as the user would write it.
        folder: the run folder; None if there is none.
        status: finished, failed, interrupted, pruned, killed, running, waiting, unfinished (killed or running
            elsewhere), damaged (files that cannot be read), foreign (not a folder of ours).
        overrides: key → value of its command line.
        error: one line on what went wrong.
        seconds: of the whole job or of its parts, as far as they are known.
        metrics: name → value.
        config: dotted key → value as text; {} where there is none.
        when: it last wrote something, ISO; '' if it never did.
        verified: whether its files were compared with checksums.json; False for a run from before there was one.
        monitor: the metric that chose its best epoch, and whether the largest ("max") or the smallest ("min") is best:
            runs are compared by it, too.
    """

    name: str
    folder: Path | None
    status: str
    overrides: dict[str, str] = field(default_factory=dict)
    error: str = ""
    seconds: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    when: str = ""
    verified: bool = True
    monitor: tuple[str, str] = MONITOR


def sweep_rows(folder: Path) -> list[Row]:
    """A row for each job of a sweep.

    Raises: FileNotFoundError or DamagedFile, if sweep.json is missing or damaged.
    """
    chosen = monitor_of(read_sweep(folder))
    return [_job_row(folder, job, chosen) for job in read_jobs(folder)]


def _job_row(folder: Path, job: Job, monitor: tuple[str, str]) -> Row:
    row = Row(str(job.number), None, job.status, split_overrides(job.overrides), first_line(job.error))
    row.metrics, row.seconds, row.monitor = job.metrics, job.seconds, monitor
    path = folder / (job.folder or str(job.number))
    if _is_dir(path):
        run = run_row(path, row.name)
        row.folder, row.config, row.when, row.verified = path, run.config, run.when, run.verified
        if run.config:
            row.monitor = run.monitor
        if run.status == "damaged":
            row.status, row.error = run.status, "; ".join(filter(None, (row.error, run.error)))
        if not row.metrics:  # what a job that did not finish had reached
            row.metrics, row.seconds = run.metrics, row.seconds or run.seconds
    return row


def find_rows(roots: Sequence[Path]) -> list[Row]:
    """A row for every run below some folders, jobs of sweeps included, other people's folders as well.

    Folders that hold nothing but further folders get no row of their own.
    """
    return [row for root in roots for row in _walk(root, set())]


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Row]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
            return
        seen.add((status.st_dev, status.st_ino))
        entries = sorted(folder.iterdir(), key=lambda path: _natural(path.name))
    except OSError as error:
        yield Row(str(folder), folder, "damaged", error=f"it cannot be opened: {error.strerror or error}")
        return
    names = {entry.name for entry in entries}
    if SWEEP in names:
        try:
            rows = sweep_rows(folder)
            names.discard("jobs")
        except (OSError, DamagedFile) as error:  # its folders still are runs
            rows = [Row(str(folder), folder, "damaged", error=_shortened(error, folder), when=_when(folder))]
        for row in rows:
            if row.folder is None or row.folder != folder:
                row.name = str(folder / (row.folder.name if row.folder else row.name))
                names.discard(Path(row.name).name)
            yield row
    elif RunFolder.is_one(names) or not names:
        yield run_row(folder, str(folder))
        return
    found = 0
    for entry in entries:
        if entry.name in names and not entry.name.startswith(".") and _is_dir(entry):
            for row in _walk(entry, seen):
                found += 1
                yield row
    is_sweep_or_root = SWEEP in names or any(_is_dir(entry) for entry in entries)
    if not found and not is_sweep_or_root:
        yield Row(str(folder), folder, "foreign", error="none of its files is a run's", when=_when(folder))


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def run_row(folder: Path, name: str) -> Row:
    """The row of one run folder, from what can be read of it."""
    run, row = RunFolder(folder), Row(name, folder, "unfinished", when=_when(folder))
    damaged: list[str] = []
    config = None
    with _noting(damaged, folder):
        config = run.read(RunFolder.config)
        with damage(run.config):
            row.config = _without_places(flatten(config))
            row.monitor = monitor_of(config)
    with _noting(damaged, folder):
        row.overrides = split_overrides(run.read(RunFolder.overrides))
    with _noting(damaged, folder):
        _take_results(row, run.read(RunFolder.results))
    alive = is_alive(run.owner)
    if row.status not in _OUTCOMES:
        row.status = "unfinished" if alive is None else "running" if alive else "killed"
    elif alive:  # resumed just now, or at its last stage
        row.status = "running"
    if config is not None and not {"model", "seed"} <= config.keys():
        row.status, row.error = "foreign", "its config.yaml is not one of a run"
    elif damaged:
        row.status, row.error = "damaged", "; ".join(damaged)
    elif config is None and row.status in _OUTCOMES:
        row.status, row.error = "damaged", "config.yaml is missing"
    elif not alive:  # else files are written at this moment
        try:
            row.verified = checksums.verify(folder)
        except DamagedFile as error:
            row.status, row.error = "damaged", _shortened(error, folder)
    return row


@contextlib.contextmanager
def _noting(damaged: list[str], folder: Path) -> Iterator[None]:
    """Note what is wrong with a file that the block reads; a missing one is no damage."""
    try:
        yield
    except FileNotFoundError:
        pass
    except (DamagedFile, OSError) as error:
        damaged.append(_shortened(error, folder))


def _shortened(error: Exception, folder: Path) -> str:
    return first_line(" ".join(str(error).split()).replace(f"{folder}/", ""))


def _take_results(row: Row, results: Mapping[str, Any]) -> None:
    row.status = results.get("status", "unfinished")
    row.error = first_line(str(results.get("message") or ""))
    row.metrics = exact_metrics(results)
    row.seconds = math.fsum(results["seconds"].values()) if results["seconds"] else None


def shared_monitor(rows: Sequence[Row]) -> tuple[str, str] | None:
    """The metric and direction by which runs can be compared; None if they were chosen by different ones."""
    chosen = {row.monitor for row in rows}
    return chosen.pop() if len(chosen) == 1 else None


def _without_places(config: dict[str, str]) -> dict[str, str]:
    """A flat config without what only says where the run lies: its folder's path is cut from longer ones."""
    place = config.get("paths.run", "")
    return {
        key: value.replace(place, "…") if len(place) > 1 else value
        for key, value in config.items()
        if key not in _PLACES
    }


def _when(folder: Path) -> str:
    """Time of the newest of a run's own files, or of the folder."""
    times, run = [], RunFolder(folder)
    for path in (folder, run.results, run.metrics, run.config):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return "" if not times else datetime.datetime.fromtimestamp(max(times[1:] or times)).isoformat(" ", "seconds")


def split_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """key → value; what is not key=value is its own key. Hydra's `$\\{` for a `${` inside a sweep is undone."""
    pairs = (override.lstrip("+").replace("\\{", "{").replace("\\}", "}").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}


def flatten(tree: Any, path: str = "") -> dict[str, str]:
    """Dotted key → value as text, of a tree of mappings; a list is one value."""
    if isinstance(tree, Mapping):
        found: dict[str, str] = {}
        for key, value in tree.items():
            found |= flatten(value, f"{path}.{key}" if path else str(key))
        return found or ({path: "{}"} if path else {})
    return {path: tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False, default=str)}


def note_of_unverified(rows: Sequence[Row]) -> str:
    """A line on runs whose files could not be verified, "" if there are none."""
    names = [row.name for row in rows if not row.verified]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}: {checksums.UNVERIFIED}" if names else ""


def first_line(text: str) -> str:
    """The first line that says something, shortened."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= 400 else line[:399] + "…"


def _natural(name: str) -> tuple[Any, ...]:
    """Sorts 2 before 10."""
    parts = re.split(r"([0-9]{1,18})", name)
    return tuple((place % 2 == 0, int(part) if place % 2 else 0, part) for place, part in enumerate(parts))
