"""Pooling, unpooling and upsampling: indices, round trips, output sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from snntrain import layer


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_window_equals_torch_step_by_step(data: st.DataObject):
    d = data.draw(st.integers(1, 3), "spatial dims")
    kernel = data.draw(st.lists(st.integers(1, 3), min_size=d, max_size=d), "kernel_size")
    arguments = {
        "kernel_size": kernel,
        "stride": data.draw(st.one_of(st.none(), st.integers(1, 3)), "stride"),
        "padding": data.draw(st.integers(0, min(kernel) // 2), "padding"),
        "ceil_mode": data.draw(st.booleans(), "ceil_mode"),
    }
    family = data.draw(st.sampled_from(["MaxPool", "AvgPool"]), "family")
    theirs = getattr(nn, f"{family}{d}d")(**arguments)
    ours = getattr(layer, f"{family}{d}d")(**arguments, step_mode="m")
    t, n, c, *sizes = (data.draw(st.integers(1, 3)) for _ in range(3 + d))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(t, n, c, *(4 + size for size in sizes), generator=generator)
    assert torch.equal(ours(x), torch.stack([theirs(step) for step in x]))


def test_max_pool_golden_values_and_indices():
    """An index counts within its own step and channel, so that it means the same in both modes."""
    x = torch.tensor([[1.0, 5, 2, 3], [7, 0, 1, 9]]).view(2, 1, 1, 4)
    y, indices = layer.MaxPool1d(2, return_indices=True, step_mode="m")(x)
    assert y.squeeze().tolist() == [[5, 3], [7, 9]]
    assert indices.squeeze().tolist() == [[1, 3], [0, 3]]
    assert indices.shape == y.shape == (2, 1, 1, 2)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_unpooling_puts_maxima_back_and_zeros_elsewhere(d: int):
    pool = getattr(layer, f"MaxPool{d}d")(2, return_indices=True, step_mode="m")
    unpool = getattr(layer, f"MaxUnpool{d}d")(2, step_mode="m")
    x = torch.rand(3, 2, 4, *[6] * d, generator=torch.Generator().manual_seed(0)) + 1
    y, indices = pool(x)
    back = unpool(y, indices)
    assert back.shape == x.shape
    kept = back != 0
    assert torch.equal(back[kept], x[kept])
    assert kept.sum() == y.numel()
    assert all(torch.equal(a, b) for a, b in zip(pool(back), (y, indices), strict=True))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_unpooling_to_an_output_size(d: int):
    """A window of 2 maps both 6 and 7 to 3."""
    sizes = [7] * d
    x = torch.rand(3, 2, 4, *sizes, generator=torch.Generator().manual_seed(0)) + 1
    theirs_pool, theirs = getattr(nn, f"MaxPool{d}d")(2, return_indices=True), getattr(nn, f"MaxUnpool{d}d")(2)
    expected = torch.stack([theirs(*theirs_pool(step), output_size=sizes) for step in x])
    y, indices = getattr(layer, f"MaxPool{d}d")(2, return_indices=True, step_mode="m")(x)
    unpool = getattr(layer, f"MaxUnpool{d}d")(2, step_mode="m")
    for output_size in (sizes, tuple(sizes), x.shape, [3, 2, 4, *sizes]):
        assert torch.equal(unpool(y, indices, output_size=output_size), expected)
    unpool.step_mode = "s"
    for output_size in (sizes, x.shape[1:]):
        assert torch.equal(unpool(y[0], indices[0], output_size), expected[0])
    with pytest.raises(ValueError, match="output_size"):
        unpool(y[0], indices[0], output_size=[20] * d)


@pytest.mark.parametrize(("mode", "shape"), [("s", (2, 3, 4)), ("m", (5, 2, 3, 4))])
@pytest.mark.parametrize("dim", [0, -1])
def test_indices_of_another_shape_are_refused(mode: str, shape: tuple[int, ...], dim: int):
    wrong = list(shape)
    wrong[dim] += 1
    with pytest.raises(ValueError) as error:
        layer.MaxUnpool1d(2, step_mode=mode)(torch.zeros(shape), torch.zeros(wrong, dtype=torch.long))
    assert "MaxUnpool1d: indices" in str(error.value)
    assert str(list(shape)) in str(error.value) and str(wrong) in str(error.value)


@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d", "MaxUnpool2d", "AvgPool3d"])
def test_lists_from_yaml_become_tuples(name: str):
    d = int(name[-2])
    module = getattr(layer, name)(kernel_size=[2] * d, stride=[1] * d, padding=[0] * d)
    assert (module.kernel_size, module.stride, module.padding) == ((2,) * d, (1,) * d, (0,) * d)


def test_lists_of_output_sizes_and_factors_become_tuples():
    assert layer.AdaptiveAvgPool2d([3, None]).output_size == (3, None)
    assert layer.AdaptiveMaxPool3d([1, 2, 3]).output_size == (1, 2, 3)
    assert layer.Upsample(size=[3, 4]).size == (3, 4)
    assert layer.Upsample(scale_factor=[2, 1.5]).scale_factor == (2.0, 1.5)


def test_adaptive_pooling_keeps_a_size_given_as_none():
    x = torch.rand(3, 2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    y = layer.AdaptiveAvgPool2d((1, None), step_mode="m")(x)
    assert y.shape == (3, 2, 4, 1, 6)
    assert_close(y, x.mean(3, keepdim=True))
    z, indices = layer.AdaptiveMaxPool1d(1, return_indices=True, step_mode="m")(x[..., 0])
    assert torch.equal(z, x[..., 0].amax(-1, keepdim=True))
    assert torch.equal(indices, x[..., 0].argmax(-1, keepdim=True))


def test_an_average_can_have_its_own_divisor():
    x = torch.ones(2, 1, 1, 2, 2)
    assert layer.AvgPool2d(2, divisor_override=8, step_mode="m")(x).flatten().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("d", [1, 2, 3])
def test_nearest_upsampling_repeats_pixels(d: int):
    x = torch.rand(2, 3, 2, *[3] * d, generator=torch.Generator().manual_seed(0))
    expected = x
    for dim in range(3, 3 + d):
        expected = expected.repeat_interleave(2, dim)
    assert torch.equal(layer.Upsample(scale_factor=2, step_mode="m")(x), expected)
    assert torch.equal(layer.Upsample(size=6, step_mode="m")(x), expected)
