"""What must hold of a config from elsewhere before anything in it is looked at."""

import copy

import pytest
from refused import message_of

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.config.foreign import admit, names_a_place_outside
from snntrain.config.migration import FORMAT, migrate
from snntrain.error import UsageError


@pytest.fixture(scope="module")
def config():
    return check(compose(["model=mlp", "paths.run=runs/x"]))


def refusal(config, trust: bool = False) -> str:
    writing = ("callbacks", "trainer")
    return message_of(
        UsageError, lambda: admit(migrate(config, FORMAT, "their folder"), "their folder", trust, writing=writing)
    )


def test_a_config_of_ours_is_admitted_and_says_nothing_about_trust(config):
    admitted = admit({**config, "trust": True}, "a run", False, writing=("callbacks", "trainer"))
    assert admitted == {**config, "trust": False}
    assert admit(config, "a run", True)["trust"] is True


@pytest.mark.parametrize("key", ["T", "seed", "monitor", "callbacks", "trust", "paths.data", "monitor.mode"])
def test_a_config_that_lacks_a_key_gets_no_default_of_today(config, key):
    section, _, inner = key.partition(".")
    changed = copy.deepcopy(config)
    del (changed[section] if inner else changed)[inner or section]
    assert f"lacks {key}," in refusal(changed)


@pytest.mark.parametrize("wrong", [None, "x", ["x"], {1: 2}, {"name": 3}, {"model": []}, {"paths": None}])
def test_what_is_no_config_is_refused(wrong):
    assert "their folder" in refusal(wrong)


def test_a_tree_without_end_or_of_too_many_values_is_refused():
    endless: dict = {}
    endless["a"] = endless
    many: list = ["x"] * 10
    for _ in range(8):
        many = [many] * 10
    deep: list = []
    for _ in range(100):
        deep = [deep]
    for wrong in (endless, {"a": many}, {"a": deep}):
        assert "levels or" in refusal(wrong)


def test_plugins_need_trust(config):
    mine = {**config, "plugins": ["mine"]}
    assert "imports mine" in refusal(mine) and "trust=true" in refusal(mine)
    assert admit(mine, "a run", True)["plugins"] == ["mine"]
    assert "plugins must be" in refusal({**config, "plugins": [{}]}, trust=True)


CHANGES = {
    "a checkpoint elsewhere": ("callbacks", "best_checkpoint", {"dirpath": "/home/someone"}),
    "two folders up": ("callbacks", "best_checkpoint", {"dirpath": "runs/x/../../y"}),
    "the home folder": ("callbacks", "best_checkpoint", {"dirpath": "~/y"}),
    "another server": ("callbacks", "best_checkpoint", {"dirpath": "s3://bucket/y"}),
    "a profile elsewhere": ("trainer", "profiler", {"dirpath": "/etc"}),
    "a folder with code": ("callbacks", "lava", {"folder": "runs/x/lava"}),
}


@pytest.mark.parametrize(("group", "entry", "setting"), CHANGES.values(), ids=CHANGES)
def test_places_outside_of_the_run_folder_need_trust(config, group, entry, setting):
    changed = copy.deepcopy(config)
    changed[group][entry] = setting
    key, value = next(iter(setting.items()))
    assert f"{group}.{entry}.{key}" in refusal(changed) and repr(value) in refusal(changed)
    assert admit(changed, "a run", True, writing=(group,))[group][entry] == setting


def test_which_texts_lead_outside():
    inside = ["/a/runs/x", "runs/x"]
    for text in ("/a/runs/x", "/a/runs/x/checkpoints", "runs/x/y", "y", "val/acc", "16-mixed", "epoch={epoch}"):
        assert not names_a_place_outside(text, inside), text
    for text in ("/a/runs", "/a/runs/xy", "/a/runs/x/../z", "../x", "~", "gs://x", "file:///etc"):
        assert names_a_place_outside(text, inside), text
