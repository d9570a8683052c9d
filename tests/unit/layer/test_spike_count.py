"""Counts unrolled into binary slots, and summed again behind a weight layer."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.layer.convolution import Conv2d
from snntrain.layer.linear import Linear
from snntrain.layer.spike_count import SpikeCountToBinary, TemporalBinSum
from snntrain.neuron import ILIFNode
from snntrain.surrogate import MultiLevelSpikeCount


def test_the_first_c_slots_of_a_step_fire():
    slots = SpikeCountToBinary(3).eval()(torch.tensor([[0.0, 1.0], [3.0, 2.0]]))
    assert slots.tolist() == [[0, 1], [0, 0], [0, 0], [1, 1], [1, 1], [1, 0]]


@settings(max_examples=25, deadline=None)
@given(
    T=st.integers(1, 3),
    shape=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    D=st.integers(1, 5),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64]),
)
def test_slots_are_binary_and_sum_to_the_counts(T: int, shape: list[int], D: int, dtype: torch.dtype):
    counts = torch.randint(0, D + 1, (T, *shape)).to(dtype)
    slots = SpikeCountToBinary(D).eval()(counts)
    assert slots.shape == (T * D, *shape) and slots.dtype == dtype and ((slots == 0) | (slots == 1)).all()
    for t in range(T):
        assert torch.equal(slots[t * D : (t + 1) * D].sum(0).to(dtype), counts[t])
    assert torch.equal(TemporalBinSum(D).eval()(slots).to(dtype), counts)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_the_deployment_chain_equals_the_weight_layer_on_counts(kind: str):
    """ILIF → slots → weights without bias → sum → bias, values and all gradients."""
    torch.manual_seed(0)
    D, T = 3, 4
    shape = (2, 5) if kind == "linear" else (2, 3, 6, 5)
    layer = Linear(5, 4, step_mode="m") if kind == "linear" else Conv2d(3, 4, 3, padding=1, step_mode="m")
    layer.double()
    bias = layer.bias if kind == "linear" else layer.bias[:, None, None]
    bare = Linear(5, 4, False, "m") if kind == "linear" else Conv2d(3, 4, 3, padding=1, bias=False, step_mode="m")
    bare.double().weight = layer.weight
    neuron = ILIFNode(surrogate_function=MultiLevelSpikeCount(D), step_mode="m", backend="torch")
    chain = nn.Sequential(SpikeCountToBinary(D), bare, TemporalBinSum(D)).eval()
    x = (2 * torch.randn(T, *shape, dtype=torch.double)).requires_grad_()
    weights = torch.randn_like(layer(x))

    def run(forward) -> list[torch.Tensor]:
        functional.reset_net(neuron)
        counts = neuron(x)
        assert counts.max() == D, "the example should use all slots"
        y = forward(counts)
        return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, layer.weight, layer.bias])]

    for ours, plain in zip(run(lambda counts: chain(counts) + bias), run(layer), strict=True):
        assert_close(ours, plain)


def test_each_slot_hands_back_its_share_of_the_gradient():
    counts = torch.tensor([[2.0], [0.0]], requires_grad=True)
    slots = SpikeCountToBinary(4).eval()(counts)
    slots.backward(torch.arange(8.0)[:, None])
    assert counts.grad.flatten().tolist() == [(0 + 1 + 2 + 3) / 4, (4 + 5 + 6 + 7) / 4]


@pytest.mark.parametrize("make", [SpikeCountToBinary, TemporalBinSum])
def test_in_training_nothing_is_converted_unless_asked(make):
    x = torch.ones(4, 2, 3)
    assert make(2)(x) is x
    asked = make(2, always_convert=True)
    assert torch.equal(asked(x), asked.eval()(x)) and asked(x).shape[0] != 4


def test_a_last_group_that_is_too_short_counts_as_padded_with_zeros():
    x = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    assert TemporalBinSum(2).eval()(x).flatten().tolist() == [3, 12, 16]
    assert TemporalBinSum(8).eval()(x).flatten().tolist() == [31]
    assert TemporalBinSum(1).eval()(x).flatten().tolist() == x.flatten().tolist()


@pytest.mark.parametrize("bad", [4.0, -1.0, 0.5, 2.5, math.nan, math.inf])
def test_counts_that_no_slots_stand_for_are_refused(bad: float):
    layer = SpikeCountToBinary(3)
    x = torch.tensor([[1.0, bad, 3.0]])
    assert layer(x) is x, "in training nothing is converted, and nothing looked at"
    with pytest.raises(ValueError, match=rf"SpikeCountToBinary: counts .* 0 to num_slots = 3, got {bad:g}\. num_slots"):
        layer.eval()(x)


@pytest.mark.parametrize("make", [SpikeCountToBinary, TemporalBinSum])
def test_refused_arguments_modes_and_shapes(make):
    name = make.__name__
    with pytest.raises(ValueError, match=f"{name}: num_slots must be an integer ≥ 1, got 0"):
        make(0)
    with pytest.raises(ValueError, match=f"{name}: always_convert must be True or False, got 1"):
        make(2, 1)
    layer = make(2)
    functional.set_step_mode(layer, "m")
    with pytest.raises(ValueError, match=f"{name}: step_mode 's' is not supported"):
        layer.step_mode = "s"
    for shape, text in [((4,), r"\[T, N, \*\], got shape \[4\]"), ((0, 4), "T ≥ 1")]:
        with pytest.raises(ValueError, match=rf"{name}: .*{text}"):
            layer(torch.zeros(shape))
    assert layer.state_dict() == {} and repr(layer) == f"{name}(num_slots=2, always_convert=False, step_mode=m)"
