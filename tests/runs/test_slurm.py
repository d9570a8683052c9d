"""Sweeps on a real Slurm cluster of one node: requeued, failing and canceled jobs, and jobs of several tasks."""

import importlib.util
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from programs import SMALL, Program, complete, last_of_each, results, succeed
from slurm_cluster import Cluster, slurm_cluster, why_not

from snntrain.lab.sweep.jobs import read_jobs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=f"Slurm: {why_not()}"),
    pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="hydra-submitit-launcher is not installed"),
]

CONFIG = (*SMALL, "trainer.max_epochs=40", "data.batch_size=32", "neuron.v_threshold=0.3")
ON_SLURM = ("launch=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=20")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurm_cluster(cpus=2) as running:
        yield running


def start(cluster: Cluster, cwd: Path, *arguments: str) -> Program:
    words = last_of_each((*CONFIG, *ON_SLURM, *arguments))
    return Program(
        "train.py", "-m", *words, "hydra.sweep.dir=sweep", cwd=cwd, merged=True, COLUMNS="500", **cluster.environment
    )


def wait(condition: Callable[[], bool], process: Program, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(process.end(timeout=1).stdout)
        time.sleep(0.1)


def epochs(run: Path) -> int:
    """How many epochs a run has completed."""
    history = run / "metrics.csv"
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


def slurm_job(run: Path) -> str:
    """The id by which Slurm's programs know the job that runs in a folder: 7_2 in an array, else 7."""
    own = [folder.name for folder in (run.parent / ".submitit").glob(f"*_{run.name}")]
    return own[0] if own else json.loads((run.parent / f"jobs/{run.name}.json").read_text())["process"]["job"]


def start_again(cluster: Cluster, run: Path) -> None:
    """Let Slurm start a requeued job as soon as it may instead of in two minutes."""
    job = slurm_job(run)
    for _ in range(300):
        shown = cluster("scontrol", "show", "job", job)
        if "JobState=PENDING Reason=BeginTime" in shown:
            cluster("scontrol", "update", f"JobId={job}", "StartTime=now")
            return
        time.sleep(0.2)
    raise AssertionError(shown)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def assert_equal(run: Path, expected: Path) -> None:
    """Both runs ended with the same metrics and weights, bit for bit."""
    assert results(run)["hex"] == results(expected)["hex"]
    found, wanted = weights(run), weights(expected)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert epochs(run) == epochs(expected)


def test_requeued_failing_and_canceled_jobs(cluster, tmp_path):
    process = start(cluster, tmp_path, "neuron.tau=0.5,2.0,3.0,4.0")
    folder = tmp_path / "sweep"
    wait(lambda: epochs(folder / "1") >= 3, process)
    cluster("scontrol", "requeue", slurm_job(folder / "1"))
    wait(lambda: epochs(folder / "2") >= 1, process)
    cluster("scancel", slurm_job(folder / "2"))
    start_again(cluster, folder / "1")
    done = process.end(timeout=300)
    output = done.stdout
    assert done.returncode == 1, output
    jobs = read_jobs(folder)
    assert [job.status for job in jobs] == ["failed", "finished", "interrupted", "finished"]
    assert "tau must be a finite number > 1, got 0.5" in jobs[0].error
    assert re.fullmatch(r"Slurm ended its job \d+_2 as CANCELLED \(scancel\)", jobs[2].error)
    for text in (r"job 0 failed: neuron.tau must be .* \(1 of 4 done\)", "job 1 continues", r"\(4 of 4 done\)"):
        assert re.search(text, output), output
    assert len(re.findall(r"\(\d of 4 done\)", output)) == 4
    for text in ("Traceback", "submitit WARNING", "accounting", "sacct"):
        assert text not in output
    (log,) = folder.glob(".submitit/*_1/*_0_log.out")
    assert "resumed from" in log.read_text(encoding="utf-8") and log.read_text().count("epoch   1/40") == 1

    again = start(cluster, tmp_path, "neuron.tau=0.5,2.0,3.0,4.0", "sweep.resume=true").end(timeout=300)
    assert again.returncode == 1 and "2 jobs to run" in again.stdout, again.stdout
    assert [job.status for job in read_jobs(folder)] == ["failed", "finished", "finished", "finished"]
    for number, tau in ((1, 2.0), (2, 3.0)):
        succeed("train.py", *last_of_each((*CONFIG, f"neuron.tau={tau}")), f"hydra.run.dir=whole{number}", cwd=tmp_path)
        assert_equal(folder / str(number), tmp_path / f"whole{number}")


def test_a_requeued_job_of_two_tasks_continues_in_both(cluster, tmp_path):
    process = start(cluster, tmp_path, "trainer=ddp", "hydra.launcher.tasks_per_node=2", "encoder=poisson")
    run = tmp_path / "sweep/0"
    wait(lambda: epochs(run) >= 3, process)
    cluster("scontrol", "requeue", slurm_job(run))
    start_again(cluster, run)
    done = process.end(timeout=300)
    assert done.returncode == 0, done.stdout
    assert re.search(r"job 0 continues\njob 0 finished   \(1 of 1 done\)", done.stdout), done.stdout
    succeed("train.py", *last_of_each((*CONFIG, "trainer=ddp", "encoder=poisson")), "hydra.run.dir=whole", cwd=tmp_path)
    assert_equal(run, tmp_path / "whole")


def test_when_one_task_of_a_job_is_killed_the_others_end_too(cluster, tmp_path):
    process = start(cluster, tmp_path, "trainer=ddp", "hydra.launcher.tasks_per_node=2", "trainer.max_epochs=400")
    run = tmp_path / "sweep/0"
    wait(lambda: epochs(run) >= 2, process)
    job = slurm_job(run)
    (second,) = (
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if {f"SLURM_JOB_ID={job}", "SLURM_PROCID=1"} <= variables(folder)
    )
    os.kill(second, signal.SIGKILL)
    began = time.monotonic()
    done = process.end(timeout=120)
    assert done.returncode == 1, done.stdout
    assert time.monotonic() - began < 90
    (ended,) = read_jobs(tmp_path / "sweep")
    assert ended.status in ("failed", "killed") and ended.error, ended


def variables(process: Path) -> set[str]:
    """The environment of a process in /proc; empty if it is gone or not Python."""
    try:
        if b"submitit" not in (process / "cmdline").read_bytes() or b"srun" in (process / "cmdline").read_bytes():
            return set()
        return {word.decode(errors="replace") for word in (process / "environ").read_bytes().split(b"\0")}
    except OSError:
        return set()


REFUSED = {
    "hydra.launcher.cpus_per_task=4": ["Slurm refuses such a job", "node configuration", "cpus_per_task=4", "2 CPUs"],
    "hydra.launcher.timeout_min=240": ["timeout_min=240", "60 minutes"],
    "hydra.launcher.partition=nosuch": ["partition=nosuch", "partition main"],
}


@pytest.mark.parametrize(("override", "texts"), REFUSED.items())
def test_a_job_that_would_never_start_is_refused_at_the_door(cluster, tmp_path, override, texts):
    words = last_of_each((*CONFIG, *ON_SLURM, override))
    process = complete("train.py", "-m", *words, "seed=1,2", cwd=tmp_path, **cluster.environment)
    assert process.returncode == 2 and len(process.stderr.strip().splitlines()) == 1, process.stderr
    assert all(text in process.stderr for text in texts), process.stderr
    assert list(tmp_path.iterdir()) == [] and cluster("squeue", "--noheader").strip() == ""


def test_why_jobs_wait_is_said_and_how_to_give_up(cluster, tmp_path):
    cluster("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        process = start(cluster, tmp_path, "seed=1,2", "trainer.max_epochs=2")
        process.wait_for("jobs 0, 1 wait in Slurm's queue: PartitionDown")
        process.send(signal.SIGINT)
        done = process.end(timeout=60)
        (said,) = re.findall(r"To end them: scancel (\d+)", done.stdout)
        assert done.returncode == 130
        again = ("seed=1,2", "trainer.max_epochs=2", "sweep.resume=true")
        refused = start(cluster, tmp_path, *again).end()
        assert refused.returncode == 2 and f"in its queue: {said}_0, {said}_1" in refused.stdout, refused.stdout
        cluster("scancel", said)
    finally:
        cluster("scontrol", "update", "PartitionName=main", "State=UP")
    assert start(cluster, tmp_path, *again).end().returncode == 0
    assert [job.status for job in read_jobs(tmp_path / "sweep")] == ["finished", "finished"]
