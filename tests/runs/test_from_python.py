"""snntrain.train, load and sweep: as the programs, from Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from programs import GAIN_NODE, ROOT, SMALL, complete, results
from torch import nn

import snntrain
from snntrain import UsageError
from snntrain.run.trained import overrides_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("python")
    return snntrain.train(
        " ".join(SMALL), neuron="plif", paths={"runs": folder / "runs"}, hydra={"run": {"dir": folder / "one run"}}
    )


def test_a_run_is_that_of_train_py(trained, tmp_path):
    complete("train.py", *SMALL, "neuron=plif", f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert results(trained.folder)["hex"] == results(tmp_path / "run")["hex"]
    assert {name: float(value).hex() for name, value in trained.metrics.items()} == results(trained.folder)["hex"]


def test_predictions_are_those_that_were_tested_and_v_can_be_looked_at(trained):
    loaded = snntrain.load(trained.folder)
    split = loaded.data.splits["test"]
    x = torch.stack([split[index][0] for index in range(len(split))])
    neuron = next(layer for layer in loaded.net.layers if isinstance(layer, snntrain.neuron.BaseNode))
    neuron.store_v_seq = True
    scores = loaded.predict(x)
    assert scores.shape == (len(split), 10) and torch.equal(scores, trained.predict(x))
    accuracy = float((scores.argmax(1) == split.labels).float().mean())
    assert accuracy == pytest.approx(trained.metrics["test/acc"])
    assert neuron.v_seq.shape[0] == loaded.settings["T"]
    with pytest.raises(UsageError, match=r"shape \[1, 8, 8\]"):
        loaded.predict(torch.zeros(2, 1, 28, 28))


def test_a_checkpoint_alone_is_enough(trained, tmp_path):
    alone = tmp_path / "best.ckpt"
    alone.write_bytes((trained.folder / "checkpoints/best.ckpt").read_bytes())
    loaded = snntrain.load(alone)
    assert loaded.folder is None and loaded.metrics == {}
    assert torch.load(alone, weights_only=True)["snntrain"]["classes"] == list("0123456789")  # for eval.py mode=predict
    for name, value in trained.net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("overrides", "settings", "named"),
    [
        (("modle=csnn",), {}, "Did you mean model?"),
        ((), {"neuron": "lfi"}, "Did you mean lif?"),
        (("T=2 T=3",), {}, "given twice"),
        (("seed=1,2",), {}, "add -m"),
        ((), {"T": object()}, "an object of object is no text, number, list or mapping, so no config can hold it"),
        ((), {"data": nn.Linear(2, 2)}, "data=custom data.train._target_=my_module.MyDataset"),
        ((3,), {}, "texts or mappings"),
        (("show=model",), {}, "trains nothing"),
    ],
)
def test_what_is_wrong_is_raised_as_an_error(overrides, settings, named):
    with pytest.raises(UsageError) as error:
        snntrain.train(*overrides, **settings)
    assert named in str(error.value)


def test_values_are_written_as_a_command_line_reads_them():
    given = {"T": 4, "name": "a b", "resume": None, "data": {"download": True, "root": "/d"}, "freeze": ["x", "1"]}
    assert list(overrides_of("model=mlp seed=2", given)) == [
        *("model=mlp", "seed=2", "T=4", "name='a b'", "resume=null"),
        *("data.download=true", "data.root=/d", "freeze=[x,'1']"),
    ]


@pytest.mark.slow
def test_a_sweep_gives_its_jobs_and_the_best_run(tmp_path):
    small = " ".join(SMALL).replace("trainer.max_epochs=2", "trainer.max_epochs=1")
    swept = snntrain.sweep(small, seed=[1, 2], hydra={"sweep": {"dir": tmp_path / "sweep"}})
    assert [job.status for job in swept.jobs] == ["finished", "finished"]
    best = max(swept.jobs, key=lambda job: job.metrics["val/acc"])
    assert swept.best().metrics["val/acc"] == best.metrics["val/acc"]
    with pytest.raises(UsageError, match="no finished job"):
        swept.best("val/none")


def script_of_the_docs() -> str:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    (script,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "savefig" in code)
    assert len(script.splitlines()) <= 20
    return script


def run_in_a_new_process(script: str, folder: Path) -> str:
    (folder / "script.py").write_text(script)
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_pictures(folder: Path) -> None:
    for name in ("raster", "potential", "rates", "neuron", "surrogate"):
        with Image.open(folder / f"{name}.png") as drawn:
            assert drawn.width >= 400 and len(set(drawn.convert("RGB").getdata())) > 20  # curves, not an empty page


@pytest.mark.slow
def test_the_script_of_the_docs_looks_inside_and_draws(tmp_path):
    """As written, but for a net of one epoch."""
    small = script_of_the_docs().replace('{"max_epochs": 3}', '{"max_epochs": 1, "limit_train_batches": 1}')
    assert "layers.10 fires" in run_in_a_new_process(small, tmp_path)
    check_pictures(tmp_path)


@pytest.mark.slow
def test_the_script_of_the_docs_trains_loads_predicts_and_draws(tmp_path):
    """As written, in a new process, as a user starts it; its imports are checked in tests/unit/test_examples.py."""
    said = run_in_a_new_process(script_of_the_docs(), tmp_path)
    assert float(re.search(r"right: tensor\((.*)\)", said)[1]) > 0.4  # of ten classes, in the first batch
    check_pictures(tmp_path)


def test_a_run_with_plugins_comes_back_from_train_without_further_trust(tmp_path, monkeypatch):
    (tmp_path / "gained.py").write_text(GAIN_NODE.replace("GainNode", "GainedNode"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = [word for word in SMALL if not word.startswith("neuron.")]
    node = "plugins=[gained] neuron=if neuron.name=GainedNode neuron.gain=2.0 neuron.backend=torch"
    run = snntrain.train(" ".join(words), node)
    assert type(run.net.layers[2]).__name__ == "GainedNode"
    with pytest.raises(UsageError, match=r"gained\. If you trust it"):
        snntrain.load(run.folder)
