"""Every framing mode against a slow reference that follows its equation event by event."""

import math
from fractions import Fraction

import numpy as np
import pytest
from event_files import EVENT, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.data.events import read_events
from snntrain.data.framing import Framing

SETTINGS = {
    "time": {},
    "count": {},
    "window": {"window": 7.5},
    "time_surface": {"tau": 20.0},
    "voxel": {},
}
COUNTING = ("time", "count", "window")


def slow(framing: Framing, events: np.ndarray) -> np.ndarray:
    """The docstring's equations in exact arithmetic, one event after the other."""
    T, n = framing.T, len(events)
    frames = np.zeros(framing.shape)
    times = [int(t) for t in events["t"]]
    first, last = times[0], times[-1]
    length = last - first + 1
    latest: dict[tuple[int, ...], list[int]] = {}
    for i, (x, y, t, p) in enumerate(events.tolist()):
        place = (x // framing.downsample,)
        if not framing.is_line:
            place = (int(p) if framing.polarity == "channels" else 0, y // framing.downsample, *place)
        if framing.mode == "time":
            frames[(T * (t - first) // length, *place)] += 1
        elif framing.mode == "count":
            frames[(T * i // n, *place)] += 1
        elif framing.mode == "window":
            k = math.floor(Fraction(t - first) / (Fraction(framing.window) * 1000))
            if k < T:
                frames[(k, *place)] += 1
        elif framing.mode == "voxel":
            at = Fraction((T - 1) * (t - first), max(last - first, 1))
            for k in range(T):
                frames[(k, *place)] += max(0, 1 - abs(k - at))
        else:
            latest.setdefault(place, []).append(t)
    for place, seen in latest.items():
        for k in range(T):
            past = [t for t in seen if T * (t - first) // length <= k]
            if past:
                end = first + (k + 1) * length / T
                frames[(k, *place)] = math.exp((past[-1] - end) / (framing.tau * 1000))
    return np.minimum(frames, 1) if framing.binary else frames


def compare(framing: Framing, events: np.ndarray) -> None:
    frames = framing(events)
    assert frames.dtype == framing.dtype and frames.shape == framing.shape
    tolerance = {"voxel": 1e-5, "time_surface": 2**-11}.get(framing.mode, 0)
    np.testing.assert_allclose(frames.astype(np.float64), slow(framing, events), rtol=tolerance, atol=tolerance)


@st.composite
def streams(draw) -> np.ndarray:
    """Recordings with equal times, gaps, single events and late clocks."""
    n = draw(st.integers(1, 40))
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 2, 999, 1000, 50_000]), min_size=n, max_size=n))
    events = stream(draw(st.integers(0, 2**32 - 1)), n, size=(6, 9))
    events["t"] = np.cumsum(steps) + draw(st.sampled_from([0, 3, 2**40]))
    return events


@pytest.mark.parametrize("mode", SETTINGS)
@settings(max_examples=30, deadline=None)
@given(
    events=streams(),
    T=st.integers(1, 12),
    downsample=st.integers(1, 4),
    polarity=st.sampled_from(["channels", "merge"]),
    binary=st.booleans(),
)
def test_every_mode_follows_its_equation(mode, events, T, downsample, polarity, binary):
    binary = binary and mode in COUNTING
    compare(Framing(T, [6, 9], mode, **SETTINGS[mode], binary=binary, polarity=polarity, downsample=downsample), events)


@pytest.mark.parametrize("mode", ["time", "count", "voxel"])
@settings(max_examples=30, deadline=None)
@given(events=streams(), T=st.integers(1, 12), downsample=st.integers(1, 4))
def test_every_event_is_in_the_frames_at_its_place_and_polarity(mode, events, T, downsample):
    frames = Framing(T, [6, 9], mode, downsample=downsample)(events).astype(np.float64)
    expected = np.zeros(frames.shape[1:])
    np.add.at(expected, (events["p"].astype(int), events["y"] // downsample, events["x"] // downsample), 1)
    np.testing.assert_allclose(frames.sum(0), expected, rtol=1e-5, atol=1e-5)
    assert frames.sum() == pytest.approx(len(events), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(events=streams(), T=st.integers(1, 5), window=st.sampled_from([0.001, 0.5, 1.0, 60.0]))
def test_what_comes_after_the_last_window_is_counted(events, T, window):
    framing = Framing(T, [6, 9], "window", window=window)
    late = sum(int(t - events["t"][0]) >= T * round(window * 1000) for t in events["t"])
    assert framing.dropped(events) == late
    assert framing(events).sum() == len(events) - late


@settings(max_examples=20, deadline=None)
@given(events=streams(), T=st.integers(1, 12))
def test_time_survives_the_voxel_grid(events, T):
    """Σ_k k·share_k / n is the mean time, scaled to 0 … T - 1."""
    frames = Framing(T, [6, 9], "voxel")(events).astype(np.float64)
    elapsed = (events["t"] - events["t"][0]).astype(np.float64)
    mean = (frames.sum((1, 2, 3)) * np.arange(T)).sum() / len(events)
    assert mean == pytest.approx((T - 1) * elapsed.mean() / max(elapsed[-1], 1), abs=1e-4)


@pytest.mark.parametrize("mode", SETTINGS)
def test_real_recordings_follow_the_equations(shared_data, mode):
    paths = sorted((shared_data / "NMNIST").rglob("*.bin"))[::350]
    assert len(paths) == 2
    for path in paths:
        compare(Framing(10, [34, 34], mode, **SETTINGS[mode]), read_events(path)[:1500])


def test_no_event_of_real_recordings_is_lost(shared_data):
    paths = sorted((shared_data / "NMNIST").rglob("*.bin"))[::7]
    framings = [
        Framing(10, [34, 34], mode, polarity=polarity, downsample=downsample)
        for mode in ("time", "count")
        for polarity, downsample in (("channels", 1), ("merge", 4))
    ]
    assert len(paths) == 100
    for path in paths:
        events = read_events(path)
        on = int(events["p"].sum())
        for framing in framings:
            per_polarity = framing(events).sum((0, 2, 3)).tolist()
            assert per_polarity == ([len(events) - on, on] if framing.polarity == "channels" else [len(events)])


@pytest.mark.parametrize("seed", range(5))
def test_tonics_frames_of_equal_time_lose_the_last_events_and_ours_do_not(seed):
    """Its bins are whole µs long and closed before the last event's time: what comes after the last bin is in none."""
    from tonic.transforms import ToFrame

    events = stream(seed, n=3000, duration=9_999)
    T = 7
    theirs = ToFrame(sensor_size=(34, 34, 2), n_time_bins=T)(events.copy())
    first, last = int(events["t"][0]), int(events["t"][-1])
    covered = (last - first) // T * T
    lost = int((events["t"] >= first + covered).sum())
    assert lost >= 1 and theirs.sum() == len(events) - lost
    assert Framing(T, [34, 34])(events).sum() == len(events)


def test_where_nothing_is_lost_tonics_frames_are_ours():
    from tonic.transforms import ToFrame

    events = stream(0, n=1000)
    events["t"] = np.arange(1000) // 10 * 70  # the last bin of tonic's ends at the last time of all
    ours = Framing(9, [34, 34], "count")(events[:999])
    assert np.array_equal(ours, ToFrame(sensor_size=(34, 34, 2), n_event_bins=9)(events[:999].copy()))


def test_a_sensor_without_rows_gives_one_number_per_step_and_channel():
    events = stream(1, n=200, size=(1, 700))
    framing = Framing(5, 700, polarity="merge", downsample=5)
    assert framing.shape == (5, 140) and framing.sensor_size == 700
    assert np.array_equal(framing(events), slow(framing, events))


def test_the_edge_is_kept_where_down_sampling_does_not_divide_the_sensor():
    framing = Framing(2, [34, 34], downsample=4)
    assert framing.shape == (2, 2, 9, 9)
    corner = np.array([(33, 33, 0, True)], EVENT)
    assert framing(corner)[0, 1, 8, 8] == 1


@pytest.mark.parametrize("mode", SETTINGS)
def test_no_events_give_zeros(mode):
    framing = Framing(3, [6, 9], mode, **SETTINGS[mode])
    frames = framing(np.zeros(0, EVENT))
    assert frames.shape == framing.shape and frames.dtype == framing.dtype and not frames.any()


@pytest.mark.parametrize(
    ("arguments", "dtype"),
    [
        ({}, np.uint16),
        ({"binary": True}, np.uint8),
        ({"mode": "voxel"}, np.float32),
        ({"mode": "time_surface", "tau": 1.0}, np.float16),
    ],
)
def test_the_dtype_follows_from_the_settings_alone(arguments, dtype):
    framing = Framing(2, [6, 9], **arguments)
    assert framing.dtype == dtype
    assert all(framing(stream(seed, n, (6, 9))).dtype == dtype for seed, n in ((0, 1), (1, 500)))


def test_a_pixel_with_more_events_than_can_be_counted_is_refused_and_not_saturated():
    busy = np.zeros(65_536, EVENT)
    with pytest.raises(ValueError, match="65536 events in one frame, more than 65535"):
        Framing(1, [6, 9])(busy)
    assert Framing(1, [6, 9])(busy[:65_535]).max() == 65_535
    assert Framing(1, [6, 9], binary=True)(busy).sum() == 1


def test_events_outside_the_sensor_or_out_of_order_are_refused():
    with pytest.raises(ValueError, match="y = 6 lies outside the sensor"):
        Framing(2, [6, 9])(np.array([(0, 6, 1, True)], EVENT))
    with pytest.raises(ValueError, match="time goes back from 5 to 4"):
        Framing(2, [6, 9])(np.array([(0, 0, 5, True), (0, 0, 4, True)], EVENT))


def test_the_key_tells_any_two_settings_apart():
    variants = [
        {},
        {"T": 3},
        {"sensor_size": [6, 10]},
        {"mode": "count"},
        {"mode": "window", "window": 1.0},
        {"mode": "window", "window": 2.0},
        {"mode": "time_surface", "tau": 1.0},
        {"mode": "time_surface", "tau": 2.0},
        {"binary": True},
        {"polarity": "merge"},
        {"downsample": 2},
    ]
    keys = [Framing(**({"T": 2, "sensor_size": [6, 9]} | variant)).key() for variant in variants]
    assert len({str(key) for key in keys}) == len(variants)
    assert Framing(2, (6, 9)).key() == Framing(2, [6, 9]).key()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"T": 0}, "T must be an integer ≥ 1, got 0"),
        ({"mode": "times"}, "mode must be one of 'time'"),
        ({"mode": "window"}, "window must be a finite number ≥ 0.001, got None"),
        ({"window": 5.0}, "window must be None except in mode window, got 5.0"),
        ({"mode": "time_surface", "tau": 0}, "tau must be a finite number ≥ 0.001, got 0"),
        ({"mode": "voxel", "binary": True}, "binary must be False in mode voxel"),
        ({"polarity": "both"}, "polarity must be one of 'channels', 'merge'"),
        ({"sensor_size": 700}, "polarity must be 'merge' for a sensor without rows"),
        ({"sensor_size": [34]}, "sensor_size must be"),
        ({"sensor_size": [34, 0]}, "sensor_size must be an integer ≥ 1, got 0"),
        ({"downsample": 0.5}, "downsample must be an integer ≥ 1, got 0.5"),
        ({"binary": 1}, "binary must be True or False, got 1"),
    ],
)
def test_settings_are_checked(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        Framing(**({"T": 4, "sensor_size": [34, 34]} | arguments))
