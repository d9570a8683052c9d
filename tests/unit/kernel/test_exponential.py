"""exp in the kernels of CPUs: its bits, which records of gradients depend on, and its distance from the exact one."""

import numba
import numpy as np
import pytest
import torch

from snntrain.kernel import cache
from snntrain.kernel.backend import plan_for
from snntrain.kernel.numba_source import source
from snntrain.neuron import LIFNode

F = np.float32


@pytest.fixture(scope="module")
def exponential():
    """The function of a generated source, over an array."""
    exp = cache.module(source(plan_for(LIFNode(step_mode="m"), torch.zeros(2, 3)))).exp

    @numba.njit(error_model="numpy")
    def over(x):
        y = np.empty_like(x)
        for i in range(x.shape[0]):
            y[i] = exp(x[i])
        return y

    return over


def power_of_two(k: np.ndarray) -> np.ndarray:
    return ((k.astype(np.int32) + 127) << 23).view(F)


def in_two_steps(x: np.ndarray) -> np.ndarray:
    """2^k·e^r, each operation rounded to single precision, with 2^k as the product of two smaller powers."""
    magic = F(12582912)  # adding and subtracting it rounds to a whole number
    z = np.clip(x, F(-87), F(88))
    k = z * F(1.44269504088896341) + magic - magic
    r = z - k * F(0.693359375) - k * F(-2.12194440e-4)
    p = F(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = p * r + F(c)
    half = k * F(0.5) + magic - magic
    y = (p * r * r + r + F(1)) * power_of_two(half) * power_of_two(k - half)
    return np.where(x > F(88.72284), F(np.inf), np.where(x < F(-87.33655), F(0), y))


def test_it_has_the_bits_of_the_formula(exponential):
    ends = np.arange(F(86).view(np.int32), F(89.5).view(np.int32), 7, np.int32).view(F)  # where 2^k is at its limits
    x = np.concatenate([ends, -ends, np.random.default_rng(1).uniform(-100, 100, 500_000).astype(F)])
    x = np.concatenate([x, F([0.0, -0.0, np.inf, -np.inf, 1e-45, 3.4e38, -3.4e38])])
    with np.errstate(all="ignore"):
        expected = in_two_steps(x)
    np.testing.assert_array_equal(exponential(x).view(np.uint32), expected.view(np.uint32))


def test_it_differs_from_the_exact_one_by_less_than_a_unit_in_the_last_place(exponential):
    x = np.random.default_rng(2).uniform(-87, 88, 500_000).astype(F)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(exponential(x) - exact) / np.spacing(exact.astype(F))).max() < 1
    assert np.isnan(exponential(F([np.nan]))).all()
