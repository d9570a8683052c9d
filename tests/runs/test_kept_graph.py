"""A run of model=nir keeps its graph, so that the folder alone rebuilds the net; another graph is refused."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import snntrain
from snntrain.config.compose import compose
from snntrain.config.overrides import refuse_unused
from snntrain.error import DamagedFile, UsageError
from snntrain.lab.experiment.reproduction import reproduce_from
from snntrain.run.evaluate import evaluate

nir = pytest.importorskip("nir")
SHORT = (
    *("trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "T=2"),
    *("callbacks=[]", "model=nir", "model.file=net.nir", "trainer.enable_progress_bar=false"),
)


def write_graph(path: Path, hidden: int = 12) -> None:
    source, nodes = np.random.default_rng(0), {"input": nir.Input({"input": np.array([64])})}
    for name, (inputs, size) in {"1": (64, hidden), "2": (hidden, 10)}.items():
        nodes["fc" + name] = nir.Affine(source.normal(size=(size, inputs)) / np.sqrt(inputs) * 2, np.zeros(size))
        nodes["lif" + name] = nir.LIF(*(np.full(size, value) for value in (2e-4, 2.0, 0.0, 0.5)))
    nodes["output"] = nir.Output({"output": np.array([10])})
    nir.write(path, nir.NIRGraph(nodes, list(itertools.pairwise(nodes))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one epoch, moved, its graph file gone."""
    place = tmp_path_factory.mktemp("graph")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        write_graph(place / "net.nir")
        run = snntrain.train(*SHORT, "trainer.max_epochs=1", "hydra.run.dir=first")
        x = torch.rand(3, 1, 8, 8)
        scores = run.predict(x)
        shutil.move("first", "run")
        shutil.move("net.nir", "away.nir")
    return place, x, scores


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of it, in the working folder."""
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.mark.slow
def test_the_folder_alone_rebuilds_the_net(folder, trained):
    _, x, scores = trained
    assert (folder / "model.nir").read_bytes() == Path("away.nir").read_bytes()
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["file"] == "net.nir"
    assert torch.equal(snntrain.load(folder).predict(x), scores)
    assert torch.equal(snntrain.load(folder / "checkpoints/last.ckpt").predict(x), scores)
    assert "test/acc" in evaluate([f"run={folder}"])
    assert reproduce_from(folder, None, []) == 0


def test_it_is_continued_without_the_file_and_not_with_another(folder):
    more = ["trainer.max_epochs=2", "resume=run"]
    write_graph(Path("net.nir"), hidden=13)
    with pytest.raises(UsageError, match=r"model\.file=net\.nir is not the graph that the run began with, .*run/model"):
        snntrain.train(*SHORT, *more)
    Path("net.nir").unlink()
    assert snntrain.train(*SHORT, *more).folder == Path("run")


def test_a_damaged_graph_is_named(folder):
    with (folder / "model.nir").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff" * 8)
    for source in (folder, folder / "checkpoints/last.ckpt"):
        with pytest.raises(DamagedFile, match=r"model\.nir is damaged: it is not what was written"):
            snntrain.load(source)
    with pytest.raises(DamagedFile, match=r"model\.nir is damaged: it is not what was written"):
        evaluate([f"checkpoint={folder / 'checkpoints/last.ckpt'}"])


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("neuron=plif", r"neuron=plif does nothing: the net of model\.file has the neurons of its graph\. Leave it"),
        ("neuron.tau=3.0", r"neuron\.tau=3\.0 does nothing: the net of model\.file has the neurons"),
        ("norm=tdbn", r"norm=tdbn does nothing: the net of model\.file has the layers of its graph"),
        ("surrogate=sigmoid", None),
    ],
)
def test_what_the_graph_fixes_cannot_be_chosen(override, text):
    overrides = ["model=nir", "model.file=net.nir", override]
    config = compose(overrides)
    if text is None:
        return refuse_unused(config, overrides)
    with pytest.raises(UsageError, match=text):
        refuse_unused(config, overrides)
