"""The order of the training samples depends on (seed, epoch) and on nothing else."""

import random

import numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.data import EpochSampler


def order(size: int, seed: int, epoch: int) -> list[int]:
    sampler = EpochSampler(size, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**63), st.integers(0, 10_000))
def test_every_index_comes_once(size, seed, epoch):
    drawn = order(size, seed, epoch)
    assert sorted(drawn) == list(range(size))
    assert all(type(index) is int for index in drawn)
    assert len(EpochSampler(size, seed)) == size


def test_the_order_follows_neither_the_generators_of_the_program_nor_earlier_epochs():
    expected = order(50, 1, 4)
    torch.manual_seed(99), random.seed(99), numpy.random.seed(99)
    sampler = EpochSampler(50, 1)
    for epoch in (0, 9, 4):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
    assert drawn == expected == list(sampler)


def test_the_generator_of_the_program_is_not_touched():
    before = torch.get_rng_state()
    order(50, 1, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_epoch_or_another_seed_is_another_order():
    orders = {(seed, epoch): tuple(order(100, seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(set(orders.values())) == 16


def test_orders_are_shuffled_evenly():
    """Each of 5 positions holds each index in about a fifth of 2,000 epochs: within 5 standard deviations."""
    counts = torch.zeros(5, 5)
    for epoch in range(2000):
        for position, index in enumerate(order(5, 0, epoch)):
            counts[position, index] += 1
    assert (counts - 400).abs().max() < 5 * (2000 * 0.2 * 0.8) ** 0.5


def test_a_sampler_starts_at_the_first_epoch():
    assert list(EpochSampler(30, 2)) == order(30, 2, 0)
