"""What the page shows of the test of regression, labels and sequences, and what damage costs."""

import base64
import io
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snntrain.run.report import evidence_plots
from snntrain.run.report.report import write_report

OF_TASK = {"Regression": "errors", "MultiLabel": "labels", "SequencePrediction": "steps", "Classification": "confusion"}


def run_folder(folder: Path, task: str = "Regression", **arrays: np.ndarray) -> Path:
    (folder / "artifacts").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"seed: 1\ntask: {{_target_: snntrain.task.{task}}}\n")
    (folder / "results.json").write_text(json.dumps({"status": "finished", "metrics": {"test/loss": 1.0}}))
    if arrays:
        np.savez(folder / "artifacts/test.npz", **arrays)
    return folder


def section(folder: Path, name: str) -> str:
    """The text of a section of the page."""
    html = write_report(folder).read_text(encoding="utf-8")
    found = re.search(rf'<section id="{name}">(.*?)</section>', html, re.DOTALL)
    assert found, f"no section {name}"
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", found[1])).split())


def sections(folder: Path) -> set[str]:
    return set(re.findall(r'<section id="(\w+)">', write_report(folder).read_text(encoding="utf-8")))


def pairs(count: int = 50, values: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 2, values)).astype(np.float32)


ERRORS = np.array([[88, 0.731, 0.6, 0.4567], [88, 1.5, 1.25, np.nan]])
LABELS = np.array([[8, 2, 80, 10, 18], [0, 0, 90, 10, 10], [3, 0, 97, 0, 3], [0, 0, 100, 0, 0]])
INSTEAD = np.array([[0, 0, 0, 5], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
STEPS = np.array([[10, 1.0], [10, 0.5], [4, 0.25], [0, np.nan]])
EXAMPLE = np.array([[[0], [0]], [[1], [0]], [[2], [2]]], dtype=np.float32)


def test_errors_of_values_are_a_table(tmp_path):
    folder = run_folder(tmp_path / "run", errors=ERRORS, pairs=pairs(50, 2), classes=np.array(["height", "width"]))
    text = section(folder, "errors")
    assert "88 test samples" in text and "drawn are 50 of them" in text
    assert "height 0.731 0.6 0.4567" in text and "width 1.5 1.25 all targets are equal" in text
    assert "confusion" not in sections(folder)


def test_standardized_values_are_shown_in_their_own_units(tmp_path):
    units = {"value_mean": np.array([150.0, 2.0]), "value_std": np.array([100.0, 0.5])}
    folder = run_folder(tmp_path / "run", errors=ERRORS, pairs=pairs(50, 2), **units)
    text = section(folder, "errors")
    assert "0 73.1 60 0.4567" in text and "1 0.75 0.625 all" in text and "The net learns standardized values" in text
    of_steps = {"steps": STEPS, "example": EXAMPLE.repeat(2, 2), "errors": ERRORS, "pairs": pairs(50, 2)}
    folder = run_folder(tmp_path / "steps", "SequencePrediction", **of_steps, **units)
    assert "RMSE of the standardized values of each time step" in section(folder, "steps")


@pytest.mark.parametrize("values", [1, 2])
def test_the_headline_says_that_it_is_of_standardized_values(tmp_path, values):
    units = {"value_mean": np.zeros(values), "value_std": np.full(values, 20.0)}
    folder = run_folder(tmp_path / "run", errors=ERRORS[:values], pairs=pairs(50, values), **units)
    (folder / "results.json").write_text(json.dumps({"status": "finished", "metrics": {"test/rmse": 0.731}}))
    page = write_report(folder).read_text(encoding="utf-8")
    said = "of standardized values; in their own units 14.62<" if values == 1 else "of standardized values<"
    assert f'<div class="detail">{said}' in page


def test_labels_are_a_table_with_what_was_told_instead(tmp_path):
    names = np.array(["cat", "dog", "eel", "fox"])
    folder = run_folder(tmp_path / "run", "MultiLabel", labels=LABELS, instead=INSTEAD, classes=names)
    text = section(folder, "labels")
    # precision 8 / 10, recall 8 / 18, F1 16 / 28
    assert "cat 18 10 2 80.00 % 44.44 % 0.5714" in text and "dog 10 10 0 never predicted 0.00 % 0" in text
    assert "eel 3 0 0 100.00 % 100.00 % 1" in text and "fox 0 0 0 never predicted no samples –" in text
    assert "Missed Wrongly predicted Samples cat fox 5 dog cat 1" in text and "100 test samples" in text


def test_steps_say_how_many_sequences_are_that_long(tmp_path):
    arrays = {"steps": STEPS, "example": EXAMPLE, "confusion": np.eye(3, dtype=int)}
    folder = run_folder(tmp_path / "run", "SequencePrediction", **arrays)
    text = section(folder, "steps")
    assert "Accuracy of each time step over 10 test sequences, of which the longest have 3 steps" in text
    assert "3 of 3 test steps right" in section(folder, "confusion")


def test_values_over_time_have_their_errors_too(tmp_path):
    arrays = {"steps": STEPS, "example": EXAMPLE, "errors": ERRORS[:1], "pairs": pairs()}
    folder = run_folder(tmp_path / "run", "SequencePrediction", **arrays)
    assert "RMSE of each time step" in section(folder, "steps")
    assert "88 test steps" in section(folder, "errors") and "confusion" not in sections(folder)


def test_axes_over_time_tell_how_long_a_step_is(tmp_path, monkeypatch):
    named = []
    for plot in ("steps_plot", "example_plot"):
        monkeypatch.setattr(evidence_plots, plot, lambda *arguments, step, **more: named.append(step) or "")
    arrays = {"steps": STEPS, "example": EXAMPLE, "errors": ERRORS[:1], "pairs": pairs()}
    assert "RMSE" in section(run_folder(tmp_path / "plain", "Forecast", **arrays), "steps")
    assert "RMSE" in section(run_folder(tmp_path / "timed", "Forecast", **arrays, dt=np.array(2.5)), "steps")
    assert named == ["time step"] * 2 + ["time step, 2.5 ms each"] * 2


@pytest.mark.parametrize("task", OF_TASK)
def test_a_run_without_its_test_has_the_section_of_its_task(tmp_path, task):
    folder = run_folder(tmp_path / "run", task)
    assert sections(folder) & set(OF_TASK.values()) == {OF_TASK[task]}
    assert "artifacts/test.npz is missing: the test writes it" in section(folder, OF_TASK[task])
    (folder / "artifacts/test.npz").write_bytes(b"PK\x03\x04 no archive")
    assert "could not be read" in section(folder, OF_TASK[task])


@pytest.mark.parametrize(
    ("name", "task", "arrays", "said"),
    [
        ("errors", "Regression", {"errors": ERRORS[:, :3], "pairs": pairs(values=2)}, "errors must be numbers [D, 4]"),
        ("errors", "Regression", {"errors": ERRORS, "pairs": pairs()}, "pairs must be numbers [m, 2, 2]"),
        ("errors", "Regression", {"errors": ERRORS}, "test.npz holds no pairs"),
        ("labels", "MultiLabel", {"labels": LABELS, "instead": INSTEAD[:2]}, "instead must be numbers [4, 4]"),
        ("labels", "MultiLabel", {"labels": LABELS.astype(str)}, "labels must be numbers [K, 5]"),
        ("steps", "SequencePrediction", {"steps": STEPS[:, :1], "example": EXAMPLE}, "steps must be numbers [T, 2]"),
        ("steps", "SequencePrediction", {"steps": STEPS, "example": EXAMPLE[:0]}, "example must be numbers [L, 2, D]"),
    ],
)
def test_arrays_of_another_shape_cost_their_section(tmp_path, name, task, arrays, said):
    assert said in section(run_folder(tmp_path / "run", task, **arrays), name)


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    broken = pairs(values=2)
    broken[3, 1, 0], broken[:, 1, 1] = np.inf, np.nan
    unknown = np.array([[88, np.nan, np.nan, np.nan]] * 2)
    assert "nan nan" in section(run_folder(tmp_path / "run", errors=unknown, pairs=broken), "errors")
    folder = run_folder(
        tmp_path / "other", "SequencePrediction", confusion=np.eye(2, dtype=int), steps=STEPS * np.nan, example=EXAMPLE
    )
    assert "Accuracy of each time step" in section(folder, "steps") or "could not" in section(folder, "steps")


def test_long_tables_are_cut(tmp_path):
    folder = run_folder(tmp_path / "run", "MultiLabel", labels=np.ones((5000, 5), int))
    text = section(folder, "labels")
    assert "the first 200 of 5,000 labels" in text and text.count("100.00 %") < 500
    folder = run_folder(tmp_path / "other", errors=np.ones((900, 4)), pairs=pairs(20, 900))
    assert "of the first 6 of 900 values" in section(folder, "errors")
    assert (folder / "report.html").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("kind", "target", "prediction", "said"),
    [
        ("VALUES", [1.25], [0.5], "Target 1.25 Predicted 0.5"),
        ("VALUES", [1.25, -2], [0.5, 3], "Target cat 1.25, dog -2 Predicted cat 0.5, dog 3"),
        ("LABELS", [1.0, 1, 0], [1.0, 1, 0], "True cat, dog Predicted cat, dog right"),
        ("LABELS", [0.0, 1, 0], [0.0, 0, 0], "True dog Predicted none wrong"),
        ("STEP_CLASSES", [0, 1, 2], [0, 1, 1], "Right 2 of 3 steps"),
        ("STEP_VALUES", [[0.0], [3]], [[4.0], [0]], "RMSE 3.536 over 2 steps"),
    ],
)
def test_the_raster_tells_target_and_prediction(tmp_path, kind, target, prediction, said):
    folder = run_folder(tmp_path / "run", labels=LABELS, classes=np.array(["cat", "dog", "eel"]))
    steps = len(target) if kind.startswith("STEP") else 4
    output = np.random.default_rng(1).normal(size=(steps, 3 if "VALUES" not in kind else np.shape(target)[-1]))
    answer = {"kind": np.array(kind), "target": np.array(target), "prediction": np.array(prediction)}
    np.savez(folder / "artifacts/raster.npz", input=np.ones((steps, 2)), output=output, **answer)
    assert said in section(folder, "raster")


@pytest.mark.parametrize("kind", ["CLASS", "VALUES", "LABELS", "STEP_CLASSES", "STEP_VALUES", "no kind"])
def test_an_answer_of_another_shape_costs_the_raster(tmp_path, kind):
    folder = run_folder(tmp_path / "run")
    answer = {"label": np.ones(2), "target": np.ones((2, 2, 2)), "prediction": np.ones(3), "kind": np.array(kind)}
    np.savez(folder / "artifacts/raster.npz", input=np.ones((4, 2)), output=np.ones((4, 3)), **answer)
    assert "could not be drawn" in section(folder, "raster")


MISTAKES = np.array([[7, 0, 1, 2.5, -0.125], [1234, 1, 0, 0.5, 0.25]])


def test_the_worst_mistakes_are_pictures_or_a_line_says_that_they_are_none(tmp_path):
    arrays = {"confusion": np.eye(2, dtype=int), "classes": np.array(["<b>cat", "dog"]), "mistakes": MISTAKES}
    for channels in (1, 3):
        pictures = np.arange(2 * 6 * 5 * channels).reshape(2, 6, 5, channels).astype(np.uint8)
        folder = run_folder(tmp_path / f"run{channels}", "Classification", pictures=pictures, **arrays)
        text = section(folder, "mistakes")
        assert "dog instead of <b>cat sample 7 · 2.5 (-0.125)" in text and "no pictures" not in text
        found = re.findall(r'<img src="data:image/png;base64,([^"]+)"', (folder / "report.html").read_text())
        for png, picture in zip(found, pictures, strict=True):
            read = np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))).reshape(picture.shape)
            np.testing.assert_array_equal(read, picture)
    text = section(run_folder(tmp_path / "none", "Classification", **arrays), "mistakes")
    assert "no pictures" in text and "7 <b>cat dog 2.5 -0.125 1234 dog <b>cat 0.5 0.25" in text
    right = run_folder(tmp_path / "right", "Classification", **(arrays | {"mistakes": MISTAKES[:0]}))
    assert "every test sample was classified correctly" in section(right, "mistakes")


