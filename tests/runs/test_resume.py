"""An interrupted and resumed run ends with the metrics of the uninterrupted one, bit for bit."""

import random
import signal
import time
from pathlib import Path

import pytest
from programs import SMALL, Program, last_of_each, results, succeed

# Random draws inside the model (Poisson spikes) and a schedule, so that order, generator and learning rate all matter.
CONFIG = (*SMALL, "trainer.max_epochs=4", "encoder=poisson", "neuron=plif", "data.batch_size=64", "optim.lr=0.02")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("uninterrupted")
    succeed("train.py", *CONFIG, "hydra.run.dir=run", cwd=folder)
    return results(folder / "run")["hex"]


def interrupt(folder: Path, number: signal.Signals, after_epoch: int, delay: float, *more: str) -> tuple[int, str]:
    """Start a run, wait until an epoch is finished and a moment longer, send the signal; exit code and output."""
    process = Program("train.py", *last_of_each((*CONFIG, "hydra.run.dir=run", *more)), cwd=folder)
    process.wait_for(f"epoch {after_epoch}/4")
    time.sleep(delay)
    process.send(number)
    done = process.end(timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_resuming_after_ctrl_c_repeats_the_run(tmp_path, uninterrupted, workers):
    delay = random.Random(workers).uniform(0.0, 0.15)
    more = [f"data.num_workers={workers}"]
    code, output = interrupt(tmp_path, signal.SIGINT, 1, delay, *more)
    assert code == 130, output
    assert "Traceback" not in output
    assert "resume=" in output
    run = tmp_path / "run"
    assert results(run)["status"] == "interrupted"
    assert (run / "report.html").is_file()
    assert (run / "checkpoints" / "last.ckpt").is_file()
    succeed("train.py", *CONFIG, *more, "hydra.run.dir=run", "resume=auto", cwd=tmp_path)
    assert results(run)["status"] == "finished"
    assert results(run)["hex"] == uninterrupted
    assert [row.split(",")[0] for row in (run / "metrics.csv").read_text().splitlines()] == [
        "epoch",
        "1",
        "2",
        "3",
        "4",
    ]


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_resuming_after_a_kill_repeats_the_run(tmp_path, uninterrupted, workers):
    more = [f"data.num_workers={workers}"]
    code, output = interrupt(tmp_path, signal.SIGKILL, 2, 0.0, *more)
    assert code == -signal.SIGKILL, output
    succeed("train.py", *CONFIG, *more, "resume=run", cwd=tmp_path)
    assert results(tmp_path / "run")["hex"] == uninterrupted
    assert not (tmp_path / "runs").exists()  # the run continued in its own folder


@pytest.mark.slow  # tests/unit/run/test_resume_start.py has it too
def test_another_config_is_not_resumed(tmp_path, program):
    first = program("train.py", *SMALL, "hydra.run.dir=run")
    assert first.returncode == 0, first.stderr
    before = (tmp_path / "run" / "results.json").read_bytes()
    refused = program("train.py", *SMALL, "resume=run", "neuron.tau=4.0")
    assert refused.returncode == 2
    assert "neuron.tau is 4.0, was 2.0" in refused.stderr
    assert f"Give the same overrides again: {' '.join(SMALL)}" in refused.stderr
    again = program("train.py", *SMALL, "hydra.run.dir=run")
    assert again.returncode == 2
    assert "holds a run already" in again.stderr
    assert (tmp_path / "run" / "results.json").read_bytes() == before
