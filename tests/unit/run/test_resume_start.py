"""Which folder a run takes: its own, a fresh one, or that of a job which was cut off."""

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from processes import living_process
from run_folders import whole_config

from snntrain.error import UsageError
from snntrain.files import write_json, write_text
from snntrain.lab.sweep.jobs import SWEEP, Job, SweepFolder, write_sweep
from snntrain.lab.sweep.sweeper import _choose_folder
from snntrain.process import this_process
from snntrain.run.folder import RunFolder
from snntrain.run.resume import choose_start, refuse_other_data

CONFIG = whole_config(data={"root": "x"})


def a_run(folder, status=None, **changed):
    """A run folder with a checkpoint, cut off unless it has a status."""
    write_text(folder / "config.yaml", yaml.safe_dump(CONFIG | changed))
    (folder / "checkpoints").mkdir()
    torch.save({"snntrain": {"format": 1, "config": CONFIG}, "state_dict": {}}, folder / "checkpoints/last.ckpt")
    if status:
        RunFolder(folder).write_results(status, {})
    return folder


def test_two_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    starts = [choose_start(CONFIG, tmp_path / "12-00-00_run", is_chosen=False) for _ in range(3)]
    assert [start.folder.name for start in starts] == ["12-00-00_run", "12-00-00_run_2", "12-00-00_run_3"]


def test_a_folder_the_user_named_is_refused_when_it_is_taken(tmp_path):
    choose_start(CONFIG, tmp_path / "mine")
    with pytest.raises(UsageError, match=rf"taken by process {os.getpid()}.*hydra\.run\.dir"):
        choose_start(CONFIG, tmp_path / "mine")
    write_text(tmp_path / "mine/config.yaml", "")
    RunFolder(tmp_path / "mine").release()
    with pytest.raises(UsageError, match="holds a run already"):
        choose_start(CONFIG, tmp_path / "mine")
    assert RunFolder(tmp_path / "mine").owner is None


@pytest.mark.parametrize(
    ("status", "changed", "goes_on"),
    [
        (None, {}, True),
        ("interrupted", {}, True),
        ("failed", {}, False),
        ("finished", {}, False),
        (None, {"seed": 2}, False),
        (None, {"sweep": {"resume": True}}, True),
    ],
)
def test_a_job_continues_where_it_was_cut_off(tmp_path, status, changed, goes_on):
    earlier = a_run(tmp_path / "3", status, **changed)
    start = choose_start(CONFIG, tmp_path / "3", is_chosen=False, earlier=earlier)
    assert start.folder.name == ("3" if goes_on else "3_2")
    assert start.checkpoint == (earlier / "checkpoints/last.ckpt" if goes_on else None)


def test_a_damaged_checkpoint_of_a_killed_job_starts_it_anew(tmp_path):
    earlier = a_run(tmp_path / "3")
    (earlier / "checkpoints/last.ckpt").write_bytes(b"half")
    assert choose_start(CONFIG, tmp_path / "3", is_chosen=False, earlier=earlier).folder.name == "3_2"


def test_a_run_that_another_process_is_running_is_not_resumed(tmp_path):
    run = a_run(tmp_path / "runs/busy")
    config = looking_in(tmp_path / "runs")
    with living_process() as other:
        RunFolder(run).owner_note.write_text(json.dumps(other))
        with pytest.raises(UsageError, match=f"still being run by process {other['pid']}"):
            choose_start(config | {"resume": str(run)}, tmp_path / "new")
        assert choose_start(config | {"resume": "auto"}, tmp_path / "new").folder == tmp_path / "new"
    RunFolder(tmp_path / "new").release()
    assert choose_start(config | {"resume": "auto"}, tmp_path / "new").folder == run


def looking_in(runs: Path, **changed) -> dict:
    return CONFIG | {"paths": {**CONFIG["paths"], "runs": str(runs)}, **changed}


