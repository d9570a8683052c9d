"""The built wheel, installed into an empty folder and used from another one: every program, and a user's own conf/."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import ROOT, results

pytestmark = pytest.mark.slow
FAST = ("model=small", "trainer.max_epochs=1", "T=2", "--config-dir", "mine")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip installs it; the libraries it needs are those of this environment."""
    pytest.importorskip("hatchling", reason="it builds the wheel: pip install hatchling")
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
    wheel = next(folder.glob("snntrain-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "packages", wheel], check=True)
    return folder / "packages"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with a config group and a data module of their own."""
    folder = tmp_path_factory.mktemp("user")
    for group in ("model", "data", "search"):
        (folder / "mine" / group).mkdir(parents=True)
    (folder / "mine/model/small.yaml").write_text(
        "layers:\n  - Flatten\n  - {name: Linear, out_features: 16}\n  - neuron\n"
        "  - {name: Linear, out_features: '${data.num_classes}'}\n"
    )
    (folder / "mine/data/bright.yaml").write_text(
        "_target_: bright.Bright\nnum_classes: 2\nsample_shape: [1, 4, 4]\nbatch_size: 16\n"
    )
    (folder / "bright.py").write_text(
        "import torch\n"
        "from snntrain.data import ImageDataModule, ImageSplit\n\n\n"
        "class Bright(ImageDataModule):\n"
        "    CLASSES, SAMPLE_SHAPE = ('dark', 'bright'), (1, 4, 4)\n\n"
        "    def load(self):\n"
        "        labels = torch.arange(120) % 2\n"
        "        x = (labels * 200)[:, None, None, None].expand(120, 1, 4, 4).to(torch.uint8)\n"
        "        return {'train': ImageSplit(x[:80], labels[:80]), 'test': ImageSplit(x[80:], labels[80:])}\n\n"
        "    def fingerprint(self):\n"
        "        return {}\n"
    )
    (folder / "mine/search/rate.yaml").write_text(
        "# The learning rate\nstudy: rate\nn_trials: 2\nobjectives:\n  - {metric: val/acc, direction: maximize}\n"
        "parameters:\n  optim.lr: {type: float, low: 0.001, high: 0.01}\n"
    )
    return folder


@pytest.fixture
def run(installed: Path, elsewhere: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run the installed command in the user's folder."""

    def run_command(*arguments: str, code: int = 0) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        command = [sys.executable, installed / "bin" / "snntrain", *arguments]
        done = subprocess.run(command, cwd=elsewhere, env=environment, text=True, capture_output=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run_command


def test_it_trains_evaluates_and_browses_from_any_folder(run, elsewhere):
    run("train", *FAST, "hydra.run.dir=runs/one")
    trained = results(elsewhere / "runs/one")
    assert trained["status"] == "finished"
    again = run("eval", "run=runs/one")
    assert f"test/acc {trained['metrics']['test/acc']:.4f}" in again.stdout
    command = (elsewhere / "runs/one/provenance.json").read_text()
    assert '"command": "snntrain train' in command and '"commit": null' in command
    assert "runs/one" in run("summarize", "runs").stdout
    run("browse", "runs")
    assert (elsewhere / "runs/index.html").is_file()


def test_a_sweep_finds_the_users_model_and_data(run, elsewhere):
    plugin = ("plugins=[bright]", "data=bright")
    run("train", "-m", *FAST, *plugin, "data.batch_size=16,32", "hydra.sweep.dir=runs/sweep")
    assert [results(elsewhere / f"runs/sweep/{number}")["status"] for number in range(2)] == ["finished"] * 2


def test_a_search_of_the_users_runs(run, elsewhere):
    pytest.importorskip("optuna")
    run("tune", "search=rate", "hydra.searchpath=[mine]", *FAST[:3])
    assert (elsewhere / "runs/studies/rate/study.html").is_file()


def test_records_come_with_it_but_none_can_be_made(run):
    assert "digits_lif" in run("reproduce", "digits_lfi", code=2).stderr
    assert "git checkout" in run("record", "digits_lif", code=2).stderr


def test_typos_are_answered_from_both_folders(run):
    assert "Did you mean small?" in run("train", "model=smal", "--config-dir", "mine", code=2).stderr
    assert "Did you mean csnn?" in run("train", "model=csn", "--config-dir", "mine", code=2).stderr
    assert "Did you mean train?" in run("trian", code=2).stderr


def test_a_script_of_the_users_finds_the_conf_beside_it(installed, elsewhere):
    (elsewhere / "mine").rename(elsewhere / "conf")
    try:
        script = elsewhere / "script.py"
        script.write_text(
            "import snntrain\n"
            "run = snntrain.train('model=small T=2', trainer={'max_epochs': 1}, data={'val_fraction': 0.2})\n"
            "print(run.metrics['test/acc'], run.net.layers[1].weight.shape)\n"
        )
        environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, script], cwd=installed, env=environment, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0 and "[16, 64]" in done.stdout, done.stdout + done.stderr
    finally:
        (elsewhere / "conf").rename(elsewhere / "mine")
