"""The how-tos of README and docs run as they are written, on made pictures and recordings, and end well above chance.

A test replaces the paths that they leave to the reader. Where a training takes minutes, or trains a large model, it
also adds trainer.max_epochs, which they do not set.
"""

import csv
import math
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from made_samples import write_mnist, write_pictures, write_recordings
from programs import ROOT, Program, results

from snntrain import create_model
from snntrain.export import export_nir

README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_PARTS = (ROOT / "docs/own_parts.md").read_text(encoding="utf-8")
PAGES = [README[README.index("## How to") : README.index("## Measured")], OWN_PARTS]
PAGES += [
    (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
    for name in (
        "training",
        "auditing",
        "many_runs",
        "conversion",
        "quantization",
        "lava",
        "nir",
        "microcontrollers",
        "onnx",
    )
]
# The lines of every block of commands, without `python` in front and the comment behind.
COMMANDS = {
    line.removeprefix("python ").partition(" # ")[0].strip()
    for page in PAGES
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for line in ([] if language else block.splitlines())
}
MARGIN = 0.3
"""Accuracy above chance that counts as learned; of the 100 samples or more of each test, that is 6 binomial errors."""

FEW = "trainer.max_epochs=3"
# Command → what is added to it. All learn the ten digits, or ten made patterns.
TRAINED = {
    "train.py model=csnn neuron=plif data=fashion_mnist paths.data=/my/data T=8": (FEW,),
    "train.py model=mlp neuron.tau=4 surrogate=sigmoid encoder=poisson task.loss=mse": (),
    "train.py neuron=relu": (),
    "train.py model=vgg9 norm=tdbn neuron=plif task.cutmix=1.0 callbacks=[default,ema]": (),
    "train.py neuron=ottt_lif task=online": (),
    "train.py T=64 task.chunk=8": ("trainer.max_epochs=2",),
    "train.py trainer=ddp": (FEW,),
}
CONVERTED = {
    "train.py neuron=relu T=8 callbacks=[default,ann2snn]": ("ann2snn/acc_T8",),
    "train.py neuron=relu T=4 callbacks=[default,ann2snn] callbacks.ann2snn.method=qcfs": ("ann2snn/acc_T4",),
    "train.py callbacks=[default,qat] callbacks.qat.quant=w4v4": ("qat/acc_int",),
    "train.py callbacks=[default,audit]": (),
    "train.py neuron=relu T=8 callbacks=[default,ann2snn,qat]": ("ann2snn/acc_T8", "qat/acc_int"),
    "train.py model.pool=AvgPool2d callbacks=[default,nir]": (),
    "train.py experiment=digits_mcu": ("qat/acc_int", "c/acc"),
    "train.py callbacks=[default,onnx]": ("onnx/acc",),
    "train.py model.channels=16 callbacks=[default,qat,c] callbacks.qat.quant=w4v8": ("qat/acc_int", "c/acc"),
}
EXPORTED = (
    "train.py experiment=digits_lava",
    "train.py experiment=fmnist_lava paths.data=/my/data",
    "train.py experiment=fmnist_ann2lava paths.data=/my/data",
)
SHOWN = {
    "train.py debug=fast": "report:",
    "train.py show=model model=sew_resnet18": "sew_resnet18",
    "train.py show=kernels model=csnn neuron=plif": "ParametricLIFNode  fused",
    "train.py show=audit neuron=plif": "audit: ",
    "train.py show=audit model=csnn data=fashion_mnist paths.data=/my/data": "audit: ",
}
IN_A_STORY = (
    "train.py resume=auto",
    "train.py resume=runs/2026-01-31/12-00-00_digits_csnn_lif",
    "train.py resume=runs/2026-01-31/12-00-00_digits_csnn_lif trainer.max_epochs=40",
    "train.py init_from=runs/2026-01-31/12-00-00_mnist_csnn data=fashion_mnist",
    "train.py init_from=best.ckpt 'freeze=[layers.0,layers.1,layers.4*]' model.features=64",
    "train.py init_from=digits_lif model.features=64",
    "eval.py run=runs/2026-01-31/12-00-00_digits_csnn_lif",
    "eval.py run=runs/2026-01-31/12-00-00_digits_csnn_lif mode=audit",
    "train.py show=audit init_from=best.ckpt",
    "eval.py checkpoint=best.ckpt mode=predict output=predictions",
    "eval.py checkpoint=best.ckpt mode=predict data.folder=/my/new_pictures output=predictions",
    "train.py data=image_folder data.folder=/my/pictures data.num_classes=5 data.size=64",
    "train.py data=event_folder data.root=/my/recordings data.split=0.2 data.num_classes=5 T=10",
    "train.py show=data data=nmnist",
    "train.py -m neuron=if,lif,plif seed=1,2,3",
    "train.py -m neuron=if,lif,plif seed=1,2,3 sweep.resume=true",
    "train.py -m seed=1,2,3 launch=joblib",
    "scripts/summarize.py runs --sort val/acc --csv runs.csv",
    "scripts/browse.py runs",
    "scripts/tune.py search=lif_tau workers=2 n_trials=30",
    "scripts/tune.py search=tau_lr_energy study=fashion storage=sqlite:///study.db data=fashion_mnist",
    "scripts/reproduce.py digits_lif",
    "scripts/reproduce.py digits_lif --weights",
    "train.py resume=runs/… callbacks=[default,qat]",
)
IMPORTED = "train.py model=nir model.file=net.nir"
#: Tasks other than classification: command → (a metric of the test, what it is better than, margin).
OTHER_TASKS = {
    "train.py task=regression data=diabetes model=mlp": ("test/r2", 0.0, 0.3),
    "train.py task=sequence data=parity T=12 model=recurrent neuron.v_threshold=0.5 neuron.decay_input=false "
    "optim.lr=0.01": ("test/acc", 0.5, 0.4),
}
LEFT_OUT = {
    "train.py trainer=gpu": "it needs a GPU",
    "scripts/install_nir_readers.py .nir-readers": "it downloads three programs; tests/peers/ run them",
    "make lava": "tests/peers/ run what it installs",
    "train.py task=multilabel data=mnist_pairs paths.data=/my/data": "the made files are too few for ten labels",
    "scripts/record.py mnist_csnn --seeds 1,2,3 paths.data=…": "it needs a clean checkout and writes into it",
    "train.py trainer=ddp trainer.accelerator=gpu trainer.devices=auto trainer.sync_batchnorm=true": "it needs GPUs",
    "train.py -m seed=1,2,3 launch=slurm hydra.launcher.cpus_per_task=2": "tests/runs/test_slurm.py runs it",
    "torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint host1 train.py trainer=ddp_nodes": (
        "tests/runs/test_two_hosts.py runs it"
    ),
}


def run(command: str, folder: Path, *more: str, **replaced: str) -> str:
    """Run a command in a folder, with paths replaced and overrides added; what it printed."""
    program, *words = shlex.split(command)
    places = {"/my/data": "data", **replaced}
    for place, own in places.items():
        words = [word.replace(place, own) for word in words]
    done = Program(program, *words, *more, cwd=folder).end(timeout=3600)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stdout


def newest(folder: Path) -> Path:
    """The run folder that was made last."""
    return max(folder.glob("runs/*/*/results.json"), key=lambda file: file.stat().st_mtime).parent


def check_learned(accuracy: float, classes: int, samples: int) -> None:
    chance = 1 / classes
    assert 6 * math.sqrt(chance * (1 - chance) / samples) <= MARGIN
    assert accuracy >= chance + MARGIN, f"{accuracy} of {samples} samples in {classes} classes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, with files in the layout of Fashion-MNIST."""
    write_mnist(tmp_path / "data" / "FashionMNIST" / "raw", train=2000, test=200)
    return tmp_path


def test_every_command_is_run_or_left_out_for_a_reason():
    known = [*TRAINED, *CONVERTED, *EXPORTED, *SHOWN, *IN_A_STORY, *OTHER_TASKS, IMPORTED, *LEFT_OUT]
    assert len(known) == len(set(known)) and set(known) == COMMANDS


@pytest.mark.slow
@pytest.mark.parametrize("command", OTHER_TASKS)
def test_values_and_sequences_are_learned(command, folder):
    metric, chance, margin = OTHER_TASKS[command]
    run(command, folder)
    assert results(newest(folder))["metrics"][metric] >= chance + margin


# --- 1. Train --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAINED)
def test_a_training_learns(command, folder):
    run(command, folder, *TRAINED[command])
    check_learned(results(newest(folder))["metrics"]["test/acc"], classes=10, samples=200)


@pytest.mark.slow
@pytest.mark.parametrize("command", SHOWN)
def test_a_look_runs(command, folder):
    assert SHOWN[command] in run(command, folder)


@pytest.mark.slow
def test_a_run_is_stopped_twice_resumed_tested_and_predicted(folder):
    for words in ((), ("resume=auto",)):
        process = Program("train.py", *words, cwd=folder)
        process.wait_for(f"epoch {3 if words else 2}/20")
        process.send(signal.SIGINT)
        assert process.end().returncode == 128 + signal.SIGINT
    (made,) = folder.glob("runs/*/*")
    place = {"runs/2026-01-31/12-00-00_digits_csnn_lif": str(made)}
    run("train.py resume=runs/2026-01-31/12-00-00_digits_csnn_lif", folder, **place)
    found = results(made)
    assert found["status"] == "finished"
    check_learned(found["metrics"]["test/acc"], classes=10, samples=359)
    said = run("eval.py run=runs/2026-01-31/12-00-00_digits_csnn_lif", folder, **place)
    assert f"test/acc {found['metrics']['test/acc']:.4f}" in said
    said = run("eval.py run=runs/2026-01-31/12-00-00_digits_csnn_lif mode=audit", folder, **place)
    assert "audit: " in said and "Audit" in (made / "report.html").read_text(encoding="utf-8")
    shutil.copy(made / "checkpoints" / "best.ckpt", folder / "best.ckpt")
    assert "audit: " in run("train.py show=audit init_from=best.ckpt", folder)
    run("eval.py checkpoint=best.ckpt mode=predict output=predictions", folder)
    rows = list(csv.DictReader((folder / "predictions" / "predictions.csv").open(encoding="utf-8")))
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(found["metrics"]["test/acc"])
    for command, more in (
        ("train.py init_from=best.ckpt 'freeze=[layers.0,layers.1,layers.4*]' model.features=64", FEW),
        ("train.py init_from=runs/2026-01-31/12-00-00_mnist_csnn data=fashion_mnist", FEW),
        ("train.py init_from=digits_lif model.features=64", FEW),
    ):
        run(command, folder, more, **{"runs/2026-01-31/12-00-00_mnist_csnn": str(made)})
        check_learned(results(newest(folder))["metrics"]["test/acc"], classes=10, samples=200)
    longer = {**place, "max_epochs=40": "max_epochs=22"}
    run("train.py resume=runs/2026-01-31/12-00-00_digits_csnn_lif trainer.max_epochs=40", folder, **longer)
    assert len((made / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 1 + 22
    run("train.py resume=runs/… callbacks=[default,qat]", folder, **{"runs/…": str(made)})
    check_learned(results(made)["metrics"]["qat/acc_int"], classes=10, samples=359)


# --- 2. Bring your own neuron, layer, model, loss … ------------------------------------------------------------------


@pytest.mark.slow
def test_the_model_neuron_and_loss_of_ones_own_learn(folder):
    (model,) = re.findall(r"```yaml\n(.*?)```", OWN_PARTS, re.DOTALL)
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "conf" / "model" / "mine.yaml").write_text(model)
    assert yaml.safe_load(model)["layers"] and "run `python train.py model=mine`" in OWN_PARTS
    run("train.py model=mine", folder, FEW, "--config-dir=conf")
    check_learned(results(newest(folder))["metrics"]["test/acc"], classes=10, samples=359)
    for code in re.findall(r"```python\n(.*?)```", OWN_PARTS, re.DOTALL):
        name, command = re.match(r"# (\w+\.py) — then: python (.*)\n", code).groups()
        (folder / name).write_text(code)
        run(command, folder, FEW)
        check_learned(results(newest(folder))["metrics"]["test/acc"], classes=10, samples=359)


# --- 3. Bring your own data ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pictures_of_ones_own_are_learned_and_new_ones_predicted(tmp_path):
    """This command ended at chance in validation while normalization lagged behind: 60 updates in 20 epochs."""
    place = {"/my/pictures": str(write_pictures(tmp_path / "pictures", per_class=40))}
    run("train.py data=image_folder data.folder=/my/pictures data.num_classes=5 data.size=64", tmp_path, **place)
    made = newest(tmp_path)
    new = write_pictures(tmp_path / "new", per_class=20, seed=2)
    check_learned(_right_by_name(tmp_path, made, new), classes=5, samples=100)


@pytest.mark.slow
def test_recordings_of_ones_own_are_learned_and_new_ones_predicted(tmp_path):
    place = {"/my/recordings": str(write_recordings(tmp_path / "recordings", per_class=40))}
    run("train.py data=event_folder data.root=/my/recordings data.split=0.2 data.num_classes=5 T=10", tmp_path, **place)
    new = write_recordings(tmp_path / "new", per_class=20, seed=2)
    check_learned(_right_by_name(tmp_path, newest(tmp_path), new), classes=5, samples=100)


def _right_by_name(folder: Path, made: Path, new: Path) -> float:
    """The share of new files whose predicted class is the folder that they lie in."""
    shutil.copy(made / "checkpoints" / "best.ckpt", folder / "best.ckpt")
    command = "eval.py checkpoint=best.ckpt mode=predict data.folder=/my/new_pictures output=predictions"
    run(command, folder, **{"/my/new_pictures": str(new)})
    rows = list(csv.DictReader((folder / "predictions" / "predictions.csv").open(encoding="utf-8")))
    return sum(row["file"].split("/")[0] == row["predicted"] for row in rows) / len(rows)


@pytest.mark.slow
def test_a_data_set_is_shown(tmp_path, shared_data):
    (tmp_path / "data").symlink_to(shared_data)
    assert "34×34" in run("train.py show=data data=nmnist", tmp_path, "data.partial=true")


# --- 4. Sweep, search, repeat ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sweeps_and_their_tables(folder):
    for command in ("train.py -m neuron=if,lif,plif seed=1,2,3", "train.py -m seed=1,2,3 launch=joblib"):
        said = run(command, folder, FEW)
        assert "±" in said
    run("train.py -m neuron=if,lif,plif seed=1,2,3 sweep.resume=true", folder, FEW)
    made = list(folder.glob("runs/*/*_sweep/*/results.json"))
    assert len(made) == 12
    for place in made:
        check_learned(results(place.parent)["metrics"]["test/acc"], classes=10, samples=359)
    run("scripts/summarize.py runs --sort val/acc --csv runs.csv", folder)
    assert len(list(csv.DictReader((folder / "runs.csv").open(encoding="utf-8")))) >= 4
    run("scripts/browse.py runs", folder)
    assert list(folder.rglob("*.html"))


@pytest.mark.slow
def test_searches_find_runs_that_learned(folder):
    pytest.importorskip("optuna")
    said = run("scripts/tune.py search=lif_tau workers=2 n_trials=30", folder)
    best = max(results(file.parent)["metrics"].get("val/acc", 0) for file in folder.rglob("results.json"))
    check_learned(best, classes=10, samples=143)
    assert "val/acc" in said
    command = "scripts/tune.py search=tau_lr_energy study=fashion storage=sqlite:///study.db data=fashion_mnist"
    run(command, folder, "n_trials=2")
    assert (folder / "study.db").is_file()


@pytest.mark.slow
def test_a_record_is_reproduced(tmp_path):
    assert "test/acc" in run("scripts/reproduce.py digits_lif", tmp_path)
    assert "reproduced" in run("scripts/reproduce.py digits_lif --weights", tmp_path)


# --- 5. Convert, quantize, export ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", CONVERTED)
def test_a_converted_net_is_as_good(command, folder):
    run(command, folder)
    metrics = results(newest(folder))["metrics"]
    for name in ("test/acc", *CONVERTED[command]):
        check_learned(metrics[name], classes=10, samples=359)


@pytest.mark.slow
def test_the_net_of_a_graph_is_trained_on(folder):
    pytest.importorskip("nir")
    export_nir(create_model("mlp", (1, 8, 8), 10), torch.rand(2, 1, 1, 8, 8), folder / "net.nir")
    run(IMPORTED, folder, FEW)
    made = newest(folder)
    check_learned(results(made)["metrics"]["test/acc"], classes=10, samples=359)
    (folder / "net.nir").unlink()
    assert f"test/acc {results(made)['metrics']['test/acc']:.4f}" in run(f"eval.py run={made}", folder)


@pytest.mark.slow
@pytest.mark.parametrize("command", EXPORTED)
def test_an_exported_net_is_as_good(command, folder):
    run(command, folder)
    metrics = results(newest(folder))["metrics"]
    check_learned(metrics["test/acc"], classes=10, samples=200)
    assert metrics["lava/mismatches"] == 0
