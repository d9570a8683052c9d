"""Let exactly n trials of a study finish, no matter how many workers compete or crash."""

import contextlib
import threading
import time
from collections.abc import Iterator

import optuna
from optuna.trial import FrozenTrial, TrialState

from snntrain import process
from snntrain.lab.search.study import FINISHED, SURPLUS

BEAT = 20.0  # seconds between two signs of life
SILENCE = 180.0  # seconds without one after which a worker on another machine counts as dead


def is_alive(trial: FrozenTrial, now: float, answering_since: float = 0.0) -> bool:
    """Whether the worker of a running trial is alive: as far as that can be known from here, else by its signs of life.

    A worker that has not said yet who it is has just asked for the trial, or died at that moment. While the server of
    the database was away, until `answering_since`, no worker could give a sign of life.
    """
    worker = trial.user_attrs.get("worker")
    alive = process.is_alive(worker)
    if alive is not None:
        return alive
    began = trial.datetime_start.timestamp() if trial.datetime_start else now
    return now - max(float(trial.user_attrs.get("beat", began)), answering_since) < SILENCE


def orphaned_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Running trials whose worker is dead; each holds a place until its outcome is recorded."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    answering_since = getattr(study._storage, "answering_since", 0.0)
    return [trial for trial in running if not is_alive(trial, time.time(), answering_since)]


def claim(study: optuna.Study, n_trials: int) -> optuna.Trial | None:
    """Start a trial; None if all places are taken now.

    A place is taken by a trial that is finished or running. The storage numbers trials in order, using each number
    once. A trial may run if fewer than n_trials trials with lower numbers hold places. So of trials that start at the
    same time the lower numbers win, no lock is needed, and never are more than n_trials finished or allowed to finish.
    """
    if _places_taken(study, None) >= n_trials:
        return None
    trial = study.ask()
    may_run = False
    try:
        trial.set_user_attr("worker", process.this_process())
        trial.set_user_attr("beat", time.time())
        may_run = _places_taken(study, trial.number) < n_trials
    finally:  # also after an interruption
        if not may_run:
            trial.set_user_attr("status", SURPLUS)
            study.tell(trial, state=TrialState.FAIL)
    return trial if may_run else None


def _places_taken(study: optuna.Study, below: int | None) -> int:
    holders = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))
    return sum(below is None or trial.number < below for trial in holders)


@contextlib.contextmanager
def beating(trial: optuna.Trial) -> Iterator[None]:
    """Record signs of life of a trial's worker inside the block."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            try:
                trial.set_user_attr("beat", time.time())
            except Exception:  # the storage cannot be reached now, or another worker has replaced this one
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=1)  # it may be waiting for a server that is away
