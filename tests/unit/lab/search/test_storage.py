"""Where a study is kept: a torn journal is mended, what is unusable is refused, studies are not mixed."""

import fcntl
import json
import os
import sys
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from snntrain.error import UsageError, without_password
from snntrain.lab.search.settings import Objective, Parameter, Sampler, Search
from snntrain.lab.search.storage import JournalLock, open_storage
from snntrain.lab.search.study import has_trials, open_study

SEARCH = Search(
    parameters={"x": Parameter("float", 0.0, 1.0), "y": Parameter("float", 1e-3, 1.0, log=True)},
    objectives=[Objective("val/acc", "maximize")],
    study="s",
    sampler=Sampler(n_startup_trials=3),
)
CONFIG = {"T": 4, "callbacks": {"ema": {"decay": 0.9}}, "paths": {"runs": "runs"}}


def ask(study: optuna.Study) -> dict[str, float]:
    trial = study.ask()
    drawn = {"x": trial.suggest_float("x", 0.0, 1.0), "y": trial.suggest_float("y", 1e-3, 1.0, log=True)}
    study.tell(trial, drawn["x"] - drawn["y"])
    return drawn


def test_half_a_line_of_a_killed_worker_is_cut_off_before_the_next_is_written(tmp_path):
    file = tmp_path / "s.journal"
    study = open_study(SEARCH, open_storage(str(file)), CONFIG)
    ask(study)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code":4,"work')
    again = open_study(SEARCH, open_storage(str(file)), CONFIG)
    assert len(again.trials) == 1
    ask(again)
    assert file.read_bytes().startswith(whole) and b'"work{' not in file.read_bytes()
    assert all(json.loads(line) for line in file.read_bytes().splitlines())
    assert [t.state for t in open_study(SEARCH, open_storage(str(file)), CONFIG).trials] == [TrialState.COMPLETE] * 2


def test_the_lock_excludes_others_until_it_is_released(tmp_path):
    file = tmp_path / "s.journal"
    file.touch()
    lock = JournalLock(file)
    handle = os.open(f"{file}.lock", os.O_CREAT | os.O_RDWR)
    assert lock.acquire()
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.release()
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("nosuchbase://host/x", "NoSuchModuleError"),
        ("postgresql+nosuch://me:secret@host/x", r"storage=postgresql\+nosuch://me:\*\*\*@host/x cannot be used"),
        ("sqlite:///{}/text", "cannot be used"),
        ("{}", "cannot be used: IsADirectoryError"),
        ("{}/text", "is not the journal of a study"),
        ("{}/text/s.journal", "cannot be used: (NotADirectoryError|FileExistsError)"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused(tmp_path, where, said):
    (tmp_path / "text").write_text("a text of some lines\nthat is no study\n" * 50, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as error:
        open_storage(where.format(tmp_path))
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
    assert (tmp_path / "text").read_text(encoding="utf-8").startswith("a text")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:p:w@host/base", "postgresql+psycopg://me:***@host/base"),
        ("postgresql://me:p/w@d@host:5432/base", "postgresql://me:***@host:5432/base"),
        ("postgresql://host/base?user=me&password=pw&port=1", "postgresql://host/base?user=me&password=***&port=1"),
        ("https://me:pw@host:5000/a@b", "https://me:***@host:5000/a@b"),
        ("https://host:5000/a@b", "https://host:5000/a@b"),
        ("postgresql://me@host:5432/base", "postgresql://me@host:5432/base"),
        ("sqlite:////home/me:you@here/s.db", "sqlite:////home/me:you@here/s.db"),
        ("runs/s.journal", "runs/s.journal"),
    ],
)
def test_a_password_is_not_shown(text, shown):
    assert without_password(text) == shown
    assert without_password(f"storage={text} is away") == f"storage={shown} is away"


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/x", "postgresql+psycopg2://me:secret@host/x"])
def test_a_missing_driver_is_named_with_how_to_install_it(monkeypatch, url):
    for module in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"driver of PostgreSQL is not installed: pip install .* -e '.\[postgresql\]'"):
        open_storage(url)


def test_the_module_of_another_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    with pytest.raises(UsageError, match=r"the Python module MySQLdb, .* is not installed"):
        open_storage("mysql://me:secret@host/x")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_continued_study_draws_what_it_would_have_drawn(tmp_path, seed):
    search = replace(SEARCH, sampler=Sampler(seed=seed, n_startup_trials=3))
    at_once = open_study(search, open_storage(str(tmp_path / "a.journal")), CONFIG)
    expected = [ask(at_once) for _ in range(7)]
    storage = str(tmp_path / "b.journal")
    drawn = [ask(open_study(search, open_storage(storage), CONFIG)) for _ in range(7)]
    assert drawn == expected
    assert len({row["x"] for row in drawn}) == 7


DIFFERENT = {
    "bound": (
        {"parameters": SEARCH.parameters | {"x": Parameter("float", 0.0, 2.0)}},
        {},
        r"x\.high is 2\.0, was 1\.0",
    ),
    "new": ({"parameters": SEARCH.parameters | {"z": Parameter("int", 0, 2)}}, {}, "the parameter z is new"),
    "missing": ({"parameters": {"x": SEARCH.parameters["x"]}}, {}, "the parameter y is missing"),
    "objective": ({"objectives": [Objective("val/loss", "minimize")]}, {}, "objectives"),
    "config": ({}, {"T": 5}, "T is 5, was 4"),
    "callback": ({}, {"callbacks": {}}, r"callbacks\.ema is None, was"),
}


@pytest.mark.parametrize(("search", "config", "said"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_study_of_something_else_is_refused_with_the_difference(tmp_path, search, config, said):
    storage = str(tmp_path / "s.journal")
    ask(open_study(SEARCH, open_storage(storage), CONFIG))
    assert has_trials(SEARCH, open_storage(storage))
    with pytest.raises(UsageError, match=f"study=s searched something else: .*{said}"):
        open_study(replace(SEARCH, **search), open_storage(storage), CONFIG | config)


def test_paths_and_the_sampler_may_change_and_a_study_of_another_program_is_refused(tmp_path):
    storage = str(tmp_path / "s.journal")
    ask(open_study(SEARCH, open_storage(storage), CONFIG))
    changed = replace(SEARCH, sampler=Sampler(type="random"), n_trials=99)
    assert len(open_study(changed, open_storage(storage), CONFIG | {"paths": {"runs": "elsewhere"}}).trials) == 1
    other = optuna.create_study(storage=open_storage(storage), study_name="t", direction="maximize")
    ask(other)
    with pytest.raises(UsageError, match="study=t: the study of that name was made by another program"):
        open_study(replace(SEARCH, study="t"), open_storage(storage), CONFIG)
