"""Splits: what a batch holds, what augmentation depends on, which samples are held out."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.data import FrameSplit, ImageSplit
from snntrain.data.cache import Caching, open_cache
from snntrain.data.split import fold_held_out, held_out
from snntrain.randomness import derived_seed

SHAPE = (3, 2, 4, 5)


def pictures(count: int = 6) -> ImageSplit:
    images = torch.arange(count * 4, dtype=torch.uint8).reshape(count, 1, 2, 2)
    return ImageSplit(images, torch.arange(count) % 3, scale=23.0)


def recordings(count: int = 9) -> list[np.ndarray]:
    source = np.random.default_rng(4)
    return [source.integers(0, 200, SHAPE, dtype=np.uint8) for _ in range(count)]


def frames(cache=None, found: list | None = None) -> FrameSplit:
    """Recordings that are their frames; `found` collects how often each was framed."""
    data = recordings()

    def frame(number: int) -> np.ndarray:
        if found is not None:
            found.append(number)
        return data[number]

    return FrameSplit(range(9), torch.arange(9) % 3, frame, shape=SHAPE, cache=cache)


def noisy(sample: torch.Tensor, seed: int) -> torch.Tensor:
    return sample + torch.rand(sample.shape, generator=torch.Generator().manual_seed(seed))


def test_a_batch_holds_floats_labels_and_places_in_the_source():
    split = pictures()
    x, label, index = split.__getitems__([5, 0, 5])
    expected = torch.tensor([[20.0, 21], [22, 23]]) / 23
    assert x.dtype == torch.float32 and label.dtype == index.dtype == torch.int64
    assert torch.equal(x[0, 0], expected) and torch.equal(x[2], x[0])
    assert label.tolist() == [2, 0, 2] and index.tolist() == [5, 0, 5]
    assert len(split) == 6 and split.shape == split.step_shape == (1, 2, 2)


def test_one_sample_is_a_pair_to_look_at():
    x, label = pictures()[5]
    assert torch.equal(x, torch.tensor([[[20.0, 21], [22, 23]]]) / 23) and int(label) == 2


@pytest.mark.parametrize("make", [pictures, frames])
def test_a_subset_of_a_subset_keeps_the_places_in_the_source(make):
    split = make()
    part = split.subset(torch.tensor([4, 2, 0])).subset(torch.tensor([2, 0]))
    assert len(part) == 2 and type(part) is type(split)
    x, label, index = part.__getitems__([0, 1])
    expected, labels, _ = split.__getitems__([0, 4])
    assert torch.equal(x, expected) and torch.equal(label, labels) and index.tolist() == [0, 4]
    assert len(split) == len(split.labels) > 2


@pytest.mark.parametrize("make", [pictures, frames])
def test_augmentation_depends_on_seed_epoch_and_place_alone(make):
    split = make()
    split.augment, split.seed = noisy, 11
    plain, *_ = split.__getitems__([0, 3])
    x, _, _ = split.__getitems__([(7, 0), (7, 3)])
    for sample, untouched, place in zip(x, plain, (0, 3), strict=True):
        assert torch.equal(sample, noisy(untouched, derived_seed(11, "augment", 7, place)))
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    part = split.subset(torch.tensor([3, 1]))
    again, *_ = part.__getitems__([(7, 1), (7, 0)])  # elsewhere, in other company
    assert torch.equal(again[1], x[1])
    other_epoch, *_ = split.__getitems__([(8, 0), (8, 3)])
    split.seed = 12
    other_seed, *_ = split.__getitems__([(7, 0), (7, 3)])
    assert not torch.equal(other_epoch, x) and not torch.equal(other_seed, x)


def test_positions_alone_and_splits_without_augmentation_give_the_samples_as_they_are():
    split = pictures()
    plain, *_ = split.__getitems__([1, 2])
    assert torch.equal(split.__getitems__([(4, 1), (4, 2)])[0], plain)
    split.augment = noisy
    assert torch.equal(split.__getitems__([1, 2])[0], plain)


def test_frames_are_those_of_the_recordings():
    split = frames()
    x, label, index = split.__getitems__([8, 1, 8])
    assert x.dtype == torch.float32 and x.shape == (3, *SHAPE) and split.step_shape == (2, 4, 5)
    assert np.array_equal(x.numpy(), np.stack([recordings()[place] for place in (8, 1, 8)]).astype(np.float32))
    assert label.tolist() == [2, 1, 2] and index.tolist() == [8, 1, 8]


@pytest.mark.parametrize("mode", ["disk", "memory"])
def test_a_cache_gives_the_same_frames_and_makes_them_once(tmp_path, mode):
    made: list[int] = []
    cache = open_cache(Caching(cache=mode), tmp_path, {}, count=9, shape=SHAPE, dtype=np.uint8)
    split = frames(cache, made)
    part = split.subset(torch.tensor([8, 2]))
    expected, *_ = frames().__getitems__([8, 2])
    for _ in range(2):
        assert torch.equal(part.__getitems__([0, 1])[0], expected)
    assert made == [8, 2]
    x, *_ = split.__getitems__(range(9))
    assert torch.equal(x, frames().__getitems__(range(9))[0])
    assert sorted(made) == list(range(9))


def test_augmented_events_pass_by_the_cache(tmp_path):
    made: list[int] = []
    cache = open_cache(Caching(), tmp_path, {}, count=9, shape=SHAPE, dtype=np.uint8)
    split = frames(cache, made)
    split.frame_augmented = lambda number, seed: recordings()[number] // 2 + np.uint8(seed % 50)
    x, *_ = split.__getitems__([(2, 4), (2, 4), (3, 4)])
    for sample, epoch in zip(x, (2, 2, 3), strict=True):
        seed = derived_seed(0, "augment", epoch, 4)
        assert np.array_equal(sample.numpy(), (recordings()[4] // 2 + seed % 50).astype(np.float32))
    assert len(cache) == 0 and made == []
    assert np.array_equal(split.__getitems__([4])[0][0].numpy(), recordings()[4].astype(np.float32))


def test_augmented_events_and_augmented_frames_draw_different_numbers():
    split, seeds = frames(), []
    split.frame_augmented = lambda number, seed: seeds.append(seed) or recordings()[number]
    split.augment = lambda sample, seed: seeds.append(seed) or sample
    split.__getitems__([(0, 1), (0, 2)])
    assert len(set(seeds)) == 4


def test_frames_of_another_shape_are_refused_with_the_recording_s_name():
    split = FrameSplit(["a.bin"], torch.zeros(1), lambda name: np.zeros((3, 2, 9, 9), np.uint8), shape=SHAPE)
    with pytest.raises(ValueError, match=r"recording a\.bin gives frames of shape \[3, 2, 9, 9\].*\[3, 2, 4, 5\]"):
        split.__getitems__([0])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_what_stays_and_what_is_held_out_are_all_samples_once(labels, fraction):
    stay, out = held_out(torch.tensor(labels), fraction, "test")
    assert sorted([*stay.tolist(), *out.tolist()]) == list(range(len(labels)))
    assert len(out) == min(max(1, round(fraction * len(labels))), len(labels) - 1)


def test_the_same_part_of_each_class_is_held_out():
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 2)[torch.randperm(72, generator=torch.Generator().manual_seed(1))]
    stay, out = held_out(labels, 0.1, "test", per_class=True)
    assert sorted([*stay.tolist(), *out.tolist()]) == list(range(72))
    assert torch.bincount(labels[out]).tolist() == [5, 2, 1]
    with pytest.raises(ValueError, match="class 3 has 1 sample"):
        held_out(torch.tensor([0, 0, 3]), 0.1, "validation split", per_class=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(2, 10), st.booleans())
def test_folds_hold_each_sample_once_and_as_many_of_each_class(labels, folds, per_class):
    y = torch.tensor(labels)
    if len(y) < folds:
        with pytest.raises(ValueError, match=f"data.folds: {len(y)} samples cannot make {folds} folds"):
            fold_held_out(y, 1, folds)
        return
    counts = torch.bincount(y)
    if per_class and 1 in counts:
        with pytest.raises(ValueError, match="has 1 sample"):
            fold_held_out(y, 1, folds, per_class=True)
        return
    sides = [fold_held_out(y, fold, folds, per_class=per_class) for fold in range(1, folds + 1)]
    for stay, out in sides:
        assert sorted([*stay.tolist(), *out.tolist()]) == list(range(len(y)))
        assert len(y) // folds <= len(out) <= -(-len(y) // folds)
    assert sorted(torch.cat([out for _, out in sides]).tolist()) == list(range(len(y)))
    if per_class:
        held = torch.stack([torch.bincount(y[out], minlength=len(counts)) for _, out in sides])
        assert bool((held.amax(0) - held.amin(0) <= 1).all())


def test_the_choice_depends_on_its_purpose_and_on_nothing_else():
    labels = torch.arange(100)
    first = held_out(labels, 0.3, "test split")[1]
    torch.manual_seed(9)
    assert torch.equal(held_out(labels, 0.3, "test split")[1], first)
    assert not torch.equal(held_out(labels, 0.3, "validation split")[1], first)
