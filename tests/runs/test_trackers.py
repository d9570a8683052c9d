"""The pages of MLflow's and TensorBoard's own servers: which runs they name, and their values against metrics.csv."""

import contextlib
import csv
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, built_page
from programs import SMALL, complete_anew, results

pytestmark = pytest.mark.slow
TAUS = ("1.5", "3.0")
SWEEP = (*SMALL, "trainer.max_epochs=3", "optim.lr=0.01", f"neuron.tau={','.join(TAUS)}", "hydra.sweep.dir=runs/swept")
TASKS = {
    "classification": ((), "digits_mlp_lif", "acc"),
    "regression": (("task=regression", "data=friedman1"), "friedman1_mlp_lif", "rmse"),
    "sequence": (("task=sequence", "data=parity", "T=6", "data.samples=300"), "parity_mlp_lif", "loss"),
}
"""Task → (its overrides, the name of its runs, the metric that chooses the best epoch)."""


def mlflow_program() -> str | None:
    """MLflow with its pages: that of another environment, SNNTRAIN_MLFLOW=…/mlflow, or of this one if whole."""
    if "SNNTRAIN_MLFLOW" in os.environ:
        return os.environ["SNNTRAIN_MLFLOW"]
    beside = Path(sys.executable).with_name("mlflow")
    return str(beside) if beside.is_file() and importlib.util.find_spec("flask") else None


@contextlib.contextmanager
def serving(command: Sequence[str], cwd: Path) -> Iterator[str]:
    """Run a server with --port of its own until the block ends; yields its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, log = f"http://127.0.0.1:{port}", cwd / "server.log"
    with log.open("w", encoding="utf-8") as output:
        # Its own session, because MLflow's server starts others, which are to end with it.
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=cwd,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 240
            while True:
                with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                assert server.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.2)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def asked(address: str, query: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> Any:
    """The JSON that an address answers with."""
    url = f"{address}?{urllib.parse.urlencode(query)}" if query else address
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def page(url: str, tmp_path: Path, *wanted: str) -> str:
    """The page as chromium builds it, as soon as it holds the wanted texts; skips without chromium."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed; the servers' answers were right")
    text = ""
    for seconds in (15, 30, 60):
        text = built_page(url, tmp_path / "chromium", seconds=seconds)
        if all(word in text for word in wanted):
            break
    return text


def epochs(job: Path) -> dict[str, list[float]]:
    """Metric → its value in each epoch, from metrics.csv; what only the history of the run holds is left out."""
    with (job / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name.startswith(("train/", "val/"))}


@pytest.fixture
def swept(tmp_path, request) -> Path:
    """The folder of a sweep of two jobs with a logger and a task."""
    logger, task = request.param
    done = complete_anew("train.py", "-m", *SWEEP, *TASKS[task][0], f"logger={logger}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / "runs/swept"


@pytest.mark.skipif(
    mlflow_program() is None, reason="the whole of mlflow is not installed; SNNTRAIN_MLFLOW names its program elsewhere"
)
@pytest.mark.parametrize(("swept", "task"), [(("mlflow", task), task) for task in TASKS], indirect=["swept"])
def test_mlflow_shows_each_job_of_a_sweep_with_its_params_and_the_values_of_metrics_csv(swept, task, tmp_path):
    # One worker: a supervisor of several kills those that are slow to answer on a busy machine.
    command = [mlflow_program(), "ui", "--backend-store-uri", "sqlite:///runs/mlflow.db", "--workers", "1"]
    with serving(command, tmp_path) as address:
        api = f"{address}/api/2.0/mlflow"
        experiment = asked(f"{api}/experiments/get-by-name", {"experiment_name": "snntrain"})["experiment"]
        runs = asked(f"{api}/runs/search", body={"experiment_ids": [experiment["experiment_id"]]})["runs"]
        names = {run["info"]["run_name"]: run for run in runs}
        name_of_runs = TASKS[task][1]
        assert set(names) == {f"{name_of_runs} swept/0", f"{name_of_runs} swept/1"} and len(runs) == 2
        for number, tau in enumerate(TAUS):
            run, job = names[f"{name_of_runs} swept/{number}"], swept / str(number)
            params = {param["key"]: param["value"] for param in run["data"]["params"]}
            assert params["neuron/tau"] == tau and Path(params["paths/run"]).resolve() == job.resolve()
            assert run["info"]["status"] == "FINISHED"
            for name, values in epochs(job).items():
                query = {"run_id": run["info"]["run_id"], "metric_key": name}
                history = asked(f"{api}/metrics/get-history", query)["metrics"]
                assert [point["value"] for point in history] == values, name
                steps = [point["step"] for point in history]
                assert steps == [steps[0] + index * (steps[0] + 1) for index in range(3)]  # the last update of each
            last = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
            tested = {name: value for name, value in results(job)["metrics"].items() if name.startswith("test/")}
            assert tested and {name: last.get(name) for name in tested} == tested
        wanted = sorted(names)
        text = page(f"{address}/#/experiments/{experiment['experiment_id']}/runs", tmp_path, *wanted)
        assert all(name in text for name in wanted)


@pytest.mark.parametrize(("swept", "task"), [(("tensorboard", task), task) for task in TASKS], indirect=["swept"])
def test_tensorboard_shows_each_job_of_a_sweep_with_its_hyperparameters_and_the_values_of_metrics_csv(
    swept, task, tmp_path
):
    pytest.importorskip("tensorboard")
    monitored = TASKS[task][2]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "runs", "--load_fast=false"]
    with serving(command, tmp_path) as address:
        names = [f"swept/{number}/logs/version_0" for number in range(2)]
        deadline = time.monotonic() + 120
        while set(asked(f"{address}/data/runs")) != set(names):  # it reads them after it has begun to answer
            assert time.monotonic() < deadline, asked(f"{address}/data/runs")
            time.sleep(0.5)
        tags = asked(f"{address}/data/plugin/scalars/tags")
        for number, name in enumerate(names):
            assert "hp_metric" not in tags[name]
            for tag, values in epochs(swept / str(number)).items():
                points = asked(f"{address}/data/plugin/scalars/scalars", {"run": name, "tag": tag})
                assert [np.float32(value) for _, _, value in points] == [np.float32(value) for value in values], tag
                steps = [step for _, step, _ in points]
                assert steps == [steps[0] + index * (steps[0] + 1) for index in range(3)]
        groups = asked(
            f"{address}/data/plugin/hparams/session_groups",
            body={
                "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
                "colParams": [
                    {"metric": {"tag": tag, "group": ""}} for tag in (f"val/{monitored}", f"test/{monitored}")
                ],
                "startIndex": 0,
                "sliceSize": 10,
            },
        )["sessionGroups"]
        table = {group["hparams"]["neuron/tau"]: group for group in groups}
        assert set(table) == {float(tau) for tau in TAUS}
        for number, tau in enumerate(TAUS):
            group = table[float(tau)]
            shown = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
            tested = results(swept / str(number))["metrics"][f"test/{monitored}"]
            expected = {
                f"val/{monitored}": epochs(swept / str(number))[f"val/{monitored}"][-1],
                f"test/{monitored}": tested,
            }
            assert {key: np.float32(value) for key, value in shown.items()} == pytest.approx(expected, rel=1e-6)
            assert not any(key.startswith(("paths/", "logger/", "callbacks/")) for key in group["hparams"])
        text = page(f"{address}/#timeseries", tmp_path, *names)
        assert all(name in text for name in names) and "hp_metric" not in text
