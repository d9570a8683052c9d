"""Convolutions: random geometries against torch step by step, and output_size of the transposed ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from snntrain import layer


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_geometry_equals_torch_step_by_step(data: st.DataObject):
    d = data.draw(st.integers(1, 3), "spatial dims")
    small = st.integers(1, 3)
    groups = data.draw(small, "groups")
    arguments = {
        "in_channels": groups * data.draw(small, "in"),
        "out_channels": groups * data.draw(small, "out"),
        "kernel_size": data.draw(st.lists(small, min_size=d, max_size=d), "kernel_size"),
        "stride": data.draw(st.one_of(small, st.lists(small, min_size=d, max_size=d)), "stride"),
        "padding": data.draw(st.integers(0, 2), "padding"),
        "groups": groups,
        "bias": data.draw(st.booleans(), "bias"),
    }
    family = data.draw(st.sampled_from(["Conv", "ConvTranspose"]), "family")
    theirs = getattr(nn, f"{family}{d}d")(**arguments).double()
    ours = getattr(layer, f"{family}{d}d")(**arguments, step_mode="m").double()
    ours.load_state_dict(theirs.state_dict())
    # Large enough that no output is empty, whatever padding the transposed ones take away.
    sizes = [5 + data.draw(small) for _ in range(d)]
    t, n = data.draw(small, "T"), data.draw(small, "N")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(t, n, arguments["in_channels"], *sizes, generator=generator, dtype=torch.double)
    assert_close(ours(x), torch.stack([theirs(step) for step in x]))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_may_be_a_word(padding: str):
    y = layer.Conv2d(1, 1, 3, padding=padding, step_mode="m")(torch.zeros(2, 1, 1, 5, 7))
    assert list(y.shape[3:]) == {"same": [5, 7], "valid": [3, 5]}[padding]


def test_an_impulse_at_one_step_is_seen_at_that_step_only():
    conv = layer.Conv1d(1, 1, 3, padding=1, bias=False, step_mode="m")
    conv.weight.data = torch.tensor([[[1.0, 2.0, 3.0]]])
    x = torch.zeros(3, 1, 1, 4)
    x[1, 0, 0, 1] = 1
    assert conv(x).squeeze().tolist() == [[0, 0, 0, 0], [3, 2, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("d", [1, 2, 3])
def test_output_size_resolves_what_the_stride_leaves_open(d: int):
    """Stride 2, kernel 3, padding 1 maps both 7 and 8 to 4."""
    arguments = {"in_channels": 2, "out_channels": 3, "kernel_size": 3, "stride": 2, "padding": 1}
    theirs = getattr(nn, f"ConvTranspose{d}d")(**arguments)
    ours = getattr(layer, f"ConvTranspose{d}d")(**arguments)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 5, 2, *[4] * d, generator=torch.Generator().manual_seed(0))
    for size in (7, 8):
        sizes = [size] * d
        assert torch.equal(ours(x[0], output_size=sizes), theirs(x[0], output_size=sizes))
        assert list(ours(x[0], [5, 3, *sizes]).shape) == [5, 3, *sizes], "a full shape, as torch allows"
    ours.step_mode = "m"
    for size in (7, 8):
        sizes = [size] * d
        expected = torch.stack([theirs(step, output_size=sizes) for step in x])
        assert list(expected.shape) == [4, 5, 3, *sizes]
        assert_close(ours(x, output_size=sizes), expected)
        assert_close(ours(x, torch.Size([4, 5, 3, *sizes])), expected)
    assert list(ours(x).shape[3:]) == [7] * d


@pytest.mark.parametrize("mode", ["s", "m"])
def test_an_impossible_output_size_is_torchs_error(mode: str):
    x = torch.zeros(2, 2, 1, 4, 4) if mode == "m" else torch.zeros(2, 1, 4, 4)
    deconvolution = layer.ConvTranspose2d(1, 1, 3, stride=2, step_mode=mode)
    with pytest.raises(ValueError, match="requested an output size"):
        deconvolution(x, output_size=[40, 40])
    with pytest.raises(ValueError):
        deconvolution(x, output_size=[9])


def test_dilation_follows_bias_in_transposed_convolutions():
    module = layer.ConvTranspose2d(4, 2, 3, 1, 0, 0, 2, False, 2, "zeros", "m")
    assert (module.groups, module.bias, module.dilation, module.step_mode) == (2, None, (2, 2), "m")
    module = layer.Conv2d(4, 2, 3, 1, 0, 2, 2, False, "reflect", "m")
    assert (module.dilation, module.groups, module.bias, module.padding_mode) == ((2, 2), 2, None, "reflect")
