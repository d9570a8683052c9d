"""The report of a run is complete, self-contained and escaped for any content of the run folder."""

import base64
import csv
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from report_page import CONFUSION, HOSTILE, SECTIONS, make_run, read_page, write_json

from snntrain.run.report.report import write_report


def test_the_page_shows_the_numbers_of_the_run(tmp_path):
    page = read_page(make_run(tmp_path / "12-00-00_csnn"))
    assert page.notes == {}
    for shown in (
        *("12-00-00_csnn", "finished", "Test accuracy 98.10 %", "Test loss 0.07123", "Test firing rate 12.34 %"),
        *("Best val accuracy 97.25 % epoch 1", "Images / s 1,912", "1 h 01 min", "12,345", "2 spiking layers"),
        *("0.0712346", (0.981).hex(), "95.50 %", (0.955).hex()),  # metrics
        *("17 of 20 test samples right", "cat 10 9 90.00 %", "dog 10 8 80.00 %", "eel 0 0 no samples"),  # recall
        *("dog eel 2 20.00 % cat dog 1 10.00 %",),  # worst confusions, worst first
        *("True dog Predicted eel wrong", "128 evenly spaced neurons"),  # raster
        *("layers.0 Conv2d 16 × 8 × 8 12,345 6,789 6,789", "layers.7 Linear 20 1,000 432 layers.10"),
        *("Firing rate, last epoch", "layers.2 LIFNode (a) 16 × 8 × 8 6.25 %", "layers.10 IFNode (b) 20 25.00 %"),
        *("Total 12,345 7,789 432 6,789", "(a) tau=2.0 (b) v_threshold=1.0"),
        *("Energy (estimate) 0.03162 µJ per sample; as an ANN 0.03583 µJ", "4.6 pJ a MAC and 0.9 pJ a SOP"),
        *("seed: 1 neuron: {name: LIFNode}", "neuron=lif", "T=4"),
        *("commit 0123456789ab, with changes", "python train.py neuron=lif", "2.13.0", "-old line +new line"),
    ):
        assert shown in page.text, shown
    pictures = [address for address in page.addresses if address.startswith("data:")]
    assert len(pictures) == 4  # input, the spikes of two layers, confusion
    for picture in pictures:
        assert base64.b64decode(picture.partition(",")[2], validate=True).startswith(b"\x89PNG\r\n")
    assert "svg" in page.tags


def test_firing_rates_are_those_of_the_test_where_it_measured_them(tmp_path):
    folder = make_run(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    results["metrics"] |= {"test/firing_rate/layers.2": 0.0625, "test/firing_rate/layers.10": 0.5}
    write_json(folder / "results.json", results)
    text = read_page(folder).text
    assert "Firing rate, test" in text and "layers.10 IFNode (b) 20 50.00 %" in text


def test_a_run_from_before_operations_were_counted_is_shown(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "artifacts/synaptic_operations.json").unlink()
    layers = json.loads((folder / "layers.json").read_text())
    write_json(
        folder / "layers.json", [{k: v for k, v in row.items() if k not in ("macs", "fan_out")} for row in layers]
    )
    page = read_page(folder)
    assert page.notes == {} and "LIFNode (a) 16 × 8 × 8 6.25 %" in page.text and "Total 12,345 (a)" in page.text
    assert not re.search("MAC|SOP|[Ee]nergy", page.text)


@pytest.mark.parametrize("content", ["[", "{}", '{"layers": [{}]}', '{"layers": [], "sops": "many"}'])
def test_damaged_counts_of_operations_cost_their_columns_only(tmp_path, content):
    folder = make_run(tmp_path / "run")
    (folder / "artifacts/synaptic_operations.json").write_text(content)
    page = read_page(folder)
    assert page.notes == {} and "Total 12,345 7,789 (a)" in page.text and "Energy" not in page.text


def test_equal_files_give_an_equal_page(tmp_path):
    folder = make_run(tmp_path / "run")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


SECTIONS_OF = {
    "results.json": ["metrics"],
    "metrics.csv": ["curves", "firing"],
    "layers.json": ["layers"],
    "config.yaml": ["config"],
    "overrides.yaml": ["overrides"],
    "provenance.json": ["provenance"],
    "artifacts/test.npz": ["confusion"],
    "artifacts/raster.npz": ["raster"],
}


@pytest.mark.parametrize("missing", [list(SECTIONS_OF)[::2], list(SECTIONS_OF)[1::2]])
def test_a_missing_file_costs_its_sections_only(tmp_path, missing):
    """Half of the files at a time: results, layers, overrides and test; then metrics, config, provenance and raster."""
    folder = make_run(tmp_path / "run")
    for name in missing:
        (folder / name).unlink()
    notes = read_page(folder).notes
    assert set(notes) == {section for name in missing for section in SECTIONS_OF[name]}
    for name in missing:
        for section in SECTIONS_OF[name]:
            assert re.fullmatch(rf"{re.escape(name)} is missing: [^.]+, and this run [^.]+\.", notes[section])


def test_each_damaged_file_is_named_in_its_sections(tmp_path):
    folder = make_run(tmp_path / "run")
    for name in SECTIONS_OF:
        (folder / name).write_bytes(b"[\xff\x00")
    notes = read_page(folder).notes
    assert set(notes) == set(SECTIONS)
    for name, sections in SECTIONS_OF.items():
        for section in sections:
            assert notes[section].startswith(f"{name} could not be read: ")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("interrupted", "was interrupted before that"),
        ("failed", "failed before that"),
        ("finished", "finished without it"),
    ],
)
def test_the_sentence_says_how_the_run_ended(tmp_path, status, reason):
    message = "Stopped by the user in epoch 3."
    write_json(tmp_path / "results.json", {"status": status, "metrics": {}, "message": message})
    page = read_page(tmp_path)
    assert f"{status}" in page.text
    assert message in page.text
    assert set(page.notes) == set(SECTIONS)
    assert all(reason in page.notes[key] for key in SECTIONS if key != "metrics")
    assert page.notes["metrics"].startswith("results.json holds no metrics")


