"""Runs of every task, to their report, predictions and fit-end callbacks, which speak of the task's own metric."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from programs import SMALL, SMALL_ANN, results, succeed
from sklearn.datasets import make_friedman1
from small_fit_end import check_before_training

import snntrain
from snntrain.error import UsageError
from snntrain.lava_exchange.lava_shim import installed_lava

LABELS = """
from snntrain.data import Digits, ImageSplit, Target
from snntrain.registry import register


@register("data")
class Properties(Digits):
    '''Digits: whether they are even, large, or round.'''

    TARGET, CLASSES = Target.LABELS, ("even", "large", "round")

    def load(self):
        import torch

        found = super().load()
        for split in found.values():
            digit = split.labels
            properties = [digit % 2 == 0, digit > 4, torch.isin(digit, torch.tensor([0, 6, 8, 9]))]
            split.labels = torch.stack(properties, 1).float()
        return found
"""
REGRESSION = ("task=regression", "data=friedman1", "data.samples=300")
OF_LABELS = ("plugins=[labels]", "task=multilabel", "data.name=Properties", "data.num_classes=3", "task.metrics=[]")
SEQUENCE = ("task=sequence", "data=noisy_sine", "data.samples=200", "data.test_samples=50", "data.shortest=3")
PARITY = ("task=sequence", "data=parity", "data.samples=200", "data.test_samples=50", "data.shortest=3")
STEPS = ("T=6", "model=mlp", "model.features=8", "neuron.backend=torch", "trainer.max_epochs=1")
QAT = ("callbacks.qat.epochs=1", "callbacks.qat.sensitivity_batches=1", "callbacks.qat.verify_samples=16")
LAVA = ("callbacks.qat.quant=loihi", "callbacks.lava.samples=16", "callbacks.lava.lava_samples=2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "labels.py").write_text(LABELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(folder: Path, *overrides: str) -> tuple[Path, str]:
    """The run folder and what was said."""
    done = succeed("train.py", *overrides, "hydra.run.dir=run", cwd=folder)
    return folder / "run", done.stdout


def page_of(run: Path) -> str:
    """The report, but for the section that holds the diff of the code."""
    page = (run / "report.html").read_text()
    before, found, after = page.partition('id="provenance"')
    assert found, "the section is called something else now"
    return before + after.partition("</section>")[2]


def predictions(folder: Path, *more: str) -> list[dict[str, str]]:
    succeed("eval.py", "run=run", "mode=predict", *more, cwd=folder)
    return list(csv.DictReader((folder / "run/artifacts/predictions.csv").open(encoding="utf-8", newline="")))


def same_test(folder: Path) -> bool:
    succeed("eval.py", "run=run", "trust=true", cwd=folder)
    again = json.loads((folder / "run/artifacts/eval_test.json").read_text())["metrics"]
    found = results(folder / "run")["metrics"]
    return all(again[name] == found[name] for name in found if name.startswith("test/") and name in again)


@pytest.mark.slow
def test_a_regression_from_training_to_predictions(folder):
    run, said = trained(folder, *REGRESSION, *SMALL)
    metrics, page = results(run)["metrics"], page_of(run)
    assert "samples/s" in said and not re.search("img/s|acc|class", said)
    assert "train_samples_per_second" in results(run)["throughput"]
    assert "Test RMSE" in page and 'id="errors"' in page and "onfusion" not in page and "accuracy" not in page
    with np.load(run / "artifacts/test.npz") as test:
        (count, rmse, mae, r2), pairs = test["errors"][0], test["pairs"]
        mean, std = test["value_mean"][0], test["value_std"][0]
    assert (count, len(pairs)) == (60, 60)
    assert [rmse, mae, r2] == pytest.approx([metrics[f"test/{name}"] for name in ("rmse", "mae", "r2")], rel=1e-4)
    assert f"of standardized values; in their own units {rmse * std:.4g}" in page
    assert same_test(folder)
    rows = predictions(folder)
    assert list(rows[0]) == ["index", "label value", "predicted value"] and len(rows) == 60
    in_units = np.array([[float(row["label value"]), float(row["predicted value"])] for row in rows])
    everything = make_friedman1(300, noise=1.0, random_state=0)[1]
    assert np.isclose(in_units[:, :1], everything, rtol=1e-5).any(1).all(), "labels are those of the data"
    found = (in_units - mean) / std
    np.testing.assert_allclose(found, pairs[:, :, 0], rtol=1e-4, atol=1e-5)
    loaded = snntrain.load(run)
    scores = loaded.predict(loaded.data.splits["test"].x)
    np.testing.assert_allclose(scores[:, 0].numpy(), found[:, 1], rtol=1e-4, atol=1e-5)
    with np.load(run / "artifacts/raster.npz") as raster:
        assert str(raster["kind"]) == "VALUES"
        assert [float(raster[name][0]) for name in ("target", "prediction")] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.slow
def test_labels_from_training_to_predictions(folder):
    run, said = trained(folder, *OF_LABELS, *SMALL)
    page = page_of(run)
    assert "test/f1" in said and not re.search("accuracy|acc ", said)
    assert "Test F1" in page and 'id="labels"' in page and "Confusion" not in page
    assert same_test(folder)
    rows = predictions(folder, "trust=true")
    parts = ("label", "predicted", "score")
    assert list(rows[0]) == ["index", *(f"{part} {name}" for part in parts for name in ("even", "large", "round"))]
    assert all((float(row["score even"]) > 0) == (float(row["predicted even"]) == 1) for row in rows)
    with np.load(run / "artifacts/test.npz") as test:
        right, wrong, _, missed, support = test["labels"][0]
    even = [(float(row["label even"]), float(row["predicted even"])) for row in rows]
    assert [right, wrong, missed, support] == [
        sum(pair in kind for pair in even) for kind in (((1, 1),), ((0, 1),), ((1, 0),), ((1, 1), (1, 0)))
    ]
    scores = snntrain.load(run, trust=True).predict(torch.rand(3, 1, 8, 8))
    assert scores.shape == (3, 3)


@pytest.mark.parametrize("data", [SEQUENCE, pytest.param(PARITY, marks=pytest.mark.slow)])
def test_sequences_from_training_to_predictions(folder, data):
    run, said = trained(folder, *data, *STEPS)
    page, of_values = page_of(run), data is SEQUENCE
    assert 'id="steps"' in page and ('id="errors"' in page) == of_values and ('id="confusion"' in page) != of_values
    assert "samples/s" in said and ("rmse" if of_values else "acc") in said
    assert same_test(folder)
    rows = predictions(folder)
    with np.load(run / "artifacts/test.npz") as test:
        counts, quality = test["steps"].T
    assert 0 < counts[5] < counts[2] == 50, "padded steps are left out"
    assert len(rows) == counts.sum() and list(rows[0])[:2] == ["index", "step"]
    assert [sum(row["step"] == str(step) for row in rows) for step in range(6)] == counts.tolist()
    names = ("label value", "predicted value") if of_values else ("label", "predicted")
    last = [[row[name] for name in names] for row in rows if row["step"] == "5"]
    if of_values:
        assert np.sqrt(np.mean([(float(a) - float(b)) ** 2 for a, b in last])) == pytest.approx(quality[5], rel=1e-4)
    else:
        assert np.mean([a == b for a, b in last]) == pytest.approx(quality[5])
    loaded = snntrain.load(run)
    split = loaded.data.splits["test"]
    scores, length = loaded.predict(split.x), int(split.lengths[0])
    assert scores.shape[:2] == (50, 6)
    shown = [row for row in rows if row["index"] == "0"]
    assert len(shown) == length
    if of_values:
        found = [float(row["predicted value"]) for row in shown]
        np.testing.assert_allclose(scores[0, :length, 0].numpy(), found, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [REGRESSION, PARITY], ids=["values", "sequences"])
def test_two_processes_show_the_test_of_one(folder, chosen):
    small = STEPS if chosen is PARITY else SMALL
    found = {}
    for name, more in {"two": ("trainer=ddp", "data.batch_size=16"), "one": ("data.batch_size=32",)}.items():
        succeed("train.py", *chosen, *small, *more, f"hydra.run.dir={name}", cwd=folder)
        with np.load(folder / name / "artifacts/test.npz") as test:
            found[name] = dict(test)
    two, one = found["two"], found["one"]
    assert two.keys() == one.keys()
    if chosen is REGRESSION:
        np.testing.assert_allclose(two["errors"], one["errors"], rtol=1e-3)
        assert sorted(two["pairs"][:, 0, 0]) == pytest.approx(sorted(one["pairs"][:, 0, 0]))
    else:
        assert (two["steps"][:, 0] == one["steps"][:, 0]).all() and two["confusion"].sum() == one["confusion"].sum()
        np.testing.assert_allclose(two["steps"][:, 1], one["steps"][:, 1], atol=0.05)
        assert (two["example"][:, 0] == one["example"][:, 0]).all()


@pytest.mark.slow
@pytest.mark.skipif(installed_lava() is None, reason="Lava is not installed: make lava, or SNNTRAIN_LAVA=FOLDER")
def test_a_regression_reaches_lava(folder):
    """In Loihi's integers, with the chip's simulator, and its rmse that of the integer net."""
    run, said = trained(folder, *REGRESSION, *SMALL, "callbacks=[default,qat,lava]", *QAT, *LAVA)
    metrics = results(run)["metrics"]
    assert metrics["lava/mismatches"] == metrics["lava/lava_mismatches"] == metrics["qat/mismatches"] == 0
    assert metrics["lava/rmse"] == pytest.approx(metrics["qat/rmse_int"], rel=1e-5)
    assert {"qat/rmse_float", "qat/rmse_ptq", "qat/rmse_qat"} <= set(metrics) and "acc" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen", [OF_LABELS, SEQUENCE, PARITY], ids=["labels", "values over time", "classes over time"]
)
def test_the_other_tasks_reach_loihis_integers(folder, chosen):
    small = SMALL if chosen is OF_LABELS else STEPS
    line = (*QAT, *LAVA, "callbacks.lava.lava_samples=0")
    run, _ = trained(folder, *chosen, *small, "callbacks=[default,qat,lava]", *line)
    metrics = results(run)["metrics"]
    name = {OF_LABELS: "f1", SEQUENCE: "rmse", PARITY: "acc"}[chosen]
    assert metrics["lava/mismatches"] == metrics["qat/mismatches"] == 0
    assert metrics[f"lava/{name}"] == pytest.approx(metrics[f"qat/{name}_int"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "name"), [(REGRESSION, "rmse"), (OF_LABELS, "f1"), (SEQUENCE, "rmse"), (PARITY, "acc")]
)
def test_every_task_goes_through_nir(folder, chosen, name):
    pytest.importorskip("nir")
    small = STEPS if chosen in (SEQUENCE, PARITY) else SMALL
    run, _ = trained(folder, *chosen, *small, "callbacks=[default,nir]", "callbacks.nir.samples=4000")
    metrics = results(run)["metrics"]
    assert metrics["nir/mismatches"] == 0
    assert metrics[f"nir/{name}"] == pytest.approx(metrics[f"test/{name}"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "name"), [(REGRESSION, "rmse"), (OF_LABELS, "f1")])
def test_nets_of_relus_are_converted_and_quantized(folder, chosen, name):
    steps = (
        "neuron=relu",
        "callbacks=[default,ann2snn,qat]",
        "callbacks.ann2snn.T=16",
        "callbacks.ann2snn.eval_T=[2,64]",
    )
    run, said = trained(folder, *chosen, *SMALL_ANN, *steps, *QAT)
    metrics = results(run)["metrics"]
    assert metrics[f"ann2snn/{name}_ann"] == pytest.approx(metrics[f"test/{name}"], rel=1e-5)
    assert metrics[f"ann2snn/{name}_T64"] == pytest.approx(metrics[f"ann2snn/{name}_ann"], abs=0.02)
    assert f"qat/{name}_int" in metrics and metrics["qat/mismatches"] == 0
    assert "images" not in said


def test_a_sequence_is_not_converted_and_says_so_before_training(folder):
    with pytest.raises(UsageError, match=r"callbacks\.ann2snn: it converts nets that read one static input"):
        check_before_training(*SEQUENCE, *STEPS[:3], "neuron=relu", "callbacks=[default,ann2snn]")


@pytest.mark.parametrize("chosen", [REGRESSION, OF_LABELS, SEQUENCE])
@pytest.mark.parametrize(
    ("callbacks", "text"),
    [
        ("[default,ann2snn]", r"callbacks\.ann2snn: it converts nets of ReLUs"),
        ("[default,lava]", r"callbacks\.lava: "),
        ("[default,qat,nir]", r"callbacks\.nir: a NIR graph holds the equations of neurons"),
    ],
)
def test_what_cannot_follow_is_refused_by_name(folder, chosen, callbacks, text):
    with pytest.raises(UsageError, match=text):
        check_before_training(*chosen, "model=mlp", "model.features=8", "T=6", f"callbacks={callbacks}")
