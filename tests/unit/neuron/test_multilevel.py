"""ILIFNode and TernaryLIFNode: their equations as a plain loop, and what every neuron promises."""

import math
from typing import Any

import numpy as np
import promises
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from promises import in_chunks, random, with_potentials
from torch import Tensor

from snntrain.neuron.multilevel import ILIFNode, TernaryLIFNode
from snntrain.surrogate import ATan, MultiLevelSpikeCount, Rect, Sigmoid

over_modes = pytest.mark.parametrize("step_mode", ["s", "m"])
NODES = {
    "ILIF": ILIFNode,
    "ILIF detach": lambda: ILIFNode(3.0, 0.6, MultiLevelSpikeCount(2), True),
    "Ternary": TernaryLIFNode,
    "Ternary detach": lambda: TernaryLIFNode(2.5, True, 0.75, detach_reset=True, surrogate_function=ATan()),
    "Ternary amplitude": lambda: TernaryLIFNode(learnable_amplitude=True),
}
over_nodes = pytest.mark.parametrize("make", NODES.values(), ids=NODES)


# --- the equations as a plain loop -----------------------------------------------------------------------------------

numbers = st.one_of(st.integers(-12, 16).map(lambda n: n / 4), st.floats(-3, 4, width=32))
taus = st.one_of(st.sampled_from([4 / 3, 2.0, 3.0]), st.floats(1.01, 50))
thresholds = st.one_of(st.sampled_from([0.25, 0.5, 1.0]), st.floats(0.125, 2))


def inputs_and_gradients(data: Any) -> tuple[list[float], list[float], list[float]]:
    T = data.draw(st.integers(1, 6), label="T")
    return tuple(data.draw(st.lists(numbers, min_size=T, max_size=T), label=name) for name in ("x", "dL/do", "dL/dv"))


def check(node: Any, step_mode: str, x: list, v_init: float, g_out: list, g_v: list, reference: Any) -> None:
    """Compare values bit for bit, gradients closely, with (outputs, potentials, dL/dx, dL/dv_init)."""
    out, potentials, g_x, g_init = reference
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    v_init = torch.tensor(v_init, dtype=torch.float64, requires_grad=True)
    node.v = v_init
    y, v = with_potentials(node, x, step_mode)
    ((y * torch.tensor(g_out)).sum() + (v * torch.tensor(g_v)).sum()).backward()
    assert y.tolist() == out
    assert v.tolist() == potentials
    assert x.grad.tolist() == pytest.approx(g_x, rel=1e-9, abs=1e-9)
    assert v_init.grad.item() == pytest.approx(g_init, rel=1e-9, abs=1e-9)


def ilif(x: list, v: Any, tau: Any, threshold: Any, most: int) -> tuple[list, list, list]:
    """Counts, potentials, and h/threshold, in the number type of x."""
    counts, potentials, ratios = [], [], []
    for x_t in x:
        h = v - v / tau + x_t
        ratio = h / threshold
        c = round(float(min(max(ratio, 0), most)))  # Python rounds halves to even
        v = h - type(h)(c) * threshold
        counts.append(c), potentials.append(v), ratios.append(ratio)
    return counts, potentials, ratios


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    step_mode=st.sampled_from("sm"),
    detach=st.booleans(),
    tau=taus,
    threshold=thresholds,
    most=st.integers(1, 5),
    window=st.sampled_from([None, (-0.5, 2.0)]),
)
def test_ilif_follows_its_equations(data, step_mode, detach, tau, threshold, most, window):
    x, g_out, g_v_seq = inputs_and_gradients(data)
    v_init = data.draw(numbers, label="v_init")
    counts, potentials, ratios = ilif(x, v_init, tau, threshold, most)
    low, high = window or (0, most)
    g_x, g_v = [0.0] * len(x), 0.0
    for t in reversed(range(len(x))):
        slope = (low <= ratios[t] <= high) / threshold
        g_v += g_v_seq[t]
        g_x[t] = g_out[t] * slope + g_v * (1 - (0 if detach else threshold * slope))
        g_v = g_x[t] * (1 - 1 / tau)
    node = ILIFNode(tau, threshold, MultiLevelSpikeCount(most, window), detach, backend="torch")
    check(node, step_mode, x, v_init, g_out, g_v_seq, (counts, potentials, g_x, g_v))


@settings(max_examples=30, deadline=None)
@given(x=st.lists(numbers, min_size=1, max_size=20), tau=taus, threshold=thresholds)
@example(x=[47.0, 0.5], tau=2.0, threshold=41.0)
def test_ilif_is_exact_in_float32(x, tau, threshold):
    f = np.float32
    counts, potentials, _ = ilif([f(value) for value in x], f(0), f(tau), f(threshold), 4)
    y, v = with_potentials(ILIFNode(tau, threshold, backend="torch"), torch.tensor(x), "m")
    assert y.tolist() == counts
    assert torch.equal(v, torch.tensor(np.array(potentials, dtype=f)))


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


