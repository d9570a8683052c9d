"""What a search makes of a database server that goes away: tests/runs/test_search_on_postgres.py has a real one."""

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DataError, OperationalError

from snntrain.lab.search import claim, database
from snntrain.lab.search.database import PatientStorage, StorageAway, _Patience
from snntrain.process import this_process


class Unreliable(InMemoryStorage):
    """A storage whose next calls fail as Optuna's does when its server is away.

    Attributes:
        failures: how many of the next calls fail.
        kind: of SQLAlchemy's errors.
        only_answer_lost: whether a call has its effect all the same.
    """

    failures, kind, only_answer_lost = 0, OperationalError, False

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageInternalError("in the commit") from self.kind("SELECT", {}, Exception("no server\nat h"))

    def get_all_trials(self, *arguments, **settings):
        self._fail()
        return super().get_all_trials(*arguments, **settings)

    def set_trial_state_values(self, *arguments, **settings):
        if not self.only_answer_lost:
            self._fail()
        answer = super().set_trial_state_values(*arguments, **settings)
        self._fail()
        return answer


@pytest.fixture
def said(monkeypatch) -> list[str]:
    monkeypatch.setattr(database, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(database, "_LONGEST_PAUSE", 0.002)
    return []


def unreliable(said: list[str]) -> tuple[Unreliable, optuna.Study]:
    inner = Unreliable()
    return inner, optuna.create_study(storage=PatientStorage(inner, _Patience("db://h", said.append)))


def test_calls_are_repeated_until_the_server_answers(said):
    inner, study = unreliable(said)
    inner.failures = 3
    assert study.get_trials() == [] and inner.failures == 0
    assert [line.partition(". ")[0] for line in said] == [
        "storage=db://h does not answer: no server at h",
        "storage=db://h answers again.",
    ]
    assert study.get_trials() == [] and len(said) == 2


def test_every_public_method_of_a_storage_is_passed_on():
    public = {name for name in vars(BaseStorage) if not name.startswith("_")}
    assert {"create_new_trial", "get_n_trials", "set_trial_param"} < public
    for name in public:
        assert getattr(PatientStorage, name) is not getattr(BaseStorage, name), name


def test_an_error_of_other_kind_is_raised_at_once(said):
    inner, study = unreliable(said)
    inner.failures, inner.kind = 1, DataError
    with pytest.raises(StorageInternalError):
        study.get_trials()
    assert said == []


def test_after_its_patience_every_call_fails_at_once_and_says_what_to_do(said, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    inner, study = unreliable(said)
    inner.failures = 10**6
    with pytest.raises(StorageAway, match=r"db://h does not answer: no server at h\. .* same command continues"):
        study.get_trials()
    left = inner.failures
    with pytest.raises(StorageAway):
        study.get_trials()
    assert inner.failures == left - 1 and left < 10**6 - 5
    inner.failures = 0
    assert study.get_trials() == [] and said[-1] == "storage=db://h answers again."


def test_an_interruption_while_it_waits_ends_all_waiting(said, monkeypatch):
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    inner, study = unreliable(said)
    inner.failures = 10
    monkeypatch.setattr(database.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.get_trials()
    with pytest.raises(StorageAway):
        study.get_trials()


def test_an_outcome_that_was_stored_although_the_answer_was_lost_is_told_once(said):
    inner, study = unreliable(said)
    trial = study.ask()
    inner.failures, inner.only_answer_lost = 1, True
    study.tell(trial, 0.25)
    assert [(told.state, told.value) for told in study.trials] == [(TrialState.COMPLETE, 0.25)]
    with pytest.raises(UpdateFinishedTrialError):  # that it was told before stays an error
        study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    inner.failures, other = 1, study.ask()
    inner.set_trial_user_attr(other._trial_id, "status", "x")
    study.tell(other, state=TrialState.FAIL)
    assert study.trials[1].state is TrialState.FAIL


def test_no_worker_counts_as_dead_for_its_silence_while_the_server_was_away(said):
    inner, study = unreliable(said)
    trial = study.ask()
    trial.set_user_attr("worker", this_process() | {"host": "another"})
    trial.set_user_attr("beat", 0.0)
    assert [orphan.number for orphan in claim.orphaned_trials(study)] == [0]
    inner.failures = 1
    assert claim.orphaned_trials(study) == []
