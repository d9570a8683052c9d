"""Whole runs with options of training: online, chunks, mixed samples, averaged weights, half precision, compiled."""

import csv
import json
import math
from pathlib import Path

import numpy
import pytest
import torch
from programs import SMALL, results, succeed

ACTIVE = (*SMALL, "neuron.v_threshold=0.3", "optim.lr=0.02")
CONVOLUTIONAL = (*ACTIVE, "model=csnn", "model.channels=8")


def train(folder: Path, *arguments: str) -> dict:
    succeed("train.py", *arguments, "hydra.run.dir=run", cwd=folder)
    return results(folder / "run")


def check_evaluation(folder: Path, found: dict, *arguments: str) -> None:
    """eval.py finds what the run's test found, to the last bit."""
    succeed("eval.py", "run=run", "output=again", *arguments, cwd=folder)
    again = json.loads((folder / "again/eval_test.json").read_text(encoding="utf-8"))["hex"]
    assert {"test/acc", "test/loss", "test/firing_rate"} <= again.keys()
    assert again.items() <= found["hex"].items()


@pytest.mark.slow
@pytest.mark.parametrize(("neuron", "steps"), [pytest.param("sltt_lif", 22, marks=pytest.mark.slow), ("ottt_lif", 44)])
def test_online_training_learns(tmp_path, neuron, steps):
    online_step = str(steps == 44).lower()  # an update after each of two time steps
    found = train(tmp_path, *ACTIVE, "task=online", f"neuron={neuron}", f"task.online_step={online_step}")
    assert found["metrics"]["test/acc"] > 0.5  # chance is a tenth
    assert 0.01 < found["metrics"]["test/firing_rate"] < 0.99
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == steps
    with (tmp_path / "run/metrics.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0.02, 0.01])  # half a cosine
    with numpy.load(tmp_path / "run/artifacts/raster.npz") as raster:
        assert raster["spikes/layers.2"].shape == (2, 32) and raster["output"].shape == (2, 10)


@pytest.mark.slow
def test_exact_chunks_train_as_the_whole_sequence(tmp_path):
    arguments = ("-m", *ACTIVE, "task.chunk=null,1", "hydra.sweep.dir=sweep")
    succeed("train.py", *arguments, cwd=tmp_path)
    whole, chunks = (results(tmp_path / "sweep" / job)["metrics"] for job in "01")
    for name in ("train/loss", "train/acc", "val/loss", "test/loss", "test/acc", "test/firing_rate"):
        assert chunks[name] == pytest.approx(whole[name], rel=1e-3, abs=1e-3), name
    assert whole["train/loss"] < 2


@pytest.mark.slow
def test_chunks_mixed_samples_and_half_precision_go_together(tmp_path):
    options = ("task.chunk=1", "task.mixup=0.2", "task.cutmix=1.0", "trainer.precision=bf16-mixed")
    found = train(tmp_path, *CONVOLUTIONAL, *options)["metrics"]
    assert found["test/acc"] > 0.3 and all(map(math.isfinite, found.values()))


@pytest.mark.slow
def test_averaged_weights_are_kept_and_tested_in_half_precision(tmp_path):
    options = ("callbacks=[default,ema]", "callbacks.ema.decay=0.5", "trainer.precision=bf16-mixed")
    found = train(tmp_path, *CONVOLUTIONAL, *options)
    assert found["metrics"]["test/acc"] > 0.3
    saved = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert {value.dtype for name, value in saved.items() if name.endswith("weight")} == {torch.float32}
    check_evaluation(tmp_path, found)


@pytest.mark.slow
def test_a_compiled_run_is_evaluated_without_compiling(tmp_path):
    found = train(tmp_path, *CONVOLUTIONAL, "task.compile=true")
    assert found["metrics"]["test/acc"] > 0.3 and found["metrics"]["test/firing_rate"] > 0
    check_evaluation(tmp_path, found, "task.compile=false")
