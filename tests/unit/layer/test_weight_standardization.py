"""Standardized weights, against their formula and torch's plain layers."""

import copy
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.layer.convolution import Conv2d
from snntrain.layer.linear import Linear
from snntrain.layer.weight_standardization import WSConv2d, WSLinear


def conv(**arguments) -> WSConv2d:
    torch.manual_seed(0)
    return WSConv2d(4, 6, 3, **arguments).double()


def linear(**arguments) -> WSLinear:
    torch.manual_seed(0)
    return WSLinear(5, 3, **arguments).double()


EVERY = pytest.mark.parametrize(("make", "sample"), [(conv, (4, 6, 5)), (linear, (5,))])


def standardized(weight: Tensor, eps: float) -> Tensor:
    """The formula, row by row."""
    rows = []
    for row in weight.flatten(1):
        n = row.numel()
        mean = row.sum() / n
        variance = ((row - mean) ** 2).sum() / (n - 1)
        rows.append((row - mean) / (variance * n + eps) ** 0.5)
    return torch.stack(rows).view_as(weight)


@EVERY
@pytest.mark.parametrize("gain", [True, False])
def test_the_weight_follows_the_formula(make, sample, gain: bool):
    layer = make(gain=gain, eps=0.1)
    if gain:
        nn.init.normal_(layer.gain)
    factor = layer.gain if gain else 1.0
    assert_close(layer.get_weight(), factor * standardized(layer.weight, 0.1))


@EVERY
def test_rows_have_no_mean_and_a_fixed_size(make, sample):
    layer = make(gain=False, eps=1e-12)
    rows = layer.get_weight().flatten(1)
    fan_in = rows.shape[1]
    assert_close(rows.mean(1), torch.zeros(len(rows), dtype=torch.double))
    assert_close((rows**2).sum(1), torch.full((len(rows),), (fan_in - 1) / fan_in, dtype=torch.double))


@EVERY
@pytest.mark.parametrize("gain", [True, False])
def test_parameters_and_their_start(make, sample, gain: bool):
    layer, plain = make(gain=gain), (nn.Conv2d(4, 6, 3) if make is conv else nn.Linear(5, 3))
    assert list(layer.state_dict()) == ["weight", "bias", *["gain"] * gain]
    torch.manual_seed(0)
    plain.reset_parameters()
    assert_close(layer.weight, plain.weight, check_dtype=False)
    if gain:
        assert layer.gain.shape == (len(layer.weight), *[1] * (layer.weight.dim() - 1)) and (layer.gain == 1).all()
        nn.init.zeros_(layer.gain)
        layer.reset_parameters()
        assert (layer.gain == 1).all()
    else:
        assert layer.gain is None


@settings(max_examples=20, deadline=None)
@given(
    padding_mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    padding=st.sampled_from([0, 1, (1, 2), "same"]),
    stride=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    mode=st.sampled_from("sm"),
)
def test_else_it_is_torchs_convolution(padding_mode, padding, stride: int, groups: int, bias: bool, mode: str):
    arguments = {"padding": padding, "stride": 1 if padding == "same" else stride, "groups": groups, "bias": bias}
    ours = conv(**arguments, padding_mode=padding_mode, step_mode=mode)
    theirs = nn.Conv2d(4, 6, 3, **arguments, padding_mode=padding_mode).double()
    with torch.no_grad():
        theirs.weight.copy_(standardized(ours.weight, 1e-4))
        if bias:
            theirs.bias.copy_(ours.bias)
    x = torch.randn(3, 2, 4, 6, 5, dtype=torch.double)
    expected = theirs(x.flatten(0, 1)).unflatten(0, (3, 2))
    assert_close(ours(x) if mode == "m" else torch.stack([ours(step) for step in x]), expected)


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("bias", [True, False])
def test_else_it_is_torchs_linear(mode: str, bias: bool):
    ours, x = linear(bias=bias, step_mode=mode), torch.randn(3, 2, 7, 5, dtype=torch.double)
    expected = x @ standardized(ours.weight, 1e-4).T + (ours.bias if bias else 0)
    assert_close(ours(x), expected)


@EVERY
def test_gradients_pass_through_the_standardization(make, sample):
    layer = make(step_mode="m")
    x = torch.randn(2, 1, *sample, dtype=torch.double)

    def forward(weight: Tensor, gain: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "gain": gain}, (x,))

    assert torch.autograd.gradcheck(forward, (layer.weight, layer.gain))
    layer(x).square().sum().backward()
    # The output knows each row only up to its mean: no gradient along it.
    assert_close(layer.weight.grad.flatten(1).sum(1), torch.zeros(len(layer.weight), dtype=torch.double))


@EVERY
def test_a_repeated_step_is_computed_once(make, sample):
    layer, x = make(step_mode="m"), torch.randn(2, *sample, dtype=torch.double)
    y = layer(functional.repeat(x, 3))
    assert_close(y, layer(x.expand(3, *x.shape).clone()))
    assert torch.equal(functional.repeated_step(y), y[0])


def test_they_are_our_layers_with_two_more_arguments():
    for ours, plain in ((WSConv2d, Conv2d), (WSLinear, Linear)):
        assert issubclass(ours, plain)
        names = list(inspect.signature(ours).parameters)
        assert names == [*inspect.signature(plain).parameters, "gain", "eps"]
    assert repr(WSLinear(5, 3)) == (
        "WSLinear(in_features=5, out_features=3, bias=True, step_mode=s, gain=True, eps=0.0001)"
    )
    layer = WSConv2d(4, 6, 3)
    assert torch.equal(copy.deepcopy(layer).get_weight(), layer.get_weight())


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: WSConv2d(3, 6, 1, groups=3), r"WSConv2d: .*at least 2 weights.*\[6, 1, 1, 1\]"),
        (lambda: WSLinear(1, 3), r"WSLinear: .*at least 2 weights.*\[3, 1\]"),
        (lambda: WSLinear(4, 3, eps=0), "WSLinear: eps must be a finite number > 0, got 0"),
        (lambda: WSConv2d(3, 6, 3, eps=-1), "WSConv2d: eps must be a finite number > 0, got -1"),
        (lambda: WSConv2d(3, 6, 3, gain=1), "WSConv2d: gain must be True or False, got 1"),
    ],
)
def test_refused_arguments(build, text: str):
    with pytest.raises(ValueError, match=text):
        build()


def test_refused_shapes():
    with pytest.raises(ValueError, match=r"WSConv2d: .*\[T, N, C, H, W\], got shape \[2, 4, 6, 5\]"):
        conv(step_mode="m")(torch.zeros(2, 4, 6, 5, dtype=torch.double))
