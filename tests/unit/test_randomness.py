"""Seeds: fixed for all time, different for every purpose."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.randomness import derived_seed, generator, seeded, uniform_steps

key_lists = st.lists(st.one_of(st.integers(-(10**20), 10**20), st.text()), max_size=3)

# The first 8 bytes of `printf "(1, 'order', 0)" | sha256sum`, read as a little-endian number and halved.
RECORDED = {
    (0,): 3582888934675442504,
    (1,): 4919923341562865044,
    (1, "order", 0): 954623460253835154,
    (1, "order", 1): 4562595216944496181,
    (42, "model", 3, 0): 7183112605028776605,
}
RECORDED_DRAWS = [[[2456465, 8793608, 8578745]], [[14948571, 11366154, 8612050]]]


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


def test_numpys_numbers_and_strings_count_as_pythons_and_other_keys_are_refused():
    assert derived_seed(np.int64(3), np.str_("order"), np.int32(2)) == derived_seed(3, "order", 2)
    assert derived_seed(3, torch.tensor(2)) == derived_seed(3, True + 1) == derived_seed(3, 2)
    for key in (1.0, 0.5, None, (1, 2), b"order"):
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


# --- the global generators, for a while ------------------------------------------------------------------------------


def draws() -> list[float]:
    return [torch.rand(()).item(), np.random.rand(), random.random(), torch.randn(()).item(), np.random.randn()]


@given(st.integers(-(2**70), 2**70))
@settings(max_examples=20, deadline=None)
def test_inside_the_block_all_draws_follow_from_the_seed_and_outside_nothing_is_noticed(seed):
    torch.manual_seed(1), np.random.seed(2), random.seed(3)
    undisturbed = draws() + draws()
    torch.manual_seed(1), np.random.seed(2), random.seed(3)
    found = draws()
    with seeded(seed):
        first = draws()
        with seeded(seed):
            assert draws() == first
        with seeded(seed + 1):
            assert not set(draws()) & set(first)
    assert found + draws() == undisturbed and len(set(first)) == 5


def test_the_generators_are_put_back_after_an_error():
    torch.manual_seed(1), np.random.seed(2), random.seed(3)
    np.random.randn()  # keeps a second number for the next call
    torch.randn(())
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    with pytest.raises(KeyError), seeded(7):
        draws()
        raise KeyError
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (str(np.random.get_state()), random.getstate()) == states[1:]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_the_generator_of_a_gpu_is_seeded_where_it_is_asked_for():
    device = torch.device("cuda")
    torch.cuda.manual_seed(5)
    before = torch.cuda.get_rng_state()
    with seeded(3):
        assert torch.equal(torch.cuda.get_rng_state(), before)
    drawn = []
    for _ in range(2):
        with seeded(3, device):
            drawn.append(torch.rand(4, device=device))
        assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.equal(*drawn)


# --- numbers hashed from (seed, step, position) ----------------------------------------------------------------------

WORD = 2**64
GAMMA = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """Stafford's variant 13, as SplitMix uses it, in Python's integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    return z ^ (z >> 31)


def uniform_by_hand(seed: int, t: int, position: int) -> float:
    key = mix((mix(seed % WORD) + (t + 1) * GAMMA) % WORD)
    word = mix((key + (1 + position // 2) * GAMMA) % WORD)
    half = word >> 32 if position % 2 else word % 2**32
    half = half - 2**32 if half >= 2**31 else half  # signed; then moved up by a half
    return (half >> 8) / 2**24 + 0.5


def stacked(seeds, T: int, *shape: int) -> torch.Tensor:
    return torch.stack(list(uniform_steps(seeds, T, shape)))


def test_the_hash_is_splitmix():
    """The first numbers of SplitMix64 with the seed 1234567, as its reference implementation prints them."""
    words = [mix((1234567 + i * GAMMA) % WORD) for i in (1, 2, 3)]
    assert words == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-(2**70), 2**70), max_size=3), st.integers(1, 3), st.integers(0, 7))
def test_each_number_is_the_hash_of_its_seed_step_and_position(seeds, T, size):
    expected = [[[uniform_by_hand(seed, t, i) for i in range(size)] for seed in seeds] for t in range(T)]
    found = stacked(seeds, T, size)
    assert found.dtype == torch.float32 and found.shape == (T, len(seeds), size)
    assert found.tolist() == expected


def test_the_numbers_of_a_picture_are_in_the_order_of_its_pixels():
    assert torch.equal(stacked([3, 4], 2, 3, 5, 7).flatten(2), stacked([3, 4], 2, 105))
    assert stacked([3], 2).shape == (2, 1)  # one number per sample


def test_the_numbers_never_change_between_versions():
    """A change here would make every recorded experiment with a random encoder differ."""
    drawn = stacked([derived_seed(1, "encode", 0, 7)], 2, 3).mul(2**24).to(torch.int64)
    assert drawn.tolist() == RECORDED_DRAWS


@pytest.mark.parametrize("seeds", [range(64), [derived_seed(1, i) for i in range(64)], [i << 40 for i in range(64)]])
def test_the_numbers_are_uniform_and_independent(seeds):
    """Each statistic within 5 standard deviations of what chance gives, for seeds with hardly any bits as well."""
    u = stacked(seeds, 16, 501).double()  # an odd size: half a word is left over
    n = u.numel()
    assert 0 <= u.min() < 1e-4 and 1 - 1e-4 < u.max() < 1
    assert abs(u.mean() - 1 / 2) < 5 * (1 / 12 / n) ** 0.5
    assert abs(u.var() - 1 / 12) < 5 * (1 / 180 / n) ** 0.5
    for bins in (16, 256, 1000):
        expected = n / bins
        chi2 = (torch.histc(u, bins, 0, 1) - expected).square().sum() / expected
        assert abs(chi2 - (bins - 1)) < 5 * (2 * bins) ** 0.5
    low_bits = torch.bincount((u * 2**24).long().flatten() % 256, minlength=256)
    assert abs((low_bits - n / 256).square().sum() / (n / 256) - 255) < 5 * 512**0.5
    # Means over all that shares a seed, a step or a position.
    for kept in range(3):
        means = u.mean([dim for dim in range(3) if dim != kept])
        assert (means - 1 / 2).abs().max() < 5.5 * (u.shape[kept] / 12 / n) ** 0.5


@pytest.mark.parametrize("seeds", [range(64), [i << 40 for i in range(64)]])
def test_neighbors_are_not_correlated(seeds):
    u = (stacked(seeds, 16, 500).double() - 0.5) * 12**0.5
    for dt, dn, di in itertools.product((0, 1, 2, 8), (0, 1, 2, 32), (0, 1, 2, 3, 4, 10, 100)):
        if dt or dn or di:
            products = u[dt:, dn:, di:] * u[: 16 - dt, : 64 - dn, : 500 - di]
            assert abs(products.mean()) < 5 * products.numel() ** -0.5, (dt, dn, di)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_the_numbers_are_the_same_on_a_gpu():
    seeds = [0, 1, 2**63 - 1, derived_seed(3, 4)]
    on_gpu = [step.cpu() for step in uniform_steps(seeds, 5, (3, 33, 35), "cuda")]
    assert torch.equal(torch.stack(on_gpu), stacked(seeds, 5, 3, 33, 35))
