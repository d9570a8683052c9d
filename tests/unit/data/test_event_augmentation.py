"""Augmentations do what their names say, follow their seed alone, and leave the program's generators as they were."""

import math
import random

import numpy as np
import pytest
import torch
from event_files import stream
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.data.event_augmentation import EVENT_LEVEL, FRAME_LEVEL, EventAugmentation

SIZE = (20, 30)
EVENT_ENTRIES = {
    "time_jitter": {"std": 3.0},
    "time_skew": {"low": 0.5, "high": 2.0},
    "time_reversal": {"p": 0.5},
    "spatial_jitter": {"std": 2.0},
    "drop_events": {"p": 0.3},
    "drop_time": {"part": 0.3},
    "drop_area": {"part": 0.5},
    "drop_pixels": {"p": 0.3},
    "event_drop": {},
    "flip_left_right": {},
    "flip_up_down": {},
    "flip_polarity": {},
    "noise": {"n": 40},
}
FRAME_ENTRIES = {
    "frame_shift": {"pixels": 4},
    "frame_roll": {"pixels": 4},
    "frame_flip": {"p": 0.5},
    "frame_rotate": {"degrees": 30.0},
    "frame_scale": {"part": 0.3},
    "frame_shear": {"degrees": 30.0},
    "frame_cutout": {"side": 6},
}


def events_chain(name: str, size=SIZE, **arguments):
    return EventAugmentation([{"name": name, **arguments}]).events(size)


def frames_chain(name: str, shape, **arguments):
    return EventAugmentation([{"name": name, **arguments}]).frames(shape)


def frames(seed: int, *shape: int) -> torch.Tensor:
    return torch.randint(1, 9, shape, generator=torch.Generator().manual_seed(seed)).float()


def test_every_augmentation_is_tested_here():
    assert EVENT_ENTRIES.keys() == EVENT_LEVEL.keys() and FRAME_ENTRIES.keys() == FRAME_LEVEL.keys()


@pytest.mark.parametrize("name", EVENT_ENTRIES)
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**63 - 1), st.sampled_from([0, 10**12]))
def test_augmented_events_are_events_of_the_sensor_in_the_order_of_time(name, seed, start):
    events = stream(seed % 2**32, 300, SIZE)
    events["t"] += start
    before = events.copy()
    out = events_chain(name, **EVENT_ENTRIES[name])(events, seed)
    assert out.dtype == events.dtype and np.array_equal(events, before)
    assert (np.diff(out["t"]) >= 0).all() and (out["x"] >= 0).all() and (out["y"] >= 0).all()
    assert not len(out) or (out["x"].max() < SIZE[1] and out["y"].max() < SIZE[0] and out["t"].min() > start - 10**5)


@pytest.mark.parametrize("name", EVENT_ENTRIES)
def test_events_follow_the_seed_and_nothing_else(name):
    events, chain = stream(1, 300, SIZE), events_chain(name, **EVENT_ENTRIES[name])
    first = [chain(events, seed) for seed in range(8)]
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    state = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), random.getstate()
    again = [chain(events, seed) for seed in reversed(range(8))][::-1]
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert len({one.tobytes() for one in first}) > 1
    assert state == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), random.getstate())


@pytest.mark.parametrize("shape", [(3, 2, *SIZE), (3, 30)])
@pytest.mark.parametrize("name", FRAME_ENTRIES)
def test_frames_follow_the_seed_and_nothing_else(name, shape):
    if len(shape) == 2 and name in ("frame_rotate", "frame_scale", "frame_shear", "frame_cutout"):
        with pytest.raises(ValueError, match="without rows"):
            frames_chain(name, shape, **FRAME_ENTRIES[name])
        return
    x, chain = frames(0, *shape), frames_chain(name, shape, **FRAME_ENTRIES[name])
    first = [chain(x, seed) for seed in range(8)]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert all(torch.equal(one, chain(x, seed)) for seed, one in enumerate(first))
    assert torch.equal(state, torch.get_rng_state())
    assert all(one.shape == x.shape and one.dtype == x.dtype for one in first)
    assert len({one.numpy().tobytes() for one in first}) > 1


