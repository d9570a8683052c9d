"""A folder that belongs to one process at a time, and shows whether that process still runs or was killed."""

import contextlib
import errno
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from snntrain.error import UsageError
from snntrain.files import naming, read_json, write_json
from snntrain.process import is_alive, is_this_process, this_process

OWNER_NOTE = ".owner.json"
_SECONDS_TO_WRITE = 10  # after which a note that cannot be read was not just being written


@dataclass(frozen=True)
class OwnedFolder:
    """A folder in which one process works at a time.

    Its owner leaves a note there, which stays behind when the owner is killed.

    Args:
        path: of the folder, which need not exist.
    """

    path: Path

    USED_ONCE_IT_HOLDS: ClassVar[str]
    """The file whose presence says that something was made in the folder already."""

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def owner_note(self) -> Path:
        """The file that says which process works in the folder."""
        return self.path / OWNER_NOTE

    @property
    def owner(self) -> dict[str, Any] | None:
        """The process that works in the folder, or did when it was killed, as snntrain.process identifies it.

        {} if its note cannot be read, None if there is no note.
        """
        try:
            content = read_json(self.owner_note)
        except FileNotFoundError:
            return None
        except (OSError, UsageError):
            return {}
        is_one = isinstance(content.get("host"), str) and type(content.get("pid")) is int and content["pid"] > 0
        return content if is_one else {}

    def claim(self) -> bool:
        """Take the folder for this process, making it if it is missing; safe against others who try it at once.

        Returns: False if the folder is in use, or another process owns it that may be alive.
        """
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                _create(self.owner_note, json.dumps(this_process()))
            except FileExistsError:
                if is_alive(self.owner) is not False and not self._has_unreadable_note():
                    return False
                self.owner_note.unlink(missing_ok=True)  # left by a process that was killed
                continue
            except FileNotFoundError:  # another run was refused just now, and removed its empty folder: this one
                continue
            if (self.path / self.USED_ONCE_IT_HOLDS).exists():
                self.release()
                return False
            return True

    def claim_fresh(self) -> Self:
        """Take the folder or, if it is taken, the next of <folder>_2, <folder>_3, …; returns the one taken."""
        number, candidate = 1, self
        while not candidate.claim():
            number += 1
            candidate = type(self)(self.path.with_name(f"{self.path.name}_{number}"))
        return candidate

    def take_over(self, *, is_named: bool) -> dict[str, Any] | None:
        """Take a folder that another process left behind, in order to continue what is in it.

        Args:
            is_named: whether the user named the folder. Otherwise an owner on another machine or in another container
                keeps it, since it may be alive.

        Returns: None if the folder was taken; else the owner that keeps it.
        """
        holder = self.owner
        if holder is not None and not is_this_process(holder):
            alive = is_alive(holder)
            if alive or (alive is None and not is_named):
                return holder
        write_json(self.owner_note, this_process())
        return None

    def release(self) -> None:
        """Give the folder up; one that another process owns is left alone."""
        if is_this_process(self.owner):
            self.owner_note.unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        """Remove the empty folder of a run or sweep that was refused, and the two above it (date, all runs)."""
        for directory in (self.path, self.path.parent, self.path.parent.parent):
            try:
                directory.rmdir()
            except OSError:
                return

    def _has_unreadable_note(self) -> bool:
        """Whether the note cannot be read though there was time to write it: a full disk or damage left it."""
        try:
            return self.owner == {} and time.time() - self.owner_note.stat().st_mtime > _SECONDS_TO_WRITE
        except OSError:
            return False


def _create(path: Path, text: str) -> None:
    """Make a file together with its content, so that no other process ever sees it empty.

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
            with path.open("x", encoding="utf-8") as file:  # a file system without hard links
                file.write(text)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
