"""scripts/gpu_check.py without a GPU: every step at small sizes, and what is left when it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import gpu_check
import pytest
from rich.console import Console

SCRIPT = Path(gpu_check.__file__)
WITH_SPIKINGJELLY = any(d.name == "spikingjelly" for d in metadata.distributions())


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--small", "--rounds", "2", "--threads", "1"]
    pipe = subprocess.PIPE
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.Popen(
        [*command, "--output", "out", *arguments], cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe
    )


def read(folder: Path) -> dict:
    return json.loads((folder / "out/gpu_check.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_step_runs_on_a_cpu_and_its_rows_are_in_the_file_and_the_table(tmp_path):
    process = start(tmp_path, "--minutes", "60")
    output, errors = process.communicate(timeout=3600)
    assert process.returncode == 0, output + errors
    found = read(tmp_path)
    assert found["status"] == "finished"
    assert {name: step["status"] for name, step in found["steps"].items()} == dict.fromkeys(gpu_check.STEPS, "finished")
    rows = {name: step["rows"] for name, step in found["steps"].items()}
    assert rows["devices"][0]["result"].startswith("numba ")
    assert {row["what"] for row in rows["devices"]} >= {"launcher driver", "launcher cupy"}
    assert [row["what"] for row in rows["copy"]] == ["copy", "x*1 forward and backward"]
    assert rows["tests"][-1]["result"].endswith("skipped")
    assert [row["dtype"] for row in rows["kernels"]] == ["fp32", "bf16", "fp16"]
    for row in rows["kernels"]:
        assert row["equal_to_loop"] == 1 and row["to_floor"]["training"]["fused"] > 0, row
    for row in (*rows["csnn"], *rows["SEW-ResNet-18"]):
        assert len(row["contenders"]["snntrain"]["seconds"]) == 2
        if WITH_SPIKINGJELLY:
            parameters = {one["parameters"] for one in row["contenders"].values()}
            assert len(row["contenders"]) == 2 and len(parameters) == 1 and row["times_as_fast"] > 0
        else:
            assert row["unavailable"] == {"SpikingJelly": "pip install spikingjelly==2.0.0"}
    assert "recorded: nothing of GPUs" in rows["first command"][0]["result"]
    assert all(row["what"] in output for step in rows.values() for row in step)


@pytest.mark.slow
def test_it_can_be_stopped_at_any_time_and_keeps_what_was_measured(tmp_path):
    process = start(tmp_path, "--steps", "copy,kernels", "--minutes", "60")
    ends = time.monotonic() + 1200
    while not ((tmp_path / "out/gpu_check.json").is_file() and read(tmp_path)["steps"].get("copy", {}).get("rows")):
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 130
    found = read(tmp_path)
    assert found["status"] == "interrupted" and found["steps"]["copy"]["rows"] and "GB/s" in output


class Options:
    """The command line of a check of which each test replaces the processes."""

    def __init__(self, folder: Path, minutes: float = 8.0) -> None:
        self.output, self.minutes = folder, minutes
        self.device, self.small, self.rounds, self.threads = "cpu", True, 1, 1


@pytest.fixture
def step(monkeypatch):
    """Let a step be a program of the test's."""

    def replace(program: str) -> None:
        start_process = subprocess.Popen

        def popen(command, **more):
            return start_process([sys.executable, "-c", program], **more)

        monkeypatch.setattr(gpu_check.subprocess, "Popen", popen)

    return replace


@pytest.fixture
def check(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check.benchmark, "begin", lambda options: {})
    return gpu_check.Check(Options(tmp_path))


def test_rows_are_kept_when_a_step_fails_and_its_error_is_shown(check, step, tmp_path):
    step('import sys; print(\'{"what": "a", "result": "b"}\', flush=True); sys.exit(\'the GPU fell off\')')
    check.run("copy")
    kept = json.loads((tmp_path / "gpu_check.json").read_text(encoding="utf-8"))["steps"]["copy"]
    assert kept["status"] == "failed" and kept["error"] == "the GPU fell off"
    assert kept["rows"] == [{"what": "a", "result": "b"}]
    console = Console(width=120, record=True)
    console.print(gpu_check.table(check.results))
    assert "failed: the GPU fell off" in console.export_text()


def test_a_step_that_takes_too_long_is_ended_with_what_it_started(check, step, monkeypatch):
    monkeypatch.setitem(gpu_check.LIMITS, "copy", 3)
    monkeypatch.setattr(gpu_check, "LEAST", 1)
    step(
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']);"
        'print(\'{"what": "a", "result": "%d"}\' % child.pid, flush=True); time.sleep(99)'
    )
    check.run("copy")
    assert check.results["steps"]["copy"]["status"] == "stopped after 3 s"
    child = int(check.results["steps"]["copy"]["rows"][0]["result"])
    ends = time.monotonic() + 60
    while gpu_check.psutil.pid_exists(child) and gpu_check.psutil.Process(child).status() != "zombie":
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_what_the_time_does_not_allow_is_skipped_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check.benchmark, "begin", lambda options: {})
    check = gpu_check.Check(Options(tmp_path, minutes=0.1))
    check.run("kernels")
    assert check.results["steps"]["kernels"]["status"] == "skipped: the 0.1 minutes are over"


def test_a_count_replaces_the_earlier_one():
    rows = [{"what": "tests", "result": "1 passed"}]
    gpu_check._add(rows, {"what": "tests", "result": "2 passed", "replaces": True})
    gpu_check._add(rows, {"what": "other", "result": "failed"})
    assert [row["result"] for row in rows] == ["2 passed", "failed"]


def test_a_wrong_step_is_refused():
    with pytest.raises(gpu_check.argparse.ArgumentTypeError, match="'kernel' is not one of devices, "):
        gpu_check.chosen("kernel")
    assert gpu_check.chosen("copy,kernels") == ["kernels", "copy", "kernels, cupy"]
