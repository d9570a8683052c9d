"""A study in a database whose server may be restarted, or out of reach for a while, in the middle of a search."""

import functools
import importlib.util
import itertools
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
)

from snntrain.error import one_line, without_password

PATIENCE = 1800.0  # seconds that a server may be away before the search stops
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between two attempts
_TIMES_TO_MAKE = 5  # attempts at making the tables, which another worker may be making at this moment

# A connection to a machine that has vanished fails within two minutes; by default the system waits for hours.
_LIBPQ = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_LIBPQ |= {"tcp_user_timeout": 60_000}


# What SQLAlchemy raises when a connection cannot be made or breaks; the third where Optuna goes on after it broke.
_AWAY = (OperationalError, InterfaceError, PendingRollbackError)


class StorageAway(ConnectionError):
    """Raised when the server of a study has not answered for too long; the text names it and what to do."""


def open_database(url: str, *, say: Callable[[str], None], waits: bool = False) -> Any:
    """Open a database, making its tables if it has none.

    Args:
        say: prints a line when the server does not answer, and when it does again.
        waits: whether a server that does not answer now is waited for; otherwise that is an error.
    """
    if url.startswith("sqlite"):
        if url.startswith("sqlite:///") and ":memory:" not in url:
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return _made(url, {"connect_args": {"timeout": 60}})
    patience = _Patience(without_password(url), say)
    url = _with_installed_driver(url)
    settings: dict[str, Any] = {"pool_pre_ping": True}  # a connection that a restart has closed is opened again
    if sqlalchemy.make_url(url).get_driver_name() in ("psycopg", "psycopg2"):
        asked = sqlalchemy.make_url(url).query
        settings["connect_args"] = {key: value for key, value in _LIBPQ.items() if key not in asked}
    make = functools.partial(_made, url, settings)
    return PatientStorage(patience.call(make) if waits else make(), patience)


def _made(url: str, settings: dict[str, Any]) -> BaseStorage:
    for attempt in range(1, _TIMES_TO_MAKE + 1):
        try:
            return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=settings))
        except (IntegrityError, ProgrammingError, OperationalError) as error:
            if attempt == _TIMES_TO_MAKE or "already exists" not in str(error):
                raise
            time.sleep(random.uniform(0.1, 1.0))
    raise AssertionError("the loop returns or raises")


def _with_installed_driver(url: str) -> str:
    """postgresql:// means psycopg where that is installed, whatever SQLAlchemy's version would take."""
    if re.match(r"postgres(ql)?://", url) and importlib.util.find_spec("psycopg"):
        return f"postgresql+psycopg{url[url.index('://') :]}"
    return url


def missing_driver(error: BaseException) -> str:
    """Which driver an error says is missing and how to install it, '' if it says something else."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__cause__
    if cause is None:
        return ""
    if cause.name in ("psycopg", "psycopg2"):
        return "the driver of PostgreSQL is not installed: pip install -c constraints.txt -e '.[postgresql]'"
    return f"the Python module {cause.name}, through which SQLAlchemy speaks to this database, is not installed"


class _Patience:
    """Repeats calls while a server is away, for PATIENCE seconds since it last answered; then no call waits longer.

    Also after Ctrl-C while it waits no further call waits, so that the worker can end.
    """

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name, self._say = name, say
        self._until: float | None = None  # when patience ends; None while the server answers
        self.answering_since = 0.0  # time at which it answered again after it had been away

    def call(self, action: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = action(*arguments, **settings)
            except (optuna.exceptions.StorageInternalError, DBAPIError) as error:
                self._bear(error)
            else:
                if self._until is not None:
                    self._until, self.answering_since = None, time.time()
                    self._say(f"storage={self._name} answers again.")
                return answer
            try:
                time.sleep(pause)
            except BaseException:
                self._until = 0.0
                raise
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _bear(self, error: Exception) -> None:
        """Note that the server is away; raises the error if that is not why the call failed, or StorageAway."""
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        if not isinstance(cause, _AWAY) and not getattr(cause, "connection_invalidated", False):
            raise error
        said = one_line(getattr(cause, "orig", None) or cause).rstrip(".?")
        if isinstance(cause, PendingRollbackError):  # whose text tells a programmer what to do
            said = "the connection broke"
        if self._until is None:
            self._until = time.monotonic() + PATIENCE
            self._say(
                f"storage={self._name} does not answer: {without_password(said)}. "
                f"Waiting for it, up to {PATIENCE / 60:.0f} minutes; Ctrl-C ends that."
            )
        elif time.monotonic() > self._until:
            raise StorageAway(
                f"storage={self._name} does not answer: {without_password(said)}. "
                "When it does again, the same command continues the study."
            ) from error


def _patient(name: str) -> Callable[..., Any]:
    def method(self: "PatientStorage", *arguments: Any, **settings: Any) -> Any:
        return self._patience.call(getattr(self._inner, name), *arguments, **settings)

    return functools.update_wrapper(method, getattr(BaseStorage, name), assigned=("__name__", "__doc__"), updated=())


# Every public method of a storage, those that Optuna adds later too.
_AllPatient = type(
    "_AllPatient", (BaseStorage,), {name: _patient(name) for name in vars(BaseStorage) if not name.startswith("_")}
)


class PatientStorage(_AllPatient):
    """A storage on a server, with calls that outlast a restart of it.

    Args:
        inner: Optuna's storage.
        patience: repeats its calls.
    """

    def __init__(self, inner: BaseStorage, patience: _Patience) -> None:
        self._inner, self._patience = inner, patience

    @property
    def answering_since(self) -> float:
        """When the server answered again after it had been away; 0 if it never was."""
        return self._patience.answering_since

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        attempts = itertools.count()

        def tell() -> bool:
            is_first = next(attempts) == 0
            try:
                return self._inner.set_trial_state_values(trial_id, state, values)
            except optuna.exceptions.UpdateFinishedTrialError:
                if is_first or self._inner.get_trial(trial_id).state is not state:
                    raise
                return True  # the server had stored it before it went away, and could not say so

        return self._patience.call(tell)
