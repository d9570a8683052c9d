"""Configs of earlier formats keep the values that they had when they were written."""

import pytest

from snntrain.config.migration import FORMAT, migrate


@pytest.mark.parametrize("target", ["snntrain.data.ImageFolder", "snntrain.data.image_folder.ImageFolder"])
def test_what_was_hidden_about_pictures_of_format_1_is_written_out(target):
    data = {"_target_": target, "size": 32, "verify": False}
    found = migrate({"data": data}, 1, "config.yaml")["data"]
    assert found == data | {"crop_ratio": 0.875, "background": None, "normalize": False}
    assert list(data) == ["_target_", "size", "verify"]
    assert migrate({"data": data}, FORMAT, "config.yaml")["data"] == data