def test_a_run_that_was_cut_off_shows_what_it_reached(tmp_path):
    """Only the config and three epochs, the last of them diverged and without validation."""
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    (tmp_path / "metrics.csv").write_text(
        "epoch,lr,train/loss,val/loss,val/acc\n0,0.1,2.3,2.2,0.25\n1,0.1,4.0,,\n2,0.1,nan,,\n"
    )
    page = read_page(tmp_path)
    assert set(page.notes) == set(SECTIONS) - {"curves", "config"}
    for shown in ("incomplete", "Best val accuracy 25.00 % epoch 0", "Not finite: train/loss (epoch 2).", "seed: 7"):
        assert shown in page.text
    assert "cut off before that or is still going" in page.notes["metrics"]


def test_an_empty_folder_makes_a_complete_page(tmp_path):
    assert set(read_page(tmp_path).notes) == set(SECTIONS)


def test_everything_from_files_is_escaped(tmp_path):
    folder = tmp_path / HOSTILE.replace("/", "")
    (folder / "artifacts").mkdir(parents=True)
    results = {"status": HOSTILE, "message": HOSTILE, "metrics": {HOSTILE: 1.0, "test/acc": 0.5}}
    more = {
        "hex": {HOSTILE: "0x1.0p+0"},
        "throughput": {HOSTILE: HOSTILE},
        "seconds": {HOSTILE: 1.0},
        "best_epoch": HOSTILE,
    }
    write_json(folder / "results.json", results | more)
    with (folder / "metrics.csv").open("w", newline="") as file:
        columns = [f"train/{HOSTILE.replace('/', '')}", f"val/firing_rate/{HOSTILE}", f"lr-{HOSTILE}"]
        csv.writer(file).writerows([["epoch", *columns], [0, "inf", 0.0, 1.0], [1, 2.0, 0.0, 1.0]])
    layer = {"path": HOSTILE, "name": HOSTILE, "neuron": HOSTILE, "output_shape": [HOSTILE], "parameters": 1}
    write_json(folder / "layers.json", [layer])
    numbers = dict.fromkeys(("sops", "macs", "energy_uJ", "energy_ann_uJ", "pj_per_mac", "pj_per_sop"), 1.0)
    operations = {"layers": [{"path": HOSTILE, **numbers}], "source": HOSTILE, **numbers}
    write_json(folder / "artifacts/synaptic_operations.json", operations)
    (folder / "config.yaml").write_text(HOSTILE)
    write_json(folder / "overrides.yaml", [HOSTILE, {HOSTILE: 1}])
    write_json(folder / "provenance.json", {HOSTILE: {HOSTILE: [HOSTILE]}, "commit": HOSTILE, "diff": f"+{HOSTILE}"})
    np.savez(folder / "artifacts/test.npz", confusion=np.eye(2, dtype=int)[::-1], classes=np.array([HOSTILE] * 2))
    arrays = {f"spikes/{HOSTILE}": np.ones((2, 3)), "input": np.ones(3), "output": np.ones((2, 2))}
    np.savez(folder / "artifacts/raster.npz", label=0, predicted=1, **arrays)
    page = read_page(folder)
    assert page.notes == {}
    assert "b" not in page.tags
    assert page.text.count(HOSTILE) >= 20
    assert "<script" not in (folder / "report.html").read_text().lower()


