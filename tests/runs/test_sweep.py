"""Sweeps: every job runs, a failing one is reported at once and stops nothing, a table ends it."""

import csv
import importlib.util
import itertools
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from programs import SMALL, Program, last_of_each, results

from snntrain.lab.sweep.jobs import read_jobs

OVERRIDES = ("neuron=if seed=1", "neuron=if seed=2", "neuron=lif seed=1", "neuron=lif seed=2")


def start(cwd: Path, *arguments: str) -> Program:
    """A sweep in the folder `sweep`; stdout and stderr are one stream, so wide that no row of the table is folded."""
    words = last_of_each((*SMALL, *arguments))
    return Program("train.py", "-m", *words, "hydra.sweep.dir=sweep", cwd=cwd, merged=True, COLUMNS="500")


def sweep(cwd: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code, and the lines of stdout and stderr as they came."""
    done = start(cwd, *arguments).end()
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout.splitlines()


def place(lines: list[str], pattern: str) -> int:
    """Number of the only line that begins like this."""
    found = [number for number, line in enumerate(lines) if re.match(pattern, line)]
    assert len(found) == 1, (pattern, found, "\n".join(lines))
    return found[0]


def table(lines: list[str]) -> list[str]:
    """The rows of the table at the end."""
    begin = place(lines, r"job .*status +") + 1
    return list(itertools.takewhile(lambda line: re.match(r"\d+ ", line), lines[begin:]))


def test_every_combination_runs_and_the_results_list_them(tmp_path):
    code, lines = sweep(tmp_path, "neuron=if,lif", "seed=range(1,3)", "neuron.v_threshold=0.3", "optim.lr=0.02")
    assert code == 0, "\n".join(lines)
    runs = [tmp_path / "sweep" / str(job) for job in range(4)]
    assert [results(run)["status"] for run in runs] == ["finished"] * 4
    assert len({results(run)["hex"]["test/loss"] for run in runs}) == 4
    assert all(results(run)["metrics"]["test/acc"] > 0.2 for run in runs)  # chance is a tenth
    ended = table(lines)
    for job, (row, overrides, run) in enumerate(zip(ended, OVERRIDES, runs, strict=True)):
        metrics = results(run)["metrics"]
        values = [override.split("=")[1] for override in overrides.split()]
        assert row.split()[:4] == [str(job), *values, "finished"]
        for name in ("test/acc", "val/acc", "test/firing_rate"):
            assert f"{100 * metrics[name]:.2f} %" in row
    starts = [
        place(lines, rf"job {job}: .*{overrides.split()[0]} .*{overrides.split()[1]}")
        for job, overrides in enumerate(OVERRIDES)
    ]
    assert starts == sorted(starts)
    written = list(csv.DictReader((tmp_path / "sweep/sweep.csv").open(encoding="utf-8")))
    assert [float(row["test/acc"]) for row in written] == [results(run)["metrics"]["test/acc"] for run in runs]
    assert "mean ± std" in "\n".join(lines) and (tmp_path / "sweep/sweep.html").read_text().count("<svg") == 2


@pytest.mark.slow
def test_failed_and_killed_jobs_have_their_rows_and_only_they_run_again(tmp_path, program):
    swept = ("neuron.tau=0.5,2.0,3.0", "trainer.max_epochs=4")
    process = start(tmp_path, *swept)
    coming = process.lines()
    assert any(line.startswith("job 2: ") for line in coming)
    assert any(line.startswith("epoch   2/4") for line in coming)
    process.send(signal.SIGKILL)
    lines = process.end(timeout=60).stdout.splitlines()
    assert place(lines, "job 0: ") < place(lines, "job 0 failed: neuron.tau must be") < place(lines, "job 1: ")
    folder = tmp_path / "sweep"
    jobs = read_jobs(folder)
    assert [job.status for job in jobs] == ["failed", "finished", "killed"]
    assert "tau must be a finite number > 1, got 0.5" in jobs[0].error and not (folder / "0").exists()
    summary = program("scripts/summarize.py", str(folder)).stdout
    assert [row.split()[2] for row in table(summary.splitlines())] == ["failed", "finished", "killed"]
    before = (folder / "1/results.json").stat().st_mtime_ns

    refused = program("train.py", *last_of_each(("-m", *SMALL, *swept, "hydra.sweep.dir=sweep")))
    assert refused.returncode == 2 and "holds a sweep already" in refused.stderr
    again = program("train.py", *last_of_each(("-m", *SMALL, *swept, "hydra.sweep.dir=sweep", "sweep.resume=true")))
    assert again.returncode == 1 and "job 0 failed: " in again.stderr
    assert re.findall(r"^job (\d+): ", again.stdout, re.MULTILINE) == ["0", "2"]
    assert "resumed from" in again.stdout and "epoch   1/4" not in again.stdout
    assert [job.status for job in read_jobs(folder)] == ["failed", "finished", "finished"]
    assert (folder / "1/results.json").stat().st_mtime_ns == before
    assert len((folder / "2/metrics.csv").read_text().splitlines()) == 5


@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_with_its_table(tmp_path):
    process = start(tmp_path, "seed=1,2,3", "trainer.max_epochs=200", "data.batch_size=16")
    process.wait_for("epoch 1/")
    time.sleep(0.1)
    process.send(signal.SIGINT)
    done = process.end(timeout=120)
    output = done.stdout.partition("epoch   1/")[2]
    assert done.returncode == 130 and "Traceback" not in output
    assert [row.split()[2] for row in table(output.splitlines())] == ["interrupted", "waiting", "waiting"]
    assert (tmp_path / "sweep/sweep.html").is_file()


def needs(module: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec("hydra_plugins") and importlib.util.find_spec(f"hydra_plugins.{module}")
    return pytest.mark.skipif(not there, reason=f"the launcher {module} is not installed")


@needs("hydra_joblib_launcher")
@pytest.mark.slow
def test_jobs_in_other_processes_end_up_in_the_table_with_their_failures(tmp_path):
    code, lines = sweep(tmp_path, "neuron.tau=0.5,2.0", "launch=joblib")
    assert code == 1
    assert [row.split()[2] for row in table(lines)] == ["failed", "finished"]
    place(lines, "job 0 failed: neuron.tau must be a finite number > 1, got 0.5")
    place(lines, "job 1 finished")
    jobs = read_jobs(tmp_path / "sweep")
    assert len({job.process["pid"] for job in jobs}) == 2 or jobs[0].process["pid"] != os.getpid()
    assert not any(line.startswith("epoch") for line in lines)  # two at once would be unreadable
    assert "epoch   2/2" in (tmp_path / "sweep/jobs/1.txt").read_text(encoding="utf-8")


@pytest.mark.slow
@needs("hydra_joblib_launcher")
def test_a_killed_process_does_not_fail_jobs_that_had_not_begun(tmp_path):
    process = start(tmp_path, "seed=range(1,6)", "launch=joblib", "data.batch_size=16", "trainer.max_epochs=10")
    record = tmp_path / "sweep/jobs/0.json"
    while not (tmp_path / "sweep/0/metrics.csv").is_file():
        time.sleep(0.1)
        assert process.poll() is None
    os.kill(json.loads(record.read_text())["process"]["pid"], signal.SIGKILL)
    output = process.end(timeout=300).stdout
    assert process.returncode == 1
    statuses = [job.status for job in read_jobs(tmp_path / "sweep")]
    assert statuses[0] == "killed" and set(statuses[2:]) == {"finished"}, output


@pytest.mark.slow
@needs("hydra_submitit_launcher")
def test_a_preempted_job_is_restarted_and_resumes(tmp_path):
    arguments = ("launch=submitit_local", "data.batch_size=16", "trainer.max_epochs=40", "neuron.backend=torch")
    process = start(tmp_path, *arguments)
    history, record = tmp_path / "sweep/0/metrics.csv", tmp_path / "sweep/jobs/0.json"
    while not history.is_file() or len(history.read_text().splitlines()) < 4:
        time.sleep(0.1)
        assert process.poll() is None
    first = json.loads(record.read_text())["process"]["pid"]
    os.kill(first, signal.SIGUSR2)  # what submitit asks Slurm to send
    output = process.end(timeout=300).stdout
    assert process.returncode == 0, output
    (job,) = read_jobs(tmp_path / "sweep")
    assert job.status == "finished" and job.process["pid"] != first
    (log,) = (tmp_path / "sweep/.submitit").glob("*/*.out")
    text = log.read_text(encoding="utf-8")
    assert text.count("epoch   1/40") == 1 and "resumed from" in text
    assert [row.split(",")[0] for row in history.read_text().splitlines()[1:]] == [
        str(epoch + 1) for epoch in range(40)
    ]


def test_several_devices_are_refused(tmp_path):
    code, lines = sweep(tmp_path, "seed=1,2", "trainer=ddp")
    assert code == 2 and len(lines) == 1, lines
    for text in ("trainer.devices=2", "basic launcher", "launch=joblib", "trainer.devices=1"):
        assert text in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_several_devices_in_one_job_are_refused_for_that_job(tmp_path):
    code, lines = sweep(tmp_path, "seed=1", "trainer.devices=1,2", "trainer.max_epochs=1")
    assert code == 1
    assert "trainer.devices=2 in a sweep" in lines[place(lines, "job 1 failed: ")]
    assert results(tmp_path / "sweep" / "0")["status"] == "finished"
    assert not (tmp_path / "sweep" / "1").exists()
