"""What people read of records; experiments/README.md is what record.py --table writes."""

import json

import pytest

from snntrain.config import UsageError
from snntrain.experiment.record_page import json_text, literature, main_metrics, mean_and_std, shown, table_text
from snntrain.experiment.recorded import EXPERIMENTS


def test_the_table_of_all_experiments_is_up_to_date():
    written = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")
    assert written == table_text(EXPERIMENTS), "run python scripts/record.py --table"


def expected(what: str = "What it is", **metrics: float) -> dict:
    names = {name.replace("__", "/"): value for name, value in metrics.items()}
    summary = {name: {"mean": value, "std": value / 100, "tolerance": 1.0} for name, value in names.items()}
    seeds = {seed: {"metrics": names, "seconds": {"fit": 10.0, "test": 2.0}} for seed in ("1", "2", "3")}
    return {"what": what, "metrics": summary, "seeds": seeds}


def test_a_row_shows_accuracies_time_and_literature(tmp_path):
    (tmp_path / "x").mkdir()
    content = expected(test__acc=0.9876, ann2snn__acc_T8=0.97, test__loss=0.5, val__acc=0.1, lava__mismatches=0.0)
    (tmp_path / "x/expected.json").write_text(json.dumps(content))
    (tmp_path / "x/literature.yaml").write_text("- {value: 99.1 %, what: T = 8, source: 'Fang et al., ICCV 2021'}")
    (tmp_path / "older").mkdir()
    (tmp_path / "older/README.md").write_text("# Made by <hand>\n")
    rows = table_text(tmp_path).splitlines()
    (row,) = (row for row in rows if row.startswith("| [x](x/README.md)"))
    assert "test/acc 98.76 ± 0.99 %<br>ann2snn/acc_T8 97.00 ± 0.97 %<br>lava/mismatches 0 ± 0" in row
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
    assert mean_and_std("test/loss", {"mean": 0.55681, "std": 0.00111}) == "0.5568 ± 0.00111"
    assert shown("test/loss", None) == "not a number"
    names = ["test/loss", "val/acc", "test/firing_rate/layers.2", "qat/acc_int", "test/acc"]
    assert main_metrics(names) == ["test/acc", "qat/acc_int", "test/loss"]
    assert json.loads(json_text({"a": [float("nan"), 1.5, {"b": float("inf")}]})) == {"a": [None, 1.5, {"b": None}]}
