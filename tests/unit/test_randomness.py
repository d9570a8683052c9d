"""Seeds: fixed for all time, different for every purpose."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snntrain.randomness import derived_seed, generator

key_lists = st.lists(st.one_of(st.integers(-(10**20), 10**20), st.text()), max_size=3)

# The first 8 bytes of `printf "(1, 'order', 0)" | sha256sum`, read as a little-endian number and halved.
RECORDED = {
    (0,): 3582888934675442504,
    (1,): 4919923341562865044,
    (1, "order", 0): 954623460253835154,
    (1, "order", 1): 4562595216944496181,
    (42, "model", 3, 0): 7183112605028776605,
}


@pytest.mark.parametrize("arguments, seed", RECORDED.items())
def test_a_seed_never_changes_between_processes_and_versions(arguments, seed):
    """A change here would make every recorded experiment, and every resumed run, differ."""
    assert derived_seed(*arguments) == seed


@given(seed=st.integers(-(2**70), 2**70), keys=key_lists)
def test_seeds_fit_torchs_generator(seed, keys):
    derived = derived_seed(seed, *keys)
    assert type(derived) is int and 0 <= derived < 2**63
    assert generator(seed, *keys).initial_seed() == derived


@given(first=key_lists, second=key_lists, seed=st.integers(0, 2**32))
def test_different_keys_give_different_seeds(first, second, seed):
    assert (derived_seed(seed, *first) == derived_seed(seed, *second)) == (first == second)


def test_keys_are_neither_joined_nor_mixed_up():
    purposes = [(1,), (1, ""), ("1",), (11,), (1, 1), ("1", 1), (1, "1"), ("a", "b"), ("ab",), ("a, b",), ("a', 'b",)]
    assert len({derived_seed(0, *purpose) for purpose in purposes}) == len(purposes)
    assert len({derived_seed(seed, "order", epoch) for seed in range(50) for epoch in range(50)}) == 2500


def test_numpys_numbers_and_strings_count_as_pythons():
    assert derived_seed(np.int64(3), np.str_("order"), np.int32(2)) == derived_seed(3, "order", 2)
    assert derived_seed(3, torch.tensor(2)) == derived_seed(3, True + 1) == derived_seed(3, 2)


@pytest.mark.parametrize("key", [1.0, 0.5, None, (1, 2), b"order"])
def test_a_key_that_is_neither_integer_nor_text_is_refused(key):
    with pytest.raises(TypeError):
        derived_seed(1, key)


def test_a_generator_gives_the_same_numbers_every_time_and_leaves_the_global_one_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn = [torch.rand(5, generator=generator(7, "order", 0)) for _ in range(2)]
    assert torch.equal(*drawn) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(drawn[0], torch.rand(5, generator=generator(7, "order", 1)))
    assert generator(7).device.type == "cpu"
    wanted = torch.Generator().manual_seed(derived_seed(7, "order", 0))
    assert torch.equal(drawn[0], torch.rand(5, generator=wanted))
