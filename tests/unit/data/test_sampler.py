"""The order of the training samples depends on (seed, epoch) and on nothing else; processes share it out."""

import random
from collections import Counter

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from small_training import Patches, small_task, trainer, weights
from torch.utils.data import SequentialSampler

from snntrain.data import Diabetes, EpochSampler
from snntrain.data.sampler import BalancedSampler, SharedBatches


def order(size: int, seed: int, epoch: int) -> list[int]:
    sampler = EpochSampler(size, seed)
    sampler.set_epoch(epoch)
    epochs, positions = zip(*sampler, strict=True)
    assert set(epochs) == {epoch}
    return list(positions)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**63), st.integers(0, 10_000))
def test_every_index_comes_once(size, seed, epoch):
    drawn = order(size, seed, epoch)
    assert sorted(drawn) == list(range(size))
    assert all(type(index) is int for index in drawn)
    assert len(EpochSampler(size, seed)) == size


def test_the_order_follows_neither_the_generators_of_the_program_nor_earlier_epochs():
    before = torch.get_rng_state()
    expected = order(50, 1, 4)
    assert torch.equal(torch.get_rng_state(), before), "the generator of the program was touched"
    torch.manual_seed(99), random.seed(99), numpy.random.seed(99)
    sampler = EpochSampler(50, 1)
    for epoch in (0, 9, 4):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
    assert [position for _, position in drawn] == expected and drawn == list(sampler)


def test_another_epoch_or_another_seed_is_another_order():
    orders = {(seed, epoch): tuple(order(100, seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(set(orders.values())) == 16
    assert [position for _, position in EpochSampler(100, 2)] == list(orders[2, 0]), "it starts at the first epoch"


def test_orders_are_shuffled_evenly():
    """Each of 5 positions holds each index in about a fifth of 2,000 epochs: within 5 standard deviations."""
    counts = torch.zeros(5, 5)
    for epoch in range(2000):
        for position, index in enumerate(order(5, 0, epoch)):
            counts[position, index] += 1
    assert (counts - 400).abs().max() < 5 * (2000 * 0.2 * 0.8) ** 0.5


def batches(size: int, batch_size: int, world: int, **more) -> list[list[list]]:
    """The batches of each process."""
    processes = [SharedBatches(EpochSampler(size, 1), batch_size, rank=r, world=world, **more) for r in range(world)]
    for process in processes:
        process.sampler.set_epoch(3)
    found = [list(process) for process in processes]
    assert [len(process) for process in processes] == [len(own) for own in found]
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 9))
def test_processes_share_every_sample_once_in_equally_many_batches(size, batch_size, world):
    world = min(world, size)
    found = batches(size, batch_size, world)
    drawn = [key for own in found for batch in own for key in batch]
    assert sorted(drawn) == [(3, position) for position in range(size)]
    assert len({len(own) for own in found}) == 1
    sizes = [len(batch) for own in found for batch in own]
    assert min(sizes) >= 1 and max(sizes) <= max(batch_size, 2 if world > 1 else 1)
    for together in zip(*found, strict=True):
        assert max(map(len, together)) - min(map(len, together)) <= 1
    assert found == batches(size, batch_size, world)


def test_one_process_gets_full_batches_and_a_smaller_last_one():
    assert [len(batch) for batch in batches(90, 32, 1)[0]] == [32, 32, 26]
    assert [len(batch) for batch in batches(90, 32, 1, drop_last=True)[0]] == [32, 32]


@pytest.mark.parametrize("size", [96, 90, 68])  # the last batch of all: full, smaller, one sample for each
def test_a_batch_of_all_processes_together_is_one_of_a_single_process_with_larger_batches(size):
    apart, together = batches(size, 8, 4), batches(size, 32, 1)[0]
    assert {len(own) for own in apart} == {len(together)}
    for number, batch in enumerate(together):
        assert sorted(key for own in apart for key in own[number]) == sorted(batch)


@pytest.mark.parametrize(("size", "batch_size", "sizes"), [(66, 8, [8, 8, 1]), (5, 1, [2]), (9, 1, [1, 2])])
def test_no_process_is_left_without_a_sample_of_the_last_batch(size, batch_size, sizes):
    """66 = 2·32 + 2 samples for 4 processes: the batch before the last one gives two."""
    assert [len(batch) for batch in batches(size, batch_size, 4)[0]] == sizes


def test_evaluation_is_shared_out_in_its_own_order():
    first, second = (list(SharedBatches(SequentialSampler(range(7)), 2, rank=rank, world=2)) for rank in (0, 1))
    assert (first, second) == ([[0, 2], [4, 6]], [[1, 3], [5]])


def test_more_processes_than_samples_are_refused():
    with pytest.raises(ValueError, match="3 samples cannot be shared out over 4 processes"):
        SharedBatches(SequentialSampler(range(3)), 2, rank=0, world=4)


@pytest.mark.parametrize("world", [1, 2])
def test_without_the_last_batch_every_process_has_full_ones_only(world):
    parts = [
        list(SharedBatches(SequentialSampler(range(11)), 2, drop_last=True, rank=rank, world=world))
        for rank in range(world)
    ]
    assert [len(batch) for part in parts for batch in part] == [2] * (5 if world == 1 else 4)
    assert [len(part) for part in parts] == [len(parts[0])] * world


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)


