"""The integer arithmetic of Loihi's neurons against Python's integers, and its gradients."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snntrain.neuron.cuba_arithmetic import (
    LeakyIntegratorStep,
    quantize_8b,
    right_shift_to_zero,
    step_quantize,
    step_quantize_atgf,
)

# None of these functions has a backend.
pytestmark = pytest.mark.parametrize("backend", ["torch"], indirect=True)

SCALES = (1, 16, 37, 64, 100, 128)


def toward_zero(value: Fraction) -> int:
    return math.trunc(value)


# --- quantizers ------------------------------------------------------------------------------------------------------


def test_step_quantize_takes_the_nearest_multiple_and_the_even_one_of_two():
    x = torch.tensor([0.24, 0.25, 0.75, -0.25, -0.75, 1.3, -7.1])
    assert step_quantize(x, 0.5).tolist() == [0, 0, 1, 0, -1, 1.5, -7]
    assert step_quantize(torch.tensor([0.5, 1.5, 2.5, -0.5])).tolist() == [0, 2, 2, 0]
    assert torch.equal(step_quantize_atgf.apply(x, 0.5), step_quantize(x, 0.5))


def test_step_quantize_has_the_gradient_of_the_identity():
    x = torch.tensor([0.3, -70.0], requires_grad=True)
    step_quantize(x, 0.25).backward(torch.tensor([2.0, -3.0]))
    assert x.grad.tolist() == [2, -3]


@pytest.mark.parametrize("step", [0, -1.0, math.nan, True, "1"])
def test_step_quantize_refuses_a_step_that_is_none(step):
    with pytest.raises(ValueError, match=r"^step_quantize: step must be a finite number > 0, got "):
        step_quantize(torch.zeros(1), step)


def test_quantize_8b_gives_even_integers_that_end_at_254():
    x = torch.tensor([0.0, 1 / 64, 1.1 / 64, 3 / 64, -3 / 64, 3.96, 3.98, 100.0, -3.99, -4.0, -100.0])
    integers = [0, 0, 2, 4, -4, 254, 254, 254, -256, -256, -256]
    assert quantize_8b(x, 64, descale=True).tolist() == integers
    assert (quantize_8b(x, 64) * 64).tolist() == integers


@given(st.floats(-500, 500, width=32), st.sampled_from(SCALES))
def test_quantize_8b_takes_the_nearest_value_that_can_be_represented(x, scale):
    found = quantize_8b(torch.tensor([x], dtype=torch.float64), scale).item()
    allowed = [2 * k / scale for k in range(-128, 128)]
    assert min(abs(found - value) for value in allowed) == 0
    assert abs(found - x) <= min(abs(value - x) for value in allowed) + 1e-9


def test_quantize_8b_passes_the_gradient_inside_its_range_only():
    x = torch.tensor([0.1, -0.1, 3.96, 3.99, -4.0, -4.1], requires_grad=True)
    quantize_8b(x, 64).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 0, 1, 0]
    x.grad = None
    quantize_8b(x, 64, descale=True).sum().backward()
    assert x.grad.tolist() == [64, 64, 64, 0, 64, 0]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1), st.integers(0, 40))
def test_right_shift_to_zero_is_a_division_that_truncates(values, bits):
    expected = [toward_zero(Fraction(value, 2**bits)) for value in values]
    for dtype in (torch.int32, torch.int64):
        x = torch.tensor(values, dtype=dtype)
        shifted = right_shift_to_zero(x, bits)
        assert shifted.tolist() == expected and shifted.dtype == dtype
        assert x.tolist() == values


@pytest.mark.parametrize(
    "x, bits, text",
    [
        (torch.zeros(1), 1, "x must be a tensor of integers, got torch.float32"),
        (torch.tensor([True]), 1, "x must be a tensor of integers, got torch.bool"),
        (torch.tensor([1]), -1, "bits must be an integer ≥ 0, got -1"),
        (torch.tensor([1]), 1.0, "bits must be an integer ≥ 0, got 1.0"),
        (torch.tensor([1]), 63, "bits must be an integer ≥ 0 and ≤ 62, got 63"),
    ],
)
def test_right_shift_to_zero_refuses_what_it_cannot_shift(x, bits, text):
    with pytest.raises(ValueError, match=f"^right_shift_to_zero: {text}.$"):
        right_shift_to_zero(x, bits)


# --- the leaky integrator --------------------------------------------------------------------------------------------


def stepped(x: int, decay: int, state: int, s_scale: int, dtype: torch.dtype) -> float:
    as_floats = (torch.tensor([value / s_scale], dtype=dtype) for value in (x, state))
    x, state = as_floats
    return (LeakyIntegratorStep.apply(x, torch.tensor(float(decay), dtype=dtype), state, s_scale) * s_scale).item()


@given(
    x=st.integers(-(2**20), 2**20),
    decay=st.integers(0, 4096),
    state=st.integers(-(2**20), 2**20),
    scale=st.sampled_from(SCALES),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_leaky_step_is_that_of_integers(x, decay, state, scale, dtype):
    expected = toward_zero(Fraction(state * (4096 - decay), 4096)) + x
    found = stepped(x, decay, state, 64 * scale, dtype)
    assert round(found) == expected and abs(found - expected) < 0.3


@given(x=st.integers(-(2**23), 2**23), decay=st.integers(0, 4096), state=st.integers(-(2**23), 2**23))
def test_with_a_power_of_two_as_scale_float32_holds_24_bits(x, decay, state):
    assert stepped(x, decay, state, 4096, torch.float32) == toward_zero(Fraction(state * (4096 - decay), 4096)) + x


@pytest.mark.parametrize("x, steps", [(0.0003, 1), (-0.0003, -1), (0.00048, 1), (-0.00048, -1), (0.0001, 0)])
def test_what_lies_between_two_integers_is_truncated(x, steps):
    zero = torch.zeros(1)
    assert (LeakyIntegratorStep.apply(torch.tensor([x]), zero, zero, 4096) * 4096).item() == steps
    assert (LeakyIntegratorStep.apply(zero, zero, torch.tensor([x]), 4096) * 4096).item() == steps


def gradients(decay: Tensor) -> tuple[Tensor, ...]:
    """Of Σ g·state'."""
    x, state = torch.tensor([[0.5, -0.25], [1.0, 0.0]]), torch.tensor([[2.0, -1.0], [0.5, 0.125]])
    leaves = [x.requires_grad_(), decay.requires_grad_(), state.requires_grad_()]
    g = torch.tensor([[1.0, 2.0], [-1.0, 4.0]])
    return torch.autograd.grad((LeakyIntegratorStep.apply(*leaves, 4096) * g).sum(), leaves)


def test_the_gradients_are_those_without_truncation():
    of_x, of_decay, of_state = gradients(torch.tensor(1024.0))
    assert of_x.tolist() == [[1, 2], [-1, 4]]
    assert of_state.tolist() == [[0.75, 1.5], [-0.75, 3]]
    assert of_decay.item() == -(2.0 * 1 - 1.0 * 2 - 0.5 + 0.125 * 4) / 4096


def test_decays_of_several_neurons_have_a_gradient_each():
    _, of_decay, of_state = gradients(torch.tensor([1024.0, 2048.0]))
    assert of_decay.tolist() == [-(2.0 - 0.5) / 4096, -(-2.0 + 0.5) / 4096]
    assert of_state.tolist() == [[0.75, 1.0], [-0.75, 2.0]]
