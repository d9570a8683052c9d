"""A run folder: which epoch was the best, and what a missing or damaged file means to its readers."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from run_folders import OLD_RUNS

from snntrain.error import DamagedFile
from snntrain.report.run_files import RunFiles
from snntrain.run.folder import RunFile, RunFolder, artifact
from snntrain.run.results import best_epoch, exact_metrics, monitor_of

NAN = float("nan")
FILES = [file for file in vars(RunFolder).values() if isinstance(file, RunFile)]


def with_epochs(folder: Path, rows: list[dict], mode: str = "max") -> RunFolder:
    run = RunFolder(folder)
    run.config.write_text(yaml.safe_dump({"monitor": {"metric": "val/acc", "mode": mode}}))
    with run.metrics.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return run


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("where", [[0], [1], [2], [3], [0, 2, 4], [0, 0, 0]])
@pytest.mark.parametrize("worthless", [NAN, float("inf"), -float("inf"), None], ids=str)
def test_an_epoch_without_a_finite_value_is_never_the_best_wherever_it_stands(tmp_path, mode, where, worthless):
    """By the numbers that a run has, and by those that metrics.csv gives to other processes."""
    values = [0.5, 0.9, 0.1]
    for place in where:
        values.insert(place, worthless)
    rows = [{"epoch": epoch, "val/acc": value} for epoch, value in enumerate(values, 1) if value is not None]
    expected = {"max": 0.9, "min": 0.1}[mode]
    assert best_epoch(rows, "val/acc", mode)["val/acc"] == expected
    best = with_epochs(tmp_path, rows, mode).best_epoch()
    assert best == {"epoch": 1 + values.index(expected), "val/acc": expected}


@pytest.mark.parametrize("loss", [NAN, float("inf")])
def test_an_accuracy_that_a_broken_net_had_by_luck_does_not_count(tmp_path, loss):
    rows = [{"epoch": 1, "val/acc": 0.5, "train/loss": 1.0}, {"epoch": 2, "val/acc": 0.9, "train/loss": loss}]
    assert best_epoch([*rows, {"val/acc": 0.4}], "val/acc", "max") == rows[0]
    assert with_epochs(tmp_path, [*rows, {"epoch": 3, "val/acc": 0.4}]).best_epoch() == rows[0]


def test_of_equal_epochs_the_first_is_the_best_as_for_the_checkpoint():
    assert best_epoch([{"epoch": 1, "a": 0.5}, {"epoch": 2, "a": 0.5}], "a", "max")["epoch"] == 1


@pytest.mark.parametrize("value", [{}, {"val/acc": NAN}])
def test_where_no_epoch_has_a_value_the_last_one_stands_for_the_run(tmp_path, value):
    rows = [{"epoch": 1, **value}, {"epoch": 2, **value}]
    assert best_epoch(rows, "val/acc", "max")["epoch"] == 2
    assert with_epochs(tmp_path, rows).best_epoch()["epoch"] == 2
    assert best_epoch([], "a", "max") == {}


def test_a_folder_without_metrics_has_no_best_epoch(tmp_path):
    assert RunFolder(tmp_path).best_epoch() == {}
    RunFolder(tmp_path).metrics.write_text("")
    assert RunFolder(tmp_path).best_epoch() == {}


@pytest.mark.parametrize("monitor", [{}, None, [], {"mode": "x"}, {"metric": "val/acc"}])
def test_a_config_that_names_no_metric_is_read_as_if_it_named_the_usual_one(monitor):
    assert monitor_of({"monitor": monitor}) == monitor_of({}) == ("val/acc", "max")


@pytest.mark.parametrize("file", [*FILES, artifact("lava/lava.json"), artifact("lava/plan.txt")], ids=lambda f: f.name)
def test_every_reader_raises_the_same_for_a_missing_and_for_a_damaged_file(tmp_path, file):
    run = RunFolder(tmp_path)
    with pytest.raises(FileNotFoundError):
        run.read(file)
    path = tmp_path / file.name
    path.parent.mkdir(exist_ok=True, parents=True)
    for content in (b"\xff\x80[", b"[" * 100_000 if path.suffix in (".json", ".yaml") else b"\xff"):
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match=file.name):
            run.read(file)
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedFile, match=file.name):
        run.read(file)


ODD_RESULTS = (
    '{"hex": []}',
    '{"hex": {"a": "x"}}',
    '{"metrics": {"a": true}}',
    '{"seconds": {"fit": Infinity}}',
    '{"status": 1}',
)


@pytest.mark.parametrize("odd", ODD_RESULTS, ids=str)
def test_results_that_no_run_writes_are_damaged(tmp_path, odd):
    run = RunFolder(tmp_path)
    run.results.write_text(odd)
    with pytest.raises(DamagedFile, match=r"results\.json is damaged"):
        run.outcome()
    assert run.usable_outcome() == {}


def test_metrics_are_read_to_the_last_bit_also_those_that_json_cannot_hold(tmp_path):
    metrics = {"a": 0.1 + 0.2, "b": NAN, "c": -math.inf}
    RunFolder(tmp_path).write_results("finished", metrics)
    found = exact_metrics(RunFolder(tmp_path).outcome())
    assert {name: value.hex() for name, value in found.items()} == {n: v.hex() for n, v in metrics.items()}


def test_a_table_that_csv_refuses_is_damaged_and_the_report_does_without(tmp_path):
    RunFolder(tmp_path).metrics.write_text("epoch,val/acc\n1," + "9" * 200_000 + "x\n")
    with pytest.raises(DamagedFile, match=r"metrics\.csv is damaged"):
        RunFolder(tmp_path).read(RunFolder.metrics)
    assert RunFiles(tmp_path).curves_if_any() == {} and RunFolder(tmp_path).epochs() == []


def test_arrays_that_were_cut_off_are_damaged(tmp_path):
    run = RunFolder(tmp_path)
    run.artifacts.mkdir()
    np.savez_compressed(run.test, confusion=np.arange(1000))
    whole = run.test.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 3):
        run.test.write_bytes(whole[:length])
        with pytest.raises(DamagedFile, match=r"test\.npz is damaged"):
            run.read(RunFolder.test)


def test_the_checkpoint_to_test_is_the_best_one_or_else_the_last(tmp_path):
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    assert run.kept_checkpoint() is None
    run.last_checkpoint.touch()
    assert run.kept_checkpoint() == tmp_path / "checkpoints/last.ckpt"
    run.best_checkpoint.touch()
    assert run.kept_checkpoint() == tmp_path / "checkpoints/best.ckpt"


@pytest.mark.parametrize("folder", sorted(OLD_RUNS.iterdir()), ids=lambda path: path.name)
def test_every_file_of_an_earlier_version_is_read(folder):
    run = RunFolder(folder)
    for file in FILES:
        if (folder / file.name).is_file():
            assert run.read(file)
    assert run.status() == "finished" and run.best_epoch()["val/acc"] > 0 and run.read_config()["T"] == 2
