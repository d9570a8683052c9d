"""Rows of any folders, mean and deviation over seeds, CSV that loses nothing."""

import csv
import io
import json
import statistics

import pytest
from rich.console import Console
from run_folders import make_run, make_sweep

from snntrain.report.run_rows import find_rows, sweep_rows
from snntrain.report.run_table import by_seed, csv_of, sort_rows, table_of, varied
from snntrain.run.owner import OWNER, this_process
from snntrain.sweep.jobs import Job

ACC = {("if", 1): 0.5, ("if", 2): 0.75, ("if", 3): 0.1, ("lif", 1): 0.9, ("lif", 2): 0.3}


@pytest.fixture
def sweep(tmp_path):
    jobs = [
        Job(number, ["T=2", f"neuron={neuron}", f"seed={seed}"], "finished", seconds=1.0, metrics={"test/acc": acc})
        for number, ((neuron, seed), acc) in enumerate(ACC.items())
    ]
    jobs.append(Job(5, ["T=2", "neuron=lif", "seed=-1"], "failed", error="\n seed must be ≥ 0\nmore"))
    return make_sweep(tmp_path / "sweep", jobs)


def test_means_over_seeds_are_those_of_the_statistics_module(sweep):
    groups = by_seed(sweep_rows(sweep))
    assert [(group.values, group.count) for group in groups] == [({"neuron": "if"}, 3), ({"neuron": "lif"}, 2)]
    for neuron, group in zip(("if", "lif"), groups, strict=True):
        values = [acc for (name, _), acc in ACC.items() if name == neuron]
        assert group.metrics["test/acc"] == (statistics.fmean(values), statistics.stdev(values))


def test_only_what_differs_is_varied_and_equal_numbers_are_equal(tmp_path):
    for name, overrides in (("a", ["T=2", "neuron.tau=2"]), ("b", ["T=2.0"]), ("c", ["T=2", "neuron.tau=4"])):
        make_run(tmp_path / name, overrides)
    rows = find_rows([tmp_path])
    assert varied(rows) == ["neuron.tau"]  # b has 2.0 from its config
    assert varied(rows[:2]) == []
    assert varied([rows[0], rows[2]]) == ["neuron.tau"]


def test_the_table_names_every_job_and_the_first_line_of_every_error(sweep):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table_of(sweep_rows(sweep), "job", console.width))
    text = console.export_text()
    assert text.splitlines()[0].split()[:4] == ["job", "neuron", "seed", "status"]
    assert "all with T=2" in text and "\n5 failed: seed must be ≥ 0" in text and "more" not in text
    assert f"{statistics.fmean([0.9, 0.3]):.4f} ± {statistics.stdev([0.9, 0.3]):.4f}" in text


def test_csv_holds_every_row_and_exact_numbers(sweep):
    rows = list(csv.DictReader(io.StringIO(csv_of(sweep_rows(sweep), "job"))))
    assert [row["job"] for row in rows] == list("012345")
    assert [float(row["test/acc"]) for row in rows[:5]] == list(ACC.values())
    assert rows[5]["test/acc"] == "" and rows[5]["error"] == "seed must be ≥ 0"


def test_rows_are_sorted_the_best_first_and_without_a_value_last(tmp_path):
    for name, acc, loss in (("a", 0.5, 3.0), ("b", 0.9, 2.0), ("c", float("nan"), float("nan")), ("d", 0.7, 1.0)):
        make_run(tmp_path / name, [f"seed={len(name)}"], test_acc=acc, test_loss=loss)
    make_run(tmp_path / "e", status="unfinished")
    rows = find_rows([tmp_path])
    names = lambda key: "".join(row.name[-1] for row in sort_rows(rows, key))  # noqa: E731
    assert names("test/acc")[:3] == "bda" and names("test/loss")[:3] == "dba"
    assert set(names("test/acc")[3:]) == {"c", "e"}
    with pytest.raises(ValueError, match=r"'test/ac' is not a column.*Did you mean test/acc\?"):
        sort_rows(rows, "test/ac")


def test_folders_in_any_state_get_a_row_with_their_state(tmp_path):
    make_run(tmp_path / "good", test_acc=1.0)
    make_run(tmp_path / "stopped", status="interrupted")
    make_run(tmp_path / "lost", status="unfinished")
    (make_run(tmp_path / "killed", status="unfinished") / OWNER).write_text(
        json.dumps(this_process() | {"pid": 999_999_999, "started": 1})
    )
    (make_run(tmp_path / "torn", test_acc=1.0) / "results.json").write_text('{"status": "fini')
    (make_run(tmp_path / "odd", test_acc=1.0) / "results.json").write_text('{"status": ["x"], "metrics": 3, "hex": 4}')
    (make_run(tmp_path / "binary", test_acc=1.0) / "config.yaml").write_bytes(b"\xff\xfe\x00")
    (make_run(tmp_path / "headless", test_acc=1.0) / "config.yaml").unlink()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/notes.txt").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").write_text("just: something")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    make_sweep(tmp_path / "sweep", [Job(0, ["T=2"], "failed", error="why"), Job(1, ["T=3"])])
    (
        make_sweep(tmp_path / "broken", [Job(0, ["T=2"], "finished", metrics={"test/acc": 0.5})]) / "sweep.json"
    ).write_text("{")
    found = {row.name.removeprefix(f"{tmp_path}/"): row.status for row in find_rows([tmp_path])}
    assert found == {
        "good": "finished",
        "stopped": "interrupted",
        "lost": "unfinished",
        "killed": "killed",
        "torn": "damaged",
        "odd": "unfinished",
        "binary": "damaged",
        "headless": "damaged",
        "theirs": "foreign",
        "other": "foreign",
        "empty": "unfinished",
        "sweep/0": "failed",
        "sweep/1": "waiting",
        "broken/0": "finished",
        "broken/jobs": "foreign",
    }
