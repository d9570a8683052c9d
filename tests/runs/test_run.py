"""Whole runs: what they leave behind, that they repeat, that every choice works, that they can be evaluated again."""

import csv
import json
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy
import pytest
import torch
import yaml
from programs import GAIN_NODE, SMALL, SMALL_ANN, complete, complete_anew, results, succeed

from snntrain.config.folders import groups

# Neurons that fire, and random draws inside the model.
ACTIVE = (*SMALL_ANN, "encoder=poisson", "neuron.v_threshold=0.3", "optim.lr=0.02")
ACTIVE_IN_A_LOOP = (*SMALL, "neuron.v_threshold=0.3", "optim.lr=0.02")
RUN_FOLDER = {
    "config.yaml",
    "overrides.yaml",
    "provenance.json",
    "checkpoints",
    "metrics.csv",
    "results.json",
    "report.html",
    "artifacts",
    "layers.json",
    "logs",
    "checksums.json",
    ".checksums.lock",
}


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def steps(run: Path) -> int:
    """Training steps that were taken."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]


# --- one run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The folder of a small run, and what the program said."""
    cwd = tmp_path_factory.mktemp("trained")
    process = complete_anew("train.py", *ACTIVE, "hydra.run.dir=run", cwd=cwd)
    assert process.returncode == 0 and "Traceback" not in process.stdout + process.stderr, process.stderr
    return cwd / "run", process


def test_a_run_leaves_exactly_the_documented_folder(trained):
    run, _ = trained
    assert {path.name for path in run.parent.iterdir()} == {"run"}
    assert {path.name for path in run.iterdir()} == RUN_FOLDER
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert {path.name for path in (run / "artifacts").iterdir()} == {
        "test.npz",
        "raster.npz",
        "splits.json",
        "synaptic_operations.json",
        "neurobench.json",
        "energy.json",
    }


def test_results_say_how_it_went_and_hex_equals_decimals(trained):
    run, _ = trained
    found = results(run)
    assert found["status"] == "finished" and "message" not in found
    assert {"test/acc", "test/loss", "test/firing_rate", "val/acc", "train/loss"} <= set(found["metrics"])
    assert {name: float.fromhex(value) for name, value in found["hex"].items()} == found["metrics"]
    assert found["metrics"]["test/acc"] > 0.3  # chance is a tenth
    assert 0.01 < found["metrics"]["test/firing_rate"] < 0.99
    assert found["memory"]["resident"] > 50 * 2**20  # torch alone takes more
    assert found["seconds"]["fit"] > 0 and found["throughput"]["train_images_per_second"] > 0


