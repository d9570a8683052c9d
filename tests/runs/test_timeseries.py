"""One command trains on a folder of time series of several lengths, whatever the task."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from programs import results, succeed

import snntrain

SMALL = ("model=mlp", "model.features=8", "T=6", "trainer.max_epochs=1", "data.batch_size=8", "neuron.backend=torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twenty sequences of 3 to 6 steps; the columns: two inputs, a value, a class."""
    root, source = tmp_path_factory.mktemp("series"), np.random.default_rng(1)
    for number in range(20):
        steps = 3 + number % 4
        with (root / f"{number}.csv").open("w", newline="") as file:
            write = csv.writer(file)
            write.writerow(["a", "b", "value", "kind"])
            write.writerows(
                [*source.normal(size=2), source.normal(), ("left", "right")[number % 2]] for _ in range(steps)
            )
    return root


CASES = {
    "classification": ("task=classification", "data.target=kind", "data.num_classes=2", "data.sampler=balanced"),
    "regression": ("task=regression", "data.target=value", "data.num_targets=1"),
    "sequence": ("task=sequence", "data.target=value", "data.num_targets=1"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=() if task == "regression" else pytest.mark.slow) for task in CASES]
)
def test_a_run_trains_tests_and_predicts(folder, tmp_path, task):
    settings = ("data.split=0.2", "data.inputs=[a,b]", "data.sample_shape=[2]", *CASES[task])
    run = tmp_path / "run"
    succeed(
        "train.py", "data=timeseries_folder", f"data.folder={folder}", *settings, *SMALL, f"hydra.run.dir={run}",
        cwd=tmp_path,
    )  # fmt: skip
    headline = "acc" if task == "classification" else "rmse"
    assert f"test/{headline}" in results(run)["metrics"]
    succeed("eval.py", f"run={run}", "mode=predict", f"output={tmp_path}", cwd=tmp_path)
    run = snntrain.load(run)
    split = run.data.splits["test"]
    x = torch.stack([split[place][0] for place in range(len(split))])
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    scores = run.predict(x, split.lengths)
    if task != "classification":  # the table is in the units of the files
        scores = run.data.value_standard.inverse(scores)
    if task == "sequence":
        expected = [scores[place, step, 0] for place, length in enumerate(split.lengths) for step in range(length)]
    elif task == "regression":
        expected = scores[:, 0]
    else:
        expected = scores[:, 1]
    column = "score right" if task == "classification" else "predicted value"
    assert [float(row[column]) for row in rows] == pytest.approx([float(score) for score in expected], abs=1e-6)
