"""The shape of a sample follows the framing."""

import pytest
from checked import checked

from snntrain.data import Framing


@pytest.mark.parametrize("size", [[128, 120], [34, 35], 700])
@pytest.mark.parametrize("downsample", [1, 2, 3])
@pytest.mark.parametrize("polarity", ["channels", "merge"])
def test_the_shape_of_a_sample_is_that_of_a_frame(size, downsample, polarity):
    polarity = "merge" if size == 700 else polarity
    more = [f"data.framing.{name}={value}" for name, value in (("downsample", downsample), ("polarity", polarity))]
    found = checked("data=event_folder", "model=mlp", f"data.framing.sensor_size={size}", *more)
    framing = Framing(T=4, sensor_size=size, downsample=downsample, polarity=polarity)
    assert found["data"]["sample_shape"] == list(framing.shape[1:])
