"""Run and sweep folders as the program leaves them, made by hand in no time."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from snntrain.config import Config
from snntrain.files import write_json, write_text
from snntrain.lab.sweep.jobs import Job, write_job, write_sweep
from snntrain.run.folder import RunFolder


def make_run(folder: Path, overrides: Sequence[str] = (), status: str = "finished", **metrics: float) -> Path:
    """A run folder; keyword test_acc is the metric test/acc."""
    config = {"model": {"layers": ["Flatten", "neuron"]}, "seed": 1, "neuron": {"name": "LIFNode", "tau": 2.0}}
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "seed":
            config["seed"] = int(value)
        elif key.startswith("neuron."):
            config["neuron"][key.removeprefix("neuron.")] = yaml.safe_load(value)
    write_text(folder / "config.yaml", yaml.safe_dump(config))
    write_text(folder / "overrides.yaml", yaml.safe_dump(list(overrides)))
    write_text(folder / "report.html", "a report")
    if status != "unfinished":
        values = {name.replace("_", "/", 1): value for name, value in metrics.items()}
        RunFolder(folder).write_results(status, values, seconds={"fit": 2.0, "test": 0.5})
    return folder


def make_sweep(folder: Path, jobs: Sequence[Job]) -> Path:
    """A sweep folder with the jobs' records, and run folders of those that have metrics."""
    write_sweep(folder, ["seed=1,2"], jobs, {"metric": "val/acc", "mode": "max"})
    for job in jobs:
        if job.status != "waiting":
            write_job(folder, job)
        if job.metrics:
            job.folder = str(job.number)
            write_job(folder, job)
            metrics = {name.replace("/", "_", 1): value for name, value in job.metrics.items()}
            make_run(folder / str(job.number), job.overrides, **metrics)
    write_json(folder / "multirun.yaml", {})
    return folder


def whole_config(**changed: Any) -> dict[str, Any]:
    """A config with every key that the present format has, besides its other content."""
    paths = {"data": "data", "runs": "runs", "run": None}
    return {**asdict(Config()), "task": {"outputs": 1}, "paths": paths, **changed}


OLD_RUNS = Path(__file__).parent / "old_runs"
"""Run folders made with earlier commits, whose names they bear; last.ckpt is that after the first of two epochs."""
OVERRIDES = ("model=mlp", "model.features=8", "T=2", "trainer.max_epochs=2", "data.batch_size=16", "optim.lr=0.02")
"""What they were made with."""


def old_run(commit: str, place: Path) -> Path:
    """A copy of one of them, as it was left by an interruption after the first epoch."""
    shutil.copytree(OLD_RUNS / commit, place / commit)
    results = json.loads((place / commit / "results.json").read_text())
    (place / commit / "results.json").write_text(json.dumps({**results, "status": "interrupted"}))
    return place / commit
