"""Configs of earlier formats keep the values that they had when they were written."""

from dataclasses import asdict

import pytest

from snntrain.config.migration import FORMAT, migrate
from snntrain.config.schema import Config
from snntrain.error import DamagedFile, UsageError

COMPLETE = asdict(Config()) | {"monitor": {"metric": "val/acc", "mode": "max"}}


@pytest.mark.parametrize("target", ["snntrain.data.ImageFolder", "snntrain.data.image_folder.ImageFolder"])
def test_what_was_hidden_about_pictures_of_format_1_is_written_out(target):
    data = {"_target_": target, "size": 32, "verify": False}
    found = migrate(COMPLETE | {"data": data}, 1, "config.yaml")["data"]
    assert found == data | {"crop_ratio": 0.875, "background": None, "normalize": False}
    assert list(data) == ["_target_", "size", "verify"]
    assert migrate(COMPLETE | {"data": data}, FORMAT, "config.yaml")["data"] == data


def test_configs_of_format_3_fuse_what_changes_no_bit():
    old = {key: value for key, value in COMPLETE.items() if key != "fuse"}
    assert migrate(old, 3, "config.yaml") == COMPLETE | {"fuse": "exact"}
    assert migrate(COMPLETE | {"fuse": "off"}, FORMAT, "config.yaml")["fuse"] == "off"


@pytest.mark.parametrize("key", ["T", "seed", "monitor"])
@pytest.mark.parametrize("written_in", [1, FORMAT])
def test_no_default_of_today_takes_the_place_of_a_key_that_is_missing(key, written_in):
    with pytest.raises(DamagedFile, match=rf"config\.yaml: its config lacks {key}"):
        migrate({name: value for name, value in COMPLETE.items() if name != key}, written_in, "config.yaml")


@pytest.mark.parametrize(
    ("before", "now"),
    [("CubaLIFNode", "FloatCubaLIFNode"), ("LoihiCubaLIFNode", "CubaLIFNode"), ("LIFNode", "LIFNode")],
)
@pytest.mark.parametrize("written_in", [1, 2])
def test_neurons_of_format_2_get_their_present_names(before, now, written_in):
    """A layer was never called by a neuron's name, so a layer of this name is a plugin's own and keeps it."""
    model = {"layers": ["Flatten", {"lava_block": [{"name": "CubaLIFNode"}, "neuron"]}]}
    old = {**COMPLETE, "stages": {}, "neuron": {"name": before, "current_decay": 0.5}, "model": model}
    found = migrate(old, written_in, "a run")
    assert found["neuron"] == {"name": now, "current_decay": 0.5} and found["model"] == model
    assert migrate(old, FORMAT, "a run")["neuron"] == old["neuron"]  # today's names mean what they say


def test_stages_of_format_2_are_fit_end_callbacks_in_the_order_in_which_they_ran():
    stages = {
        "lava": {"_target_": "snntrain.stage.LavaExport", "samples": 32},
        "qat": {"_target_": "snntrain.stage.Quantisation", "epochs": 1},
        "ann2snn": {"_target_": "snntrain.stage.Conversion", "T": 8},
    }
    old = {**asdict(Config()), "callbacks": {"ema": {"_target_": "snntrain.callback.EMAWeightAveraging"}}}
    found = migrate({**old, "stages": stages}, 2, "a run")
    assert "stages" not in found and list(found["callbacks"]) == ["running_statistics", "ema", "ann2snn", "qat", "lava"]
    assert found["callbacks"]["qat"] == {"_target_": "snntrain.callback.QuantizationAware", "epochs": 1}
    with pytest.raises(UsageError, match="not one of format 2"):
        migrate({**old, "stages": {"mine": {}}}, 2, "a run")
    with pytest.raises(UsageError, match="not one of format 2"):
        migrate(old, 2, "a run")


@pytest.mark.parametrize("target", ["snntrain.task.Classification", "mine.Task"])
def test_tasks_of_format_2_have_as_many_outputs_as_classes_and_no_further_metrics(target):
    old = {**asdict(Config()), "stages": {}, "task": {"_target_": target, "loss": "mse"}, "data": {"num_classes": 7}}
    more = {"metrics": [], "population": 1} if target.startswith("snntrain") else {}
    assert migrate(old, 2, "a run")["task"] == {"_target_": target, "loss": "mse", "outputs": 7, **more}


@pytest.mark.parametrize("written_in", [1, 2])
def test_the_part_to_test_on_and_cifar_in_part_of_format_2_get_their_present_keys(written_in):
    old = {**asdict(Config()), "stages": {}}
    data = {"_target_": "snntrain.data.CIFAR10DVS", "test_fraction": 0.2, "seed": 1}
    found = migrate({**old, "data": data}, written_in, "a run")["data"]
    assert list(found.items()) == [("_target_", "snntrain.data.CIFAR10DVS"), ("split", 0.2), ("seed", 1)]
    data = {"_target_": "snntrain.data.CIFAR10", "root": "data"}
    assert migrate({**old, "data": data}, written_in, "a run")["data"] == {**data, "partial": False}
    data = {"_target_": "mine.Data", "test_fraction": 0.2}
    assert migrate({**old, "data": data}, written_in, "a run")["data"] == data


@pytest.mark.parametrize("written_in", [1, 2])
def test_recurrent_layers_of_format_2_stay_loops(written_in):
    recurrent = {"recurrent": ["neuron"], "feedback": [{"name": "Linear", "out_features": 4}]}
    layers = ["Flatten", {"residual": [recurrent]}, {"name": "Plugin", "recurrent": ["neuron"], "feedback": "add"}]
    model = {"features": 4, "layers": layers, "blocks": {"cell": [recurrent]}}
    found = migrate({**COMPLETE, "stages": {}, "model": model}, written_in, "a run")["model"]
    looped = {**recurrent, "backend": "torch"}
    assert found == {
        "features": 4,
        "layers": ["Flatten", {"residual": [looped]}, layers[2]],
        "blocks": {"cell": [looped]},
    }
    assert migrate(COMPLETE | {"model": model}, FORMAT, "a run")["model"] == model