@pytest.mark.parametrize("sample", [(5,), (2, 4, 4), (3, 4, 4), (5, 4, 4), (4, 6), (3, 2, 4, 4), ()])
def test_any_shape_of_input_is_drawn(tmp_path, sample):
    """Features, events, color, many channels, one map, a sequence of frames, a single number."""
    (tmp_path / "artifacts").mkdir()
    np.savez(tmp_path / "artifacts/raster.npz", input=np.arange(np.prod(sample)).reshape(sample))
    page = read_page(tmp_path)
    assert "raster" not in page.notes
    assert f"Input {' × '.join(map(str, sample))}" in page.text


def test_files_of_another_shape_than_expected_cost_their_section_only(tmp_path):
    folder = make_run(tmp_path / "run")
    np.savez(folder / "artifacts/test.npz", confusion=np.ones((2, 3), int))
    np.savez(folder / "artifacts/raster.npz", label=0)
    write_json(folder / "layers.json", [{"path": 3}])
    write_json(folder / "results.json", {"status": "finished", "metrics": [1]})
    (folder / "overrides.yaml").write_text("a: 1\n")
    page = read_page(folder)
    assert set(page.notes) == {"confusion", "raster", "layers", "metrics", "overrides"}
    assert "confusion must be [K, K], got [2, 3]." in page.notes["confusion"]


def test_pickled_arrays_are_refused(tmp_path):
    folder = make_run(tmp_path / "run")
    np.savez(folder / "artifacts/test.npz", confusion=np.array(CONFUSION), classes=np.array([{}, {}], dtype=object))
    assert "allow_pickle" in read_page(folder).notes["confusion"]


def test_silent_layers_are_named_in_the_order_of_the_net(tmp_path):
    """Neurons inside a listed block come at its place; without a list, indices count as numbers."""
    paths = ["block.11.neuron", "block.9.neuron", "layers.10", "layers.2"]  # alphabetical, as logged
    header = ",".join(f"val/firing_rate/{path}" for path in paths)
    (tmp_path / "metrics.csv").write_text(f"epoch,{header}\n0,0,0,0,0\n")
    silent = "no spike at all in the last epoch: "
    assert f"{silent}block.9.neuron, block.11.neuron, layers.2, layers.10." in read_page(tmp_path).text
    write_json(tmp_path / "layers.json", [{"path": path, "name": ""} for path in ("layers.2", "block", "layers.10")])
    page = read_page(tmp_path)
    assert f"{silent}layers.2, block.9.neuron, block.11.neuron, layers.10." in page.text
    assert "4 spiking layers" in page.text


def test_many_classes_and_layers_are_drawn(tmp_path):
    folder = make_run(tmp_path / "run")
    paths = [f"stages.{index}" for index in range(40)]
    with (folder / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["epoch", "lr", *(f"val/firing_rate/{path}" for path in paths)], [0] + [0.1] * 41])
    arrays = {f"spikes/{path}": np.ones((1, 2), np.uint8) for path in paths[:6]}
    np.savez(folder / "artifacts/raster.npz", input=np.ones((1, 2, 2)), output=np.ones((1, 300)), **arrays)
    np.savez(folder / "artifacts/test.npz", confusion=np.eye(300, dtype=int))
    page = read_page(folder)
    assert page.notes == {}
    assert "None: every test sample was classified correctly." in page.text
    assert "299 1 1 100.00 %" in page.text


def test_an_old_report_is_replaced_in_one_step(tmp_path, monkeypatch):
    report = tmp_path / "report.html"
    report.write_text("<html><bro")
    with report.open() as reader:
        read_page(tmp_path)
        assert reader.read() == "<html><bro"  # who was reading the old file still has all of it
    whole = report.read_text()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path)
    assert report.read_text() == whole
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.yaml", "report.html"]


def test_what_is_not_a_folder_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"nowhere is not a folder\. Give the folder of a run"):
        write_report(tmp_path / "nowhere")


def test_importing_the_report_does_not_import_matplotlib():
    code = "import sys, snntrain.run.report.report; sys.exit(bool({'matplotlib', 'jinja2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
