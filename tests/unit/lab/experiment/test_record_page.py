"""What people read of records; experiments/README.md is what record.py --table writes."""

import json

import pytest

from snntrain.error import UsageError
from snntrain.lab.experiment.record_page import (
    json_text,
    literature,
    main_metrics,
    mean_and_std,
    pages,
    readme,
    shown,
    table_text,
)
from snntrain.lab.experiment.recorded import EXPERIMENTS


def test_the_pages_of_all_experiments_are_up_to_date():
    for path, text in pages(EXPERIMENTS).items():
        assert path.read_text(encoding="utf-8") == text, "run python scripts/record.py --table"


def test_a_test_of_200_recordings_says_how_little_it_says():
    page = (EXPERIMENTS / "nmnist_csnn/README.md").read_text(encoding="utf-8")
    assert "93.50 ± 0.50 % (± 1.74)" in page and "91.7 ± 1.1 %" in page and "binomial error" in page


@pytest.mark.parametrize(
    ("name", "value"),
    [("mnist_csnn", "99.63"), ("fmnist_csnn", "93.85"), ("fmnist_plif", "93.85"), ("nmnist_csnn", "99.57")],
)
def test_the_literature_is_the_epoch_that_validation_chose(name, value):
    """Table of Fang et al. 2021: accuracy-B; its accuracy-A is the best epoch by the test set."""
    (claim,) = literature(EXPERIMENTS / name)
    assert claim["value"] == f"{value} %" and "accuracy-B" in claim["source"]


def expected(what: str = "What it is", **metrics: float) -> dict:
    names = {name.replace("__", "/"): value for name, value in metrics.items()}
    summary = {name: {"mean": value, "std": value / 100, "tolerance": 1.0} for name, value in names.items()}
    seeds = {seed: {"metrics": names, "seconds": {"fit": 10.0, "test": 2.0}} for seed in ("1", "2", "3")}
    sizes = {"train": 800, "val": 100, "test": 200}
    return {"what": what, "samples": sizes, "metrics": summary, "seeds": seeds}


def test_a_row_shows_accuracies_time_and_literature(tmp_path):
    (tmp_path / "x").mkdir()
    content = expected(test__acc=0.9876, ann2snn__acc_T8=0.97, test__loss=0.5, val__acc=0.1, lava__mismatches=0.0)
    (tmp_path / "x/expected.json").write_text(json.dumps(content))
    (tmp_path / "x/literature.yaml").write_text("- {value: 99.1 %, what: T = 8, source: 'Fang et al., ICCV 2021'}")
    (tmp_path / "older").mkdir()
    (tmp_path / "older/README.md").write_text("# Made by <hand>\n")
    rows = table_text(tmp_path).splitlines()
    (row,) = (row for row in rows if row.startswith("| [x](x/README.md)"))
    # sqrt(.9876 * .0124 / 200) and sqrt(.97 * .03 / 200)
    assert "test/acc 98.76 ± 0.99 % (± 0.78)<br>ann2snn/acc_T8 97.00 ± 0.97 % (± 1.21)<br>lava/mismatches 0 ± 0" in row
    assert "| 3 | 12 s | 99.1 %, T = 8 (Fang et al., ICCV 2021) |" in row
    assert "val/acc" not in row and "loss" not in row
    assert "- [Made by &lt;hand&gt;](older/README.md)" in rows


def test_texts_stay_inside_their_cell(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/expected.json").write_text(json.dumps(expected("a | b\n<script>x</script> [l](javascript:y)")))
    page = table_text(tmp_path)
    assert "<script" not in page and "[l](" not in page
    (row,) = (row for row in page.splitlines() if row.startswith("| [x]"))
    assert row.replace("\\|", "").count("|") == 7


@pytest.mark.parametrize("content", ["{}", "- {value: 1}", "- x", "a: ["])
def test_literature_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "literature.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"literature\.yaml"):
        literature(tmp_path)


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/expected.json").write_text("{}")
    with pytest.raises(UsageError, match=r"expected\.json is damaged"):
        table_text(tmp_path)


def test_numbers_are_written_as_people_read_them():
    assert shown("test/acc", 0.98607) == "98.61 %" and shown("test/firing_rate", 0.0946) == "9.46 %"
    assert shown("test/sops", 202121.36) == "202,121" and shown("test/macs", 18432.0) == "18,432"
    assert mean_and_std("test/loss", {"mean": 0.55681, "std": 0.00111}, {"test": 9}) == "0.5568 ± 0.00111"
    assert shown("test/loss", None) == "not a number"
    names = ["test/loss", "val/acc", "test/firing_rate/layers.2", "qat/acc_int", "test/acc"]
    assert main_metrics(names) == ["test/acc", "qat/acc_int", "test/loss"]
    assert json.loads(json_text({"a": [float("nan"), 1.5, {"b": float("inf")}]})) == {"a": [None, 1.5, {"b": None}]}


def test_a_record_of_a_regression_speaks_of_its_own_metric(tmp_path):
    """First and in the table of all; nothing is said of shares, of which it has none."""
    content = expected(test__loss=0.5, test__mae=0.4, test__rmse=0.7071, qat__rmse_int=0.72, qat__mismatches=0.0)
    assert main_metrics(list(content["metrics"]))[:2] == ["test/rmse", "qat/rmse_int"]
    (tmp_path / "x").mkdir()
    (tmp_path / "x/expected.json").write_text(json.dumps(content))
    (row,) = (row for row in table_text(tmp_path).splitlines() if row.startswith("| [x]"))
    assert "test/rmse 0.7071 ± 0.007071<br>qat/rmse_int 0.72 ± 0.0072<br>qat/mismatches 0 ± 0" in row
    versions = {"python": "3.11", "torch": "2.6", "lightning": "2.5"}
    hardware = {"processor": "x", "instructions": "AVX2", "torch_threads": 1}
    facts = {"command": "c", "commit": "0" * 40, "time": "2026-01-01", "versions": versions, "hardware": hardware}
    page = readme("x", content, facts, has_notes=False)
    assert "| test/rmse | 0.7071 |" in page and "inomial" not in page
    assert "inomial" in readme("x", expected(test__acc=0.9), facts, has_notes=False)
