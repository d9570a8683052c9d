"""Three models of energy, by hand for two small nets, and beside what their papers say."""

import math

import pytest

from snntrain.model.energy import (
    Neurons,
    Weights,
    against_ann,
    ann_with_memory,
    arithmetic,
    multiply_accumulate,
    sram,
    with_memory,
)

# 4 inputs → 3 neurons in T = 5 steps: 6 spikes came in, 2 went out.
DENSE = Weights(macs_a_step=12, inputs=4, outputs=3, weights=12, biases=3, spikes=6, sops=18)
FIRED = Neurons(neurons=3, steps=5, spikes=2, leaks=True)
# A picture of 1 × 4 × 4 through 2 kernels of 3 × 3 without padding, once, into 8 neurons that do not leak.
CONV = Weights(macs_a_step=72, inputs=16, outputs=8, weights=18, runs=1, shares_weights=True)
SUMMED = Neurons(neurons=8, steps=5, spikes=3, leaks=False)


def test_an_access_to_memory_costs_what_the_line_through_horowitzs_sizes_says():
    """(8 kB, 10 pJ), (32 kB, 20 pJ), (1 MB, 100 pJ); the authors' own program has 13.2563 + 0.000082816 · bytes."""
    assert sram(0) == pytest.approx(13.2563, abs=1e-4)
    assert (sram(10**6) - sram(0)) / 10**6 == pytest.approx(0.000082816, rel=1e-4)


def access(bytes_: float) -> float:
    return 13.25633051976899 + 8.281599547026718e-05 * bytes_


def test_spikes_into_a_dense_layer_by_hand():
    layer = 6 * access(16)  # spikes read
    layer += 18 * (access(48) + 2 * access(12) + 2 * 0.1)  # weight, potential there and back, its place and the sum
    layer += 3 * access(12)  # biases
    neurons = 15 * (2 * access(12) + 0.1 + 3.2) + 2 * (access(12) + 0.1)
    assert with_memory([DENSE], [FIRED]) == pytest.approx((layer + neurons) / 1e6, rel=1e-9)
    ann = 4 * access(16) + 12 * access(48) + 3 * access(12) + 3 * access(12) + 12 * 3.2 + 3 * 0.1 + 12 * 0.1
    assert ann_with_memory([DENSE]) == pytest.approx(ann / 1e6, rel=1e-9)


def test_a_picture_into_a_convolution_by_hand():
    once = 72 * access(64) + 72 * access(72) + 8 * access(32) + 72 * 3.2 + 8 * 0.1 + (16 + 8 + 18) * 0.1
    neurons = 40 * (2 * access(32) + 0.1) + 3 * (access(32) + 0.1)
    assert ann_with_memory([CONV]) == pytest.approx(once / 1e6, rel=1e-9)
    assert with_memory([CONV], [SUMMED]) == pytest.approx((once + neurons) / 1e6, rel=1e-9)


def test_arithmetic_is_horowitzs():
    assert arithmetic(72, 18) == pytest.approx((4.6 * 72 + 0.9 * 18) / 1e6)


def test_the_crossing_of_both_layers_by_hand():
    found = against_ann([CONV, DENSE], [SUMMED, FIRED], 5)
    mac = 0.05448 * (1 + 0.2 / 0.03)
    product = 8 * 0.25 + mac + 8 * 0.0175
    ann = 84 * product + 11 * 0.05448
    fixed = 72 * product + 55 * 0.05448
    spikes = 18 * (3.0 + 0.05448 + 0.14) + 5 * 0.05448
    assert multiply_accumulate(8, 8) == pytest.approx(mac)
    assert (found.ann, found.snn) == pytest.approx((ann / 1e6, (fixed + spikes) / 1e6))
    assert found.rate == pytest.approx(18 / (12 * 5))
    assert found.crossing == pytest.approx(0.3 * (ann - fixed) / spikes)
    assert (found.snn > found.ann) == (found.rate > found.crossing)


@pytest.mark.parametrize(
    ("steps", "weight_bits", "fan_in", "published"), [(5, 4, 4096, 0.057), (2, 4, 4096, 0.104), (2, 8, 4096, 0.123)]
)
def test_crossings_are_those_that_the_paper_gives_for_its_twin(steps, weight_bits, fan_in, published):
    """Its twin has ⌈log₂(T + 1)⌉ bits. What it does not print, the reads of weights, is fitted to 8 bits."""
    bits = math.ceil(math.log2(steps + 1))
    fired = 0.1 * steps * fan_in
    layer = Weights(macs_a_step=fan_in, inputs=fan_in, outputs=1, weights=fan_in, spikes=fired, sops=fired)
    found = against_ann([layer], [Neurons(neurons=1, steps=steps, spikes=0.1)], steps, bits, weight_bits)
    assert found.crossing == pytest.approx(published, rel=0.07)


def test_without_spikes_the_crossing_is_that_of_the_first_ones_and_an_ann_has_none():
    silent = Weights(macs_a_step=12, inputs=4, outputs=3, weights=12)
    quiet = Neurons(neurons=3, steps=5, spikes=0)
    assert against_ann([silent], [quiet], 5).crossing == pytest.approx(
        against_ann([DENSE], [Neurons(neurons=3, steps=5, spikes=0)], 5).crossing
    )
    assert against_ann([CONV], [], 1).crossing is None and against_ann([CONV], [], 1).rate is None
