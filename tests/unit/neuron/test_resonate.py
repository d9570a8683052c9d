"""RAFNode: golden numbers, its equations as a plain loop, an oscillator per channel, and what every neuron promises."""

import math
from typing import Any

import numpy as np
import promises
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random, with_potentials
from torch import Tensor, nn

from snntrain.neuron.resonate import RAFNode
from snntrain.surrogate import ATan, Sigmoid

NODES = {
    "balanced": RAFNode,
    "unbalanced": lambda: RAFNode(balanced=False),
    "fixed": lambda: RAFNode(8.0, -0.5, q_decay=0.5, learnable=False, surrogate_function=ATan()),
}
over_nodes = pytest.mark.parametrize("make", NODES.values(), ids=NODES)


def drive(*shape: int, **more: Any) -> Tensor:
    """Inputs strong enough for some spikes at dt = 0.01."""
    return random(*shape, scale=60.0, **more)


# --- the equations as a plain loop -----------------------------------------------------------------------------------


def dtype_of(number: type) -> torch.dtype:
    return torch.float64 if number is float else torch.float32


def oscillate(x: list, state: list, omega: Any, b_offset: Any, dt: Any, threshold: Any, q_decay: Any, balanced: bool):
    """(spike, v, w, q, v − v_th − q, b) of each step, in the number type of x."""
    number = type(x[0])
    v, w, q = state
    damping = -abs(b_offset)
    if balanced:
        z = dt * omega
        root = torch.sqrt(torch.tensor(number(1) - z * z, dtype=dtype_of(number))).item()  # torch's differs by an ulp
        damping = (-number(1) + number(root)) / dt - abs(b_offset)
    steps = []
    for x_t in x:
        b = damping - q if balanced else damping
        v, w = v + dt * (b * v - omega * w + x_t), w + dt * (omega * v + b * w)
        z = v - threshold - q
        s = number(1 if z >= 0 else 0)
        q = q_decay * q + s if balanced else q
        steps.append((s, v, w, q, z, b))
    return steps


