"""Division by a power of two, which kernels write as a product: the same bits, and only where the inverse is exact."""

import math

import numpy as np
import pytest
import torch

from snntrain.kernel.backend import plan_for
from snntrain.kernel.graph import has_exact_inverse
from snntrain.kernel.plan import Plan
from snntrain.neuron import LIFNode

X = torch.zeros(3, 2, 4)


def plan_of(node: LIFNode) -> Plan:
    found = plan_for(node, X)
    assert isinstance(found, Plan), found
    return found


def divisors(plan: Plan) -> set[str | float]:
    return {o.arguments[1] for graph in (plan.forward, plan.backward) for o in graph.operations if o.op == "div"}


@pytest.mark.parametrize("sign", [1, -1])
def test_the_product_with_an_exact_inverse_has_the_bits_of_the_quotient(sign):
    """For numbers of any bits: denormal ones, infinite ones, and those whose quotient is one of these."""
    x = np.random.default_rng(1).integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    x = np.concatenate([x[~np.isnan(x)], np.float32([0.0, -0.0, np.inf, 1e-45, -1e-45, 3.4e38])])
    for exponent in range(-100, 101):
        power = np.float32(sign * 2.0**exponent)
        assert has_exact_inverse(float(power))
        with np.errstate(all="ignore"):
            quotient, product = x / power, x * (np.float32(1) / power)
        np.testing.assert_array_equal(quotient.view(np.uint32), product.view(np.uint32), f"divisor {power}")


@pytest.mark.parametrize("value", [0.0, 3.0, 1.1, 2.0**120, 2.0**-120, math.inf, math.nan, 2.0 + 2**-22])
def test_no_other_number_counts_as_exact(value):
    assert not has_exact_inverse(value)


@pytest.mark.parametrize("decay_input", [True, False])
def test_a_neuron_divides_by_its_time_constant_only_where_that_rounds(decay_input):
    exact, rounding = (plan_of(LIFNode(tau, decay_input, step_mode="m")) for tau in (4.0, 3.0))
    assert "a2" in divisors(rounding) and "a2" not in divisors(exact)
    for graph in (exact.forward, exact.backward):
        assert ("mul", 0.25) in {(operation.op, operation.arguments[-1]) for operation in graph.operations}


def test_a_time_constant_that_changes_gets_a_plan_of_its_own():
    node = LIFNode(2.0, step_mode="m")
    before = plan_of(node)
    node.tau = 3.0
    assert "a2" in divisors(plan_of(node))
    node.tau = 2.0
    assert plan_of(node) is before
