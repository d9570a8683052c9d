"""How long a time step lasts, where the data tell it."""

import pytest
from refused import message_of

from snntrain.data import MNIST, NMNIST, Framing, TimeseriesFolder
from snntrain.number_format import step_name


def folder(**more) -> TimeseriesFolder:
    return TimeseriesFolder("nowhere", num_classes=2, sample_shape=[1], steps=4, **more)


def frames(**more) -> NMNIST:
    framing = Framing(T=4, sensor_size=(34, 34), **more)
    return NMNIST("nowhere", framing=framing, num_classes=10, sample_shape=framing.shape[1:])


def test_a_step_of_a_time_series_lasts_as_long_as_its_user_says():
    assert folder().dt is None and folder(dt=12.5).dt == 12.5
    assert "dt must be a finite number > 0" in message_of(ValueError, folder, dt=0)


def test_frames_of_a_fixed_window_last_as_long_as_it():
    assert frames(mode="window", window=20.0).dt == 20.0
    assert frames(mode="time").dt is None  # a fourth of each recording


def test_pictures_have_no_time():
    assert MNIST("nowhere", num_classes=10, sample_shape=[1, 28, 28]).dt is None


@pytest.mark.parametrize(("dt", "name"), [(None, "time step"), (2.5, "time step, 2.5 ms each")])
def test_axes_name_the_length_of_a_step(dt, name):
    assert step_name(dt) == name