@pytest.mark.parametrize("name", FRAME_ENTRIES)
def test_all_frames_of_a_sample_are_changed_alike(name):
    x = frames(0, 1, 2, *SIZE).expand(5, -1, -1, -1)
    chain = frames_chain(name, x.shape, **FRAME_ENTRIES[name])
    for seed in range(5):
        y = chain(x, seed)
        assert torch.equal(y, y[:1].expand_as(y))


@pytest.mark.parametrize(("name", "axis"), [("flip_left_right", "x"), ("flip_up_down", "y")])
def test_flips_mirror_the_sensor_and_swap_all_polarities(name, axis):
    events = stream(2, 100, SIZE)
    out = events_chain(name, p=1.0)(events, 0)
    size = SIZE[1] if axis == "x" else SIZE[0]
    assert np.array_equal(out[axis], size - 1 - events[axis])
    assert all(np.array_equal(out[other], events[other]) for other in "xytp" if other != axis)
    assert np.array_equal(events_chain(name, p=0.0)(events, 0), events)
    assert np.array_equal(events_chain("flip_polarity", p=1.0)(events, 0)["p"], ~events["p"])


def test_time_runs_backwards_from_the_first_event_to_the_last():
    events = stream(2, 100, SIZE)
    events["t"] += 10**9
    out = events_chain("time_reversal", p=1.0)(events, 0)
    assert out["t"].tolist() == sorted((events["t"][0] + events["t"][-1] - events["t"]).tolist())
    assert out["p"].sum() == (~events["p"]).sum()
    same = events_chain("time_reversal", p=1.0, flip_polarity=False)(events, 0)
    assert same["p"].sum() == events["p"].sum()


def test_jitter_in_time_has_the_deviation_that_was_asked_for():
    events = stream(2, 4000, SIZE, duration=10**7)
    events["x"] = np.arange(4000)  # to know them again after sorting
    out = events_chain("time_jitter", size=(20, 4000), std=3.0)(events, 0)
    shift = out["t"][np.argsort(out["x"])] - events["t"]
    assert abs(shift.mean()) < 4 * 3000 / 4000**0.5 and shift.std() == pytest.approx(3000, rel=0.05)


def test_jitter_in_place_has_the_deviation_that_was_asked_for_and_no_bias():
    events = stream(2, 4000, SIZE)
    events["x"], events["y"] = 500, 700
    out = events_chain("spatial_jitter", size=(1000, 1000), std=2.0)(events, 0)
    assert len(out) == 4000
    for name, place in (("x", 500), ("y", 700)):
        shift = out[name] - place
        assert abs(shift.mean()) < 4 * 2 / 4000**0.5 and shift.std() == pytest.approx(2.02, rel=0.05)  # rounded: + 1/12


def test_events_that_are_jittered_off_the_sensor_are_dropped():
    events = stream(2, 2000, SIZE)
    events["x"] = 0
    out = events_chain("spatial_jitter", std=1.0)(events, 0)
    # An event stays if its shift of x is above -1/2: 69 % of them; those at the upper and lower edge may go as well.
    assert 0.55 < len(out) / 2000 < 0.7
    events = stream(2, 500, (1, 700))  # a sensor without rows is jittered along its channels
    out = events_chain("spatial_jitter", size=700, std=3.0)(events, 0)
    assert (out["y"] == 0).all() and 480 < len(out) <= 500


def test_the_named_part_of_the_events_is_dropped():
    events = stream(2, 1000, SIZE)
    assert len(events_chain("drop_events", p=0.3)(events, 0)) == 700
    assert len(events_chain("drop_events", p=1.0)(events, 0)) == 0


@pytest.mark.parametrize("start", [0, 10**10])
def test_an_interval_of_the_named_length_is_dropped(start):
    events = stream(2, 5000, SIZE, duration=10**6)
    events["t"] += start
    lengths = []
    for seed in range(20):
        out = events_chain("drop_time", part=0.25)(events, seed)
        gone = np.setdiff1d(events["t"], out["t"])
        assert np.isin(out["t"], gone).sum() == 0 and (np.diff(np.searchsorted(events["t"], gone)) < 20).all()
        lengths.append((gone[-1] - gone[0]) / 10**6)
    assert lengths == pytest.approx([0.25] * 20, abs=0.01)