SLOPES = {
    Rect: lambda z, alpha: alpha * (abs(z) < 0.5 / alpha),
    ATan: lambda z, alpha: alpha / 2 / (1 + (math.pi * alpha * z / 2) ** 2),
}


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    step_mode=st.sampled_from("sm"),
    decay_input=st.booleans(),
    detach=st.booleans(),
    learnable=st.booleans(),
    tau=taus,
    threshold=thresholds,
    surrogate=st.sampled_from([Rect, ATan]),
)
def test_ternary_lif_follows_its_equations(data, step_mode, decay_input, detach, learnable, tau, threshold, surrogate):
    x, g_out, g_v_seq = inputs_and_gradients(data)
    v_init = v = data.draw(numbers, label="v_init")
    alpha = data.draw(st.sampled_from([0.75, 1.0, 2.0]), label="alpha")
    a = data.draw(st.sampled_from([0.5, -1.5, 2.0]), label="a") if learnable else 1.0
    spikes, potentials, charged = [], [], []
    for x_t in x:
        h = v + (x_t - v) / tau if decay_input else v - v / tau + x_t
        o = 1 if h >= threshold else -1 if -h >= threshold else 0
        v = 0.0 if o else h
        spikes.append(o), potentials.append(v), charged.append(h)
    g_x, g_v, slope = [0.0] * len(x), 0.0, SLOPES[surrogate]
    for t in reversed(range(len(x))):
        h = charged[t]
        above, below = slope(h - threshold, alpha), slope(-h - threshold, alpha)
        g_v += g_v_seq[t]
        dv_dh = 1 - abs(spikes[t]) - (0 if detach else h * (above - below))
        g_h = a * g_out[t] * (above + below) + g_v * dv_dh
        g_x[t] = g_h / tau if decay_input else g_h
        g_v = g_h * (1 - 1 / tau)
    node = TernaryLIFNode(
        tau,
        decay_input,
        threshold,
        learnable_amplitude=learnable,
        surrogate_function=surrogate(alpha),
        detach_reset=detach,
        backend="torch",
    )
    if learnable:
        with torch.no_grad():
            node.a.fill_(a)
    check(node, step_mode, x, v_init, g_out, g_v_seq, ([a * o for o in spikes], potentials, g_x, g_v))
    if learnable:
        expected = sum(g * o for g, o in zip(g_out, spikes, strict=True))
        assert node.a.grad.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


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


@pytest.mark.parametrize("decay_input", [False, True])
def test_gradcheck_holds_for_ternary_lif(decay_input):
    node = TernaryLIFNode(
        1.7,
        decay_input,
        learnable_amplitude=True,
        surrogate_function=Sigmoid(2.0, spiking=False),
        step_mode="m",
        store_v_seq=True,
    )

    def values(x: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        node.v = v
        return torch.func.functional_call(node, {"a": a}, (x,)), node.v_seq

    leaves = (random(4, 3, dtype=torch.float64), random(3, seed=1, dtype=torch.float64), torch.tensor(1.5).double())
    assert torch.autograd.gradcheck(values, [leaf.requires_grad_() for leaf in leaves])


@pytest.mark.parametrize("detach", [False, True])
def test_gradcheck_holds_for_ilif_without_rounding(detach):
    node = ILIFNode(1.7, 0.7, step_mode="m", store_v_seq=True)
    node.surrogate_function.spiking = False

    def values(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        node.v = v
        return node(x), node.v_seq

    leaves = (random(4, 3, dtype=torch.float64), random(3, seed=1, dtype=torch.float64))
    assert torch.autograd.gradcheck(values, [leaf.requires_grad_() for leaf in leaves])


# --- what every neuron promises --------------------------------------------------------------------------------------


def test_arguments_have_the_order_and_the_defaults_of_the_specification():
    rest = {"detach_reset": False, "step_mode": "s", "backend": "auto", "store_v_seq": False}
    own = {"tau": 4 / 3, "decay_input": False, "v_threshold": 0.5, "learnable_amplitude": False}
    promises.assert_signature(TernaryLIFNode, own | {"surrogate_function": None} | rest)


BOTH, NOT_FINITE = (ILIFNode, TernaryLIFNode), promises.NOT_FINITE
COUNT = "a MultiLevelSpikeCount in spiking mode, or None"
REFUSED = [
    *[(node, "tau", value, "a finite number > 1") for node in BOTH for value in (1, 0.5, -2.0, *NOT_FINITE)],
    *[(node, "v_threshold", value, "a finite number > 0") for node in BOTH for value in (0, -1.0, *NOT_FINITE)],
    *[
        (node, name, value, "True or False")
        for node, names in (
            (ILIFNode, ("detach_reset", "store_v_seq")),
            (TernaryLIFNode, ("decay_input", "learnable_amplitude", "detach_reset", "store_v_seq")),
        )
        for name in names
        for value in promises.NOT_A_FLAG
    ],
    *[
        (ILIFNode, "surrogate_function", value, COUNT)
        for value in (Sigmoid(), MultiLevelSpikeCount(4, spiking=False), MultiLevelSpikeCount, torch.round, 4)
    ],
    *[(TernaryLIFNode, "surrogate_function", value, "a surrogate module") for value in ("Rect", Rect, 1.0)],
    *[(node, "step_mode", "x", "'s'") for node in BOTH],
    *[(node, "backend", "numba", "one of 'auto', 'torch', 'fused'") for node in BOTH],
]


@pytest.mark.parametrize("make, name, value, wanted", REFUSED)
def test_a_bad_value_is_refused(make, name, value, wanted):
    promises.assert_refused(make, name, value, wanted)


def test_ints_are_taken_and_every_setting_is_printed():
    node = ILIFNode(2, 1, MultiLevelSpikeCount(3), True, "m", "torch", True)
    shown = "tau=2.0, v_threshold=1.0, detach_reset=True, step_mode=m, backend=torch, store_v_seq=True"
    assert shown in repr(node) and "max_spike_count=3" in repr(node) and "v_reset" not in repr(node)
    node = TernaryLIFNode(
        2, True, 1, learnable_amplitude=True, surrogate_function=ATan(3), detach_reset=True, step_mode="m"
    )
    shown = "tau=2.0, decay_input=True, v_threshold=1.0, learnable_amplitude=True, detach_reset=True, step_mode=m"
    assert shown in repr(node) and "ATan(alpha=3.0" in repr(node) and "v_reset" not in repr(node)
