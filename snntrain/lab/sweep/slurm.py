"""Ask Slurm: whether it would ever start a job like those of a sweep, in which state they are, and why they wait."""

import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snntrain.error import UsageError

_SECONDS_TO_ANSWER = 60
_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}

# Reasons of squeue that do not go away while other jobs end, and what the user can do.
NEVER = {
    "PartitionConfig": "no node of the partition has what it asks for; see hydra.launcher.cpus_per_task and the like",
    "PartitionTimeLimit": "hydra.launcher.timeout_min is above the partition's time limit",
    "PartitionNodeLimit": "hydra.launcher.nodes is outside of the partition's limits",
    "BadConstraints": "no node has the features of hydra.launcher.constraint, or what else it asks for",
    "AccountNotAllowed": "the partition refuses hydra.launcher.account",
    "QOSNotAllowed": "the partition refuses hydra.launcher.qos",
    "InvalidAccount": "there is no such hydra.launcher.account",
    "InvalidQOS": "there is no such hydra.launcher.qos",
    "JobHeldUser": "it is held: scontrol release lets it start",
    "JobHeldAdmin": "an administrator holds it",
    "JobHoldMaxRequeue": "it was requeued too often: scontrol release lets it start",
}


def is_slurm(launcher: Mapping[str, Any]) -> bool:
    """Whether a section hydra.launcher is that of launch=slurm."""
    return str(launcher.get("_target_")).endswith("SlurmLauncher")


# --- at the door -----------------------------------------------------------------------------------------------------


def check_slurm(launcher: Mapping[str, Any]) -> None:
    """Refuse jobs that Slurm would never start. Nothing is submitted: sbatch only tests the script.

    Args:
        launcher: Hydra's section hydra.launcher.

    Raises: UsageError with what Slurm says, what was asked for and what the cluster offers.
    """
    missing = [program for program in ("sbatch", "srun", "squeue") if shutil.which(program) is None]
    if missing:
        raise UsageError(
            f"launch=slurm needs Slurm's programs, and {', '.join(missing)} cannot be found on PATH. Start the sweep "
            "on a machine of the cluster, or use launch=joblib."
        )
    code, said = _ask("sbatch", "--test-only", text=_script(launcher))
    if code:
        reason = "; ".join(line.removeprefix("sbatch: error: ") for line in said.splitlines())
        raise UsageError(
            f"launch=slurm: Slurm refuses such a job: {reason.rstrip('.')}. {_asked_and_offered(launcher)}"
        )
    limits = [_minutes(row["limit"]) for row in _partitions(launcher)]
    if limits and launcher["timeout_min"] > max(limits):
        raise UsageError(
            f"hydra.launcher.timeout_min={launcher['timeout_min']}: the time limit of the partition is "
            f"{max(limits):g} minutes, and Slurm would let such a job wait for ever. Give it at most that; a job that "
            "runs out of time is requeued and continues."
        )


def _script(launcher: Mapping[str, Any]) -> str:
    """The script that submitit would hand to sbatch, except for the command in it."""
    import submitit

    with tempfile.TemporaryDirectory() as folder:
        executor = submitit.AutoExecutor(cluster="slurm", folder=folder)
        basic = {"timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name"}
        others = {"_target_", "submitit_folder", "max_num_timeout", "stderr_to_stdout", "array_parallelism"}
        given = {key: value for key, value in launcher.items() if key not in others}
        executor.update_parameters(**{key if key in basic else f"slurm_{key}": value for key, value in given.items()})
        return executor._executor._make_submission_file_text("true", "test")


