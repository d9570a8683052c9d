"""What a sweep folder holds: its jobs, and how each of them ended.

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
from typing import Any

from snntrain.error import DamagedFile, UsageError
from snntrain.files import damage, read_json, write_json
from snntrain.run.owner import is_alive, this_process
from snntrain.run.results import read_results

SWEEP = "sweep.json"
STATUSES = ("waiting", "running", "finished", "failed", "interrupted", "killed", "damaged")
JOB_VARIABLE = "SNNTRAIN_JOB"  # tells a job its number, whatever process it is started in

# What may differ between a job and its repetition: how and where it runs, not what is computed.
_NOT_COMPARED = ("sweep.resume", "launch", "paths.runs")


@dataclass
class Job:
    """One job of a sweep.

    Attributes:
        number: its place in the sweep, and the name of its run folder.
        overrides: its part of the command line.
        status: waiting, running, finished, failed, interrupted, killed (ended without a word), or damaged (its record
            cannot be read).
        error: what it failed of.
        seconds: how long it took.
        metrics: as in results.json.
        folder: its run folder, from the sweep folder; None before there is one.
        process: who runs it.
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
    """Equal for command lines that compute the same: order, and what only says how they run, make no difference."""
    plain = (override.lstrip("+") for override in overrides)
    return frozenset(override for override in plain if override.partition("=")[0] not in _NOT_COMPARED)


def write_sweep(folder: Path, overrides: Sequence[str], jobs: Sequence[Job], monitor: Mapping[str, Any]) -> None:
    """Write sweep.json."""
    listed = [{"number": job.number, "overrides": job.overrides} for job in jobs]
    content = {"overrides": list(overrides), "monitor": dict(monitor), "host": socket.gethostname(), "jobs": listed}
    write_json(folder / SWEEP, content)


def read_sweep(folder: Path) -> dict[str, Any]:
    """The content of sweep.json.

    Raises: FileNotFoundError; DamagedFile.
    """
    content = read_json(folder / SWEEP)
    with damage(folder / SWEEP):
        if not isinstance(content["jobs"], list) or not isinstance(content.get("monitor", {}), dict):
            raise TypeError("it is not the list of a sweep's jobs")
    return content


def read_jobs(folder: Path) -> list[Job]:
    """The jobs of a sweep with their states, from its folder alone; killed jobs and damaged records have a row too.

    Raises: FileNotFoundError or DamagedFile, if sweep.json is missing or damaged.
    """
    listed = read_sweep(folder)["jobs"]
    with damage(folder / SWEEP):
        jobs = [(int(job["number"]), [str(override) for override in job["overrides"]]) for job in listed]
    return [_read_job(folder, number, overrides) for number, overrides in jobs]


def _read_job(folder: Path, number: int, overrides: list[str]) -> Job:
    job = Job(number, overrides)
    path = record_path(folder, number)
    try:
        content = read_json(path)
        with damage(path):
            _take(job, content)
    except FileNotFoundError:
        pass
    except DamagedFile as error:
        job = Job(number, overrides, "damaged", str(error).replace(f"{folder}/", ""))
    if job.status != "running":
        return job
    latest = latest_folder(folder, str(number))
    results = {} if latest is None else read_results(latest)
    if latest is not None:
        job.folder = latest.name
    if is_alive(job.process) is False:
        job.status, job.error = "killed", "its process is gone and left no word: it was killed, or ran out of memory"
        if results.get("status") == "finished":  # killed between the run's last file and the record
            hexadecimal = results.get("hex", {})
            job.status, job.error = "finished", ""
            job.metrics = {name: float.fromhex(value) for name, value in hexadecimal.items()}
    return job


def _take(job: Job, content: dict[str, Any]) -> None:
    if content["status"] not in STATUSES:
        raise ValueError(f"its status is {content['status']!r}")
    job.status, job.error = content["status"], str(content["error"])
    job.metrics = {str(name): float(value) for name, value in content["metrics"].items()}
    job.seconds = None if content["seconds"] is None else float(content["seconds"])
    job.folder = None if content["folder"] is None else str(content["folder"])
    job.process = content["process"]


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
    """Of <name>, <name>_2, <name>_3, … the last that holds a run."""
    tries = {1: folder / name}
    if folder.is_dir():
        for path in folder.iterdir():
            if match := re.fullmatch(re.escape(name) + r"_(\d+)", path.name):
                tries[int(match[1])] = path
    runs = [path for _, path in sorted(tries.items()) if (path / "config.yaml").is_file()]
    return runs[-1] if runs else None


def newest_sweep(root: Path, overrides: Sequence[str]) -> Path | None:
    """The newest sweep folder under a root that was started with these overrides."""
    wanted = same(overrides)
    for file in sorted(root.glob(f"**/{SWEEP}"), key=lambda file: -file.stat().st_mtime):
        try:
            if same(map(str, read_sweep(file.parent)["overrides"])) == wanted:
                return file.parent
        except (OSError, UsageError, KeyError, TypeError):
            continue  # damaged: not one to go on with
    return None


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no NaN
