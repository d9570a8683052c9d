"""Rows of any folders, mean and deviation over seeds, CSV that loses nothing."""

import csv
import io
import itertools
import json
import os
import statistics
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from run_folders import make_run, make_sweep

from snntrain.error import UsageError
from snntrain.files import write_json
from snntrain.lab.run_rows import find_rows, run_row, sweep_rows
from snntrain.lab.run_table import csv_of, metric_names, repetitions, sort_rows, table_of, varied
from snntrain.lab.sweep.jobs import Job
from snntrain.number_format import binomial_error
from snntrain.process import this_process
from snntrain.run.folder import RunFolder

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
    groups = repetitions(sweep_rows(sweep))
    assert [(group.values, group.count) for group in groups] == [({"neuron": "if"}, 3), ({"neuron": "lif"}, 2)]
    for neuron, group in zip(("if", "lif"), groups, strict=True):
        values = [acc for (name, _), acc in ACC.items() if name == neuron]
        assert group.metrics["test/acc"] == (statistics.fmean(values), statistics.stdev(values))


def test_folds_of_a_cross_validation_are_repetitions_too(tmp_path):
    jobs = [
        Job(number, ["data.folds=5", f"data.fold={number + 1}"], "finished", metrics={"val/acc": acc})
        for number, acc in enumerate((0.5, 0.75, 0.625))
    ]
    (group,) = repetitions(sweep_rows(make_sweep(tmp_path / "sweep", jobs)))
    assert (group.values, group.count, group.metrics) == ({}, 3, {"val/acc": (0.625, 0.125)})


@pytest.mark.parametrize(("share", "samples", "error"), [(0.5, 100, 0.05), (0.935, 200, 0.017432), (0.9, 10**4, 0.003)])
def test_the_binomial_error_is_that_of_a_share(share, samples, error):
    assert binomial_error(share, samples) == pytest.approx(error, rel=1e-4)
    assert 0 < binomial_error(1.0, samples) == pytest.approx(binomial_error(0.0, samples))


def test_the_accuracy_over_seeds_has_the_binomial_error_where_the_test_set_is_known(sweep):
    for row in sweep_rows(sweep):
        if row.folder is not None and row.overrides["neuron"] == "if":
            write_json(row.folder / "artifacts/splits.json", {"test": {"count": 200}})
    known, unknown = repetitions(sweep_rows(sweep))
    assert known.told("test/acc") == "45.00 ± 32.79 % (± 3.52)"  # sqrt(.45 * .55 / 200)
    assert unknown.told("test/acc") == "60.00 ± 42.43 %" and unknown.told("val/acc") == ""


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
    assert f"{100 * statistics.fmean([0.9, 0.3]):.2f} ± {100 * statistics.stdev([0.9, 0.3]):.2f} %" in text


def test_means_over_seeds_are_whole_in_a_terminal_of_80_columns(tmp_path):
    names = ("val/acc", "test/acc", "test/loss", "test/firing_rate")
    jobs = [
        Job(seed, [f"seed={seed}"], "finished", seconds=1.0, metrics=dict.fromkeys(names, seed / 7)) for seed in (1, 2)
    ]
    rows = sweep_rows(make_sweep(tmp_path / "sweep", jobs))
    for row in rows:
        write_json(row.folder / "artifacts/splits.json", {"test": {"count": 200}})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table_of(rows, "job", console.width))
    text = console.export_text()
    assert "runs" in text and "…" not in text and text.count("21.43 ± 10.10 %") == 3 and "0.2143 ± 0.101" in text


def test_runs_that_differ_in_much_are_listed_and_no_word_is_broken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "one", ["model=mlp", "model.features=[64,64]", "neuron.tau=4", "task.loss=mse", "data=digits"])
    make_run(tmp_path / "two", ["model=csnn", "optim.lr=0.001", "trainer.max_epochs=3", "data=mnist"])
    rows = find_rows([Path(".")])
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(table_of(rows, "run", console.width))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    words = " ".join(lines).split()
    for row in rows:
        assert row.name in lines and {f"{key}={value}" for key, value in row.overrides.items()} <= set(words)
    assert "optim.lr" in varied(rows) and all(len(line) <= 60 for line in lines)


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
    with pytest.raises(UsageError, match=r"'test/ac' is not a column.*Did you mean test/acc\?"):
        sort_rows(rows, "test/ac")


def test_the_smaller_error_is_the_better_one(tmp_path):
    for name, error in {"a": 0.5, "b": 0.9, "c": 0.1}.items():
        make_run(
            tmp_path / name, [f"T={len(name)}"], test_rmse=error, test_mae=error, test_r2=-error, qat_rmse_int=error
        )
    rows = find_rows([tmp_path])
    for key in ("test/rmse", "test/mae", "test/r2", "qat/rmse_int"):
        assert "".join(row.name[-1] for row in sort_rows(rows, key)) == "cab", key