def _asked_and_offered(launcher: Mapping[str, Any]) -> str:
    counted = ("partition", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb", "constraint")
    asked = " ".join(f"{key}={launcher[key]}" for key in counted if launcher.get(key) is not None)
    rows = _partitions(launcher) or _partitions({})
    offered = "; ".join(
        f"partition {row['partition']}: {row['nodes']} node{'s' * (row['nodes'] != '1')} with {row['cpus']} CPUs"
        + (f" and {row['gres']}" if row["gres"] != "(null)" else "")
        for row in rows[:6]
    )
    return f"hydra.launcher asks for {asked}" + (f"; sinfo shows {offered}." if offered else ".")


def _partitions(launcher: Mapping[str, Any]) -> list[dict[str, str]]:
    """What sinfo shows of the partition that is asked for, or else of the default; [] if there is none."""
    asked = launcher.get("partition")
    chosen = [f"--partition={asked}"] if asked else []
    code, said = _ask("sinfo", "--noheader", "--format=%P|%D|%c|%G|%l", *chosen)
    names = ("partition", "nodes", "cpus", "gres", "limit")
    rows = [dict(zip(names, line.split("|"), strict=True)) for line in said.splitlines() if line.count("|") == 4]
    rows = [row for row in rows if asked or row["partition"].endswith("*") or not launcher]
    return [{**row, "partition": row["partition"].rstrip("*")} for row in rows] if code == 0 else []


def _minutes(limit: str) -> float:
    """A time of Slurm's, [days-]hours:minutes:seconds or minutes:seconds, in minutes; infinite if it is none."""
    days, _, clock = limit.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, days or "0"]):
        return math.inf
    hours, minutes, seconds = [0, 0, 0, *map(int, parts)][-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _ask(program: str, *arguments: str, text: str | None = None) -> tuple[int, str]:
    """Run one of Slurm's programs; returns its exit code, and what it printed or, if it failed, why."""
    try:
        done = subprocess.run(
            [program, *arguments], input=text, text=True, capture_output=True, timeout=_SECONDS_TO_ANSWER, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, f"{program}: {error}"
    return done.returncode, (done.stderr if done.returncode else done.stdout).strip()


# --- while the jobs wait and run -------------------------------------------------------------------------------------


@dataclass
class Queue:
    """The jobs of a sweep as Slurm's controller sees them.

    It takes the place of submitit's watcher, which asks only the accounting database: many clusters have none, and
    there a job that was canceled would be waited for without end.

    Attributes:
        states: id of a job in Slurm → its state, such as PENDING.
        reasons: id of a job → why it waits.
        trouble: why Slurm cannot be asked; "" if it can.
    """

    states: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    trouble: str = ""
    _began: float = field(default_factory=time.monotonic)
    _asked: float = -math.inf
    _missed: dict[str, int] = field(default_factory=dict)

    def register_job(self, job_id: str) -> None:
        """Called by submitit with each job, in their order; the first may be the array that holds the others."""
        self.states.setdefault(job_id, "UNKNOWN")

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Called by submitit: the state of a job."""
        elapsed = time.monotonic() - self._began
        pause = min(30.0, max(2.0, elapsed / 10))  # the longer a sweep takes, the less it matters to know at once
        if mode == "force" or (mode == "standard" and time.monotonic() - self._asked > pause):
            self.update()
        return self.states.get(job_id, "UNKNOWN")

    def get_info(self, job_id: str, mode: str = "standard") -> dict[str, str]:
        """Called by submitit: all that is known of a job."""
        return {"State": self.get_state(job_id, mode)}

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Called by submitit: whether a job has ended, in whatever way."""
        return self.get_state(job_id, mode) in _ENDED

    def of(self, index: int, count: int) -> str | None:
        """The id of one of the jobs that were submitted together; None if it is not known yet.

        Args:
            index: its place among them.
            count: how many they are.
        """
        own = [job for job in self.states if job.endswith(f"_{index}") or (count == 1 and "_" not in job)]
        return own[-1] if own else None

    def submitted(self) -> list[str]:
        """The ids by which scancel knows the jobs: one for all that were submitted together."""
        return sorted({job.partition("_")[0] for job in self.states})

    def update(self) -> None:
        """Ask squeue for all jobs that have not ended."""
        self._asked = time.monotonic()
        waited_for = [job for job, state in self.states.items() if state not in _ENDED]
        found = listed(waited_for)
        if isinstance(found, str):
            self.trouble = found
            return
        self.trouble = ""
        for job in waited_for:
            if job in found:
                self.states[job], self.reasons[job] = found[job]
                self._missed[job] = 0
            elif not self._is_array(job):
                self._missed[job] = self._missed.get(job, 0) + 1
                if self._missed[job] > 1:  # Slurm forgets a job minutes after its end
                    self.states[job] = _state_in_accounts(job)

    def _is_array(self, job: str) -> bool:
        return any(other.startswith(f"{job}_") for other in self.states)


def listed(jobs: Iterable[str]) -> dict[str, tuple[str, str]] | str:
    """State and reason of each job that squeue lists, those that have ended lately among them.

    Args:
        jobs: their ids.

    Returns: a sentence if Slurm's controller does not answer.
    """
    ids = sorted({job.partition("_")[0] for job in jobs})
    if not ids:
        return {}
    code, said = _ask("squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}", "--format=%i|%T|%r")
    if code:
        return {} if "Invalid job id" in said else said
    rows = [line.strip().split("|", 2) for line in said.splitlines() if line.count("|") >= 2]
    return {job: (state, "" if reason == "None" else reason) for job, state, reason in rows}


def _state_in_accounts(job: str) -> str:
    """How a job ended according to the accounting database; COMPLETED if there is none, since it is not queued."""
    code, said = _ask("sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={job}", "--format=State")
    state = said.split()[0] if code == 0 and said.split() else ""
    return state if state in _ENDED else "COMPLETED"


def still_queued(folder: Path) -> Sequence[str]:
    """The jobs in Slurm that an earlier command submitted for a sweep and that have not ended; [] if that is unknown.

    Args:
        folder: of the sweep.
    """
    names = [path.name for path in (folder / ".submitit").glob("*") if path.name.replace("_", "").isdigit()]
    if not names or shutil.which("squeue") is None:
        return []
    found = listed(names)
    return [] if isinstance(found, str) else [job for job in sorted(found) if found[job][0] not in _ENDED]
