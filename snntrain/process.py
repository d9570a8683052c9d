"""Processes: which one this is, whether another one still runs, and locks that end with the process that holds them."""

import datetime
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
import psutil

# A PID alone identifies nothing: it is given to a new process later, and means another process in each container.
_IDENTITY = ("pid", "host", "boot", "namespace", "started")

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100  # of the system's clock in a second


def this_process() -> dict[str, Any]:
    """What identifies this process, as plain values that a file can hold.

    For a job of Slurm this includes the job's number and how often Slurm has restarted it: when a job is restarted, its
    earlier process is gone, on whatever node that ran.
    """
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return {"pid": os.getpid(), "started": _started(os.getpid()), "since": since, **_place(), **_slurm_job()}


def is_this_process(process: Any) -> bool:
    """Whether a saved identity is that of this process."""
    here = this_process()
    return isinstance(process, Mapping) and all(process.get(key) == here[key] for key in _IDENTITY)


def is_alive(process: Any) -> bool | None:
    """Whether the process with a saved identity still runs.

    Returns: None where this cannot be known: the process is on another host, was started before this machine booted, or
    runs in another container; or the identity is damaged, or from a program that saved less of it. A zombie is dead.
    """
    if not isinstance(process, Mapping):
        return None
    if _was_restarted(process):
        return False
    if any(process.get(key) != value for key, value in _place().items()):
        return None
    pid = process.get("pid")
    if type(pid) is not int or pid <= 0:
        return None
    try:
        started = _started(pid)
    except psutil.AccessDenied:
        return None
    if started is None or process.get("started") is None:
        return False if started is None else None
    return started == process["started"]


def named(process: Mapping[str, Any] | None) -> str:
    """A process in words, for messages."""
    if not process or "pid" not in process:
        return "a process that left no name"
    since = f" since {process['since']}" if process.get("since") else ""
    return f"process {process['pid']} on {process.get('host')}{since}"


def lock(path: Path, seconds: float = -1) -> filelock.BaseFileLock:
    """A lock on a file that the system takes back when its process ends, also when that is killed.

    Args:
        path: of the lock file, which is made if it is missing.
        seconds: to wait for another holder before TimeoutError is raised; 0: not at all; -1: without end.
    """
    return filelock.FileLock(path, timeout=seconds)


def _place() -> dict[str, Any]:
    """In which PID namespace of which boot of which machine this process runs: there its PID has a meaning."""
    return {"host": socket.gethostname(), "boot": _boot(), "namespace": _namespace()}


def _slurm_job() -> dict[str, str]:
    if "SLURM_JOB_ID" not in os.environ:
        return {}
    return {"job": os.environ["SLURM_JOB_ID"], "restarts": os.environ.get("SLURM_RESTART_COUNT", "0")}


def _was_restarted(process: Mapping[str, Any]) -> bool:
    """Whether a process belongs to an earlier start of the Slurm job that this process belongs to."""
    here = _slurm_job()
    if process.get("job") is None or process.get("job") != here.get("job"):
        return False
    earlier, now = (str(one.get("restarts")) for one in (process, here))
    return earlier.isdecimal() and now.isdecimal() and int(earlier) < int(now)


def _boot() -> str | None:
    """Which boot of which machine this is; None where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _namespace() -> int | None:
    """The PID namespace of this process: each container has its own. None where the system has no namespaces."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """When a process was started, in clock ticks since the machine booted; None if it is gone or a zombie.

    psutil's creation time moves when the clock is set; the difference to the boot time, which moves with it, does not.
    """
    try:
        while True:
            booted = psutil.boot_time()
            process = psutil.Process(pid)
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return None
            created = process.create_time()
            if psutil.boot_time() == booted:  # else the clock was set between the two
                return round((created - booted) * _TICKS)
    except (psutil.NoSuchProcess, OverflowError):
        return None
