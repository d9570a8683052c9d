"""scripts/summarize.py and scripts/browse.py on folders in any state."""

import csv
from pathlib import Path

import pytest
from run_folders import make_run, make_sweep

from snntrain.lab.sweep.jobs import Job


@pytest.fixture
def runs(tmp_path):
    make_run(tmp_path / "runs/a", ["neuron.tau=2"], test_acc=0.5)
    make_run(tmp_path / "runs/b", ["neuron.tau=3"], test_acc=0.75)
    make_run(tmp_path / "runs/c", status="unfinished")
    (tmp_path / "runs/notes").mkdir()
    (tmp_path / "runs/notes/x.txt").touch()
    make_sweep(tmp_path / "runs/s", [Job(0, ["T=2"], "failed", error="no such T"), Job(1, ["T=3"])])
    return tmp_path / "runs"


def test_runs_are_listed_the_best_first_and_written_where_asked(script, runs, tmp_path):
    code, text, _ = script(
        "summarize.py", runs, "--sort", "test/acc", "--csv", tmp_path / "o/t.csv", "--html", tmp_path / "t.html"
    )
    assert code == 0 and "no such T" in text and "notes" not in text
    rows = list(csv.DictReader((tmp_path / "o/t.csv").open(encoding="utf-8")))
    assert [Path(row["run"]).name for row in rows][:2] == ["b", "a"] and len(rows) == 5
    assert (tmp_path / "t.html").read_text(encoding="utf-8").count("data-id=") == 5


def test_a_sweep_is_listed_by_its_jobs(script, runs):
    code, text, _ = script("summarize.py", runs / "s")
    assert code == 0 and text.lstrip().startswith("job") and "waiting" in text


def test_damage_is_named_and_the_table_goes_on(script, runs):
    (runs / "a/results.json").write_text("[]")
    (runs / "s/sweep.json").write_text("{")
    (runs / "b").rename(runs / "b[x]")
    code, text, _ = script("summarize.py", runs)
    assert code == 0 and "a damaged: results.json is damaged" in text and "s damaged: sweep.json is damaged" in text
    assert "b[x]" in text
    code, text, _ = script("browse.py", runs)
    assert code == 0 and "results.json is damaged" in (runs / "index.html").read_text(encoding="utf-8")
    (runs / "s/0").mkdir()
    code, text, _ = script("summarize.py", runs / "s")
    assert code == 0 and "sweep.json is damaged" in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["runs", "--srt", "x"], "--srt is not an option of summarize.py. Did you mean --sort?"),
        ([], "FOLDER is missing"),
        (["runs/nowhere"], "runs/nowhere is not a folder"),
        (["runs/notes"], "no run in"),
        (["runs", "--sort", "test/ac"], "Did you mean test/acc?"),
    ],
)
def test_wrong_arguments_are_refused_by_name(script, runs, monkeypatch, arguments, named):
    monkeypatch.chdir(runs.parent)
    code, _, text = script("summarize.py", *arguments)
    assert code == 2 and named in text


def test_the_browser_page_lists_every_folder_and_spares_files_of_others(script, runs, monkeypatch):
    monkeypatch.chdir(runs.parent)
    for _ in range(2):  # its own page may be written over, and is no run
        code, text, _ = script("browse.py", "runs")
        assert code == 0 and text.startswith("6 runs")
    page = (runs / "index.html").read_text(encoding="utf-8")
    for name in ("a", "b", "c", "notes", "s/0", "s/1"):
        assert f'data-name="{name}"' in page
    assert 'href="./a/report.html"' in page
    (runs / "index.html").write_text("mine")
    code, _, text = script("browse.py", "runs")
    assert code == 2 and "not written by this program" in text and (runs / "index.html").read_text() == "mine"
    code, text, _ = script("browse.py", "runs", "--out", "elsewhere/page.html")
    assert code == 0 and 'href="./../runs/a/report.html"' in Path("elsewhere/page.html").read_text(encoding="utf-8")
    assert script("browse.py", "nowhere")[0] == 2
