"""A study on a real PostgreSQL server, of which workers die and which is restarted: exactly its trials are finished."""

import contextlib
import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import postgres_server
import pytest
import yaml
from optuna.trial import TrialState
from postgres_server import PASSWORD, PostgresServer
from programs import ROOT, SMALL, results

from snntrain.error import UsageError
from snntrain.lab.search import database
from snntrain.lab.search.claim import claim, orphaned_trials
from snntrain.lab.search.storage import open_storage
from snntrain.lab.search.study import number_finished, trials_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres_server.programs() is None, reason="PostgreSQL (initdb, pg_ctl, psql) is not installed"),
]
N = 8
SEARCH = {
    "study": "s",
    "n_trials": N,
    "overrides": [*SMALL, "trainer.max_epochs=40"],
    "parameters": {"optim.lr": {"type": "float", "low": 1.0e-4, "high": 1.0e-2, "log": True}},
    "objectives": [{"metric": "val/acc", "direction": "maximize"}],
    "sampler": {"type": "random", "seed": 10},
    "pruner": {"n_startup_trials": 3, "n_warmup_steps": 20},
}
FOLDER = Path("runs/studies/s")
# Without those that found all places taken, which never began.
BEGAN = """trials t WHERE NOT EXISTS (SELECT 1 FROM trial_user_attributes a WHERE a.trial_id = t.trial_id
           AND a.key = 'status' AND a.value_json = '"surplus"')"""
STATES = f"SELECT state, count(*) FROM {BEGAN} GROUP BY state"
# Trials in training, which have told the metric of an epoch and are far from their last, and their workers.
IN_TRAINING = """SELECT t.number, a.value_json FROM trials t JOIN trial_user_attributes a USING (trial_id)
                 JOIN trial_intermediate_values v USING (trial_id) WHERE t.state = 'RUNNING' AND a.key = 'worker'
                 AND t.number <> {but} GROUP BY t.number, a.value_json HAVING max(v.step) < 10"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    pytest.importorskip("psycopg")
    running = PostgresServer()
    yield running
    running.end()


def states(server: PostgresServer) -> dict[str, int]:
    """How many trials there are of each state."""
    if "trial_user_attributes" not in server.sql("SELECT tablename FROM pg_tables"):
        return {}
    return {state: int(count) for state, count in (row.split("|") for row in server.sql(STATES).splitlines())}


def wait_for(happened: Callable[[], object], process: subprocess.Popen, seconds: float = 400):
    """What a function returns once that is not empty, while a process works."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert process.poll() is None and time.monotonic() < deadline, process.args
        time.sleep(0.05)
    return found


def test_three_workers_one_killed_and_the_server_restarted_end_with_exactly_the_trials(tmp_path, server):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(SEARCH), encoding="utf-8")
    command = ["scripts/tune.py", "search=mine.yaml", "workers=3", f"storage={server.url()}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    output = (tmp_path / "output").open("w+", encoding="utf-8")
    began = time.monotonic()
    study = subprocess.Popen(
        [sys.executable, str(ROOT / command[0]), *command[1:]],
        cwd=tmp_path,
        env=environment,
        stdout=output,
        stderr=output,
    )
    try:
        wait_for(lambda: states(server).get("COMPLETE", 0) >= 1, study)
        number, worker = wait_for(lambda: server.sql(IN_TRAINING.format(but=-1)), study).splitlines()[0].split("|")
        os.kill(json.loads(worker)["pid"], signal.SIGKILL)
        print(f"{time.monotonic() - began:.1f} s: killed in trial {number}, {states(server)}")
        # Of those left at work one is to be in training while the server is away, for longer than an epoch takes.
        left = IN_TRAINING.format(but=number)
        wait_for(lambda: states(server).get("FAIL") == 1 and server.sql(left), study)
        print(f"{time.monotonic() - began:.1f} s: server stopped, {states(server)}")
        server.stop("immediate")
        time.sleep(5)
        server.start()
        print(f"{time.monotonic() - began:.1f} s: server started, {states(server)}")
        code = study.wait(600)
    finally:
        study.kill()
        output.seek(0)
        said = output.read()
    print(f"{time.monotonic() - began:.1f} s: ended, {states(server)}")
    assert code == 0, said
    found = states(server)
    assert found.pop("FAIL") == 1 and set(found) <= {"COMPLETE", "PRUNED"} and sum(found.values()) == N, said
    assert f"trial {number}: its worker is gone; another trial takes its place" in said
    assert "was ended by SIGKILL" in said
    away = re.findall(r"storage=(\S+) does not answer", said)
    assert away and set(away) == {server.url().replace(server.url().split("@")[0], "postgresql://tester:***")}
    _check_pages(tmp_path / FOLDER, server, int(number), said)
    for file in filter(Path.is_file, tmp_path.rglob("*")):
        text = file.read_bytes()
        assert PASSWORD.encode() not in text and b"s3cret" not in text, file


def _check_pages(folder: Path, server: PostgresServer, killed: int, said: str) -> None:
    """The study's files against what psql reads in the database and what lies in the run folders."""
    with (folder / "study.csv").open(newline="", encoding="utf-8") as file:
        rows = {int(row["number"]): row for row in csv.DictReader(file)}
    words = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "killed"}
    lines = server.sql(f"SELECT number, state FROM {BEGAN} ORDER BY number").splitlines()
    assert {number: row["status"] for number, row in rows.items()} == {
        int(number): words[state] for number, state in (line.split("|") for line in lines)
    }
    assert rows[killed]["status"] == "killed"
    assert {path.name for path in folder.glob("trial_*")} == {f"trial_{number:04d}" for number in rows}
    values = "SELECT number, value FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE'"
    finished = {int(number): float(value) for number, value in (line.split("|") for line in server.sql(values).split())}
    for number, value in finished.items():
        left = results(folder / f"trial_{number:04d}")
        assert left["status"] == "finished" and left["metrics"]["val/acc"] == value == float(rows[number]["val/acc"])
    best = min(finished, key=lambda number: (-finished[number], number))
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert f"best: trial {best} " in said and f"{N} of {N} trials" in page
    assert "Its worker was killed; another trial took its place." in page


