"""A study from command line to report: real runs where a run is the claim, stand-ins where the study's own part is."""

import csv
import html
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from programs import ROOT, SMALL, results

from snntrain.callback import Pruned
from snntrain.error import Diverged, UsageError
from snntrain.lab.search.command import main
from snntrain.run.front import run_program
from snntrain.run.interruption import Interrupted

SEARCH = {
    "study": "s",
    "n_trials": 3,
    "overrides": [*SMALL],
    "parameters": {"optim.lr": {"type": "categorical", "choices": [1.0e-9, 1.0e-2]}},
    "objectives": [{"metric": "val/acc", "direction": "maximize"}],
    "sampler": {"type": "random", "seed": 10},  # first a rate that learns, then one that does not
    "pruner": {"n_startup_trials": 1, "n_warmup_steps": 0},
}
NUMBER = {"parameters": {"optim.lr": {"type": "float", "low": 1.0e-4, "high": 1.0e-2, "log": True}}}
TWO = {
    "objectives": [*SEARCH["objectives"], {"metric": "test/sops", "direction": "minimize"}],
    "parameters": {"neuron.tau": {"type": "float", "low": 1.5, "high": 9.0}, "T": {"type": "int", "low": 1, "high": 9}},
    "overrides": ["model=mlp", "neuron.backend=torch"],
    "pruner": None,
}
FOLDER = Path("runs/studies/s")


@pytest.fixture
def tune(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a search in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["scripts/tune.py"])  # trials change it
    monkeypatch.setattr("snntrain.lab.search.worker._SHARE_OF_REPORTS", 1e-6)  # only after the first trial and the last

    def run(changed: dict | None = None, *arguments: str) -> tuple[int, str, str]:
        Path("mine.yaml").write_text(yaml.safe_dump(SEARCH | (changed or {})), encoding="utf-8")
        capsys.readouterr()
        code = run_program(main, ["search=mine.yaml", *arguments], keeps_traceback=True)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def stand_in(monkeypatch) -> Callable[[Callable[[int], dict[str, float]]], list[list[str]]]:
    """Let trials call a function of their place in the order instead of training; returns the overrides they got."""

    def install(outcome: Callable[[int], dict[str, float]]) -> list[list[str]]:
        calls: list[list[str]] = []

        def run(config, folder, overrides, more_callbacks=()):
            calls.append(overrides)
            return outcome(len(calls) - 1)

        monkeypatch.setattr("snntrain.lab.search.trial.run", run)
        monkeypatch.setattr("snntrain.lab.search.trial.compose", lambda overrides: None)
        monkeypatch.setattr("snntrain.lab.search.space.rehearse", lambda search: None)
        monkeypatch.setattr("snntrain.lab.search.trial.write_report", lambda folder: None)
        return calls

    return install


