"""The neurons of converted nets, beside their equations written as plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snntrain.ann2snn.node import RatePooling, RepeatedStep, SpikingRectifier
from snntrain.base import StateMismatchError
from snntrain.functional import get_states, reset_net, set_backend, set_states


def integrate_and_fire(x_seq: Tensor, theta: Tensor, v_init: Tensor, delay: int = 0) -> Tensor:
    """x_seq [T, N, C, *], theta and v_init [C]; potentials in the units of x."""
    shape = (1, -1, *[1] * (x_seq.dim() - 3))
    theta = theta.view(shape).double()
    v = v_init.view(shape).double().expand(x_seq.shape[1:])
    out = []
    for t, x in enumerate(x_seq.double()):
        h = v + x
        s = (h >= theta).double() if t >= delay else torch.zeros_like(h)
        v = h - theta * s
        out.append(theta * s)
    return torch.stack(out)


def quarters(*shape: int, seed: int = 0) -> Tensor:
    """Inputs with which potentials are exact, and meet the threshold."""
    return torch.randint(-4, 8, shape, generator=torch.Generator().manual_seed(seed)) / 4


@settings(deadline=None, max_examples=25)
@given(
    T=st.integers(1, 9), N=st.integers(1, 3), C=st.integers(1, 3), space=st.sampled_from([(), (2,), (2, 3)]),
    delay=st.integers(0, 4), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_equations_for_any_channels_and_delay(T, N, C, space, delay, seed):
    x_seq = quarters(T, N, C, *space, seed=seed)
    theta = torch.tensor([0.5, 1.0, 2.0])[:C]
    v_init = torch.tensor([0.25, 0.5, 0.0])[:C]
    node = SpikingRectifier(theta, v_init, delay)
    set_backend(node, "torch")
    node.T = T
    out = node(x_seq.flatten(0, 1)).unflatten(0, (T, N))
    assert torch.equal(out.double(), integrate_and_fire(x_seq, theta, v_init, delay))


@pytest.mark.parametrize("backend", ["torch", "fused"])
def test_a_hard_reset_forgets_what_exceeds_the_threshold_and_is_saved(backend):
    x_seq, theta = quarters(6, 2, 3), torch.tensor([1.0, 0.5, 2.0])
    node = SpikingRectifier(1.0)
    assert not node.hard_reset
    node.load_state_dict(SpikingRectifier(theta, hard_reset=True).state_dict())
    assert node.hard_reset
    set_backend(node, backend)
    node.T = 6
    v, wanted = torch.zeros(2, 3), []
    for x in x_seq:
        h = v + x
        fired = h >= theta
        wanted.append(theta * fired)
        v = h * ~fired
    assert torch.equal(node(x_seq.flatten(0, 1)).unflatten(0, (6, 2)), torch.stack(wanted))
    assert torch.stack(wanted).count_nonzero() > 0


@pytest.mark.parametrize("backend", ["torch", "fused"])
def test_calls_in_turn_continue_until_reset(backend):
    x_seq, theta, v_init = quarters(7, 2, 3), torch.tensor([1.0, 0.5, 1.5]), torch.tensor([0.5, 0.25, 0.75])
    node = SpikingRectifier(theta, v_init, delay=2)
    set_backend(node, backend)
    wanted = integrate_and_fire(x_seq, theta, v_init, delay=2)
    for _ in range(2):
        parts = []
        for part in x_seq.split((1, 4, 2)):
            node.T = len(part)
            parts.append(node(part.flatten(0, 1)).unflatten(0, (len(part), -1)))
        assert torch.equal(torch.cat(parts).double(), wanted)
        reset_net(node)


def test_one_step_that_is_repeated_and_thresholds_without_channels():
    x = quarters(2, 3, 4)
    node = SpikingRectifier(0.75, 0.25)
    set_backend(node, "torch")
    node.T, node.input_is_one_step = 5, True
    wanted = integrate_and_fire(x.expand(5, 2, 3, 4), torch.tensor([0.75] * 3), torch.tensor([0.25] * 3))
    assert torch.allclose(node(x).unflatten(0, (5, 2)).double(), wanted)


def test_a_start_potential_for_each_neuron():
    x, v_init = torch.zeros(2, 3, 4), torch.rand(3, 4)
    node = SpikingRectifier(torch.tensor([0.5, 0.6, 0.7]), v_init)
    out = node(x)
    assert torch.equal(out[0] > 0, v_init >= torch.tensor([0.5, 0.6, 0.7]).view(3, 1)) and torch.equal(out[0], out[1])


@pytest.mark.parametrize("shape", [(2,), (3, 2)])
def test_a_bias_per_channel_or_per_step_and_channel(shape):
    x_seq, bias = quarters(5, 2, 2, 3), quarters(*shape, seed=3)
    rows = bias.expand(3, 2) if bias.dim() == 1 else bias
    per_step = torch.stack([rows[min(t, 2)] for t in range(5)]).view(5, 1, 2, 1)
    one = torch.tensor([1.0, 1.0])
    for repeated in (False, True):
        wanted = integrate_and_fire((x_seq[:1].expand(5, 2, 2, 3) if repeated else x_seq) + per_step, one, one / 2)
        node = SpikingRectifier(1.0, 0.5)
        node.bias = bias
        node.T, node.input_is_one_step = 5, repeated
        out = node(x_seq[0] if repeated else x_seq.flatten(0, 1))
        assert torch.equal(out.unflatten(0, (5, 2)).double(), wanted)


def test_half_precision_keeps_potentials_in_full():
    node = SpikingRectifier(1.0)
    node.T = 300
    out = node(torch.full((300, 1), 0.01, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16 and node.node.v.dtype == torch.float32
    assert float(out.float().sum()) == 3  # in bfloat16 the sum of such small parts would stand still near 1


def test_state_of_another_batch_and_lengths_that_do_not_fit_are_refused():
    node = SpikingRectifier(1.0)
    node(torch.rand(3, 2))
    with pytest.raises(StateMismatchError, match="reset"):
        node(torch.rand(2, 2))
    node.T = 2
    with pytest.raises(ValueError, match="T = 2 steps"):
        node(torch.rand(3, 2))


@pytest.mark.parametrize("theta", [0.0, -1.0, float("nan"), torch.tensor([1.0, 0.0]), torch.ones(2, 2)])
def test_thresholds_that_are_none_are_refused(theta):
    with pytest.raises(ValueError, match="SpikingRectifier: theta must be"):
        SpikingRectifier(theta)


def test_thresholds_of_another_shape_can_be_loaded_and_saved():
    saved = SpikingRectifier(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.0]), delay=3)
    saved.bias = torch.tensor([0.1, 0.2])
    fresh = SpikingRectifier(1.0)
    fresh.load_state_dict(saved.state_dict())
    assert torch.equal(fresh.theta, saved.theta) and torch.equal(fresh.bias, saved.bias) and fresh.delay == 3
    fresh.load_state_dict(SpikingRectifier(1.0).state_dict())
    assert fresh.bias is None and fresh.theta.dim() == 0 and fresh.delay == 0


@settings(deadline=None, max_examples=20)
@given(T=st.integers(1, 6), cut=st.integers(0, 5), seed=st.integers(0, 99))
def test_pooled_rates_are_the_maximum_of_rates_at_every_time(T, cut, seed):
    x_seq = quarters(T, 2, 3, 4, 4, seed=seed)
    layer = nn.MaxPool2d(3, stride=2, padding=1)
    pool = RatePooling(layer)
    parts = [part for part in (x_seq[:cut], x_seq[cut:]) if len(part)]
    out = []
    for part in parts:
        pool.T = len(part)
        out.append(pool(part.flatten(0, 1)).unflatten(0, (len(part), 2)))
    out = torch.cat(out)
    for t in range(1, T + 1):
        assert torch.equal(out[:t].sum(0), layer(x_seq[:t].sum(0)))


def test_pooling_starts_anew_after_reset_and_its_state_can_be_restored():
    x, pool = quarters(4, 2, 3, 4, 4), RatePooling(nn.MaxPool2d(2))
    first = [pool(step) for step in x]
    states = get_states(pool)
    after = pool(x[0])
    set_states(pool, states)
    assert torch.equal(pool(x[0]), after)
    reset_net(pool)
    assert all(torch.equal(pool(step), wanted) for step, wanted in zip(x, first, strict=True))
    with pytest.raises(StateMismatchError):
        pool(x[0, :1])


def test_repetition():
    x, repeated = torch.rand(2, 3), RepeatedStep()
    repeated.T = 4
    assert repeated(x) is x
    repeated.input_is_one_step = True
    assert torch.equal(repeated(x), torch.cat([x] * 4))
