"""The differences of two configs: named key by key, without those that make no difference."""

import copy

import pytest

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.lab.experiment.portable import portable
from snntrain.run.differences import ABSENT, RESUMABLE, WITHOUT_EFFECT, differences


def config(*overrides: str) -> dict:
    return check(compose(["experiment=nmnist_csnn", *overrides]))


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


def test_true_is_not_1_but_1_is_1_0():
    assert differences({"T": 1}, {"T": True}) == [("T", 1, True)]
    assert differences({"lr": 1}, {"lr": 1.0}) == []


def test_what_cannot_change_a_result_is_no_difference():
    free = (
        "data.num_workers=3",
        "data.download=true",
        "fuse=off",
        "trainer.log_every_n_steps=7",
        "debug.traceback=true",
    )
    changed = config(*free, "name=y", "logger=tensorboard", "paths.data=/x")
    assert differences(portable(config(), "x"), portable(changed, "x"), free=WITHOUT_EFFECT) == []


@pytest.mark.parametrize("free", [RESUMABLE, WITHOUT_EFFECT])
def test_only_fast_kernels_change_a_result(free):
    assert differences({"fuse": "off"}, {"fuse": "exact"}, free=free) == []
    for other in ({"fuse": "exact"}, {"fuse": "off"}, {}):
        assert [found.key for found in differences(other, {"fuse": "fast"}, free=free)] == ["fuse"]
    assert differences({"fuse": "fast"}, {"fuse": "fast"}, free=free) == []


def test_a_new_key_counts_only_where_something_stands_in_it():
    assert differences({"a": {}}, {"a": {"new": None}, "b": [], "c": ""}) == []
    assert differences({"a": {"old": 0}}, {"a": {}}) == []
    assert differences({"a": {}}, {"a": {"new": 1}}) == [("a.new", ABSENT, 1)]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"T": 4}, {"T": 5}, ["T is 5, was 4"]),
        ({"callbacks": {"ema": 1}, "T": 4}, {"T": 4}, []),
        (
            {"callbacks": {"ema": 1}, "neuron": {"name": "a"}},
            {"neuron": {"name": "b"}},
            ["neuron.name is 'b', was 'a'"],
        ),
        ({"data": {"root": "x"}}, {"data": {"root": "y"}}, []),
        ({}, {"fuse": "exact"}, []),
        ({}, {"optim": {"lr": 1.0}}, ["optim is {'lr': 1.0}, was None"]),
    ],
)
def test_a_run_may_continue_with_other_places_and_callbacks_only(before, now, said):
    assert list(map(str, differences(before, now, free=RESUMABLE))) == said