def test_folders_in_any_state_get_a_row_with_their_state(tmp_path):
    make_run(tmp_path / "good", test_acc=1.0)
    make_run(tmp_path / "stopped", status="interrupted")
    make_run(tmp_path / "cut", status="pruned")
    make_run(tmp_path / "lost", status="unfinished")
    RunFolder(make_run(tmp_path / "killed", status="unfinished")).owner_note.write_text(
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
        "cut": "pruned",
        "lost": "unfinished",
        "killed": "killed",
        "torn": "damaged",
        "odd": "damaged",
        "binary": "damaged",
        "headless": "damaged",
        "theirs": "foreign",
        "other": "foreign",
        "empty": "unfinished",
        "sweep/0": "failed",
        "sweep/1": "waiting",
        "broken": "damaged",
        "broken/0": "finished",
        "broken/jobs": "foreign",
    }


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in itertools.pairwise("abcdefghij")
)
FINISHED = '{"status": "finished", "metrics": {"test/acc": %s}, "hex": %s, "seconds": {"fit": %s}}'
CONTENTS = {
    "a list": "[]",
    "a deep list": "[" * 100_000,
    "half": '{"status": "fini',
    "empty": "",
    "no text": b"\xff\x80",
    "a bomb": BOMB,
    "itself": "a: &a [*a]",
    "a control character": "a: \x00",
}
RESULTS = {
    "a status that is none": '{"status": ["x"]}',
    "metrics that are none": '{"status": "finished", "metrics": []}',
    "text for a number": FINISHED % ('"high"', "{}", 1),
    "no hexadecimal": FINISHED % (0.5, '{"test/acc": "high"}', 1),
    "seconds that are none": FINISHED % (0.5, "{}", "NaN"),
    "endless seconds": FINISHED % (0.5, "{}", "1e999"),
    "a number beyond all": FINISHED % ("1" + "0" * 400, "{}", 1),
}


def make_special(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(path.with_name("nowhere"))
    else:
        path.symlink_to(path)


@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml", "results.json"])
@pytest.mark.parametrize("content", [*CONTENTS, "folder", "pipe", "link", "loop"])
def test_a_damaged_file_gives_a_row_that_names_it_and_the_others_stay(tmp_path, name, content):
    make_run(tmp_path / "good", test_acc=0.5)
    bad = make_run(tmp_path / "bad", ["T=2"], test_acc=0.5) / name
    if content in CONTENTS:
        text = CONTENTS[content]
        bad.write_bytes(text if isinstance(text, bytes) else text.encode())
    else:
        make_special(bad, content)
    if name == "overrides.yaml" and content == "a list":
        return  # which is what it holds
    rows = {row.folder.name: row for row in find_rows([tmp_path])}
    assert rows["good"].status == "finished" and rows["bad"].status == "damaged"
    assert rows["bad"].error.startswith(name) and "\n" not in rows["bad"].error


@pytest.mark.parametrize("content", RESULTS.values(), ids=RESULTS)
def test_results_of_another_kind_are_damaged(tmp_path, content):
    (make_run(tmp_path / "run", test_acc=0.5) / "results.json").write_text(content)
    row = run_row(tmp_path / "run", "run")
    assert row.status == "damaged" and row.error.startswith("results.json is damaged")


@pytest.mark.parametrize("content", ["[]", "{", '{"status": "odd"}', '{"status": "finished"}'])
def test_a_damaged_record_of_a_job_is_a_row_of_the_sweep(sweep, content):
    (sweep / "jobs/1.json").write_text(content)
    rows = sweep_rows(sweep)
    assert [row.status for row in rows] == ["finished", "damaged", "finished", "finished", "finished", "failed"]
    assert rows[1].error.startswith("jobs/1.json is damaged")


def test_owners_that_are_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(RunFolder(make_run(tmp_path / "run", test_acc=0.5)).owner_note)
    assert [row.status for row in find_rows([tmp_path])] == ["finished"]


def test_the_monitored_metric_and_its_direction_say_what_is_best(tmp_path):
    for name, loss, acc in (("a", 0.5, 0.1), ("b", 0.1, 0.2), ("c", 0.9, 0.9)):
        folder = make_run(tmp_path / name, [f"T={ord(name)}"], val_loss=loss, test_acc=acc)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["monitor"] = {"metric": "val/loss", "mode": "min"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = find_rows([tmp_path])
    assert {row.monitor for row in rows} == {("val/loss", "min")}
    assert [row.folder.name for row in sort_rows(rows, "val/loss")] == ["b", "a", "c"]
    assert metric_names(rows)[0] == "val/loss"
    make_run(tmp_path / "old")
    assert run_row(tmp_path / "old", "old").monitor == ("val/acc", "max")


def test_no_cell_of_the_csv_is_a_formula(tmp_path):
    make_run(tmp_path / "=run", ["name==1+1", "T=-2", "seed=1"], "failed", test_acc=-0.5)
    make_run(tmp_path / "b", ["name=@x", "T=2", "seed=1"], test_acc=0.5)
    rows = find_rows([tmp_path])
    for row in rows:
        row.name = row.folder.name
    rows[0].error = "+1 and more"
    cells = list(csv.reader(io.StringIO(csv_of(rows, "run"))))
    assert cells[1] == ["'=run", "'=1+1", "-2", "failed", "-0.5", "2.5", "'+1 and more", str(tmp_path / "=run")]
    assert cells[2][:3] == ["b", "'@x", "2"]
