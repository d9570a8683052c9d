"""QIF and EIF neurons: equations, and the ends of the number range."""

import itertools
import math
import warnings
from functools import partial

import equations
import pytest
import torch
from equations import Constants, Dual, drawn, exp, flags, small_numbers, taus
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks

from snntrain.neuron import nonlinear
from snntrain.surrogate import ATan, Sigmoid

QIFNode, EIFNode = (partial(node_class, backend="torch") for node_class in (nonlinear.QIFNode, nonlinear.EIFNode))
pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")

VARIANTS = [*itertools.product((None, 0.0, -0.1), (False, True))]
over_variants = pytest.mark.parametrize("v_reset, detach_reset", VARIANTS)
over_both = pytest.mark.parametrize("node_class", [QIFNode, EIFNode], ids=["QIF", "EIF"])


# --- the equations ---------------------------------------------------------------------------------------------------


def qif(x: Dual, v: Dual, c: Constants) -> tuple[Dual, ...]:
    h = v + (x + c.a0 * (v - c.v_rest) * (v - c.v_c)) / c.tau
    s = c.fire(h)
    return s, c.reset(h, s)


def eif(x: Dual, v: Dual, c: Constants) -> tuple[Dual, ...]:
    z = (v - c.theta_rh) / c.delta_T
    e = exp(z) if z.value <= 80 else Dual(math.exp(80))
    h = v + (x + c.v_rest - v + c.delta_T * e) / c.tau
    s = c.fire(h)
    return s, c.reset(h, s)


potentials = st.floats(0, 1)
common = {"tau": taus, "v_rest": potentials, "v_reset": st.sampled_from([None, 0.0, -0.1]), "detach_reset": flags}
quadratic = common | {"v_c": potentials, "a0": st.floats(0.125, 1.5)}
exponential = common | {"delta_T": st.floats(0.25, 2), "theta_rh": potentials}


@settings(max_examples=50, deadline=None)
@given(problem=drawn(1, small_numbers), constants=st.fixed_dictionaries(quadratic))
def test_qif_follows_its_equations_in_float64_and_float32(problem, constants):
    make = partial(QIFNode, **constants, **problem.common())
    equations.check_in_both_precisions(make, qif, constants, problem)


@settings(max_examples=40, deadline=None)
@given(problem=drawn(1, small_numbers), constants=st.fixed_dictionaries(exponential))
def test_eif_follows_its_equations(problem, constants):
    make = partial(EIFNode, **constants, **problem.common())
    equations.check_equations(make, eif, constants, problem, exact=False)


@over_both
@over_variants
def test_gradcheck_holds_for_input_and_initial_potential(node_class, v_reset, detach_reset):
    if detach_reset:  # the gradient is then not that of the function: compare with the reset left out
        node = node_class(v_threshold=50.0, v_reset=v_reset, detach_reset=True)
    else:
        node = node_class(v_reset=v_reset, surrogate_function=Sigmoid(2.0, spiking=False))
    equations.check_gradients_numerically(node, ["v"])


@over_both
def test_the_potential_starts_at_v_reset_not_at_v_rest(node_class):
    node = node_class(v_rest=0.3, v_reset=-0.5)
    assert node.v == -0.5
    assert node_class(v_rest=0.3, v_reset=None).v == 0.0


def test_rest_and_critical_potential_are_the_roots_of_the_quadratic():
    node = QIFNode(v_c=0.75, v_rest=0.25, v_reset=-1.0, v_threshold=5.0)
    node.v = torch.tensor([0.25, 0.75, 0.5, 0.8, 0.2], dtype=torch.float64)
    before = node.v
    node(torch.zeros(5, dtype=torch.float64))
    assert torch.sign(node.v - before).tolist() == [0, 0, -1, 1, 1]


