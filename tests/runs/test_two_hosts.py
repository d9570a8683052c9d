"""A run over two hosts: one run folder, an end within a bounded time when one host is cut off, and exact resuming."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from programs import ROOT, SMALL, last_of_each, results
from two_hosts import Host, two_hosts, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=f"two hosts: {why_not()}")]

CONFIG = (*SMALL, "trainer=ddp_nodes", "trainer.strategy.timeout_min=0.5", "encoder=poisson", "data.batch_size=32")


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as both:
        yield both


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """Those that a test started; whatever is left of them is killed at its end."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def train(hosts: tuple[Host, Host], started: list, cwd: Path, *arguments: str) -> list[subprocess.Popen]:
    """Start train.py on both hosts; their output goes to 0.txt and 1.txt."""
    words = last_of_each((*CONFIG, *arguments))
    both = [host.torchrun(str(ROOT / "train.py"), *words, cwd=cwd, output=cwd / f"{host.place}.txt") for host in hosts]
    started.extend(both)
    return both


def ended(process: subprocess.Popen, output: Path, seconds: float = 180) -> str:
    """Wait for the end of a process that must succeed; returns what it printed."""
    code = process.wait(seconds)
    text = output.read_text(encoding="utf-8")
    assert code == 0, text
    return text


def wait_for(text: str, output: Path, seconds: float) -> float:
    """Wait until a process has printed a text; returns the seconds that took."""
    began = time.monotonic()
    while text not in output.read_text(encoding="utf-8"):
        assert time.monotonic() - began < seconds, output.read_text(encoding="utf-8")
        time.sleep(0.1)
    return time.monotonic() - began


def test_a_host_that_is_cut_off_ends_the_run_which_then_continues_exactly(hosts, started, tmp_path):
    both = train(hosts, started, tmp_path, "trainer.max_epochs=12", "paths.runs=whole")
    said = [ended(process, tmp_path / f"{place}.txt") for place, process in enumerate(both)]
    assert "epoch  12/12" in said[0] and "epoch" not in said[1]
    (whole,) = tmp_path.glob("whole/*/*")  # each host started in another second, and still they share one folder

    both = train(hosts, started, tmp_path, "trainer.max_epochs=12", "paths.runs=cut")
    wait_for("epoch   4/12", tmp_path / "0.txt", seconds=180)
    hosts[1].unplug()
    try:
        lost = "error: Another process of the run was stopped, or its host no longer answers"
        for place in (0, 1):
            wait_for(lost, tmp_path / f"{place}.txt", seconds=120)
        assert both[0].wait(120) == 1
    finally:
        hosts[1].plug()
    both[1].kill()  # torchrun on the host that was cut off tries to reach the other one for minutes
    (run,) = tmp_path.glob("cut/*/*")
    assert f"resume={run}" in " ".join((tmp_path / "0.txt").read_text().split())
    assert results(run)["status"] == "failed" and "no longer answers" in results(run)["message"]

    both = train(hosts, started, tmp_path, "trainer.max_epochs=12", f"resume={run}")
    said = [ended(process, tmp_path / f"{place}.txt") for place, process in enumerate(both)]
    assert "resumed from" in said[0] and "epoch   1/12" not in said[0]
    assert results(run)["hex"] == results(whole)["hex"] and results(run)["status"] == "finished"
    found, wanted = (torch.load(one / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for one in (run, whole))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_run_that_the_first_process_refuses_is_refused_on_both_hosts(hosts, started, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").touch()
    both = train(hosts, started, tmp_path, "trainer.max_epochs=2", "hydra.run.dir=run")
    for place, process in enumerate(both):
        assert process.wait(120) == 1  # torchrun's
        assert "run holds a run already" in (tmp_path / f"{place}.txt").read_text()
