"""Places in a study: exactly n trials finish, whoever asks at the same time and whoever dies."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from snntrain.search.study import FINISHED, SURPLUS

BEAT = 20.0  # seconds between two signs of life
SILENCE = 180.0  # seconds without one after which a worker on another machine is taken for dead


def identity() -> dict[str, str | int]:
    """Machine, process and the process's start, by which others see whether this worker lives."""
    return {"machine": _machine(), "pid": os.getpid(), "started": _start_of(os.getpid()) or ""}


def _machine() -> str:
    """The host, and on Linux the space in which its process numbers are meant: a container has its own."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _start_of(pid: int) -> str | None:
    """When a process started, in the system's own count; None if there is no such process or no such count."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else fields[18]  # a zombie is dead


def is_alive(trial: FrozenTrial, now: float) -> bool:
    """Whether the worker of a running trial lives: asked of the system here, by its signs of life elsewhere."""
    worker = trial.user_attrs.get("worker")
    if worker is None:  # it has just asked for the trial, or died at that moment
        began = trial.datetime_start
        return began is None or now - began.timestamp() < SILENCE
    if worker["machine"] != _machine():
        return now - float(trial.user_attrs.get("beat", 0.0)) < SILENCE
    if Path("/proc/self/stat").exists():
        return _start_of(worker["pid"]) == worker["started"]
    try:
        os.kill(worker["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def orphaned_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Running trials whose worker is dead: each holds a place until the study is told what became of it."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if not is_alive(trial, time.time())]


def claim(study: optuna.Study, n_trials: int) -> optuna.Trial | None:
    """A trial to run, None if all places are taken now.

    A place is taken by a trial that is finished or running. Numbers are given by the storage, each once, in order. A
    trial may run if fewer than n_trials trials with lower numbers hold places: of trials asked for at the same time the
    lower ones win, no lock is needed, and at no moment more than n_trials are finished or allowed to finish.
    """
    if _places_taken(study, None) >= n_trials:
        return None
    trial = study.ask()
    may_run = False
    try:
        trial.set_user_attr("worker", identity())
        trial.set_user_attr("beat", time.time())
        may_run = _places_taken(study, trial.number) < n_trials
    finally:  # an interruption may come here too
        if not may_run:
            trial.set_user_attr("status", SURPLUS)
            study.tell(trial, state=TrialState.FAIL)
    return trial if may_run else None


def _places_taken(study: optuna.Study, below: int | None) -> int:
    holders = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))
    return sum(below is None or trial.number < below for trial in holders)


@contextlib.contextmanager
def beating(trial: optuna.Trial) -> Iterator[None]:
    """Give signs of life for a trial inside the block."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            try:
                trial.set_user_attr("beat", time.time())
            except Exception:  # the storage is out of reach for now, or another worker took this one for dead
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
