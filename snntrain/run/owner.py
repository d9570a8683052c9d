"""Which process works in a folder, so that no two ever share one and a killed run is told from a running one."""

import contextlib
import datetime
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snntrain.error import UsageError
from snntrain.files import naming, read_json, write_json

OWNER = ".owner.json"  # there while a process works in the folder, and after it was killed
_SECONDS_TO_WRITE = 10  # after which a note that cannot be read never will be

# What identifies a process. The number alone does not: it is given again, and means another process in each container.
_IDENTITY = ("pid", "host", "boot", "namespace", "started")


def claim(folder: Path, holds: str) -> bool:
    """Take a folder for this process, whole or not at all, also when another process tries the same right now.

    Args:
        folder: made if it is missing.
        holds: a file that says the folder is used, e.g. config.yaml.

    Returns: False if the folder is used or another process has taken it and may be alive.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _create(folder / OWNER, json.dumps(this_process()))
        except FileExistsError:
            if is_alive(owner(folder)) is not False and not _is_rubbish(folder):
                return False
            (folder / OWNER).unlink(missing_ok=True)  # left by a process that was killed
            continue
        except FileNotFoundError:  # a refused run has just removed its empty folder, which was the same one
            continue
        if (folder / holds).exists():
            release(folder)
            return False
        return True


def _create(path: Path, text: str) -> None:
    """Make a file with its content, unless it is there: nobody ever sees it empty, whatever kills this process.

    Raises: FileExistsError; FileNotFoundError if the folder is gone; OSError naming the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with naming(path, temporary):
        try:
            temporary.write_text(text, encoding="utf-8")
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            with path.open("x", encoding="utf-8") as file:  # a file system without links
                file.write(text)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is_rubbish(folder: Path) -> bool:
    """Whether the note says nothing, and has had the time to be written: a full disk, damage."""
    try:
        return owner(folder) == {} and time.time() - (folder / OWNER).stat().st_mtime > _SECONDS_TO_WRITE
    except OSError:
        return False


def claim_fresh(folder: Path, holds: str) -> Path:
    """Take a folder or, while it is taken, the next of <folder>_2, <folder>_3, …; returns the one taken."""
    number, candidate = 1, folder
    while not claim(candidate, holds):
        number += 1
        candidate = folder.with_name(f"{folder.name}_{number}")
    return candidate


def take_over(folder: Path, *, is_named: bool) -> dict[str, Any] | None:
    """Go on in a folder that another process left; returns the owner that keeps it, and takes nothing, if there is one.

    Args:
        folder: with a run or a sweep in it.
        is_named: whether the user named the folder. An owner of another machine or container, of which nobody can tell
            from here whether it lives, keeps the folder unless the user did.
    """
    holder = owner(folder)
    if holder is not None and not is_this_process(holder):
        alive = is_alive(holder)
        if alive or (alive is None and not is_named):
            return holder
    write_json(folder / OWNER, this_process())
    return None


def release(folder: Path) -> None:
    """Give up a folder; one that another process holds is left alone."""
    if is_this_process(owner(folder)):
        (folder / OWNER).unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove the folder of a run or a sweep that was refused, and the two above it (date, all runs) if they are empty.

    A folder that holds something stays, as do those above it.
    """
    for directory in (folder, folder.parent, folder.parent.parent):
        try:
            directory.rmdir()
        except OSError:
            return


def owner(folder: Path) -> dict[str, Any] | None:
    """Who took a folder, as this_process says it; {} where that cannot be told, None if nobody did."""
    try:
        content = read_json(folder / OWNER)
    except FileNotFoundError:
        return None
    except (OSError, UsageError):
        return {}
    is_one = isinstance(content.get("host"), str) and type(content.get("pid")) is int and content["pid"] > 0
    return content if is_one else {}


def this_process() -> dict[str, Any]:
    """What identifies this process, and since when it is there.

    Of a job of Slurm, also which job it is and how often that was started: once it is started again, it is gone.
    """
    found: dict[str, Any] = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _boot(),
        "namespace": _namespace(),
        "started": _started(os.getpid()),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    if "SLURM_JOB_ID" in os.environ:
        found["job"] = os.environ["SLURM_JOB_ID"]
        found["restarts"] = os.environ.get("SLURM_RESTART_COUNT", "0")
    return found


def is_this_process(process: Any) -> bool:
    """Whether a description is that of this process."""
    here = this_process()
    return isinstance(process, Mapping) and all(process.get(key) == here[key] for key in _IDENTITY)


def named(process: Mapping[str, Any] | None) -> str:
    """A process in words."""
    if not process or "pid" not in process:
        return "a process that left no name"
    since = f" since {process['since']}" if process.get("since") else ""
    return f"process {process['pid']} on {process.get('host')}{since}"


def is_alive(process: Any) -> bool | None:
    """Whether a process still runs; None if that cannot be known from here, or for no process.

    Another machine, another start of this one, or another container: from here nobody can tell.
    """
    if not isinstance(process, Mapping):
        return None
    here = this_process()
    if process.get("job") is not None and process.get("job") == here.get("job"):
        earlier, now = (str(one.get("restarts")) for one in (process, here))
        if earlier.isdecimal() and now.isdecimal() and int(earlier) < int(now):
            return False
    if any(process.get(key) != here[key] for key in ("host", "boot", "namespace")):
        return None
    pid = process.get("pid")
    if type(pid) is not int or pid <= 0:
        return None
    with contextlib.suppress(PermissionError):  # somebody else's process: it is there
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return _started(pid) == process.get("started")  # the same number may be another process by now


def _boot() -> str | None:
    """Which start of which machine this is; None where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _namespace() -> int | None:
    """In which space process numbers are meant: a container has its own; None where there is only one."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return -1 if fields[0] in "ZX" else int(fields[19])
