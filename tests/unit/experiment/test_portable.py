"""Configs without the folders of one machine, and their differences."""

import copy

import pytest

from snntrain.config import UsageError, compose
from snntrain.config.check import check
from snntrain.experiment.portable import ABSENT, differences, portable, refuse_local_places, relocated


def config(*overrides: str) -> dict:
    return check(compose(["experiment=nmnist_csnn", *overrides]))


def test_two_machines_have_one_portable_config():
    here = config("paths.data=/my/data", "paths.runs=/my/runs", "paths.run=/my/runs/a")
    there = config("paths.data=elsewhere/data", "paths.run=b")
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


def test_differences_are_named_key_by_key():
    recorded, now = config(), copy.deepcopy(config())
    now["optim"]["lr"] = 0.5
    now["model"]["layers"][0]["kernel_size"] = 5
    now["trainer"]["gradient_clip_val"] = 1.0
    del now["neuron"]["tau"]
    now["data"]["sample_shape"] = [2, 34]
    assert differences(recorded, now) == [
        ("model.layers[0].kernel_size", 3, 5),
        ("neuron.tau", 2.0, ABSENT),
        ("data.sample_shape", [2, 34, 34], [2, 34]),
        ("optim.lr", 0.002, 0.5),
        ("trainer.gradient_clip_val", None, 1.0),
    ]
    assert differences(recorded, recorded) == []


def test_types_count_as_well():
    assert differences({"T": 1}, {"T": True}) == [("T", 1, True)]
    assert differences({"T": 4}, {"T": 4.0}) == [("T", 4, 4.0)]


def test_what_cannot_change_a_result_is_no_difference():
    free = ("data.num_workers=3", "data.download=true", "trainer.log_every_n_steps=7", "debug.traceback=true")
    changed = config(*free, "name=y", "logger=tensorboard", "paths.data=/x")
    assert differences(portable(config(), "x"), portable(changed, "x")) == []


def test_a_new_key_counts_only_where_something_stands_in_it():
    assert differences({"a": {}}, {"a": {"new": None}, "b": [], "c": ""}) == []
    assert differences({"a": {"old": 0}}, {"a": {}}) == []
    assert differences({"a": {}}, {"a": {"new": 1}}) == [("a.new", ABSENT, 1)]
