"""Exactly n trials of a study finish, no matter how many workers compete or crash."""

import contextlib
import multiprocessing
import os
import random
import time

import optuna
import pytest
from optuna.trial import TrialState

from snntrain.process import this_process
from snntrain.search import claim as claiming
from snntrain.search.claim import claim, orphaned_trials
from snntrain.search.storage import open_storage
from snntrain.search.study import SURPLUS, number_finished, trials_of

SPAWN = multiprocessing.get_context("fork")


def study_in(storage: str) -> optuna.Study:
    return optuna.create_study(storage=open_storage(storage), study_name="s", load_if_exists=True)


def fail_orphaned_trials(study: optuna.Study) -> None:
    for orphan in orphaned_trials(study):
        with contextlib.suppress(ValueError, RuntimeError):  # another worker was faster
            study.tell(orphan.number, state=TrialState.FAIL)


def hurried_worker(storage: str, n: int, deaths: float, seed: int) -> None:
    """Trials of no length; now and then this worker dies in the middle of one, as by kill -9."""
    study, draws = study_in(storage), random.Random(seed)
    while number_finished(study) < n:
        fail_orphaned_trials(study)
        trial = claim(study, n)
        if trial is None:
            time.sleep(0.01)
            continue
        time.sleep(draws.random() * 0.02)
        if draws.random() < deaths:
            os._exit(9)
        study.tell(trial, draws.random())


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_workers_that_compete_and_crash_finish_exactly_n_trials(tmp_path, kind):
    storage = str(tmp_path / "s.journal") if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    study, n = study_in(storage), 12
    fates = [0.0, 0.3, 0.3, 0.3]  # the first one lives
    workers = [SPAWN.Process(target=hurried_worker, args=(storage, n, fate, seed)) for seed, fate in enumerate(fates)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert workers[0].exitcode == 0 and {worker.exitcode for worker in workers} <= {0, 9}
    states = [trial.state for trial in trials_of(study)]
    assert states.count(TrialState.COMPLETE) == n and TrialState.RUNNING not in states
    assert states.count(TrialState.FAIL) == [worker.exitcode for worker in workers].count(9)


def test_of_two_trials_for_one_place_the_lower_number_gets_it(tmp_path, monkeypatch):
    study = study_in(str(tmp_path / "s.journal"))
    other: list[optuna.Trial] = []
    real = study.ask
    # Another worker asks at the same moment, just before this one.
    monkeypatch.setattr(study, "ask", lambda: (other.append(real()), real())[1])
    assert claim(study, 1) is None
    assert [trial.number for trial in trials_of(study)] == [0] and other[0].number == 0
    assert study.trials[1].user_attrs["status"] == SURPLUS


def test_an_interruption_while_claiming_leaves_no_trial_running(tmp_path, monkeypatch):
    study = study_in(str(tmp_path / "s.journal"))

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claiming.process, "this_process", interrupted)
    with pytest.raises(KeyboardInterrupt):
        claim(study, 1)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] and trials_of(study) == []


OF_AN_EARLIER_VERSION = {"host": None, "boot": None, "namespace": None, "machine": "here pid:[1]", "started": "77"}
WORKERS = {
    "this process": ({}, {}, False),
    "a number that another process has now": ({"started": 1}, {}, True),
    "no such process": ({"pid": 2**22 + 1}, {}, True),
    "elsewhere, heard of lately": ({"host": "another"}, {"beat": 0.0}, False),
    "elsewhere, silent": ({"host": "another"}, {"beat": -claiming.SILENCE - 1}, True),
    "of an earlier version, heard of lately": (OF_AN_EARLIER_VERSION, {"beat": 0.0}, False),
    "of an earlier version, silent": (OF_AN_EARLIER_VERSION, {"beat": -claiming.SILENCE - 1}, True),
}


@pytest.mark.parametrize(("worker", "facts", "is_dead"), WORKERS.values(), ids=WORKERS)
def test_a_running_trial_is_an_orphan_if_and_only_if_its_worker_is_dead(tmp_path, worker, facts, is_dead):
    study = study_in(str(tmp_path / "s.journal"))
    trial = claim(study, 1)
    trial.set_user_attr("worker", this_process() | worker)
    if facts:
        trial.set_user_attr("beat", time.time() + facts["beat"])
    assert [orphan.number for orphan in orphaned_trials(study)] == [0] * is_dead
    fail_orphaned_trials(study)
    assert orphaned_trials(study) == []
    assert (claim(study, 1) is None) != is_dead  # its place is free again


def test_a_worker_whose_trial_was_replaced_cannot_finish_it(tmp_path):
    study = study_in(str(tmp_path / "s.journal"))
    slow = claim(study, 1)
    slow.set_user_attr("worker", this_process() | {"host": "another"})
    slow.set_user_attr("beat", 0.0)
    fail_orphaned_trials(study)
    study.tell(claim(study, 1), 1.0)
    with pytest.raises(ValueError, match="FAIL"):
        study.tell(slow, 2.0)
    assert number_finished(study) == 1


def test_signs_of_life_are_given_while_a_trial_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(claiming, "BEAT", 0.02)
    study = study_in(str(tmp_path / "s.journal"))
    trial = claim(study, 1)
    first = study.trials[0].user_attrs["beat"]
    with claiming.beating(trial):
        time.sleep(0.2)
    last = study.trials[0].user_attrs["beat"]
    assert last > first
    time.sleep(0.1)
    assert study.trials[0].user_attrs["beat"] == last
