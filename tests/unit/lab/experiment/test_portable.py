"""Configs without the folders of one machine, and their differences."""

import pytest

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.error import UsageError
from snntrain.lab.experiment.portable import portable, refuse_local_places, relocated


def config(*overrides: str) -> dict:
    return check(compose(["experiment=nmnist_csnn", *overrides]))


def test_two_machines_have_one_portable_config():
    here = config("paths.data=/my/data", "paths.runs=/my/runs", "paths.run=/my/runs/a")
    there = config("paths.data=elsewhere/data", "paths.run=b", "resume=/other/runs/b")
    assert here != there
    assert portable(here, "x") == portable(there, "x") == portable(portable(here, "x"), "x")
    found = portable(here, "x")
    assert found["data"]["root"] == "data" and found["paths"] == {"data": "data", "runs": "runs", "run": "runs/x"}
    assert found["callbacks"]["best_checkpoint"]["dirpath"] == "runs/x/checkpoints"
    assert "/my" not in str(found)
    assert relocated(found, here["paths"]) == here
    refuse_local_places(found)


def test_a_folder_is_not_taken_for_another_whose_name_begins_like_it():
    changed = config("paths.data=/d", "paths.run=r") | {"logger": {"a": "/data", "b": "/d/x", "c": "/d"}}
    assert portable(changed, "x")["logger"] == {"a": "/data", "b": "data/x", "c": "data"}


def test_a_folder_that_no_other_machine_has_is_refused():
    with pytest.raises(UsageError, match=r"data\.root is '/my/pictures'"):
        refuse_local_places(portable(config("data.root=/my/pictures"), "x"))
