"""A sweep's state is read from its folder alone: what ended, what was killed, what never began."""

import json
import math

import pytest
from processes import dead_process
from run_folders import make_run, make_sweep

from snntrain.lab.sweep.jobs import (
    Job,
    begin,
    latest_folder,
    newest_sweep,
    read_jobs,
    record_path,
    write_job,
    write_sweep,
)
from snntrain.process import is_this_process


def test_jobs_are_read_as_they_were_written_including_values_that_json_cannot_hold(tmp_path):
    jobs = [
        Job(0, ["seed=1"], "finished", seconds=1.5, metrics={"test/acc": 0.1 + 0.2, "test/loss": math.inf}),
        Job(1, ["seed=2"], "failed", error="first\nsecond"),
        Job(2, ["seed=3"]),
    ]
    make_sweep(tmp_path, jobs)
    assert read_jobs(tmp_path) == jobs
    write_job(tmp_path, Job(1, ["seed=2"], "finished", metrics={"test/loss": math.nan}))
    assert math.isnan(read_jobs(tmp_path)[1].metrics["test/loss"])


def test_a_job_whose_process_is_gone_was_killed_unless_its_run_had_finished(tmp_path):
    jobs = [Job(number, [f"seed={number}"], "running", process=dead_process()) for number in (0, 1)]
    make_sweep(tmp_path, jobs)
    make_run(tmp_path / "1", ["seed=1"], test_acc=0.75)
    begin(tmp_path, 2, ["seed=2"])
    write_sweep(tmp_path, [], [*jobs, Job(2, ["seed=2"]), Job(3, ["seed=3"])], {})
    found = read_jobs(tmp_path)
    assert [job.status for job in found] == ["killed", "finished", "running", "waiting"]
    assert found[1].metrics == {"test/acc": 0.75} and found[1].folder == "1" and "killed" in found[0].error


RECORD = {"status": "finished", "error": "", "metrics": {}, "seconds": 1.0, "folder": "0", "process": None}
ODD = ({"status": "x"}, {"error": []}, {"metrics": [1]}, {"seconds": "x"}, {"folder": "../../y"}, {"process": [1]})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"status": "finished"}', "[" * 10**5, *(json.dumps(RECORD | odd) for odd in ODD)]
)
def test_a_damaged_record_is_a_row_that_says_so(tmp_path, text):
    make_sweep(tmp_path, [Job(0, ["seed=1"], "failed")])
    record_path(tmp_path, 0).write_text(text)
    (job,) = read_jobs(tmp_path)
    assert job.status == "damaged" and "0.json is damaged" in job.error


def test_the_latest_run_of_a_job_is_found(tmp_path):
    assert latest_folder(tmp_path / "none", "1") is None
    for name in ("1", "1_2", "1_10", "10", "1_x"):
        make_run(tmp_path / name)
    (tmp_path / "1_11").mkdir()  # holds no run yet
    assert latest_folder(tmp_path, "1").name == "1_10"
    assert latest_folder(tmp_path, "10").name == "10"


def test_the_newest_sweep_of_equal_overrides_is_found(tmp_path):
    for name, overrides in (
        ("a", ["seed=1,2", "T=2"]),
        ("b", ["T=2", "seed=1,2", "sweep.resume=true"]),
        ("c", ["T=3"]),
    ):
        write_sweep(tmp_path / name, overrides, [], {})
    (tmp_path / "d").mkdir()
    (tmp_path / "d/sweep.json").write_text("damaged")
    assert newest_sweep(tmp_path, ["launch=joblib", "++T=2", "seed=1,2"]).name == "b"
    assert newest_sweep(tmp_path, ["T=4"]) is None


def test_a_record_is_whole_json_while_the_job_runs(tmp_path):
    begin(tmp_path, 7, ["seed=1"])
    content = json.loads(record_path(tmp_path, 7).read_text())
    assert content["status"] == "running" and is_this_process(content["process"])
