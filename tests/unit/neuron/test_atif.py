"""ATIFNode: its equations, and its learnable threshold."""

import pytest
import torch
from cases import with_threshold
from equations import Constants, Drawn, Dual, check_equations, check_float32, check_gradients_numerically, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random
from torch import nn

from snntrain.neuron.atif import ATIFNode


def atif(x: Dual, v: Dual, c: Constants, theta: Dual) -> tuple[Dual, ...]:
    used = theta if theta.value >= 1e-3 else Dual(type(theta.value)(1e-3))  # held there, without a gradient
    h = v + x
    y = c.theta(h - used) * used
    return y, h - y


def made(problem: Drawn) -> ATIFNode:
    node = ATIFNode(backend="torch")
    node.surrogate_function = problem.common()["surrogate_function"]
    return node


thresholds = st.one_of(st.sampled_from([0.25, 1.0, 2e-3, -0.5, 0.0, 5e-4]), st.floats(0.125, 2))


@settings(max_examples=40, deadline=None)
@given(problem=drawn(1), theta=thresholds)
def test_atif_follows_its_equations_in_float64_and_float32(problem, theta):
    for check in (check_equations, check_float32):
        check(lambda: made(problem), atif, {}, problem, {"v_threshold": theta})


def test_gradcheck_holds_for_input_initial_potential_and_threshold():
    node = ATIFNode(alpha=2.0)
    node.surrogate_function.spiking = False
    check_gradients_numerically(node, ["v"])


def test_the_threshold_starts_in_its_range_drawn_from_torchs_generator():
    torch.manual_seed(3)
    drawn = [ATIFNode(2.0, 0.5, 0.75).v_threshold for _ in range(200)]
    assert all(isinstance(theta, nn.Parameter) and theta.shape == (1,) for theta in drawn)
    values = torch.cat(drawn).detach()
    assert 1.0 <= values.min() < 1.05 and 1.45 < values.max() <= 1.5
    torch.manual_seed(3)
    assert torch.equal(ATIFNode(2.0, 0.5, 0.75).v_threshold, drawn[0])
    assert ATIFNode(3, 1, 1).v_threshold.item() == 3.0


def test_the_threshold_used_is_never_below_a_thousandth():
    for theta in (-1.0, 0.0):
        node = with_threshold(theta)
        assert node(torch.tensor([0.0009, 0.001, 0.5], dtype=torch.float64)).tolist() == [0, 0.001, 0.001]


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_the_output_has_the_shape_of_the_input_although_the_threshold_has_one_of_its_own(shape, step_mode):
    x = random(4, *shape)
    out = in_steps(ATIFNode(), x) if step_mode == "s" else in_chunks(ATIFNode(), x)
    assert out.shape == x.shape


def test_the_present_threshold_is_printed():
    node = with_threshold(1.25, alpha=3)
    assert "v_threshold=1.25" in repr(node) and "Sigmoid(alpha=3.0" in repr(node)
    assert "v_threshold=nan" in repr(ATIFNode().to("meta"))
