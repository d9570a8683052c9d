"""ComplementaryLIFNode: equations, and what the complementary potential does."""

import itertools
import math
from functools import partial

import equations
import pytest
import torch
from equations import Constants, Dual, drawn, flags, resets, sigmoid, taus
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random

from snntrain.neuron import LIFNode
from snntrain.neuron.clif import ComplementaryLIFNode
from snntrain.surrogate import Rect, Sigmoid

CLIF = partial(ComplementaryLIFNode, backend="torch")

# --- the equations ---------------------------------------------------------------------------------------------------


def clif(x: Dual, v: Dual, m: Dual, c: Constants) -> tuple[Dual, ...]:
    h = c.lif(x, v)
    m = m * sigmoid(h / c.tau)
    s = c.fire(h)
    m = m + s
    return s, c.reset(h, s) - c.gate(s) * sigmoid(m), m


arguments = {"tau": taus, "v_reset": resets, "detach_reset": flags, "decay_input": flags}


@settings(max_examples=40, deadline=None)
@given(problem=drawn(2), constants=st.fixed_dictionaries(arguments))
def test_clif_follows_its_equations(problem, constants):
    make = partial(ComplementaryLIFNode, **constants, **problem.common())
    equations.check_equations(make, clif, constants, problem, exact=False)


@pytest.mark.parametrize("v_reset, decay_input", [*itertools.product((None, 0.0, -0.2), (True, False))])
def test_gradcheck_holds_for_input_and_initial_states(v_reset, decay_input):
    node = CLIF(decay_input=decay_input, v_reset=v_reset, surrogate_function=Sigmoid(2.0, spiking=False))
    equations.check_gradients_numerically(node, ["v", "m"])


# --- the complementary potential -------------------------------------------------------------------------------------


def test_states_start_at_the_reset_value_and_zero():
    assert dict(ComplementaryLIFNode().named_memories()) == {"v": 0.0, "m": 0.0}
    assert dict(ComplementaryLIFNode(v_reset=-0.3).named_memories()) == {"v": -0.3, "m": 0.0}


def test_the_default_is_a_fresh_rectangle():
    first, second = ComplementaryLIFNode().surrogate_function, ComplementaryLIFNode().surrogate_function
    assert type(first) is Rect and first.alpha == 1.0 and first is not second


@pytest.mark.parametrize("run", [in_steps, in_chunks])
@pytest.mark.parametrize("v_reset", [None, 0.0, -0.2])
def test_until_its_first_spike_and_at_it_it_fires_as_lif(run, v_reset):
    x = random(6, 40, dtype=torch.float64) + 0.75
    node, lif = (kind(2.0, False, v_reset=v_reset, backend="torch") for kind in (ComplementaryLIFNode, LIFNode))
    s, expected = run(node, x), run(lif, x)
    up_to_first = expected.cumsum(0) - expected == 0
    assert torch.equal(s[up_to_first], expected[up_to_first]) and s[up_to_first].sum() > 5
    assert not torch.equal(s, expected), "later, its deeper reset costs spikes"


def test_the_soft_reset_subtracts_threshold_and_sigmoid_of_the_memory_of_spikes():
    """By hand, tau 2, x = 3 twice: h = 3, m = 1; then h = (3 − 1 − σ(1))/2 + 3, m = σ(h/2) + 1."""
    node, sigma = CLIF(), lambda z: 1 / (1 + math.exp(-z))
    x = torch.tensor([3.0], dtype=torch.float64)
    node(x)
    assert node.m.item() == 1 and node.v.item() == pytest.approx(2 - sigma(1))
    node(x)
    h = (2 - sigma(1)) / 2 + 3
    assert node.m.item() == pytest.approx(sigma(h / 2) + 1)
    assert node.v.item() == pytest.approx(h - 1 - sigma(sigma(h / 2) + 1))


def test_without_spikes_the_memory_fades_the_faster_the_lower_the_potential():
    node = CLIF()
    node.m = torch.ones(3, dtype=torch.float64)
    node(torch.tensor([-2.0, 0.0, 0.9], dtype=torch.float64))
    assert node.m.tolist() == pytest.approx([1 / (1 + math.exp(1.0)), 0.5, 1 / (1 + math.exp(-0.45))])


@pytest.mark.parametrize("v_reset", [None, 0.0])
def test_detach_reset_cuts_the_spike_in_v_and_not_in_m(v_reset):
    """At the threshold sg = 1: dm'/dx = 1; dv'/dx = dh/dx − σ'(m')·dm'/dx if soft, −σ'(m')·dm'/dx if hard."""
    node = CLIF(v_reset=v_reset, detach_reset=True)
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    assert node(x).item() == 1
    (g_m,) = torch.autograd.grad(node.m, x, retain_graph=True)
    (g_v,) = torch.autograd.grad(node.v, x)
    slope = math.exp(-1) / (1 + math.exp(-1)) ** 2
    assert g_m.item() == 1 and g_v.item() == pytest.approx((1 if v_reset is None else 0) - slope)


def test_a_hard_reset_of_an_overflowing_potential_stays_finite():
    node = CLIF(v_reset=0.0)
    x = torch.tensor([math.inf, 3e38])
    assert node(x).tolist() == [1, 1]
    assert node.v.tolist() == pytest.approx([-1 / (1 + math.exp(-1))] * 2)