def test_a_box_of_the_named_size_is_dropped():
    full = np.zeros(SIZE[0] * SIZE[1], stream(0).dtype)
    full["y"], full["x"] = np.divmod(np.arange(len(full)), SIZE[1])
    out = events_chain("drop_area", part=0.5)(full, 0)
    gone = np.setdiff1d(np.arange(len(full)), out["y"].astype(int) * SIZE[1] + out["x"])
    y, x = np.divmod(gone, SIZE[1])
    assert len(gone) == 10 * 15 and y.max() - y.min() == 9 and x.max() - x.min() == 14


def test_a_silent_pixel_is_silent_throughout():
    events = stream(2, 20_000, SIZE)
    out = events_chain("drop_pixels", p=0.3)(events, 0)
    number = lambda e: e["y"].astype(int) * SIZE[1] + e["x"]  # noqa: E731
    before, after = (np.bincount(number(e), minlength=600) for e in (events, out))
    silent = after == 0
    assert 0.2 < silent.mean() < 0.4 and np.array_equal(after[~silent], before[~silent])


def test_noise_adds_events_of_both_polarities_everywhere():
    events = stream(2, 10, SIZE)
    out = events_chain("noise", n=3000)(events, 0)
    assert len(out) == 3010 and 0.45 < out["p"].mean() < 0.55
    assert out["x"].max() == 29 and out["y"].max() == 19 and out["t"].min() == events["t"][0]


def test_time_is_stretched_within_the_bounds():
    events = stream(2, 100, SIZE)
    events["t"] += 10**9
    for seed in range(5):
        out = events_chain("time_skew", low=2.0, high=3.0)(events, seed)
        assert 2.0 <= (out["t"][-1] - out["t"][0]) / (events["t"][-1] - events["t"][0]) < 3.0


def test_an_empty_recording_stays_empty():
    chain = EventAugmentation([{"name": "drop_events", "p": 1.0}, "flip_left_right", {"name": "noise", "n": 5}])
    assert len(chain.events(SIZE)(stream(0), 1)) == 0
    assert len(chain.events(SIZE)(stream(0)[:0], 1)) == 0


def test_a_shift_moves_the_frame_and_brings_in_zeros():
    x = frames(0, 2, 1, *SIZE)
    seen = set()
    for seed in range(60):
        y = frames_chain("frame_shift", x.shape, pixels=2)(x, seed)
        padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
        fits = [
            (dy, dx)
            for dy in range(5)
            for dx in range(5)
            if torch.equal(y, padded[..., dy : dy + SIZE[0], dx : dx + SIZE[1]])
        ]
        assert len(fits) == 1
        seen |= set(fits)
    assert len(seen) > 15


def test_a_roll_keeps_every_event():
    x = frames(0, 2, 1, *SIZE)
    for seed in range(10):
        y = frames_chain("frame_roll", x.shape, pixels=3)(x, seed)
        fits = [x.roll((dy, dx), (-2, -1)) for dy in range(-3, 4) for dx in range(-3, 4)]
        assert any(torch.equal(y, one) for one in fits) and y.sum() == x.sum()


def test_channels_of_a_sensor_without_rows_are_shifted_alike_at_every_step():
    x = frames(0, 4, 30)
    for seed in range(10):
        y = frames_chain("frame_roll", x.shape, pixels=3)(x, seed)
        assert any(torch.equal(y, x.roll(d, 1)) for d in range(-3, 4))
        z = frames_chain("frame_shift", x.shape, pixels=3)(x, seed)
        padded = torch.nn.functional.pad(x, (3, 3))
        assert any(torch.equal(z, padded[:, d : d + 30]) for d in range(7))
    assert torch.equal(frames_chain("frame_flip", x.shape, p=1.0)(x, 0), x.flip(1))


def test_a_square_of_the_named_side_is_cut_out():
    x = frames(0, 2, 2, *SIZE)
    for seed in range(10):
        gone = frames_chain("frame_cutout", x.shape, side=6)(x, seed).eq(0)
        y, z = gone[0, 0].any(1).nonzero().flatten(), gone[0, 0].any(0).nonzero().flatten()
        assert gone.sum() == 4 * 36 and len(y) == len(z) == 6 and y[-1] - y[0] == z[-1] - z[0] == 5


