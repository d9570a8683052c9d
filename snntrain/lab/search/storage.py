"""Open the storage of a study: a journal file or a database."""

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from snntrain.error import UsageError, one_line, without_password
from snntrain.files import naming
from snntrain.process import lock
from snntrain.terminal import print_error

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend
except ImportError as error:
    raise UsageError(
        "A search needs Optuna ≥ 4, which is not installed: pip install -c constraints.txt -e '.[tune]'"
    ) from error

from snntrain.lab.search.database import StorageAway, missing_driver, open_database  # isort: split

optuna.logging.set_verbosity(optuna.logging.ERROR)  # our own output has a line for each trial already
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class JournalLock:
    """A lock on a file beside the journal.

    Unlike Optuna's own locks it ends with its process, so that a killed worker blocks no other. A line that such a
    worker left half written at the end of the journal is cut off before the next worker writes there.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = lock(Path(f"{journal}.lock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        try:
            _cut_off_half_line(self._journal)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_off_half_line(journal: Path) -> None:
    with journal.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


class Journal(JournalFileBackend):
    """Optuna's journal with errors that name the file."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with naming(Path(self._file_path)):
            super().append_logs(logs)


def open_storage(where: str, *, say: Callable[[str], None] = print_error, waits: bool = False) -> Any:
    """Open Optuna's storage at a file or database URL, making it if it does not exist.

    Args:
        say: prints a line when the server of a database does not answer, and when it does again.
        waits: whether such a server is waited for now, too, not only once it has answered.

    Raises: UsageError, without the URL's password.
    """
    with _refusing(without_password(where)):
        if "://" in where:
            return open_database(where, say=say, waits=waits)
        journal = Path(where)
        journal.parent.mkdir(parents=True, exist_ok=True)
        _refuse_other_file(journal)
        return optuna.storages.JournalStorage(Journal(str(journal), lock_obj=JournalLock(journal)))


@contextlib.contextmanager
def _refusing(shown: str) -> Iterator[None]:
    try:
        yield
    except (UsageError, StorageAway):
        raise
    except Exception as error:  # SQLAlchemy, its drivers, alembic and the file system have no common class
        if missing := missing_driver(error):
            raise UsageError(f"storage={shown} cannot be used: {missing}.") from error
        said = getattr(error, "orig", None) or error  # what the driver said, without SQLAlchemy's links
        text = without_password(one_line(said)).rstrip(".?")
        raise UsageError(
            f"storage={shown} cannot be used: {type(error).__name__}: {text[:300]}. Give a file, or a URL such as "
            "sqlite:///study.db or postgresql://user@host/base whose driver is installed."
        ) from error


def _refuse_other_file(journal: Path) -> None:
    if not journal.exists():
        return
    with journal.open("rb") as file:
        line = file.readline()
    with contextlib.suppress(ValueError):
        if not line or "op_code" in json.loads(line):
            return
    if line.endswith(b"\n") or not line.startswith(b'{"'):  # otherwise it is the first line of a journal, cut off
        raise UsageError(f"storage={journal} is not the journal of a study. Name another file.")
