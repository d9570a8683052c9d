"""Configs of earlier formats keep the values that they had when they were written."""

from dataclasses import asdict

import pytest

from snntrain.config.migration import FORMAT, migrate
from snntrain.config.schema import Config
from snntrain.error import DamagedFile

COMPLETE = asdict(Config()) | {"monitor": {"metric": "val/acc", "mode": "max"}}


@pytest.mark.parametrize("target", ["snntrain.data.ImageFolder", "snntrain.data.image_folder.ImageFolder"])
def test_what_was_hidden_about_pictures_of_format_1_is_written_out(target):
    data = {"_target_": target, "size": 32, "verify": False}
    found = migrate(COMPLETE | {"data": data}, 1, "config.yaml")["data"]
    assert found == data | {"crop_ratio": 0.875, "background": None, "normalize": False}
    assert list(data) == ["_target_", "size", "verify"]
    assert migrate(COMPLETE | {"data": data}, FORMAT, "config.yaml")["data"] == data


@pytest.mark.parametrize("key", ["T", "seed", "monitor"])
@pytest.mark.parametrize("written_in", [1, FORMAT])
def test_no_default_of_today_takes_the_place_of_a_key_that_is_missing(key, written_in):
    with pytest.raises(DamagedFile, match=rf"config\.yaml: its config lacks {key}"):
        migrate({name: value for name, value in COMPLETE.items() if name != key}, written_in, "config.yaml")