@pytest.mark.parametrize("name", ["frame_rotate", "frame_scale", "frame_shear"])
def test_pictures_that_are_bent_keep_whole_counts(name):
    y = frames_chain(name, (2, 2, *SIZE), **FRAME_ENTRIES[name])(frames(0, 2, 2, *SIZE), 3)
    assert torch.equal(y, y.round()) and y.max() > 0


def test_a_square_is_scaled_about_the_center():
    x = torch.zeros(1, 1, 61, 61)
    x[..., 20:41, 20:41] = 1
    sides = []
    for seed in range(20):
        y = frames_chain("frame_scale", x.shape, part=0.4)(x, seed)[0, 0]
        rows, columns = y.any(1).nonzero().flatten(), y.any(0).nonzero().flatten()
        assert len(rows) == len(columns) and rows[0] + rows[-1] == columns[0] + columns[-1] == 60
        sides.append(len(rows) / 21)
    assert 0.55 < min(sides) < 0.8 and 1.2 < max(sides) < 1.45


def test_a_line_is_sheared_along_its_rows():
    x = torch.zeros(1, 1, 41, 41)
    x[..., 20] = 1
    slopes = []
    for seed in range(20):
        y = frames_chain("frame_shear", x.shape, degrees=20)(x, seed)[0, 0]
        assert y.sum(1).eq(1).all()
        place, row = y.argmax(1).float() - 20, torch.arange(41.0) - 20
        slopes.append(float(place @ row / (row @ row)))
        assert (place - slopes[-1] * row).abs().max() < 1
    assert -math.tan(math.radians(21)) < min(slopes) < -0.1 and 0.1 < max(slopes) < math.tan(math.radians(21))


def test_steps_of_one_level_come_in_their_order_and_none_is_none():
    mixed = EventAugmentation([{"name": "noise", "n": 7}, "frame_flip", {"name": "drop_events", "p": 1.0}])
    assert len(mixed.events(SIZE)(stream(0, 50, SIZE), 1)) == 0
    assert len(mixed.events(SIZE).steps) == 2 and len(mixed.frames((2, 1, *SIZE)).steps) == 1
    assert EventAugmentation().events(SIZE) is None and EventAugmentation().frames((2, 30)) is None


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (["drop_event"], r"transforms\[0\] must name an augmentation, got 'drop_event'. Did you mean drop_events\?"),
        ([{"p": 0.1}], r"must name an augmentation, got {'p': 0.1}"),
        ("drop_events", "must be a list of augmentations, got 'drop_events'"),
        (["frame_flip", {"name": "drop_events", "q": 0.1}], r"transforms\[1\]: q is not an argument of drop_events"),
        ([{"name": "drop_events"}], "drop_events needs the argument p"),
        ([{"name": "drop_events", "p": 1.5}], r"transforms\[0\]: drop_events: p must be a finite number ≥ 0 and ≤ 1"),
        ([{"name": "time_jitter", "std": -1}], "time_jitter: std must be a finite number ≥ 0"),
        ([{"name": "drop_time", "part": 1}], "drop_time: part must be a finite number ≥ 0 and < 1"),
        ([{"name": "time_skew", "low": 2, "high": 1}], "time_skew: high must be a finite number ≥ 2"),
        ([{"name": "noise", "n": 0.5}], "noise: n must be an integer ≥ 0"),
        ([{"name": "frame_cutout", "side": 20}], "frame_cutout: side must be an integer < 20"),
        ([{"name": "frame_scale", "part": 1}], "frame_scale: part must be a finite number ≥ 0 and < 1"),
        ([{"name": "frame_shear", "degrees": 90}], "frame_shear: degrees must be a finite number ≥ 0 and < 90"),
        ([{"name": "frame_shift", "pixels": 1.0}], "frame_shift: pixels must be an integer ≥ 0"),
    ],
)
def test_entries_are_checked(entries, reason):
    with pytest.raises(ValueError, match=reason):
        augmentation = EventAugmentation(entries)
        augmentation.events(SIZE), augmentation.frames((2, 1, *SIZE))


@pytest.mark.parametrize("name", ["flip_up_down", "drop_area", "event_drop"])
def test_what_needs_rows_is_refused_without_them(name):
    with pytest.raises(ValueError, match=f"{name}: a sensor without rows has no pictures"):
        EventAugmentation([name]).events(700)