STRANGERS = {
    "another host": {"host": "no-such-host.invalid"},
    "another container": {"namespace": 1},
    "another start of the machine": {"boot": "x"},
    "a program before this one": {"boot": None, "namespace": None},
    "unknown": {"pid": "x"},
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_auto_skips_what_may_run_elsewhere_and_naming_it_takes_it_over_with_a_message(tmp_path, capsys, stranger):
    run = a_run(tmp_path / "runs/theirs")
    RunFolder(run).owner_note.write_text(json.dumps(this_process() | {"pid": os.getppid()} | stranger))
    before = RunFolder(run).owner_note.read_bytes()
    config = looking_in(tmp_path / "runs", resume="auto")
    assert choose_start(config, tmp_path / "new").folder == tmp_path / "new"
    assert RunFolder(run).owner_note.read_bytes() == before
    assert f"skips {run}" in (told := capsys.readouterr().out) and f"resume={run}" in told
    assert choose_start(config | {"resume": str(run)}, tmp_path / "other").folder == run
    told = capsys.readouterr().out
    assert "taken over from a process that left no name" in told or (
        "taken over from process" in told and "since" in told
    )


def test_a_job_that_its_cluster_restarted_continues_on_any_node(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run = a_run(tmp_path / "runs/mine")
    earlier = this_process() | {"host": "another-node", "boot": "x", "restarts": "0"}
    RunFolder(run).owner_note.write_text(json.dumps(earlier))
    assert choose_start(looking_in(tmp_path / "runs", resume="auto"), tmp_path / "new").folder == run


DEEP = b"[" * 100_000
BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (b + 1, b + 1, b", ".join([b"*%c" % b] * 9)) for b in range(ord("a"), ord("k"))
)
DAMAGE = {
    "a list": ("results.json", b"[]"),
    "no mapping inside": ("results.json", b'{"hex": []}'),
    "deep": ("results.json", DEEP),
    "no text": ("results.json", b"\xff\x80"),
    "deep config": ("config.yaml", DEEP),
    "no text in the config": ("config.yaml", b"\xff\x80"),
    "an alias bomb": ("config.yaml", BOMB),
    "keys missing": ("config.yaml", b"seed: 1"),
    "a folder": ("results.json", None),
    "a folder as config": ("config.yaml", None),
    "provenance": ("provenance.json", b"{"),
    "its format": ("provenance.json", b'{"format": 99}'),
    "a checkpoint that is a folder": ("checkpoints/last.ckpt", None),
}


@pytest.mark.parametrize(("name", "content"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_neighboring_run_is_skipped_and_named(tmp_path, capsys, name, content):
    mine, theirs = a_run(tmp_path / "runs/mine"), a_run(tmp_path / "runs/theirs")
    (theirs / name).unlink(missing_ok=True)
    if content is None:
        (theirs / name).mkdir()
    else:
        (theirs / name).write_bytes(content)
    os.utime(mine / "config.yaml", (1, 1))  # looked at last
    assert choose_start(looking_in(tmp_path / "runs", resume="auto"), tmp_path / "new").folder == mine
    assert f"skips {theirs}: {theirs}/" in capsys.readouterr().out


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path, capsys):
    theirs = a_run(tmp_path / "runs/theirs")
    (theirs / "config.yaml").unlink()
    os.mkfifo(theirs / "config.yaml")
    choose_start(looking_in(tmp_path / "runs", resume="auto"), tmp_path / "new")
    assert "no ordinary file" in capsys.readouterr().out


def test_data_that_changed_are_named_and_moved_ones_are_not(tmp_path, capsys):
    last = tmp_path / "checkpoints/last.ckpt"
    then = {"a.gz": "1", "b.gz": "2"}
    for content in ({"snntrain": {"data": then}}, {"snntrain": {}}):
        write_json(tmp_path / "provenance.json", {"data": then})
        refuse_other_data(content, last, {"/elsewhere/a.gz": "1", "b.gz": "2"})
        with pytest.raises(UsageError, match=r"b\.gz has another SHA-256"):
            refuse_other_data(content, last, {"a.gz": "1", "b.gz": "3"})
    refuse_other_data({"snntrain": {}}, tmp_path / "x/y/last.ckpt", {"a.gz": "1"})
    assert "are not compared" in capsys.readouterr().out


def sweep_config(root, *, chosen=None, resume=False, task=("seed=1,2",)):
    overrides = {"hydra": [f"hydra.sweep.dir={chosen}"] if chosen else [], "task": list(task)}
    folder = chosen or root / "12-00-00_sweep"
    hydra = {"sweep": {"dir": str(folder)}, "overrides": overrides}
    return OmegaConf.create({"hydra": hydra, "sweep": {"resume": resume}, "paths": {"runs": str(root)}})


def test_sweeps_of_the_same_second_get_folders_of_their_own_and_a_resumed_one_its_old(tmp_path, capsys):
    first, second = (_choose_folder(sweep_config(tmp_path)) for _ in range(2))
    assert (first.name, second.name) == ("12-00-00_sweep", "12-00-00_sweep_2")
    write_sweep(second, ["seed=1,2", "launch=joblib"], [Job(0, ["seed=1"])], {})
    SweepFolder(second).release()
    assert _choose_folder(sweep_config(tmp_path, resume=True, task=["sweep.resume=true", "seed=1,2"])) == second
    SweepFolder(second).release()
    assert _choose_folder(sweep_config(tmp_path, resume=True, task=["seed=1,3"])).name == "12-00-00_sweep_3"
    assert "no earlier sweep of these overrides" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"holds a sweep already.*sweep\.resume=true"):
        _choose_folder(sweep_config(tmp_path, chosen=second))
    SweepFolder(second).owner_note.write_text(json.dumps(this_process() | {"host": "another"}))
    with pytest.raises(UsageError, match=rf"is run by process .* on another.*hydra\.sweep\.dir={second}"):
        _choose_folder(sweep_config(tmp_path, resume=True))
    assert _choose_folder(sweep_config(tmp_path, chosen=second, resume=True)) == second
    assert "is taken over from process" in capsys.readouterr().out
    (first / SWEEP).write_text("[]")
    assert _choose_folder(sweep_config(tmp_path, resume=True)) == second
    (second / SWEEP).write_text("[]")
    _choose_folder(sweep_config(tmp_path, resume=True))
    assert f"skips {second}" in capsys.readouterr().out
    with pytest.raises(UsageError, match="nowhere holds no sweep"):
        _choose_folder(sweep_config(tmp_path, chosen=tmp_path / "nowhere", resume=True))