def rows() -> list[dict[str, str]]:
    with (FOLDER / "study.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statuses() -> list[str]:
    return [row["status"] for row in rows()]


@pytest.mark.slow
def test_every_trial_is_a_run_with_its_folder_and_the_same_command_does_no_more(tune):
    code, out, err = tune(None, "n_trials=2")
    assert code == 0, err
    assert len(rows()) == 2 and set(statuses()) == {"finished", "pruned"}
    best = max((row for row in rows() if row["status"] == "finished"), key=lambda row: float(row["val/acc"]))
    trials = json.loads((FOLDER / "study.json").read_text(encoding="utf-8"))["trials"]
    page = (FOLDER / "study.html").read_text(encoding="utf-8")
    for row, trial in zip(rows(), trials, strict=True):
        run = FOLDER / f"trial_{int(row['number']):04d}"
        found = results(run)
        assert found["status"] == row["status"] and found["metrics"] == trial["metrics"]
        assert float(yaml.safe_load((run / "config.yaml").read_text())["optim"]["lr"]) == float(row["optim.lr"])
        assert (run / "report.html").is_file() and f'href="{run.name}/report.html"' in page
        assert ("test/acc" in found["metrics"]) == (row["status"] == "finished")
        assert (row["status"] == "pruned") == (float(row["optim.lr"]) == 1e-9)  # that one learns nothing
        recorded = json.loads((run / "provenance.json").read_text(encoding="utf-8"))["command"]
        assert recorded == trial["command"] == shlex.join(shlex.split(trial["command"]))
        if row["status"] == "finished":
            assert found["metrics"]["val/acc"] == float(row["val/acc"])
        else:
            assert found["message"].startswith("Pruned after epoch 1 of 2: val/acc ")
    command = trials[int(best["number"])]["command"]
    assert command in out and html.escape(command, quote=True).replace("&#x27;", "&#39;") in page
    again = tune(None, "n_trials=2")
    assert again[0] == 0 and "2 of 2 trials are done" in again[1] and len(rows()) == 2
    assert tune()[0] == 0 and len(rows()) == 3


@pytest.mark.slow
def test_objectives_that_no_run_measures_are_refused_before_the_start(tune):
    code, _, err = tune({"objectives": [{"metric": "test/ac", "direction": "maximize"}], "pruner": None})
    assert code == 2 and "'test/ac' is not a metric of these runs. Did you mean test/acc?" in err
    code, _, err = tune({"objectives": [{"metric": "test/acc", "direction": "maximize"}], "pruner": {}})
    assert code == 2 and "Add monitor.metric=test/acc" in err
    assert not list(FOLDER.glob("trial_*"))


@pytest.mark.slow
def test_a_failed_trial_is_replaced_and_reported(tune, stand_in):
    def outcome(number: int) -> dict[str, float]:
        if number in (1, 2):
            raise RuntimeError("out of <memory>")
        return {"val/acc": float("nan") if number == 4 else 0.5}

    stand_in(outcome)
    code, out, err = tune({"n_trials": 3, **NUMBER})
    assert code == 0, err
    assert statuses() == ["finished", "failed", "failed", "finished", "failed", "finished"]
    assert "RuntimeError: out of <memory>" in out and "val/acc is nan" in rows()[4]["message"]
    assert results(FOLDER / "trial_0001")["status"] == "failed"
    page = (FOLDER / "study.html").read_text(encoding="utf-8")
    assert "out of &lt;memory&gt;" in page and "out of <memory>" not in page


@pytest.mark.slow
def test_a_worker_whose_trials_all_fail_stops(tune, stand_in):
    def outcome(number: int) -> dict[str, float]:
        raise UsageError("data: no such folder")

    stand_in(outcome)
    code, _, err = tune({"max_failures": 2, **NUMBER})
    assert code == 1 and "2 trials failed one after the other, the last one: data: no such folder" in err
    assert statuses() == ["failed", "failed"]


@pytest.mark.slow
def test_an_interrupted_study_continues(tune, stand_in):
    def interrupted(number: int) -> dict[str, float]:
        if number == 1:
            raise Interrupted(signal.SIGINT)
        return {"val/acc": 0.5}

    stand_in(interrupted)
    code, _, err = tune({"n_trials": 3, **NUMBER})
    assert code == 130 and "The same command continues it" in err
    assert statuses() == ["finished", "interrupted"]
    stand_in(lambda number: {"val/acc": 0.7})
    assert tune({"n_trials": 3, **NUMBER})[0] == 0
    assert statuses() == ["finished", "interrupted", "finished", "finished"]


@pytest.mark.slow
def test_a_trial_that_was_pruned_or_diverged_counts_and_is_never_the_best(tune, stand_in):
    def outcome(number: int) -> dict[str, float]:
        if number % 2:
            raise {1: Pruned, 3: Diverged}[number]("after epoch 1")
        return {"val/acc": 0.1 * number}

    stand_in(outcome)
    code, out, _ = tune({"n_trials": 5, **NUMBER})
    assert code == 0 and statuses() == ["finished", "pruned"] * 2 + ["finished"]
    assert "best: trial 4" in out


@pytest.mark.slow
def test_a_trial_that_another_worker_took_over_is_not_counted_twice(tune, stand_in):
    from snntrain.lab.search.storage import open_storage, optuna

    def outcome(number: int) -> dict[str, float]:
        if number == 1:  # another worker, on a machine that heard nothing of this one
            study = optuna.load_study(storage=open_storage(str(FOLDER / "study.journal")), study_name="s")
            study.tell(1, state=optuna.trial.TrialState.FAIL)
        return {"val/acc": 0.5}

    stand_in(outcome)
    code, out, _ = tune({"n_trials": 3, **NUMBER})
    assert code == 0 and statuses() == ["finished", "killed", "finished", "finished"]
    assert "trial   1  lost" in out and "another worker took this one for dead" in out


@pytest.mark.slow
def test_several_objectives_end_in_a_front(tune, stand_in):
    values = [(0.9, 200.0), (0.8, 100.0), (0.7, 150.0), (0.95, 400.0), (0.9, 300.0), (0.6, 90.0)]
    calls = stand_in(lambda number: dict(zip(("val/acc", "test/sops"), values[number], strict=True)))
    code, out, err = tune({**TWO, "n_trials": 6}, "storage=sqlite:///a/s.db")
    assert code == 0, err
    assert [int(number) for number in re.findall(r"best: trial (\d+)", out)] == [3, 0, 1, 5]
    page = (FOLDER / "study.html").read_text(encoding="utf-8")
    for number in (3, 0, 1, 5):
        assert " ".join(["python train.py", *calls[number]]) in page
    for title in ("Pareto front", "Trade-off", "History", "Importance of the parameters", "Parallel coordinates"):
        assert f"<h2>{title}</h2>" in page
    assert "test/sops is measured on the test data" in page.replace("\n", " ")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) and "<script" not in page and "http" not in page.split("</style>")[1]
    assert Path("a/s.db").is_file()