def test_the_config_is_resolved_and_the_overrides_are_those_given(trained):
    run, _ = trained
    text = (run / "config.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    assert "${" not in text and "!!" not in text
    assert config["neuron"]["v_threshold"] == 0.3 and config["T"] == 2 and config["name"] == "digits_mlp_lif"
    assert yaml.safe_load((run / "overrides.yaml").read_text(encoding="utf-8")) == list(ACTIVE)


def test_provenance_names_code_versions_hardware_and_data(trained):
    run, _ = trained
    found = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    assert found["command"] == "python train.py " + " ".join(ACTIVE)
    assert found["versions"]["torch"] == version("torch") and found["hardware"]["cores"] >= 1
    assert "commit" in found["code"]
    assert [len(digest) for digest in found["data"].values()] == [64] * 3


def test_every_epoch_is_a_row_and_the_best_one_is_reported(trained):
    run, process = trained
    table = rows(run / "metrics.csv")
    assert [row["epoch"] for row in table] == ["1", "2"]
    best = max(table, key=lambda row: float(row["val/acc"]))
    found = results(run)
    assert found["best_epoch"] == int(best["epoch"])
    for name in ("val/acc", "val/loss", "train/loss", "val/firing_rate"):
        assert found["metrics"][name] == float(best[name])
    lines = [line for line in process.stdout.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    for line, row in zip(lines, table, strict=True):
        assert f"val acc {float(row['val/acc']):.4f}" in line and f"loss {float(row['train/loss']):.4f}" in line


def test_the_artifacts_agree_with_the_metrics(trained):
    run, _ = trained
    found = results(run)["metrics"]
    with numpy.load(run / "artifacts" / "test.npz") as test:
        assert test["confusion"].shape == (10, 10) and test["confusion"].sum() == 359
        assert test["confusion"].trace() / 359 == pytest.approx(found["test/acc"])
        assert test["classes"].tolist() == list("0123456789")
    with numpy.load(run / "artifacts" / "raster.npz") as raster:
        assert raster["spikes/layers.2"].shape == (2, 32) and set(numpy.unique(raster["spikes/layers.2"])) <= {0, 1}
        assert raster["output"].shape == (2, 10)
        assert raster["predicted"] == raster["output"].mean(0).argmax()
    layers = json.loads((run / "layers.json").read_text(encoding="utf-8"))
    assert [(layer["name"], layer["output_shape"], layer["parameters"]) for layer in layers] == [
        ("Flatten", [64], 0),
        ("Linear", [32], 64 * 32 + 32),
        ("LIFNode", [32], 0),
        ("Linear", [10], 32 * 10 + 10),
    ]


def test_the_program_says_where_it_works_what_it_got_and_nothing_on_stderr(trained):
    run, process = trained
    assert process.stderr == ""
    assert str(run) in process.stdout and str(run / "report.html") in process.stdout
    assert f"test/acc {results(run)['metrics']['test/acc']:.4f}" in process.stdout
    assert "1,294 train, 144 val, 359 test samples" in process.stdout
    assert f"{100 * results(run)['metrics']['test/acc']:.2f} %" in (run / "report.html").read_text(encoding="utf-8")


# --- one seed, one result --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("seeds")
    succeed("train.py", "-m", *ACTIVE, "seed=2,1", "hydra.sweep.dir=sweep", cwd=cwd)
    return cwd / "sweep"


def test_one_seed_gives_equal_metrics_to_the_last_bit(trained, seeds):
    """Even after another job in the same process."""
    assert results(seeds / "1")["hex"] == results(trained[0])["hex"]
    lines = [(folder / "metrics.csv").read_text() for folder in (seeds / "1", trained[0])]
    assert lines[0] == lines[1]


def test_another_seed_gives_other_metrics(trained, seeds):
    one, other = results(trained[0])["hex"], results(seeds / "0")["hex"]
    assert one["test/loss"] != other["test/loss"] and one["train/loss"] != other["train/loss"]


# --- choices ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nets_of_relus_and_of_learnable_neurons_learn(tmp_path):
    """tests/runs/test_sweep.py has those of the other neurons."""
    succeed("train.py", "-m", *SMALL_ANN, "optim.lr=0.05", "neuron=relu,plif", "hydra.sweep.dir=sweep", cwd=tmp_path)
    for job, neuron in enumerate(("relu", "plif")):
        found = results(tmp_path / "sweep" / str(job))
        assert found["status"] == "finished" and found["metrics"]["test/acc"] > 0.2
        assert ("test/firing_rate" in found["metrics"]) == (neuron != "relu")
        assert (tmp_path / "sweep" / str(job) / "report.html").is_file()
    saved = torch.load(tmp_path / "sweep/1/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert saved["net.layers.2.w"] != 0.0  # where init_tau = 2 starts it


@pytest.mark.slow
def test_losses_readouts_and_loggers_are_chosen_by_name(tmp_path):
    """tests/unit/task/test_classification.py has the numbers of each pair."""
    variations = ("task.loss=tet,mse", "task.readout=membrane", "logger=tensorboard", *ACTIVE_IN_A_LOOP)
    succeed("train.py", "-m", *variations, "hydra.sweep.dir=sweep", cwd=tmp_path)
    for job, loss in enumerate(("tet", "mse")):
        run = tmp_path / "sweep" / str(job)
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        assert (config["task"]["loss"], config["task"]["readout"]) == (loss, "membrane")
        assert results(run)["metrics"]["test/acc"] > 0.2
        assert list((run / "logs").rglob("events.out.tfevents.*")) != []
        assert {path.name for path in run.iterdir()} == RUN_FOLDER


@pytest.mark.slow
def test_debug_fast_takes_two_batches_and_debug_profile_prints_the_time_of_every_hook(tmp_path):
    quick = [word for word in ACTIVE_IN_A_LOOP if not word.startswith(("trainer.max_epochs", "data.batch_size"))]
    process = succeed("train.py", "-m", *quick, "debug=fast,profile", "hydra.sweep.dir=sweep", cwd=tmp_path)
    for job, taken in enumerate((2, 41)):
        run = tmp_path / "sweep" / str(job)
        assert steps(run) == taken and len(rows(run / "metrics.csv")) == 1
    with numpy.load(tmp_path / "sweep/0/artifacts/test.npz") as test:
        assert test["confusion"].sum() == 2 * 32
    assert "run_training_epoch" in process.stdout and "optimizer_step" in process.stdout


@pytest.mark.slow
def test_debug_overfit_learns_two_batches_by_heart(tmp_path):
    more = ("debug=overfit", "trainer.max_epochs=30", "data.batch_size=32", "hydra.run.dir=run")
    succeed("train.py", *ACTIVE_IN_A_LOOP, *more, cwd=tmp_path)
    table = rows(tmp_path / "run/metrics.csv")
    assert steps(tmp_path / "run") == 60 and len(table) == 30
    assert float(table[-1]["train/acc"]) > 0.95


@pytest.mark.slow
def test_early_stopping_stops(tmp_path):
    """A learning rate of almost 0: no epoch is better than the first."""
    stopping = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1,3", "optim.lr=1e-12")
    succeed("train.py", "-m", *SMALL, *stopping, "trainer.max_epochs=20", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert [len(rows(tmp_path / "sweep" / job / "metrics.csv")) for job in "01"] == [2, 4]
    assert [results(tmp_path / "sweep" / job)["status"] for job in "01"] == ["finished"] * 2


# --- classes of the user's -------------------------------------------------------------------------------------------

MINE = (
    GAIN_NODE
    + """
from torch import nn
from snntrain import functional
from snntrain.layer import Flatten, Linear

@register("model")
class MyNet(nn.Module):
    '''Two layers.'''
    def __init__(self, sample_shape, num_classes, neuron, width: int = 8):
        super().__init__()
        self.layers = nn.Sequential(Flatten(), Linear(64, width), neuron(), Linear(width, num_classes))
        functional.set_step_mode(self, "m")
    def forward(self, x_seq):
        return self.layers(x_seq)
"""
)


@pytest.mark.slow
def test_a_neuron_and_a_model_of_the_users_train_and_are_evaluated(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    neuron = ("plugins=[mine]", "neuron.name=GainNode", "~neuron.tau", "neuron.gain=3.0")
    model = ("model=mlp", "~model.layers", "~model.features", "model.name=MyNet", "model.width=24")
    small = [argument for argument in SMALL if not argument.startswith("model")]
    succeed("train.py", *small, *neuron, *model, "optim.lr=0.05", "hydra.run.dir=run", cwd=tmp_path)
    found = results(tmp_path / "run")
    assert found["metrics"]["test/acc"] > 0.2 and found["metrics"]["test/firing_rate"] > 0
    layers = json.loads((tmp_path / "run" / "layers.json").read_text(encoding="utf-8"))
    assert ("GainNode", 0) in [(layer["name"], layer["parameters"]) for layer in layers]
    untrusted = complete("eval.py", "run=run", cwd=tmp_path)
    assert untrusted.returncode == 2 and "imports mine" in untrusted.stderr and "trust=true" in untrusted.stderr
    evaluated = succeed("eval.py", "run=run", "trust=true", cwd=tmp_path)
    assert f"test/acc {found['metrics']['test/acc']:.4f}" in evaluated.stdout
    assert json.loads((tmp_path / "run/artifacts/eval_test.json").read_text())["hex"] == hex_of_test(found)


def hex_of_test(found: dict) -> dict[str, str]:
    return {name: value for name, value in found["hex"].items() if name.startswith("test/")}


# --- help ------------------------------------------------------------------------------------------------------------


def test_help_lists_every_group_with_its_choices_and_every_key(tmp_path):
    text = succeed("train.py", "--help", cwd=tmp_path).stdout
    for group, choices in groups().items():
        listed = re.search(rf"^{group}: (.*)$", text, re.MULTILINE)
        assert listed, group
        assert sorted(listed[1].split(", ")) == choices
    for key in ("max_epochs:", "T: 4", "tau: 2.0", "batch_size:", "resume=auto"):
        assert key in text
    assert list(tmp_path.iterdir()) == []


def test_help_of_the_evaluation_lists_its_keys(tmp_path):
    text = succeed("eval.py", "--help", cwd=tmp_path).stdout
    for key in ("run=", "checkpoint=", "mode=", "predict", "output=", "T=8"):
        assert key in text


# --- evaluation ------------------------------------------------------------------------------------------------------


def test_testing_a_run_again_gives_equal_metrics_to_the_last_bit(trained):
    run, _ = trained
    before = (run / "results.json").read_bytes()
    process = succeed("eval.py", f"run={run}", cwd=run.parent)
    found = json.loads((run / "artifacts" / "eval_test.json").read_text(encoding="utf-8"))
    assert found["hex"] == hex_of_test(results(run)) and process.stderr == ""
    (run / "artifacts" / "eval_test.json").unlink()
    assert (run / "results.json").read_bytes() == before


def test_a_checkpoint_alone_is_enough(trained, tmp_path):
    run, _ = trained
    shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "copy.ckpt")
    succeed("eval.py", "checkpoint=copy.ckpt", "output=there/inside", cwd=tmp_path)
    found = json.loads((tmp_path / "there" / "inside" / "eval_test.json").read_text(encoding="utf-8"))
    assert found["hex"] == hex_of_test(results(run))
    assert {name: float.fromhex(value) for name, value in found["hex"].items()} == found["metrics"]
    assert {path.name for path in tmp_path.iterdir()} == {"copy.ckpt", "there"}


def test_predictions_have_the_accuracy_of_the_test(trained, tmp_path):
    run, _ = trained
    succeed("eval.py", f"run={run}", "mode=predict", f"output={tmp_path}", cwd=tmp_path)
    table = rows(tmp_path / "predictions.csv")
    assert len(table) == 359 and [int(row["index"]) for row in table] == list(range(359))
    assert list(table[0]) == ["index", "label", "predicted", *(f"score {digit}" for digit in range(10))]
    right = sum(row["label"] == row["predicted"] for row in table)
    assert right / 359 == pytest.approx(results(run)["metrics"]["test/acc"])
    for row in table:
        scores = [float(row[f"score {digit}"]) for digit in range(10)]
        assert scores.index(max(scores)) == int(row["predicted"])


@pytest.mark.slow
def test_an_evaluation_may_override_the_saved_config(trained, tmp_path):
    run, _ = trained
    arguments = (f"run={run}", "T=8", "data.batch_size=32", f"output={tmp_path}")
    assert "T = 8" in succeed("eval.py", *arguments, cwd=tmp_path).stdout
    found = json.loads((tmp_path / "eval_test.json").read_text(encoding="utf-8"))
    assert found["hex"]["test/loss"] != results(run)["hex"]["test/loss"]
    assert found["metrics"]["test/acc"] > 0.3
