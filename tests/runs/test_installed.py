"""The built wheel in an environment of its own, used from another folder: every program, and a user's own conf/."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import ROOT, results

from snntrain import __version__

pytestmark = pytest.mark.slow
FAST = ("model=small", "trainer.max_epochs=1", "T=2", "--config-dir", "mine")
PIP = ("-m", "pip", "--disable-pip-version-check", "-q")


def plain_environment() -> dict[str, str]:
    """Without what would let an installed program find the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SNNTRAIN_"))}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}


def call(*command: object) -> subprocess.CompletedProcess:
    """A command that may fail, away from the checkout."""
    words = list(map(str, command))
    return subprocess.run(words, cwd="/", env=plain_environment(), text=True, capture_output=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment, into which pip has installed the wheel and all that it needs."""
    pytest.importorskip("hatchling", reason="it builds the wheel: pip install hatchling")
    folder = tmp_path_factory.mktemp("installed")
    built = call(sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("snntrain-*.whl")
    assert call(sys.executable, "-m", "venv", folder / "venv").returncode == 0
    programs = folder / "venv" / "bin"
    reached = call(programs / "python", *PIP, "download", "--no-deps", "-d", folder / "index", "filelock>=3.12")
    if reached.returncode:
        pytest.skip(f"pip reaches no package index: {reached.stderr.strip().splitlines()[-1]}")
    done = call(programs / "python", *PIP, "install", "-c", ROOT / "constraints.txt", f"{wheel}[tune]")
    assert done.returncode == 0, done.stderr
    return programs


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
        command = [installed / "snntrain", *arguments]
        done = subprocess.run(
            command, cwd=elsewhere, env=plain_environment(), text=True, capture_output=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run_command


def test_nothing_of_the_checkout_is_used(installed, elsewhere):
    script = "import snntrain, sys; from snntrain.installation import CONF; print(snntrain.__file__, CONF)"
    shown = call(installed / "python", "-c", script).stdout
    assert str(ROOT) not in shown and shown.count("site-packages") == 2
    assert call(installed / "python", "-c", "import tonic").returncode == 1  # pictures train without it


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
    run("tune", "search=rate", "hydra.searchpath=[mine]", *FAST[:3])
    assert (elsewhere / "runs/studies/rate/study.html").is_file()


def test_a_record_is_reproduced_from_what_the_wheel_holds(run):
    differing = run("reproduce", "digits_lif", "T=3", code=3)
    assert re.search(r"^T +4 +3 *$", differing.stdout, re.MULTILINE)
    run("reproduce", "digits_lif")


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
        done = call(installed / "python", script)
        assert done.returncode == 0 and "[16, 64]" in done.stdout, done.stdout + done.stderr
    finally:
        (elsewhere / "conf").rename(elsewhere / "mine")


def test_an_editable_installation_leaves_no_copies(installed, tmp_path):
    assert call(sys.executable, "-m", "venv", tmp_path).returncode == 0
    done = call(tmp_path / "bin/python", *PIP, "install", "--no-deps", "-e", ROOT)
    assert done.returncode == 0, done.stderr
    (packages,) = tmp_path.glob("lib/*/site-packages")
    assert [path.name for path in packages.glob("snntrain*")] == [f"snntrain-{__version__}.dist-info"]
    script = "from snntrain.installation import CHECKOUT, CONF; print(CHECKOUT, CONF)"
    assert call(tmp_path / "bin/python", "-c", script).stdout.split() == [str(ROOT), str(ROOT / "conf")]