def test_accuracy_over_time_steps_is_drawn_and_told(tmp_path):
    arrays = {"confusion": np.eye(2, dtype=int), "over_time": np.array([[1, 0.5], [2, 0.875], [4, 0.75]])}
    text = section(run_folder(tmp_path / "run", "Classification", **arrays), "over_time")
    assert "trained for t = 4" in text and "1 50.00 % -25.00 points 2 87.50 % +12.50 points 4 75.00 %" in text
    assert {"mistakes", "over_time"}.isdisjoint(sections(run_folder(tmp_path / "old", "Classification")))


@pytest.mark.parametrize(
    ("name", "arrays", "said"),
    [
        ("mistakes", {"mistakes": MISTAKES[:, :4]}, "mistakes must be numbers [m, 5]"),
        (
            "mistakes",
            {"mistakes": MISTAKES, "pictures": np.zeros((2, 4, 4))},
            "pictures must be uint8 [2, H, W, 1 or 3]",
        ),
        ("over_time", {"over_time": np.ones((3, 3))}, "over_time must be numbers [m, 2]"),
    ],
)
def test_mistakes_and_steps_of_another_shape_cost_their_section(tmp_path, name, arrays, said):
    folder = run_folder(tmp_path / "run", "Classification", confusion=np.eye(2, dtype=int), **arrays)
    assert said in section(folder, name)


def test_potentials_of_some_layers_are_drawn_and_wrong_ones_cost_their_section(tmp_path):
    folder, raster = run_folder(tmp_path / "run"), {}
    for layer in range(12):
        raster[f"spikes/layers.{layer}"] = np.eye(4, 9, dtype=np.uint8)
        raster |= {
            f"v/layers.{layer}": np.full((4, 2), np.nan if layer == 0 else 0.5),
            f"traced/layers.{layer}": [0, 8],
        }
        raster[f"v_threshold/layers.{layer}"] = np.nan if layer == 11 else 1.0
    np.savez(folder / "artifacts/raster.npz", input=np.ones((1, 4, 4)), **raster)
    assert "8 of the 12 spiking layers" in section(folder, "potentials")
    np.savez(folder / "artifacts/raster.npz", input=np.ones((1, 4, 4)), **(raster | {"traced/layers.0": [0, 9]}))
    assert "traced/layers.0 must be places of 2 neurons" in section(folder, "potentials")
    np.savez(folder / "artifacts/raster.npz", input=np.ones((1, 4, 4)))
    assert "potentials" not in sections(folder)
