"""Which folder a run takes: its own, a fresh one, or that of a job which was cut off."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from snntrain.config import UsageError
from snntrain.files import write_text
from snntrain.run.owner import OWNER, owner, release, this_process
from snntrain.run.results import write_results
from snntrain.run.resume import choose_start
from snntrain.sweep.jobs import Job, write_sweep
from snntrain.sweep.sweeper import _choose_folder

CONFIG = {"resume": None, "seed": 1, "sweep": {"resume": False}, "paths": {"runs": "runs"}, "data": {"root": "x"}}


def a_run(folder, status=None, **changed):
    """A run folder with a checkpoint, cut off unless it has a status."""
    write_text(folder / "config.yaml", yaml.safe_dump(CONFIG | changed))
    (folder / "checkpoints").mkdir()
    torch.save({"snntrain": {"format": 1, "config": CONFIG}, "state_dict": {}}, folder / "checkpoints/last.ckpt")
    if status:
        write_results(folder, status, {})
    return folder


def test_two_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    starts = [choose_start(CONFIG, tmp_path / "12-00-00_run", is_chosen=False) for _ in range(3)]
    assert [start.folder.name for start in starts] == ["12-00-00_run", "12-00-00_run_2", "12-00-00_run_3"]


def test_a_folder_the_user_named_is_refused_when_it_is_taken(tmp_path):
    choose_start(CONFIG, tmp_path / "mine")
    with pytest.raises(UsageError, match=rf"taken by process {os.getpid()}.*hydra\.run\.dir"):
        choose_start(CONFIG, tmp_path / "mine")
    write_text(tmp_path / "mine/config.yaml", "")
    release(tmp_path / "mine")
    with pytest.raises(UsageError, match="holds a run already"):
        choose_start(CONFIG, tmp_path / "mine")
    assert owner(tmp_path / "mine") is None


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
def test_a_job_goes_on_where_it_was_cut_off(tmp_path, status, changed, goes_on):
    earlier = a_run(tmp_path / "3", status, **changed)
    start = choose_start(CONFIG, tmp_path / "3", is_chosen=False, earlier=earlier)
    assert start.folder.name == ("3" if goes_on else "3_2")
    assert start.checkpoint == (earlier / "checkpoints/last.ckpt" if goes_on else None)


def test_a_damaged_checkpoint_of_a_killed_job_starts_it_anew(tmp_path):
    earlier = a_run(tmp_path / "3")
    (earlier / "checkpoints/last.ckpt").write_bytes(b"half")
    assert choose_start(CONFIG, tmp_path / "3", is_chosen=False, earlier=earlier).folder.name == "3_2"


def test_a_run_that_is_going_on_elsewhere_is_not_resumed(tmp_path):
    run = a_run(tmp_path / "runs/busy")
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = int(Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19])
    (run / OWNER).write_text(json.dumps(this_process() | {"pid": other.pid, "started": started}))
    config = CONFIG | {"paths": {"runs": str(tmp_path / "runs")}}
    try:
        with pytest.raises(UsageError, match=f"still being run by process {other.pid}"):
            choose_start(config | {"resume": str(run)}, tmp_path / "new")
        assert choose_start(config | {"resume": "auto"}, tmp_path / "new").folder == tmp_path / "new"
    finally:
        other.communicate()
    release(tmp_path / "new")
    assert choose_start(config | {"resume": "auto"}, tmp_path / "new").folder == run


def sweep_config(root, *, chosen=None, resume=False, task=("seed=1,2",)):
    overrides = {"hydra": [f"hydra.sweep.dir={chosen}"] if chosen else [], "task": list(task)}
    folder = chosen or root / "12-00-00_sweep"
    hydra = {"sweep": {"dir": str(folder)}, "overrides": overrides}
    return OmegaConf.create({"hydra": hydra, "sweep": {"resume": resume}, "paths": {"runs": str(root)}})


def test_sweeps_of_the_same_second_get_folders_of_their_own_and_a_resumed_one_its_old(tmp_path, capsys):
    first, second = (_choose_folder(sweep_config(tmp_path)) for _ in range(2))
    assert (first.name, second.name) == ("12-00-00_sweep", "12-00-00_sweep_2")
    write_sweep(second, ["seed=1,2", "launch=joblib"], [Job(0, ["seed=1"])], {})
    release(second)
    assert _choose_folder(sweep_config(tmp_path, resume=True, task=["sweep.resume=true", "seed=1,2"])) == second
    release(second)
    assert _choose_folder(sweep_config(tmp_path, resume=True, task=["seed=1,3"])).name == "12-00-00_sweep_3"
    assert "no earlier sweep of these overrides" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"holds a sweep already.*sweep\.resume=true"):
        _choose_folder(sweep_config(tmp_path, chosen=second))
    with pytest.raises(UsageError, match="nowhere holds no sweep"):
        _choose_folder(sweep_config(tmp_path, chosen=tmp_path / "nowhere", resume=True))