settings_of_a_neuron = st.fixed_dictionaries(
    {
        "omega": st.floats(0.5, 9.5, width=32),
        "b_offset": st.floats(-3, 3, width=32).filter(lambda b: abs(b) > 1e-3),
        "dt": st.sampled_from([0.01, 0.05, 0.1]),
        "v_threshold": st.floats(0.125, 2, width=32),
        "q_decay": st.floats(0, 1, width=32),
        "balanced": st.booleans(),
    }
)
currents = st.lists(st.floats(-60, 100, width=32), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), setting=settings_of_a_neuron, x=currents, step_mode=st.sampled_from("sm"))
def test_raf_follows_its_equations(data, setting, x, step_mode):
    names = ("omega", "b_offset", "dt", "v_threshold", "q_decay", "balanced")
    omega, b_offset, dt, threshold, q_decay, balanced = (setting[name] for name in names)
    weights = st.lists(st.floats(-2, 2, width=32), min_size=len(x), max_size=len(x))
    g_s, g_v_seq = data.draw(weights, label="dL/ds"), data.draw(weights, label="dL/dv")
    init = [0.25, -0.5, 0.125 if balanced else 0.0]
    steps = oscillate(x, init, omega, b_offset, dt, threshold, q_decay, balanced)

    # Backwards, one factor at a time.
    g_x, g_omega, g_b_sum, g_v, g_w, g_q = [0.0] * len(x), 0.0, 0.0, 0.0, 0.0, 0.0
    for t in reversed(range(len(x))):
        _, _, _, _, z, b = steps[t]
        v, w = (init if t == 0 else steps[t - 1][1:4])[:2]
        tail = math.exp(-abs(4 * z))
        g_z = (g_s[t] + g_q) * 4 * tail / (1 + tail) ** 2
        after_v, after_w = g_v + g_v_seq[t] + g_z, g_w
        g_x[t] = dt * after_v
        g_b = dt * (v * after_v + w * after_w)
        g_omega += dt * (v * after_w - w * after_v)
        g_b_sum += g_b
        g_v = after_v * (1 + dt * b) + after_w * dt * omega
        g_w = after_w * (1 + dt * b) - after_v * dt * omega
        g_q = q_decay * g_q - g_z - g_b if balanced else 0.0
    if balanced:
        g_omega += g_b_sum * -dt * omega / math.sqrt(1 - (dt * omega) ** 2)

    node = RAFNode(**setting, step_mode=step_mode, backend="torch", store_v_seq=True)
    leaves = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in init]
    for name, leaf in zip(node.state_names, leaves, strict=False):
        setattr(node, name, leaf)
    x_seq = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    s, v_seq = with_potentials(node, x_seq, step_mode)
    ((s * torch.tensor(g_s)).sum() + (v_seq * torch.tensor(g_v_seq)).sum()).backward()

    assert s.tolist() == [step[0] for step in steps]
    assert v_seq.tolist() == [step[1] for step in steps]
    assert node.w.item() == steps[-1][2]
    close = {"rel": 1e-9, "abs": 1e-9}
    assert x_seq.grad.tolist() == pytest.approx(g_x, **close)
    assert leaves[0].grad.item() == pytest.approx(g_v, **close)
    assert leaves[1].grad.item() == pytest.approx(g_w, **close)
    if balanced:
        assert node.q.item() == steps[-1][3]
        assert leaves[2].grad.item() == pytest.approx(g_q, **close)
    assert node.omega.grad.item() == pytest.approx(g_omega, rel=1e-5, abs=1e-6)
    assert node.b_offset.grad.item() == pytest.approx(-math.copysign(g_b_sum, g_b_sum * b_offset), rel=1e-5, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(setting=settings_of_a_neuron, x=st.lists(st.floats(-60, 100, width=32), min_size=1, max_size=12))
def test_raf_is_exact_in_float32(setting, x):
    f = np.float32
    *numbers, balanced = (setting[name] for name in ("omega", "b_offset", "dt", "v_threshold", "q_decay", "balanced"))
    steps = oscillate([f(value) for value in x], [f(0)] * 3, *map(f, numbers), balanced)
    node = RAFNode(**setting, step_mode="m", backend="torch", store_v_seq=True)
    assert node(torch.tensor(x)).tolist() == [step[0] for step in steps]
    assert torch.equal(node.v_seq, torch.tensor(np.array([step[1] for step in steps])))


@pytest.mark.parametrize("balanced", [True, False])
def test_gradcheck_holds_for_input_states_and_parameters(balanced):
    surrogate = Sigmoid(2.0, spiking=False)
    node = RAFNode(8.0, -0.7, 0.05, balanced=balanced, surrogate_function=surrogate, step_mode="m", store_v_seq=True)

    def values(x: Tensor, omega: Tensor, b_offset: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        for name, state in zip(node.state_names, states, strict=True):
            setattr(node, name, state)
        s = torch.func.functional_call(node, {"omega": omega, "b_offset": b_offset}, (x,))
        return s, node.v_seq, *(getattr(node, name) for name in node.state_names)

    x = random(4, 2, dtype=torch.float64, scale=10.0)
    leaves = [x, torch.tensor(8.0).double(), torch.tensor(-0.7).double()]
    leaves += [random(2, seed=index, dtype=torch.float64) for index in range(len(node.state_names))]
    assert torch.autograd.gradcheck(values, [leaf.requires_grad_() for leaf in leaves])


# --- the dynamics ----------------------------------------------------------------------------------------------------


def test_the_balanced_damping_neither_grows_nor_shrinks_the_oscillation():
    """The paper's divergence boundary: with b = p(omega) one Euler step is a rotation."""
    node = RAFNode(omega=9.0, b_offset=0.0, v_threshold=100.0, step_mode="m", store_v_seq=True)
    node(torch.cat([torch.tensor([[50.0]]), torch.zeros(2000, 1)]).double())
    assert torch.hypot(node.v, node.w).item() == pytest.approx(0.5, rel=1e-9)
    assert node.v_seq.min() < -0.49


def test_without_balance_the_oscillation_grows_unless_damped_more_than_p():
    for b_offset, grows in ((0.4, True), (0.6, False)):  # p(10) = −0.501
        node = RAFNode(10.0, b_offset, balanced=False, v_threshold=100.0, step_mode="m")
        node(torch.cat([torch.tensor([[50.0]]), torch.zeros(1000, 1)]).double())
        assert (torch.hypot(node.v, node.w).item() > 0.5) == grows


def test_a_spike_raises_the_threshold_of_the_next_steps():
    x = torch.tensor([[150.0], [0.0], [0.0]], dtype=torch.float64)
    assert in_steps(RAFNode(b_offset=0.0), x).flatten().tolist() == [1, 0, 0]
    assert in_steps(RAFNode(b_offset=0.0, q_decay=0.0), x).flatten().tolist() == [1, 0, 1]


def test_omega_that_training_drives_beyond_the_balance_stays_finite():
    node = RAFNode(omega=100.0, dt=0.01, step_mode="m")  # dt·omega = 1 is still allowed
    for omega in (100.0, 120.0, -120.0):
        with torch.no_grad():
            node.omega.fill_(omega)
        node.reset(), node.zero_grad()
        (node(drive(4, 3)).sum() + node.v.sum()).backward()
        assert node.v.isfinite().all() and node.omega.grad.isfinite() and node.b_offset.grad.isfinite()
        assert node.step_parameters(torch.float32)[1].item() == pytest.approx(-100 - 1)


# --- one oscillator per channel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 2, 4), (0, 3)])
@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_each_channel_oscillates_at_its_own_frequency(shape, balanced, run):
    node = RAFNode(num_neurons=3, balanced=balanced)
    assert node.omega.shape == node.b_offset.shape == (3,)
    nn.init.uniform_(node.omega, 5, 10)
    nn.init.uniform_(node.b_offset, 0, 3)
    x = drive(5, *shape)
    out = run(node, x)
    (node.v * drive(*shape, seed=1)).sum().backward()
    for channel in range(3):
        single = RAFNode(node.omega[channel].item(), node.b_offset[channel].item(), balanced=balanced)
        assert torch.equal(run(single, x[:, :, channel]), out[:, :, channel])
        (single.v * drive(*shape, seed=1)[:, channel]).sum().backward()
        for name in ("omega", "b_offset"):
            expected, actual = getattr(single, name).grad, getattr(node, name).grad[channel]
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 2, 3)])
def test_an_input_of_other_channels_is_refused(shape):
    node = RAFNode(num_neurons=3)
    text = rf"^block.neuron \(RAFNode\): num_neurons is 3, .* \[N, 3, \*\], got shape \[{', '.join(map(str, shape))}\]"
    with pytest.raises(ValueError, match=text):
        promises.inside_a_model(node)(torch.zeros(shape))
    node.step_mode = "m"
    with pytest.raises(ValueError, match=text):
        promises.inside_a_model(node)(torch.zeros(2, *shape))
    assert isinstance(node.v, float)