@pytest.mark.slow
def test_a_study_of_other_parameters_or_runs_is_refused(tune, stand_in):
    stand_in(lambda number: {"val/acc": 0.5})
    assert tune({"n_trials": 1, **NUMBER})[0] == 0
    code, _, err = tune({"n_trials": 2})
    assert code == 2 and "searched something else: optim.lr.type is 'categorical', was 'float'" in err
    code, _, err = tune({"n_trials": 2, **NUMBER}, "T=3")
    assert code == 2 and "T is 3, was 2" in err
    (FOLDER / "study.journal").unlink()
    code, _, err = tune({"n_trials": 2, **NUMBER})
    assert code == 2 and "holds the runs of a study that" in err and len(rows()) == 1


def test_without_optuna_it_says_how_to_install_it(tune, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "snntrain.lab.search.storage", raising=False)
    code, _, err = tune()
    assert code == 2 and "snntrain[tune]" in err and "pip install -c constraints.txt -e '.[tune]'" in err
    assert not FOLDER.exists()


def test_without_arguments_it_lists_the_searches(capsys):
    assert main([]) == 0
    assert "lif_tau" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_study_ends_with_exactly_its_trials(tmp_path):
    settings = SEARCH | NUMBER | {"n_trials": 8, "overrides": [*SMALL]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, str(ROOT / "scripts/tune.py"), "search=mine.yaml", "workers=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    study = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    lines, victim = [], 0
    for line in study.stdout:
        lines.append(line)
        if line.startswith("workers: "):
            victim = int(line.split()[-1])
        if line.startswith("trial ") and victim:
            time.sleep(0.3)  # into a next trial
            os.kill(victim, signal.SIGKILL)
            victim = 0
    assert study.wait(60) == 0, "".join(lines)
    assert any("was ended by SIGKILL" in line for line in lines)
    with (tmp_path / FOLDER / "study.csv").open(newline="", encoding="utf-8") as file:
        ended = [row["status"] for row in csv.DictReader(file)]
    assert sum(status in ("finished", "pruned") for status in ended) == 8 and "running" not in ended
    assert ended.count("killed") <= 1
    folders = sorted((tmp_path / FOLDER).glob("trial_*"))
    assert {results(folder)["status"] for folder in folders} <= {"finished", "pruned", "failed"}
