"""The records of a sweep folder: its jobs, and how each of them ended.

sweep.json      the command's overrides and the list of jobs, written before the first one starts
jobs/<n>.json   one job: "running" with its process from its start on, its outcome when it ends
<n>/            the job's run folder; <n>_2, … where a failed job was run again
"""

import math
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from snntrain.error import UsageError
from snntrain.files import damage, newest_first, read_json, write_json
from snntrain.process import is_alive, this_process
from snntrain.run.folder import RunFolder
from snntrain.run.ownership import OwnedFolder
from snntrain.run.results import exact_metrics
from snntrain.terminal import print_line, terminal

SWEEP = "sweep.json"
STATUSES = ("waiting", "running", "finished", "failed", "interrupted", "killed", "damaged")
JOB_VARIABLE = "SNNTRAIN_JOB"  # holds the number of a job, in whichever process it runs

console = terminal()

# What may differ when a job is repeated: how and where it runs, but not what it computes.
_NOT_COMPARED = ("sweep.resume", "launch", "paths.runs")


class SweepFolder(OwnedFolder):
    """The folder of a sweep, which one process runs at a time."""

    USED_ONCE_IT_HOLDS: ClassVar[str] = SWEEP


@dataclass
class Job:
    """One job of a sweep.

    Attributes:
        number: its place in the sweep, and the name of its run folder.
        overrides: its part of the command line.
        status: waiting, running, finished, failed, interrupted, killed (it left no outcome), or damaged (its record
            cannot be read).
        error: why it failed.
        seconds: how long it took.
        metrics: as in results.json.
        folder: its run folder, from the sweep folder; None before there is one.
        process: that runs it.
    """

    number: int
    overrides: list[str]
    status: str = "waiting"
    error: str = ""
    seconds: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    folder: str | None = None
    process: dict[str, Any] | None = None

    @property
    def key(self) -> frozenset[str]:
        """Equal for jobs that compute the same."""
        return same(self.overrides)


def same(overrides: Sequence[str]) -> frozenset[str]:
    """Equal for command lines that compute the same: neither their order matters nor how and where they run."""
    plain = (override.lstrip("+") for override in overrides)
    return frozenset(override for override in plain if override.partition("=")[0] not in _NOT_COMPARED)


def write_sweep(folder: Path, overrides: Sequence[str], jobs: Sequence[Job], monitor: Mapping[str, Any]) -> None:
    """Write sweep.json."""
    listed = [{"number": job.number, "overrides": job.overrides} for job in jobs]
    content = {"overrides": list(overrides), "monitor": dict(monitor), "host": socket.gethostname(), "jobs": listed}
    write_json(folder / SWEEP, content)


def read_sweep(folder: Path) -> dict[str, Any]:
    """The content of sweep.json. Raises: FileNotFoundError if it is missing; DamagedFile naming it."""
    path = folder / SWEEP
    content = read_json(path)
    with damage(path):
        texts = [content["overrides"], *(job["overrides"] for job in content["jobs"])]
        if not all(isinstance(overrides, list) and all(isinstance(o, str) for o in overrides) for overrides in texts):
            raise TypeError("overrides are lists of texts")
        if not all(type(job["number"]) is int and job["number"] >= 0 for job in content["jobs"]):
            raise TypeError("the numbers of jobs are whole numbers ≥ 0")
        if not isinstance(content.get("monitor", {}), dict):
            raise TypeError("it does not say which metric is monitored")
    return content


def read_jobs(folder: Path) -> list[Job]:
    """The jobs of a sweep with their states, from its folder alone; killed jobs and damaged records have a row too."""
    return [_read_job(folder, job["number"], job["overrides"]) for job in read_sweep(folder)["jobs"]]


def _read_job(folder: Path, number: int, overrides: list[str]) -> Job:
    job = Job(number, overrides)
    path = record_path(folder, number)
    try:
        content = read_json(path)
        with damage(path):
            _fill(job, content)
    except FileNotFoundError:
        pass
    except UsageError as error:
        job = Job(number, overrides, "damaged", str(error).replace(f"{folder}/", ""))
    if job.status != "running":
        return job
    latest = latest_folder(folder, str(number))
    try:
        results = {} if latest is None else RunFolder(latest).outcome()
    except UsageError as error:
        results, job.error = {}, str(error)
    if latest is not None:
        job.folder = latest.name
    if is_alive(job.process) is False:
        killed = "its process is gone and left no outcome: it was killed, or ran out of memory"
        job.status, job.error = "killed", f"{killed}; {job.error}" if job.error else killed
        if results.get("status") == "finished":  # killed between the run's last file and the record
            job.status, job.error, job.metrics = "finished", "", exact_metrics(results)
    return job


def _fill(job: Job, content: dict[str, Any]) -> None:
    """Fill in what a record says."""
    status, error = content["status"], content["error"]
    metrics = {str(name): float(value) for name, value in content["metrics"].items()}
    seconds, folder, process = content["seconds"], content["folder"], content["process"]
    kinds = ((status, str), (error, str), (seconds, int | float | None), (folder, str | None), (process, dict | None))
    for value, kind in kinds:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} is not what a job's record holds there")
    if status not in STATUSES:
        raise ValueError(f"{status!r} is no state of a job")
    if folder is not None and (Path(folder).is_absolute() or ".." in Path(folder).parts):
        raise ValueError(f"{folder} lies outside of the sweep's folder")
    job.status, job.error, job.metrics = status, error, metrics
    job.seconds, job.folder, job.process = seconds, folder, process


def write_job(folder: Path, job: Job) -> None:
    """Write a job's record, whole or not at all."""
    content = asdict(job) | {"metrics": {name: _plain(value) for name, value in job.metrics.items()}}
    write_json(record_path(folder, job.number), content)


def begin(folder: Path, number: int, overrides: Sequence[str]) -> tuple[Job, float]:
    """Record that this process runs a job now; returns the job and the time for `seconds`."""
    job = Job(number, list(overrides), status="running", process=this_process())
    write_job(folder, job)
    return job, time.perf_counter()


def record_path(folder: Path, number: int) -> Path:
    """The file of a job's record."""
    return folder / "jobs" / f"{number}.json"


def latest_folder(folder: Path, name: str) -> Path | None:
    """The last of <name>, <name>_2, <name>_3, … that holds a run."""
    tries = {1: folder / name}
    if folder.is_dir():
        for path in folder.iterdir():
            if match := re.fullmatch(re.escape(name) + r"_(\d+)", path.name):
                tries[int(match[1])] = path
    runs = [path for _, path in sorted(tries.items()) if RunFolder(path).config.is_file()]
    return runs[-1] if runs else None


def newest_sweep(root: Path, overrides: Sequence[str]) -> Path | None:
    """The newest sweep folder under a root that was started with these overrides."""
    expected = same(overrides)
    for file in newest_first(root.glob(f"**/{SWEEP}")):
        try:
            if same(read_sweep(file.parent)["overrides"]) == expected:
                return file.parent
        except (OSError, UsageError) as error:
            print_line(console, f"sweep.resume=true skips {file.parent}: {error}")
    return None


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no NaN
