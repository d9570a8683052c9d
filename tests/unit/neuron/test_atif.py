"""ATIFNode: golden numbers, its equations as a plain loop, and what every neuron promises."""

import math

import numpy as np
import promises
import pytest
import torch
from cases import with_threshold
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random, with_potentials
from torch import Tensor, nn

from snntrain.neuron.atif import ATIFNode
from snntrain.surrogate import Sigmoid

numbers = st.one_of(st.integers(-12, 16).map(lambda n: n / 4), st.floats(-3, 4, width=32))
thresholds = st.one_of(st.sampled_from([0.25, 1.0, 2e-3]), st.floats(0.125, 2))


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    theta=st.one_of(thresholds, st.sampled_from([-0.5, 0.0, 5e-4])),
    alpha=st.floats(0.5, 5),
    step_mode=st.sampled_from("sm"),
)
def test_atif_follows_its_equations(data, theta, alpha, step_mode):
    T = data.draw(st.integers(1, 6), label="T")
    x, g_y, g_v_seq = (data.draw(st.lists(numbers, min_size=T, max_size=T), label=k) for k in ("x", "dL/dy", "dL/dv"))
    v_init = v = data.draw(numbers, label="v_init")
    used = max(theta, 1e-3)
    heights, potentials, charged = [], [], []
    for x_t in x:
        h = v + x_t
        y = (1.0 if h >= used else 0.0) * used
        v = h - y
        heights.append(y), potentials.append(v), charged.append(h)
    g_x, g_v, g_theta = [0.0] * T, 0.0, 0.0
    for t in reversed(range(T)):
        tail = math.exp(-abs(alpha * (charged[t] - used)))
        sg = alpha * tail / (1 + tail) ** 2
        g_v += g_v_seq[t]
        z = 1 if heights[t] else 0
        g_theta += g_y[t] * (z - used * sg) + g_v * (used * sg - z)
        g_v = g_x[t] = g_y[t] * used * sg + g_v * (1 - used * sg)
    node = with_threshold(theta, alpha=alpha, backend="torch")
    x_seq = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    node.v = first = torch.tensor(v_init, dtype=torch.float64, requires_grad=True)
    out, v_seq = with_potentials(node, x_seq, step_mode)
    ((out * torch.tensor(g_y)).sum() + (v_seq * torch.tensor(g_v_seq)).sum()).backward()
    assert out.tolist() == heights and v_seq.tolist() == potentials
    close = {"rel": 1e-9, "abs": 1e-9}
    assert x_seq.grad.tolist() == pytest.approx(g_x, **close)
    assert first.grad.item() == pytest.approx(g_v, **close)
    assert node.v_threshold.grad.item() == pytest.approx(g_theta if theta >= 1e-3 else 0.0, **close)


@settings(max_examples=30, deadline=None)
@given(x=st.lists(numbers, min_size=1, max_size=20), theta=thresholds)
def test_atif_is_exact_in_float32(x, theta):
    node = ATIFNode(backend="torch")
    with torch.no_grad():
        node.v_threshold.fill_(theta)
    f = np.float32
    v, heights, potentials = f(0), [], []
    for x_t in x:
        h = v + f(x_t)
        heights.append(f(theta) if h >= f(theta) else f(0))
        v = h - heights[-1]
        potentials.append(v)
    out, v_seq = with_potentials(node, torch.tensor(x), "m")
    assert torch.equal(out, torch.tensor(np.array(heights)))
    assert torch.equal(v_seq, torch.tensor(np.array(potentials)))


def test_gradcheck_holds_for_input_initial_potential_and_threshold():
    node = ATIFNode(alpha=2.0, step_mode="m", store_v_seq=True)
    node.surrogate_function.spiking = False

    def values(x: Tensor, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        node.v = v
        return torch.func.functional_call(node, {"v_threshold": theta}, (x,)), node.v_seq

    leaves = (random(4, 3, dtype=torch.float64), random(3, seed=1, dtype=torch.float64), torch.tensor([0.9]).double())
    assert torch.autograd.gradcheck(values, [leaf.requires_grad_() for leaf in leaves])


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


# --- what every neuron promises --------------------------------------------------------------------------------------


POSITIVE = [("a finite number > 0", value) for value in (0, -1.0, *promises.NOT_FINITE)]
REFUSED = {
    "v_threshold": POSITIVE,
    "vth_init_l": POSITIVE,
    "vth_init_h": [("a finite number ≥ 0.8", value) for value in (0.79, -1, *promises.NOT_FINITE)],
    "alpha": POSITIVE,
    **promises.REFUSED_SETTINGS,
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_value_is_refused(name):
    for wanted, value in REFUSED[name]:
        promises.assert_refused(ATIFNode, name, value, wanted)


def test_every_setting_and_the_present_threshold_are_printed():
    node = ATIFNode(2, 0.5, 1, 3, "m", "torch", True)
    with torch.no_grad():
        node.v_threshold.fill_(1.25)
    shown = "v_threshold=1.25, vth_init_l=0.5, vth_init_h=1.0, step_mode=m, backend=torch, store_v_seq=True"
    assert shown in repr(node) and "Sigmoid(alpha=3.0" in repr(node)
    assert "v_reset" not in repr(node) and "detach_reset" not in repr(node)
    assert "v_threshold=nan" in repr(ATIFNode().to("meta"))
    assert type(node.surrogate_function) is Sigmoid
