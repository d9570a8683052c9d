"""Synaptic currents and delays, against their recursions."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.base import StateMismatchError
from snntrain.layer.synapse import Delay, SynapseFilter

SPIKES = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]
CURRENT = [1.0, 0.5, 0.25, 1.25, 2.25, 1.125]


def chunked(module: nn.Module, x: Tensor, sizes: list[int]) -> Tensor:
    """The outputs of consecutive calls on pieces of a sequence; a piece of size 0 stands for one step in 's'."""
    out, start = [], 0
    for size in sizes:
        module.step_mode = "m" if size else "s"
        piece = x[start : start + max(size, 1)]
        out.append(module(piece) if size else module(piece[0])[None])
        start += max(size, 1)
    return torch.cat(out)


# --- SynapseFilter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("sizes", [[6], [0] * 6, [2, 0, 3]])
def test_the_current_decays_only_where_no_spike_arrives(learnable: bool, sizes: list[int]):
    synapse = SynapseFilter(2.0, learnable)
    current = chunked(synapse, torch.tensor(SPIKES)[:, None].expand(6, 3), sizes)
    assert current.T.tolist() == [CURRENT] * 3
    assert torch.equal(synapse.out_i, current[-1])


@settings(max_examples=25, deadline=None)
@given(
    tau=st.floats(1.01, 200),
    shape=st.lists(st.integers(0, 3), max_size=3),
    learnable=st.booleans(),
    seed=st.integers(0, 100),
)
def test_the_recursion_holds_for_any_shape_and_input(tau: float, shape: list[int], learnable: bool, seed: int):
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    i, expected = torch.zeros(shape, dtype=torch.double), []
    for step in x:
        i = i - (1 - step) * i / tau + step
        expected.append(i)
    rtol = 1e-4 if learnable else 1e-12  # w is a float32
    assert_close(SynapseFilter(tau, learnable, "m")(x), torch.stack(expected), rtol=rtol, atol=rtol)


def test_gradients_reach_the_inputs_and_the_time_constant():
    synapse = SynapseFilter(3.0, learnable=True, step_mode="m").double()

    def forward(x: Tensor, w: Tensor) -> Tensor:
        synapse.reset()
        return torch.func.functional_call(synapse, {"w": w}, (x,))

    x = torch.rand(4, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(forward, (x, synapse.w))


def test_a_learnable_time_constant_is_a_parameter():
    fixed, learnable = SynapseFilter(), SynapseFilter(5, learnable=True)
    assert fixed.tau == 100 and list(fixed.state_dict()) == []
    assert list(learnable.state_dict()) == ["w"] and learnable.w.shape == ()
    assert learnable.w.item() == pytest.approx(-math.log(4)) and learnable.tau == pytest.approx(5)
    nn.init.zeros_(learnable.w)
    assert learnable.tau == 2
    assert repr(fixed) == "SynapseFilter(tau=100.0, learnable=False, step_mode=s)"


def test_the_current_is_state():
    synapse = SynapseFilter(2.0, step_mode="m")
    x = torch.rand(6, 2, 3)
    whole = synapse(x)
    synapse.reset()
    assert synapse.out_i == 0
    first = synapse(x[:2])
    twin = copy.deepcopy(synapse)
    assert torch.equal(torch.cat([first, synapse(x[2:])]), whole) and torch.equal(twin(x[2:]), whole[2:])
    with pytest.raises(StateMismatchError, match=r"out_i has shape \[2, 3\].*\[1, 3\]"):
        synapse(x[:, :1])
    half = SynapseFilter(2.0)
    assert half(x[0].half()).dtype == torch.float16 and half.out_i.dtype == torch.float32


@pytest.mark.parametrize("tau", [1, 0.5, math.inf, "2"])
def test_the_time_constant_is_above_one(tau):
    with pytest.raises(ValueError, match="SynapseFilter: tau must be a finite number > 1, got"):
        SynapseFilter(tau)
    with pytest.raises(ValueError, match="SynapseFilter: learnable must be True or False"):
        SynapseFilter(2.0, "m")


# --- Delay -----------------------------------------------------------------------------------------------------------


def test_a_sequence_in_two_calls_is_delayed_as_one():
    delay = Delay(3, "m")
    x = torch.arange(1.0, 6.0, requires_grad=True)
    first, second = delay(x[:2, None]), delay(x[2:, None])
    assert first.flatten().tolist() == [0, 0] and second.flatten().tolist() == [0, 1, 2]
    assert [step.item() for step in delay.queue] == [3, 4, 5]
    (torch.cat([first, second]).flatten() * torch.arange(1.0, 6.0)).sum().backward()
    assert x.grad.tolist() == [4, 5, 0, 0, 0]


@settings(max_examples=30, deadline=None)
@given(
    delay_steps=st.integers(0, 6),
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    shape=st.lists(st.integers(0, 3), max_size=3),
)
def test_every_split_into_calls_and_modes_gives_the_same(delay_steps: int, sizes: list[int], shape: list[int]):
    T = sum(max(size, 1) for size in sizes)
    x = torch.rand(T, *shape).requires_grad_()
    y = chunked(Delay(delay_steps), x, sizes)
    assert torch.equal(y, torch.cat([torch.zeros(delay_steps, *shape), x])[:T])
    weights = torch.rand(T, *shape)
    (y * weights).sum().backward()  # there is a graph even where all outputs are zeros
    assert torch.equal(x.grad, torch.cat([weights[delay_steps:], torch.zeros(min(delay_steps, T), *shape)]))


@pytest.mark.parametrize("mode", ["s", "m"])
def test_the_queue_holds_copies(mode: str):
    """The caller may fill one buffer with each new step."""
    delay, buffer, out = Delay(2, mode), torch.empty(1, 1), []
    for value in range(1, 6):
        buffer.fill_(value)
        out.append(delay(buffer).item())
    assert out == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("mode", ["s", "m"])
def test_no_delay_is_the_identity(mode: str):
    delay, x = Delay(0, mode), torch.rand(2, 3)
    assert delay(x) is x and delay.queue == []


def test_the_queue_is_state():
    delay, x = Delay(2), torch.rand(6, 2, 3, requires_grad=True)
    whole = torch.stack([delay(step) for step in x])
    delay.reset()
    assert delay.queue == [] and delay.state_dict() == {}
    first = [delay(step) for step in x[:3]]
    twin, states = copy.deepcopy(delay), functional.get_states(delay)
    rest = torch.stack([delay(step) for step in x[3:]])
    assert torch.equal(torch.cat([torch.stack(first), rest]), whole)
    assert torch.equal(torch.stack([twin(step) for step in x[3:]]), whole[3:])
    functional.set_states(delay, states)
    assert torch.equal(delay(x[3]), whole[3])
    delay.detach()
    assert not any(step.requires_grad for step in delay.queue)
    with pytest.raises(StateMismatchError, match=r"queue has shape \[2, 3\].*\[1, 3\]"):
        delay(x[0, :1])


@pytest.mark.parametrize("value", [-1, 1.0, True, None])
def test_delay_steps_is_a_count(value):
    with pytest.raises(ValueError, match="Delay: delay_steps must be an integer ≥ 0, got"):
        Delay(value)


def test_delay_steps_can_be_read_but_not_set():
    delay = Delay(3)
    assert delay.delay_steps == 3 and repr(delay) == "Delay(delay_steps=3, step_mode=s)"
    with pytest.raises(AttributeError):
        delay.delay_steps = 2
