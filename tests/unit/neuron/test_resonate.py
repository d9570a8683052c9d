"""RAFNode: its equations, its dynamics, and an oscillator per channel."""

import math
from typing import Any

import equations
import numpy as np
import promises
import pytest
import torch
from equations import Dual, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random
from torch import Tensor, nn

from snntrain.neuron.resonate import RAFNode
from snntrain.surrogate import Sigmoid


def drive(*shape: int, **more: Any) -> Tensor:
    """Inputs strong enough for some spikes at dt = 0.01."""
    return random(*shape, scale=60.0, **more)


# --- the equations ---------------------------------------------------------------------------------------------------


def sqrt(z: Dual) -> Dual:
    dtype = torch.float32 if isinstance(z.value, np.float32) else torch.float64
    root = type(z.value)(torch.sqrt(torch.tensor(z.value, dtype=dtype)).item())  # numpy's differs by an ulp
    return z.through(root, 0.5 / float(root))


def raf(x: Dual, v: Dual, w: Dual, *others: Any) -> tuple[Dual, ...]:
    """In the balanced form the refractory q is a state too."""
    *q, c, omega, b_offset = others
    below = b_offset.through(abs(b_offset.value), math.copysign(1.0, b_offset.value))
    b = 0.0 - below
    if q:
        z = c.dt * omega
        b = (sqrt(1.0 - z * z) - 1.0) / c.dt - below - q[0]
    v, w = v + c.dt * (b * v - omega * w + x), w + c.dt * (omega * v + b * w)
    if not q:
        return c.fire(v), v, w
    s = c.theta(v - c.v_threshold - q[0])
    return s, v, w, c.q_decay * q[0] + s


currents = st.floats(-60, 100, width=32)


@pytest.mark.parametrize("balanced, problems", [(True, drawn(3, currents)), (False, drawn(2, currents))])
@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    omega=st.floats(0.5, 9.5, width=32),
    b_offset=st.floats(-3, 3, width=32).filter(lambda b: abs(b) > 1e-3),
    dt=st.sampled_from([0.01, 0.05, 0.1]),
    q_decay=st.floats(0, 1, width=32),
)
def test_raf_follows_its_equations_in_float64_and_float32(balanced, problems, data, omega, b_offset, dt, q_decay):
    problem, constants = data.draw(problems), {"dt": dt, "q_decay": q_decay}
    for check in (equations.check_equations, equations.check_float32):
        check(
            lambda: RAFNode(**constants, balanced=balanced, **problem.common()),
            raf,
            constants,
            problem,
            {"omega": omega, "b_offset": b_offset},
        )


@pytest.mark.parametrize("balanced", [True, False])
def test_gradcheck_holds_for_input_states_and_parameters(balanced):
    node = RAFNode(8.0, -0.7, 0.05, balanced=balanced, surrogate_function=Sigmoid(2.0, spiking=False))
    equations.check_gradients_numerically(node, node.state_names)


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


def test_only_the_balanced_neuron_bounds_omega_and_ints_are_taken():
    assert RAFNode(200, 1, 1, balanced=False).omega.item() == 200
    assert RAFNode(-100).omega.item() == -100


def test_only_the_balanced_neuron_has_a_refractory_state():
    assert [name for name, _ in RAFNode().named_memories()] == ["v", "w", "q"]
    assert [name for name, _ in RAFNode(balanced=False).named_memories()] == ["v", "w"]


def test_the_present_frequency_is_printed():
    node = RAFNode(8)
    with torch.no_grad():
        node.omega.fill_(9.0)
    assert "omega=9.0" in repr(node) and "omega=nan" in repr(RAFNode().to("meta"))
