"""KLIFNode: equations, and the learnable slope k."""

import itertools
from functools import partial

import equations
import pytest
import torch
from equations import Constants, Dual, drawn, flags, relu, resets, taus
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random
from torch import nn

from snntrain.neuron import LIFNode
from snntrain.neuron.klif import KLIFNode
from snntrain.surrogate import Sigmoid

KLIF = partial(KLIFNode, backend="torch")

# --- the equations ---------------------------------------------------------------------------------------------------


def klif(x: Dual, v: Dual, c: Constants, k: Dual) -> tuple[Dual, ...]:
    f = relu(k * c.lif(x, v))
    s = c.fire(f)
    if not c.scale_reset:
        return s, c.reset(f, s)
    if abs(k.value) < 1e-4:  # held there, without a gradient
        k = Dual(type(k.value)(-1e-4 if k.value < 0 else 1e-4))
    if c.v_reset is None:
        return s, (f - c.gate(s) * c.v_threshold) / k
    return s, (f / k) * (1.0 - c.gate(s)) + c.v_reset * c.gate(s)


slopes = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 1e-4, 2.0**-14, -(2.0**-14)]), st.floats(-2, 3, width=32))
arguments = {"scale_reset": flags, "v_reset": resets, "detach_reset": flags, "decay_input": flags, "tau": taus}


@settings(max_examples=60, deadline=None)
@given(problem=drawn(1), constants=st.fixed_dictionaries(arguments), k=slopes)
def test_klif_follows_its_equations_in_float64_and_float32(problem, constants, k):
    make = partial(KLIFNode, **constants, **problem.common())
    equations.check_in_both_precisions(make, klif, constants, problem, {"k": k})


@pytest.mark.parametrize("scale_reset, v_reset", [*itertools.product((False, True), (None, 0.0, -0.2))])
def test_gradcheck_holds_for_input_initial_potential_and_slope(scale_reset, v_reset):
    node = KLIF(scale_reset, v_reset=v_reset, surrogate_function=Sigmoid(2.0, spiking=False))
    with torch.no_grad():
        node.k.fill_(1.3)
    equations.check_gradients_numerically(node, ["v"])


# --- the slope -------------------------------------------------------------------------------------------------------


def with_slope(k: float, **arguments: object) -> KLIFNode:
    node = KLIF(**arguments).double()
    with torch.no_grad():
        node.k.fill_(k)
    return node


def test_k_is_one_learnable_number_per_layer_that_starts_at_one():
    first, second = KLIF(), KLIF()
    assert isinstance(first.k, nn.Parameter) and first.k.shape == () and first.k.requires_grad
    assert first.k.item() == second.k.item() == 1.0 and first.k is not second.k
    first.load_state_dict({"k": torch.tensor(0.25)})
    assert first.k.item() == 0.25 and second.k.item() == 1.0


@pytest.mark.parametrize("v_reset", [None, 0.0])
@pytest.mark.parametrize("scale_reset", [False, True])
def test_at_slope_one_and_positive_potentials_it_is_lif(v_reset, scale_reset):
    x = random(8, 5, dtype=torch.float64).abs()
    node, lif = KLIF(scale_reset, v_reset=v_reset), LIFNode(v_reset=v_reset, backend="torch")
    s = in_chunks(node, x)
    assert torch.equal(s, in_chunks(lif, x)) and torch.equal(node.v, lif.v) and s.unique().tolist() == [0, 1]


@pytest.mark.parametrize("v_reset", [None, 0.0])
@pytest.mark.parametrize("scale_reset", [False, True])
@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_slope_zero_silences_and_a_negative_slope_inverts(v_reset, scale_reset, run):
    x = torch.tensor([[5.0, -5.0], [3.0, -3.0]], dtype=torch.float64)
    silent, inverted = (with_slope(k, scale_reset=scale_reset, v_reset=v_reset) for k in (0.0, -1.0))
    assert run(silent, x).tolist() == [[0, 0], [0, 0]] and silent.v.tolist() == [0, 0]
    assert run(inverted, x)[0].tolist() == [0, 1]


def test_potentials_below_zero_are_cut_off_and_exactly_zero_has_no_gradient():
    node = KLIF()
    x = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    node(x)
    assert node.v.tolist() == [0, 0, 0.5]
    (gradient,) = torch.autograd.grad(node.v.sum(), x)
    assert gradient.tolist()[:2] == [0, 0] and gradient[2] > 0


@pytest.mark.parametrize(
    "k, divisor", [(0.0, 1e-4), (-0.0, 1e-4), (5e-5, 1e-4), (-5e-5, -1e-4), (2e-4, 2e-4), (-2e-4, -2e-4), (-0.5, -0.5)]
)
@pytest.mark.parametrize("v_reset", [None, 0.0])
def test_as_a_divisor_the_magnitude_of_k_is_held_at_1e_4(k, divisor, v_reset):
    node = with_slope(k, scale_reset=True, v_reset=v_reset, decay_input=False, detach_reset=True)
    x = torch.tensor([0.75, -0.75], dtype=torch.float64)  # h = x
    node(x)
    expected = (k * x).clamp(min=0) / divisor
    assert node.v.tolist() == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-12)
    (gradient,) = torch.autograd.grad(node.v.sum(), node.k)
    free = abs(k) > 1e-4  # f/k does not depend on k; held, only f = k·h moves
    assert gradient.item() == pytest.approx(0.0 if free or k == 0 else 0.75 / 1e-4, rel=1e-9, abs=1e-9)


def test_without_scale_reset_nothing_is_divided():
    assert len(KLIF().step_parameters(torch.float32)) == 2
    node = with_slope(1e-6)
    node(torch.tensor([1.0], dtype=torch.float64))
    assert node.v.item() == pytest.approx(0.5e-6)


@pytest.mark.parametrize("scale_reset, v_reset", [*itertools.product((False, True), (None, 0.0, -0.2))])
@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_no_slope_ever_gives_a_value_or_gradient_that_is_not_finite(scale_reset, v_reset, run):
    for k in (-3.0, -1e-5, 0.0, 1e-38, 0.5, 3.0):
        node = KLIF(scale_reset, v_reset=v_reset)
        with torch.no_grad():
            node.k.fill_(k)
        x = random(5, 6).requires_grad_()
        (run(node, x).sum() + node.v.sum()).backward()
        assert node.v.isfinite().all() and x.grad.isfinite().all() and node.k.grad.isfinite()
