"""Folding: one convolution or dense layer computes what pooling and layer computed one after the other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from snntrain.export.synapse import (
    Pool,
    Synapse,
    conv_before_pool,
    diagonal,
    of_pool,
    pool_before_conv,
    pool_before_dense,
)

small = st.integers(1, 3)
pair = st.tuples(small, small)
seeds = st.integers(0, 999)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pooled(x: torch.Tensor, pool: Pool) -> torch.Tensor:
    return F.avg_pool2d(x, pool.kernel, pool.stride, pool.padding, divisor_override=None if pool.average else 1)


def applied(x: torch.Tensor, synapse: Synapse) -> torch.Tensor:
    if not synapse.is_conv:
        return F.linear(x.flatten(1), synapse.weight, synapse.bias)
    geometry = (synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
    return F.conv2d(x, synapse.weight, synapse.bias, *geometry)


def test_shapes_are_those_of_torch():
    conv = Synapse("", random(0, 4, 1, 3, 2), None, (2, 1), (1, 0), (2, 3), 2)
    assert conv.output_shape((2, 9, 8)) == tuple(applied(random(1, 1, 2, 9, 8), conv).shape[1:])
    pool = Pool((3, 2), (2, 1), (1, 0), True)
    assert pool.output_shape((2, 9, 8)) == tuple(pooled(random(1, 1, 2, 9, 8), pool).shape[1:])
    assert Synapse("", random(0, 4, 7)).output_shape((7,)) == (4,)


@settings(max_examples=30, deadline=None)
@given(seeds, pair, pair, pair, pair, pair, pair, st.booleans(), st.sampled_from([1, 2]))
def test_convolution_then_pooling_is_one_convolution(
    seed, kernel, stride, padding, dilation, window, step, mean, groups
):
    conv = Synapse("", random(seed, 4, 2 // groups, *kernel), random(1, 4), stride, padding, dilation, groups)
    pool = Pool(window, step, (0, 0), mean)
    x = random(seed + 1, 2, 2, 19, 17)
    both, one = pooled(applied(x, conv), pool), conv_before_pool(conv, pool)
    assert one.output_shape((2, 19, 17)) == tuple(both.shape[1:])
    torch.testing.assert_close(applied(x, one), both)
    assert one.area == (pool.area if mean else 1)


@settings(max_examples=30, deadline=None)
@given(seeds, pair, pair, pair, pair, pair, pair, st.booleans(), st.sampled_from([1, 2]))
def test_pooling_then_convolution_is_one_convolution(
    seed, kernel, stride, padding, dilation, window, step, mean, groups
):
    conv = Synapse("", random(seed, 4, 2 // groups, *kernel), random(1, 4), stride, (0, 0), dilation, groups)
    pool = Pool(window, step, tuple(min(pads, size // 2) for pads, size in zip(padding, window, strict=True)), mean)
    x = random(seed + 1, 2, 2, 23, 22)
    both, one = applied(pooled(x, pool), conv), pool_before_conv(pool, conv, (2, 23, 22))
    assert one.output_shape((2, 23, 22)) == tuple(both.shape[1:])
    torch.testing.assert_close(applied(x, one), both)


@pytest.mark.parametrize("padding", [(1, 1), (2, 0), (0, 3)])
@pytest.mark.parametrize(("window", "step"), [((2, 3), (2, 3)), ((1, 2), (2, 3))])
def test_a_convolution_that_pads_takes_windows_that_tile_the_input(padding, window, step):
    conv = Synapse("", random(0, 4, 2, 3, 2), random(1, 4), (1, 2), padding)
    pool, x = Pool(window, step, (0, 0), True), random(2, 2, 2, 8, 12)
    both, one = applied(pooled(x, pool), conv), pool_before_conv(pool, conv, (2, 8, 12))
    torch.testing.assert_close(applied(x, one), both)


@pytest.mark.parametrize(
    "pool", [Pool((3, 3), (2, 2), (0, 0), True), Pool((2, 2), (2, 2), (1, 1), True), Pool((2, 2), (2, 2), (0, 0), True)]
)
def test_a_convolution_that_pads_refuses_other_windows(pool):
    """The last one leaves a rest of the 9 rows, which the padding would see."""
    conv = Synapse("", random(0, 4, 2, 3, 3), padding=(1, 1))
    with pytest.raises(ValueError, match="windows that overlap, pad or leave a rest"):
        pool_before_conv(pool, conv, (2, 9, 9))


def test_pooling_that_pads_is_not_folded_into_the_convolution_before_it():
    with pytest.raises(ValueError, match="it pads"):
        conv_before_pool(Synapse("", random(0, 1, 1, 3, 3)), Pool((2, 2), (2, 2), (1, 1), True))


@settings(max_examples=30, deadline=None)
@given(seeds, pair, pair, pair, st.booleans())
def test_pooling_then_a_dense_layer_is_one_dense_layer(seed, window, step, padding, mean):
    pool = Pool(window, step, tuple(min(pads, size // 2) for pads, size in zip(padding, window, strict=True)), mean)
    x = random(seed, 3, 2, 7, 6)
    flat = pooled(x, pool).flatten(1)
    dense = Synapse("", random(seed + 1, 5, flat.shape[1]), random(1, 5))
    one = pool_before_dense(pool, dense, (2, 7, 6))
    torch.testing.assert_close(applied(x, one), applied(flat, dense))


def test_layers_without_weights_of_their_own():
    x = random(0, 2, 3, 6, 6)
    pool = Pool((2, 3), (2, 3), (0, 0), True)
    torch.testing.assert_close(applied(x, of_pool("", pool, 3)), pooled(x, pool))
    height = random(1, 3)
    torch.testing.assert_close(applied(x, diagonal("", height, (3, 6, 6))), x * height.view(3, 1, 1))
    torch.testing.assert_close(applied(x[:, :, 0, 0], diagonal("", height, (3,))), x[:, :, 0, 0] * height)
