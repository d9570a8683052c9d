"""results.json: which epoch was best."""

import csv
from pathlib import Path

import pytest

from snntrain.files import write_text
from snntrain.parallel import agent
from snntrain.run.results import best_epoch

NAN = float("nan")


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("where", range(4))
@pytest.mark.parametrize("worthless", [NAN, float("inf"), -float("inf"), None], ids=str)
def test_an_epoch_without_a_finite_value_is_never_the_best_wherever_it_stands(tmp_path, mode, where, worthless):
    """By numbers as the run has them, and by the text of metrics.csv as the agent of several processes reads it."""
    values = [0.5, 0.9, 0.1]
    values.insert(where, worthless)
    rows = [{"epoch": epoch, "val/acc": value} for epoch, value in enumerate(values, 1) if value is not None]
    expected = {"max": 0.9, "min": 0.1}[mode]
    assert best_epoch(rows, "val/acc", mode)["val/acc"] == expected
    with (tmp_path / "metrics.csv").open("w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["epoch", "val/acc"])
        writer.writeheader()
        writer.writerows(rows)
    config = {"monitor": {"metric": "val/acc", "mode": mode}}
    assert agent._metrics_of_best_epoch(tmp_path, config) == {"val/acc": expected}


@pytest.mark.parametrize("loss", [NAN, "nan", "inf"])
def test_an_accuracy_that_a_broken_net_had_by_luck_does_not_count(loss):
    rows = [{"a/acc": 0.5, "train/loss": 1.0}, {"a/acc": 0.9, "train/loss": loss}, {"a/acc": 0.4, "train/loss": ""}]
    assert best_epoch(rows, "a/acc", "max") == rows[0]


def test_of_equal_epochs_the_first_is_the_best_as_for_the_checkpoint():
    assert best_epoch([{"epoch": 1, "a": 0.5}, {"epoch": 2, "a": 0.5}], "a", "max")["epoch"] == 1


@pytest.mark.parametrize("rows", [[{"epoch": 1}, {"epoch": 2}], [{"a": NAN, "epoch": 1}, {"a": NAN, "epoch": 2}]])
def test_where_no_epoch_has_a_value_the_last_one_stands_for_the_run(rows):
    assert best_epoch(rows, "a", "max")["epoch"] == 2
    assert best_epoch([], "a", "max") == {}


def test_a_folder_without_metrics_has_no_best_epoch(tmp_path: Path):
    write_text(tmp_path / "metrics.csv", "")
    assert agent._metrics_of_best_epoch(tmp_path, {"monitor": {"metric": "a", "mode": "max"}}) == {}
