"""Which process works in a folder, so that no two ever share one and a killed run is told from a running one."""

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from snntrain.error import DamagedFile
from snntrain.files import read_json, write_json

OWNER = ".owner.json"  # there while a process works in the folder, and after it was killed


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
            descriptor = os.open(folder / OWNER, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            if is_alive(owner(folder)) is not False:
                return False
            (folder / OWNER).unlink(missing_ok=True)  # left by a process that was killed
            continue
        except FileNotFoundError:  # a refused run has just removed its empty folder, which was the same one
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(this_process(), file)
        if (folder / holds).exists():
            release(folder)
            return False
        return True


def claim_fresh(folder: Path, holds: str) -> Path:
    """Take a folder or, while it is taken, the next of <folder>_2, <folder>_3, …; returns the one taken."""
    number, candidate = 1, folder
    while not claim(candidate, holds):
        number += 1
        candidate = folder.with_name(f"{folder.name}_{number}")
    return candidate


def take_over(folder: Path) -> dict[str, Any] | None:
    """Go on in a folder that another process left; returns its living owner, and takes nothing, if there is one.

    An owner on another machine counts as gone: a cluster starts a job again wherever there is room.
    """
    holder = owner(folder)
    if holder is not None and is_alive(holder) and holder != this_process():
        return holder
    write_json(folder / OWNER, this_process())
    return None


def release(folder: Path) -> None:
    """Give up a folder; one that another process holds is left alone."""
    if owner(folder) == this_process():
        (folder / OWNER).unlink(missing_ok=True)


def owner(folder: Path) -> dict[str, Any] | None:
    """Who took a folder: {"pid", "host", "started"}; {} where that cannot be read, None if nobody did."""
    try:
        return read_json(folder / OWNER)
    except FileNotFoundError:
        return None
    except DamagedFile:  # being written at this very moment
        return {}


def this_process() -> dict[str, Any]:
    """What identifies this process on this machine."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}


def is_alive(process: Any) -> bool | None:
    """Whether a process still runs; None if that cannot be known from here, None for nobody's."""
    if not isinstance(process, dict) or process.get("host") != socket.gethostname():
        return None
    pid = process.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return None
    with contextlib.suppress(PermissionError):  # somebody else's process: it is there
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return _started(pid) == process.get("started")  # the same number may be another process by now


def _started(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return -1 if fields[0] in "ZX" else int(fields[19])