@pytest.mark.parametrize("decayed", [0.9, 0.3])
def test_a_small_delta_T_makes_eif_a_leaky_neuron_with_a_resting_potential(decayed):
    node = EIFNode(tau=4.0, delta_T=1e-6, theta_rh=5.0, v_threshold=9.0, v_rest=0.25)
    node.v = torch.tensor([decayed], dtype=torch.float64)
    node(torch.ones(1, dtype=torch.float64))
    assert node.v.item() == pytest.approx(decayed + (1.0 + 0.25 - decayed) / 4)


# --- the ends of the number range ------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_reset", [-0.1, None])
@pytest.mark.parametrize("v_init", [1e3, 100.0, 81.0, 90.0, 1e30, 3e38])
@pytest.mark.parametrize("surrogate", [Sigmoid(4.0), ATan(2.0)])
def test_a_large_exponent_overflows_neither_value_nor_gradient(v_reset, v_init, surrogate):
    node = EIFNode(delta_T=1.0, theta_rh=0.0, v_reset=v_reset, surrogate_function=surrogate)
    node.v = v = torch.tensor([v_init], requires_grad=True)
    x = torch.tensor([0.5], requires_grad=True)
    s = node(x)
    (s.sum() + node.v.sum()).backward()
    assert s.item() == 1 and node.v.isfinite().all()
    assert x.grad.isfinite().all() and v.grad.isfinite().all()


def test_the_exponential_has_no_gradient_where_its_exponent_is_held_at_80():
    node = EIFNode(tau=4.0, delta_T=0.5, theta_rh=1.0, v_reset=None, v_threshold=1e300)
    node.v = v = torch.tensor([40.9, 41.5, 60.0], dtype=torch.float64, requires_grad=True)  # exponents 79.8, 81, 118
    node(torch.zeros(3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(node.v.sum(), v)
    assert gradient.tolist() == pytest.approx([1 + (math.exp(79.8) - 1) / 4, 0.75, 0.75])
    held = v.detach()[1:] + (-v.detach()[1:] + 0.5 * math.exp(80)) / 4
    assert node.v[1:].tolist() == pytest.approx(held.tolist())


@over_both
def test_without_a_reset_value_one_warning_is_given_at_construction_and_nothing_more(node_class):
    with pytest.warns(UserWarning) as warned:
        node = node_class(v_reset=None)
    assert len(warned) == 1 and warned[0].filename == __file__
    assert str(warned[0].message).startswith(f"{node_class.func.__name__}: ") and "v_reset=None" in str(
        warned[0].message
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not in_chunks(node, torch.full((20, 2), 1e3), [20]).isnan().any(), "Θ(inf) is 1"
        node_class(v_reset=-0.2)


# --- the rules that tie threshold, rest and reset together -----------------------------------------------------------


@over_both
@pytest.mark.parametrize(
    "arguments, name, text",
    [
        ({"v_threshold": -0.1}, "v_threshold", "a finite number > -0.1 (v_reset), got -0.1."),
        ({"v_threshold": -0.5}, "v_threshold", "a finite number > -0.1 (v_reset), got -0.5."),
        (
            {"v_threshold": 0.5, "v_reset": 0.75, "v_rest": 1},
            "v_threshold",
            "a finite number > 0.75 (v_reset), got 0.5.",
        ),
        ({"v_rest": -0.25}, "v_rest", "a finite number ≥ -0.1 (v_reset), got -0.25."),
        ({"v_reset": 0.5, "v_rest": 0.25}, "v_rest", "a finite number ≥ 0.5 (v_reset), got 0.25."),
    ],
)
def test_reset_must_lie_below_the_threshold_and_not_above_the_rest(node_class, arguments, name, text):
    with pytest.raises(ValueError) as error:
        node_class(**arguments)
    assert str(error.value) == f"{node_class.func.__name__}: {name} must be {text}"


@over_both
def test_the_bounds_are_free_with_soft_reset_and_closed_at_the_rest(node_class):
    node_class(v_threshold=-2.0, v_rest=-9.0, v_reset=None)
    node_class(v_rest=-0.1, v_reset=-0.1)