def hurried_worker(url: str, n: int, dies: float, seed: int) -> None:
    """Trials of no length; now and then this worker dies in the middle of one, as by kill -9."""
    database.PATIENCE, draws = 20.0, random.Random(seed)
    study = optuna.create_study(storage=open_storage(url, waits=True), study_name="s", load_if_exists=True)
    while number_finished(study) < n:
        for orphan in orphaned_trials(study):
            with contextlib.suppress(ValueError, RuntimeError):  # another worker was faster
                study.tell(orphan.number, state=TrialState.FAIL)
        trial = claim(study, n)
        if trial is None:
            time.sleep(0.05)
            continue
        trial.suggest_float("x", 0.0, 1.0)
        trial.report(0.5, 1)
        time.sleep(draws.random() * 0.2)
        if draws.random() < dies:
            os._exit(9)
        study.tell(trial, draws.random())


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_workers_that_make_the_tables_at_once_outlast_restarts(server, mode):
    n, workers = 24, []
    for seed in range(4):
        if pid := os.fork():
            workers.append(pid)
            continue
        try:
            hurried_worker(server.url(), n, 0.02 * (seed > 1), seed)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)
    try:
        for enough in (1, n // 4, n // 2):
            deadline = time.monotonic() + 60
            while states(server).get("COMPLETE", 0) < enough:
                assert time.monotonic() < deadline, states(server)
                time.sleep(0.1)
            server.stop(mode)
            time.sleep(0.5)
            server.start()
    except BaseException:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        raise
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    assert codes[:2] == [0, 0] and set(codes) <= {0, 9}
    study = optuna.load_study(storage=open_storage(server.url()), study_name="s")
    found = [trial.state for trial in trials_of(study)]
    assert found.count(TrialState.COMPLETE) == n and TrialState.RUNNING not in found
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))


def test_a_server_that_stays_away_is_named_and_the_password_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 1.0)
    said: list[str] = []
    with pytest.raises(UsageError, match="no password supplied"):
        open_storage(server.url(password=""))
    with pytest.raises(UsageError, match=r"tester:\*\*\*@.* password authentication failed") as refused:
        open_storage(server.url(password="wrong"))
    assert "wrong" not in str(refused.value)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    study = optuna.create_study(storage=open_storage(server.url(password=""), say=said.append), study_name="s")
    assert study.get_trials() == []
    server.stop()
    with pytest.raises(database.StorageAway, match=r"does not answer: .*[Cc]onnection refused.* continues the study"):
        study.get_trials()
    with pytest.raises(UsageError, match=r"[Cc]onnection refused"):
        open_storage(server.url())
    server.start()
    assert study.get_trials() == [] and said[-1].endswith("answers again.")
