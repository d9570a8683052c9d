"""Temporal-wise and multi-dimensional attention against the papers' equations, element by element."""

import copy
from functools import partial

import pytest
import seeded_inputs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.testing import assert_close

from snntrain import functional, registry
from snntrain.layer.attention import MultiDimensionalAttention, TemporalWiseAttention

normal = partial(seeded_inputs.normal, dtype=torch.double)


def weights(module: nn.Module) -> list[Tensor]:
    """W1 and W2 of a gate as matrices."""
    return [p.flatten(1) for p in module.parameters()]


def scores(means: Tensor, peaks: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """sigmoid(W2·relu(W1·a) + W2·relu(W1·m)) of vectors a and m."""
    return torch.sigmoid(w2 @ (w1 @ means).clamp(min=0) + w2 @ (w1 @ peaks).clamp(min=0))


def temporal(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    y = torch.empty_like(x)
    for n in range(x.shape[1]):
        means = torch.stack([step.mean() for step in x[:, n]])
        peaks = torch.stack([step.max() for step in x[:, n]])
        for t, score in enumerate(scores(means, peaks, w1, w2)):
            y[t, n] = x[t, n] * score
    return y


def channelwise(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    y = torch.empty_like(x)
    for n in range(x.shape[1]):
        means = torch.stack([x[:, n, c].mean() for c in range(x.shape[2])])
        peaks = torch.stack([x[:, n, c].max() for c in range(x.shape[2])])
        for c, score in enumerate(scores(means, peaks, w1, w2)):
            y[:, n, c] = x[:, n, c] * score
    return y


def spatial(x: Tensor, kernel: Tensor) -> Tensor:
    y = torch.empty_like(x)
    for n in range(x.shape[1]):
        planes = x[:, n].flatten(0, 1)
        pooled = torch.stack([planes.mean(0), planes.max(0).values])
        y[:, n] = x[:, n] * torch.sigmoid(conv2d(pooled[None], kernel, padding=kernel.shape[-1] // 2)[0, 0])
    return y


@settings(max_examples=30, deadline=None)
@given(
    t=st.integers(1, 9),
    n=st.integers(1, 3),
    rest=st.one_of(st.tuples(st.integers(1, 6)), st.tuples(*[st.integers(1, 3)] * 3)),
    data=st.data(),
)
def test_temporal_wise_attention_is_the_papers_equation(t: int, n: int, rest: tuple[int, ...], data: st.DataObject):
    torch.manual_seed(0)
    reduction = data.draw(st.integers(1, t))
    twa = TemporalWiseAttention(t, reduction, dimension=4 if len(rest) == 3 else 2).double()
    w1, w2 = weights(twa)
    assert w1.shape == (t // reduction, t) and w2.shape == (t, t // reduction)
    x = normal(t, n, *rest)
    assert_close(twa(x), temporal(x, w1, w2))


@settings(max_examples=30, deadline=None)
@given(
    t=st.integers(1, 5),
    n=st.integers(1, 3),
    c=st.integers(1, 5),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    kernel_size=st.sampled_from([3, 7]),
    data=st.data(),
)
def test_multi_dimensional_attention_is_the_papers_equation(t, n, c, h, w, kernel_size, data: st.DataObject):
    torch.manual_seed(0)
    reduction_t, reduction_c = data.draw(st.integers(1, t)), data.draw(st.integers(1, c))
    mda = MultiDimensionalAttention(t, c, reduction_t, reduction_c, kernel_size).double()
    x = normal(t, n, c, h, w)
    expected = channelwise(temporal(x, *weights(mda.time_gate)), *weights(mda.channel_gate))
    assert_close(mda(x), spatial(expected, mda.space_conv.weight).clamp(min=0))


def test_zero_weights_halve_once_per_gate():
    """sigmoid(0) = 1/2; the rectifier takes the negative inputs."""
    twa, mda = TemporalWiseAttention(4, 2), MultiDimensionalAttention(4, 3, 2, 2)
    for parameter in [*twa.parameters(), *mda.parameters()]:
        nn.init.zeros_(parameter)
    x = normal(4, 2, 3, 5, 6).float()
    assert torch.equal(twa(x), x / 2)
    assert torch.equal(mda(x), (x / 8).clamp(min=0))


LAYERS = {
    "image": (lambda: TemporalWiseAttention(4, 2), (4, 2, 3, 5, 6)),
    "vector": (lambda: TemporalWiseAttention(4, 2, 2), (4, 2, 7)),
    "all dims": (lambda: MultiDimensionalAttention(4, 3, 2, 1, 7), (4, 2, 3, 5, 6)),
}
EVERY_LAYER = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)


@EVERY_LAYER
def test_every_parameter_learns_and_none_is_a_bias(make, shape):
    torch.manual_seed(3)
    attention, x = make().double(), normal(*shape).abs().requires_grad_()
    out = attention(x)
    assert out.shape == shape
    (out * normal(*shape)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 and parameter.dim() > 1 for parameter in attention.parameters())
    assert x.grad.abs().sum() > 0
    assert torch.autograd.gradcheck(attention, x.detach()[:, :1].clone().requires_grad_())


@EVERY_LAYER
def test_samples_do_not_mix_and_nothing_is_kept(make, shape):
    attention, x = make().double().eval(), normal(*shape)
    both = attention(x)
    assert_close(torch.cat([attention(x[:, :1]), attention(x[:, 1:])], dim=1), both)
    assert list(functional.named_states(attention)) == [] and list(attention.buffers()) == []
    assert attention(x[:, :0]).shape == (shape[0], 0, *shape[2:])
    if len(shape) == 5:
        channels_last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])
        assert_close(attention(channels_last), both)


@EVERY_LAYER
def test_state_dict_and_copy_give_the_same_layer(make, shape):
    attention, other, x = make(), make(), normal(*shape).float()
    other.load_state_dict(attention.state_dict())
    for same in (other, copy.deepcopy(attention)):
        assert torch.equal(same(x), attention(x))


@EVERY_LAYER
def test_sequences_only(make, shape):
    attention = make()
    functional.set_step_mode(attention, "m")
    assert attention.step_mode == "m" and "step_mode=m" in repr(attention) and "T=4" in repr(attention)
    with pytest.raises(ValueError, match=r"Attention: step_mode 's' is not supported, it runs in 'm' only"):
        attention.step_mode = "s"
    with pytest.raises(ValueError, match="step_mode must be"):
        attention.step_mode = "x"
    assert attention.step_mode == "m"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("TemporalWiseAttention", {"T": 0}, r"T must be an integer ≥ 1, got 0"),
        ("TemporalWiseAttention", {"T": 4.0}, r"T must be an integer ≥ 1, got 4\.0"),
        (
            "TemporalWiseAttention",
            {"T": 8},
            r"TemporalWiseAttention: reduction must be .* 1 to T = 8; choose a smaller reduction, at most 8, got 16",
        ),
        ("TemporalWiseAttention", {"T": 8, "reduction": 0}, r"reduction must be an integer from 1 to T = 8, got 0"),
        ("TemporalWiseAttention", {"T": 8, "reduction": 2.0}, r"reduction must be an integer, got 2\.0"),
        ("TemporalWiseAttention", {"T": 16, "dimension": 3}, r"dimension must be 2 or 4, got 3"),
        ("MultiDimensionalAttention", {"T": 16, "C": 0}, r"C must be an integer ≥ 1, got 0"),
        ("MultiDimensionalAttention", {"T": 4, "C": 16}, r"reduction_t must be .*T = 4; choose a smaller .*got 16"),
        ("MultiDimensionalAttention", {"T": 16, "C": 3}, r"reduction_c must be .*C = 3; choose a smaller .*got 16"),
        ("MultiDimensionalAttention", {"T": 16, "C": 16, "kernel_size": 5}, r"kernel_size must be 3 or 7, got 5"),
    ],
)
def test_a_wrong_argument_is_named(name: str, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        registry.build("layer", name, **arguments)


@pytest.mark.parametrize(
    ("attention", "shape"),
    [
        (TemporalWiseAttention(4, 2), (4, 2, 7)),
        (TemporalWiseAttention(4, 2), (5, 2, 3, 5, 6)),
        (TemporalWiseAttention(4, 2), (0, 2, 3, 5, 6)),
        (TemporalWiseAttention(4, 2, 2), (4, 2, 3, 5, 6)),
        (TemporalWiseAttention(4, 2, 2), (1, 2, 7)),
        (MultiDimensionalAttention(4, 3, 2, 2), (4, 3, 5, 6)),
        (MultiDimensionalAttention(4, 3, 2, 2), (1, 2, 3, 5, 6)),
        (MultiDimensionalAttention(4, 3, 2, 2), (4, 2, 1, 5, 6)),
    ],
)
def test_an_input_that_does_not_fit_is_named_with_the_shape_wanted(attention: nn.Module, shape: tuple[int, ...]):
    letters = r"\[T, N, L\]" if getattr(attention, "dimension", 4) == 2 else r"\[T, N, C, H, W\]"
    sizes = "T = 4, C = 3" if isinstance(attention, MultiDimensionalAttention) else "T = 4"
    received = str(list(shape)).replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(ValueError, match=f"{type(attention).__name__}: .*{letters} with {sizes}, got shape {received}"):
        attention(torch.zeros(shape))