def balanced(labels: torch.Tensor, seed: int, epoch: int) -> list[tuple[int, int]]:
    sampler = BalancedSampler(labels, seed)
    sampler.set_epoch(epoch)
    assert len(sampler) == len(labels)
    return list(sampler)


@settings(max_examples=60, deadline=None)
@given(LABELS, st.integers(0, 2**32), st.integers(0, 1000))
def test_balanced_classes_come_equally_often_and_so_do_the_samples_of_a_class(labels, seed, epoch):
    keys = balanced(labels, seed, epoch)
    assert len(keys) == len(labels) and len(set(keys)) == len(keys)
    of_classes = Counter(int(labels[position]) for _, position in keys)
    assert set(of_classes) == set(labels.tolist()) or len(keys) < len(set(labels.tolist()))
    assert max(of_classes.values()) - min(of_classes.values()) <= 1
    of_samples = Counter(position for _, position in keys)
    for label in set(labels.tolist()):
        times = [of_samples[position] for position in labels.eq(label).nonzero().flatten().tolist()]
        assert max(times) - min(times) <= 1
    # What comes again counts as of another epoch, whose augmentation is another one.
    assert {number % 2**32 for number, _ in keys} == {epoch}
    assert keys == balanced(labels, seed, epoch)


def test_the_balanced_order_changes_with_epoch_and_seed_and_reaches_every_sample():
    labels = torch.tensor([0] * 50 + [1] * 10)
    orders = {(seed, epoch): tuple(balanced(labels, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(set(orders.values())) == 9
    reached = {position for epoch in range(30) for _, position in balanced(labels, 0, epoch)}
    assert reached == set(range(60))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_balanced_order(world):
    labels = torch.arange(47) % 5 % 3
    processes = [SharedBatches(BalancedSampler(labels, 1), 4, rank=rank, world=world) for rank in range(world)]
    together = SharedBatches(BalancedSampler(labels, 1), 4 * world)
    found = [list(process) for process in processes]
    for number, batch in enumerate(list(together)[:-1]):
        assert sorted(key for own in found for key in own[number]) == sorted(batch)
    assert sorted(key for own in found for batch in own for key in batch) == sorted(balanced(labels, 1, 0))


def test_a_run_with_balanced_classes_is_resumed_bit_for_bit(tmp_path):
    data, neuron = {"sampler": "balanced", "batch_size": 16}, {"name": "IFNode", "v_threshold": 0.4, "backend": "torch"}
    straight = small_task(neuron=neuron)
    trainer(tmp_path, max_epochs=3).fit(straight, datamodule=Patches(**data))
    keeping = ModelCheckpoint(tmp_path, filename="one", save_last=False)
    trainer(tmp_path, keeping, max_epochs=1).fit(small_task(neuron=neuron), datamodule=Patches(**data))
    resumed = small_task(neuron=neuron)
    trainer(tmp_path, max_epochs=3).fit(resumed, datamodule=Patches(**data), ckpt_path=tmp_path / "one.ckpt")
    plain = small_task(neuron=neuron)
    trainer(tmp_path, max_epochs=3).fit(plain, datamodule=Patches(batch_size=16))
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name])
    assert any(not torch.equal(value, weights(plain)[name]) for name, value in weights(straight).items())


def test_only_classes_of_samples_can_be_balanced():
    with pytest.raises(ValueError, match=r"Patches: sampler must be one of 'balanced', got 'blanced'"):
        Patches(sampler="blanced")
    with pytest.raises(ValueError, match=r"Diabetes: sampler must be None where a sample has values.*got 'balanced'"):
        Diabetes(num_targets=1, sample_shape=(10,), sampler="balanced")