def test_what_is_not_learnable_is_a_buffer_that_can_still_be_set():
    for node, learned in ((RAFNode(num_neurons=2), 2), (RAFNode(num_neurons=2, learnable=False), 0)):
        assert len(list(node.parameters())) == learned
        assert list(node.state_dict()) == ["omega", "b_offset"]
        nn.init.uniform_(node.omega, 5, 10)
        assert "omega=" in repr(node) and "…" in repr(node)


# --- what every neuron promises --------------------------------------------------------------------------------------


def test_arguments_have_the_order_and_the_defaults_of_the_specification():
    own = {"omega": 10.0, "b_offset": 1.0, "dt": 0.01, "balanced": True, "q_decay": 0.9}
    own |= {"num_neurons": None, "learnable": True, "v_threshold": 1.0, "surrogate_function": None}
    promises.assert_signature(RAFNode, own | {"step_mode": "s", "backend": "auto", "store_v_seq": False})


NUMBER = "a finite number"
REFUSED = {
    "omega": [(NUMBER, value) for value in promises.NOT_FINITE]
    + [("a number with dt·abs(omega) ≤ 1", value) for value in (101.0, -101.0)],
    "b_offset": [(NUMBER, value) for value in promises.NOT_FINITE],
    "dt": [(NUMBER + " > 0", value) for value in (0, -0.01, *promises.NOT_FINITE)],
    "v_threshold": [(NUMBER, value) for value in promises.NOT_FINITE],
    "q_decay": [(NUMBER + " ≥ 0 and ≤ 1", value) for value in (-0.1, 1.1, *promises.NOT_FINITE)],
    "num_neurons": [("an integer ≥ 1", value) for value in (0, -1, True, 2.0, "2")],
    "balanced": [("True or False", value) for value in promises.NOT_A_FLAG],
    "learnable": [("True or False", value) for value in promises.NOT_A_FLAG],
    "surrogate_function": [("a surrogate module", value) for value in ("ATan", ATan, 1)],
    **promises.REFUSED_SETTINGS,
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_value_is_refused(name):
    for wanted, value in REFUSED[name]:
        promises.assert_refused(RAFNode, name, value, wanted)


def test_only_the_balanced_neuron_bounds_omega_and_ints_are_taken():
    assert RAFNode(200, 1, 1, balanced=False).omega.item() == 200
    assert RAFNode(-100).omega.item() == -100


def test_every_setting_is_printed():
    more = {"learnable": False, "step_mode": "m", "backend": "torch", "store_v_seq": True}
    node = RAFNode(8, 2, 0.02, v_threshold=0.5, q_decay=0.5, surrogate_function=ATan(3), **more)
    shown = "omega=8.0, b_offset=2.0, dt=0.02, balanced=True, q_decay=0.5, num_neurons=None, learnable=False, "
    shown += "v_threshold=0.5, step_mode=m, backend=torch, store_v_seq=True"
    assert shown in repr(node) and "ATan(alpha=3.0" in repr(node) and "v_reset" not in repr(node)
    assert "omega=nan" in repr(RAFNode().to("meta"))
    with torch.no_grad():
        node.omega.fill_(9.0)
    assert "omega=9.0" in repr(node)


def test_only_the_balanced_neuron_has_a_refractory_state():
    assert [name for name, _ in RAFNode().named_memories()] == ["v", "w", "q"]
    assert [name for name, _ in RAFNode(balanced=False).named_memories()] == ["v", "w"]
    assert type(RAFNode().surrogate_function) is Sigmoid
    assert RAFNode().surrogate_function is not RAFNode().surrogate_function
