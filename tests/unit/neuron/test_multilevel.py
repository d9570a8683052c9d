"""ILIFNode and TernaryLIFNode: their equations, and what sets their spikes apart."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from equations import Constants, Drawn, Dual, check_equations, check_float32, check_gradients_numerically, drawn, taus
from hypothesis import example, given, settings
from hypothesis import strategies as st
from promises import in_chunks, random, with_potentials

from snntrain.neuron.multilevel import ILIFNode, TernaryLIFNode
from snntrain.surrogate import MultiLevelSpikeCount, Sigmoid

over_modes = pytest.mark.parametrize("step_mode", ["s", "m"])


# --- the equations ---------------------------------------------------------------------------------------------------


def ilif(x: Dual, v: Dual, c: Constants) -> tuple[Dual, ...]:
    h = v - v / c.tau + x
    ratio = h / c.v_threshold
    low, high = c.window or (0, c.most)
    count = round(float(min(max(ratio.value, 0), c.most)))  # Python rounds halves to even
    counts = ratio.through(type(ratio.value)(count), low <= ratio.value <= high)
    return counts, h - c.gate(counts) * c.v_threshold


def compare_ilif(check: Any, problem: Drawn, **constants: Any) -> None:
    tau, detach, most, window = (constants[name] for name in ("tau", "detach_reset", "most", "window"))
    spikes = MultiLevelSpikeCount(most, window)
    check(lambda: ILIFNode(tau, problem.threshold, spikes, detach), ilif, constants, problem)


@settings(max_examples=40, deadline=None)
@given(
    problem=drawn(1),
    tau=taus,
    detach_reset=st.booleans(),
    most=st.integers(1, 5),
    window=st.sampled_from([None, (-0.5, 2.0)]),
)
@example(Drawn([2], [47.0, 0.5], [0.0] * 2, [0.0], [0.0], 41.0, 4.0, "sigmoid"), 2.0, False, 4, None)
def test_ilif_follows_its_equations_in_float64_and_float32(problem, tau, detach_reset, most, window):
    for check in (check_equations, partial(check_float32, backend="torch")):
        compare_ilif(check, problem, tau=tau, detach_reset=detach_reset, most=most, window=window)


def ternary(x: Dual, v: Dual, c: Constants, *amplitude: Dual) -> tuple[Dual, ...]:
    h = v + (x - v) / c.tau if c.decay_input else v - v / c.tau + x
    p, n = c.fire(h), c.fire(0.0 - h)
    o = p - n
    return amplitude[0] * o if amplitude else o, c.reset(h, p + n)


@settings(max_examples=40, deadline=None)
@given(
    problem=drawn(1),
    tau=taus,
    decay_input=st.booleans(),
    detach_reset=st.booleans(),
    amplitude=st.sampled_from([None, 0.5, -1.5, 2.0]),
)
def test_ternary_lif_follows_its_equations(problem, tau, decay_input, detach_reset, amplitude):
    constants = {"tau": tau, "decay_input": decay_input, "detach_reset": detach_reset}
    learnable = amplitude is not None
    make = partial(TernaryLIFNode, **constants, learnable_amplitude=learnable, **problem.common())
    parameters = {"a": amplitude} if learnable else None
    check_equations(make, ternary, constants | {"v_reset": 0.0}, problem, parameters)


@pytest.mark.parametrize("decay_input", [False, True])
def test_gradcheck_holds_for_ternary_lif(decay_input):
    surrogate = Sigmoid(2.0, spiking=False)
    node = TernaryLIFNode(1.7, decay_input, learnable_amplitude=True, surrogate_function=surrogate)
    check_gradients_numerically(node, ["v"])


def test_gradcheck_holds_for_ilif_without_rounding():
    node = ILIFNode(1.7, 0.7)
    node.surrogate_function.spiking = False
    check_gradients_numerically(node, ["v"])


# --- what sets their spikes apart ------------------------------------------------------------------------------------


def test_ilif_divides_by_the_threshold_where_a_reciprocal_would_round_otherwise():
    """h = 3/2·threshold is half way between two counts: the even one, 2; a ratio an ulp lower would give 1."""
    found = 0
    for threshold in np.arange(1, 60, dtype=np.float32) / np.float32(7):
        h = np.float32(1.5) * threshold
        if h / threshold == 1.5 and h * (np.float32(1) / threshold) < 1.5:
            found += 1
            assert ILIFNode(v_threshold=float(threshold))(torch.tensor(h)).item() == 2
    assert found >= 3


def test_ilif_rounds_halves_to_the_even_count():
    x = torch.tensor([-0.5, 0.5, 0.500001, 1.5, 2.5, 3.5, 4.5, 9.0])
    node = ILIFNode()
    assert node(x).tolist() == [0, 0, 1, 2, 2, 4, 4, 4]
    assert node.v.tolist() == pytest.approx([-0.5, 0.5, -0.499999, -0.5, 0.5, -0.5, 0.5, 5.0])


def test_ilif_gradient_is_one_over_the_threshold_with_both_bounds_of_the_window_inside():
    x = torch.tensor([-0.001, 0.0, 4.0, 8.0, 8.001], requires_grad=True)
    ILIFNode(v_threshold=2.0)(x).sum().backward()
    assert x.grad.tolist() == [0, 0.5, 0.5, 0.5, 0]


@over_modes
def test_ternary_lif_fires_at_both_thresholds_and_resets_even_from_an_overflow(step_mode):
    inf, nan = math.inf, math.nan
    x = torch.tensor([[0.5, -0.5, 0.499, -0.499, inf, -inf, nan, 0.0]])
    y, v = with_potentials(TernaryLIFNode(), x, step_mode)
    assert y[0].tolist() == [1, -1, 0, 0, 1, -1, 0, 0]
    assert v[0, :6].tolist() == [0, 0, torch.tensor(0.499), torch.tensor(-0.499), 0, 0] and v[0, 6].isnan()


def test_the_default_surrogate_of_ternary_lif_is_a_straight_through_window_of_one_around_zero():
    x = torch.tensor([-1.001, -0.999, -0.2, 0.2, 0.999, 1.001], requires_grad=True)
    TernaryLIFNode()(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_ternary_lif_learns_an_amplitude_only_if_asked():
    assert list(TernaryLIFNode().parameters()) == []
    node = TernaryLIFNode(learnable_amplitude=True)
    assert [(name, p.shape, p.item()) for name, p in node.named_parameters()] == [("a", (), 1.0)]
    x = random(6, 4)
    assert torch.equal(in_chunks(node, x), in_chunks(TernaryLIFNode(), x))
