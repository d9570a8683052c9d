"""Sweeps: every job runs, a failing one is reported at once and stops nothing, a table ends it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import ROOT, SMALL, results

OVERRIDES = ("neuron=if seed=1", "neuron=if seed=2", "neuron=lif seed=1", "neuron=lif seed=2")


def sweep(cwd: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code, and the lines of stdout and stderr as they came."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "500",
    }  # no row of the table is folded
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "-m", *SMALL, *arguments, "hydra.sweep.dir=sweep"],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=240,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout.splitlines()


def place(lines: list[str], pattern: str) -> int:
    """Number of the only line that begins like this."""
    found = [number for number, line in enumerate(lines) if re.match(pattern, line)]
    assert len(found) == 1, (pattern, found, "\n".join(lines))
    return found[0]


def table(lines: list[str]) -> list[str]:
    """The rows of the table at the end."""
    start = place(lines, r"job +overrides +status")
    return [line for line in lines[start + 1 :] if line.strip()]


def test_every_combination_runs_and_the_table_lists_them(tmp_path):
    code, lines = sweep(tmp_path, "neuron=if,lif", "seed=1,2", "neuron.v_threshold=0.3")
    assert code == 0, "\n".join(lines)
    runs = [tmp_path / "sweep" / str(job) for job in range(4)]
    assert [results(run)["status"] for run in runs] == ["finished"] * 4
    assert len({results(run)["hex"]["test/loss"] for run in runs}) == 4
    ended = table(lines)
    assert len(ended) == 4
    for job, (row, overrides, run) in enumerate(zip(ended, OVERRIDES, runs, strict=True)):
        metrics = results(run)["metrics"]
        assert row.startswith(f"{job} ") and "finished" in row
        for override in overrides.split():
            assert override in row
        for name in ("test/acc", "val/acc", "test/firing_rate"):
            assert f"{metrics[name]:.4f}" in row
    starts = [
        place(lines, rf"job {job}: .*{overrides.split()[0]} .*{overrides.split()[1]}")
        for job, overrides in enumerate(OVERRIDES)
    ]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("sweeping", "said", "where"),
    [
        ("neuron.tau=0.5,2.0,3.0", "tau must be a finite number > 1, got 0.5", 0),
        pytest.param("optim.lr=0.1,-1.0,0.2", "-1", 1, marks=pytest.mark.slow),
    ],
)
def test_a_failing_job_is_reported_at_once_and_stops_no_other(tmp_path, sweeping, said, where):
    code, lines = sweep(tmp_path, sweeping)
    assert code == 1, "\n".join(lines)
    reported = place(lines, f"job {where} failed: ")
    assert said in lines[reported]
    assert place(lines, f"job {where}: ") < reported < place(lines, f"job {where + 1}: ")
    rows = table(lines)
    assert ["failed" in row for row in rows] == [job == where for job in range(3)]
    assert said in rows[where]
    for job in range(3):
        run = tmp_path / "sweep" / str(job)
        assert run.exists() == (job != where)
        assert job == where or results(run)["status"] == "finished"


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
