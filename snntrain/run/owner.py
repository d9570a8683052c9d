"""Which process works in a folder, so that no two ever share one and a killed run is told from a running one."""

import contextlib
import errno
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from snntrain.files import naming, write_json

OWNER = ".owner.json"  # there while a process works in the folder, and after it was killed
_SECONDS_TO_WRITE = 10  # after which a note that cannot be read never will be


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
    """Who took a folder: {"pid", "host", "started"}; {} where that cannot be told, None if nobody did."""
    try:
        content = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    is_one = isinstance(content, dict) and isinstance(content.get("host"), str)
    return content if is_one and isinstance(content.get("pid"), int) and content["pid"] > 0 else {}


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
