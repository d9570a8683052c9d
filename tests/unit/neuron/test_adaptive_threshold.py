"""ALIFNode and CELIFNode: their equations, and what their thresholds do."""

import math
from functools import partial
from typing import Any

import equations
import numpy as np
import pytest
import torch
from equations import Dual, Golden, X, check_golden, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random

from snntrain import functional
from snntrain.kernel import Plan, plan_for
from snntrain.neuron import ALIFNode, CELIFNode
from snntrain.surrogate import Sigmoid

# --- ALIF ------------------------------------------------------------------------------------------------------------


def alif(x: Dual, v: Dual, a: Dual, c: Any) -> tuple[Dual, ...]:
    h = v + x
    s = c.theta(h - (c.v_threshold + c.beta * a))
    return s, c.kept * h - c.v_threshold * c.gate(s), c.kept_a * a + s


@settings(max_examples=40, deadline=None)
@given(
    problem=drawn(2),
    tau=st.floats(0.5, 50, width=32),
    tau_a=st.floats(1, 300, width=32),
    beta=st.floats(0, 2, width=32),
    detach=st.booleans(),
)
def test_alif_follows_its_equations_in_float64_and_float32(problem, tau, tau_a, beta, detach):
    constants = {"kept": math.exp(-1 / tau), "kept_a": math.exp(-1 / tau_a), "beta": beta, "detach_reset": detach}
    equations.check_in_both_precisions(
        lambda: ALIFNode(tau, tau_a, beta, detach_reset=detach, **problem.common()), alif, constants, problem
    )


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_alif_gives_the_golden_numbers(step_mode):
    case = Golden(
        partial(ALIFNode, 5.0, 10.0, 0.5),
        [0, 1, 0, 1, 0, 0],
        [0.409365, 0.317637, 0.0144399, 0.649284, 1.26845, 1.12039],
        [0.620855, 1.30667, 1.92887, 2.3619, 2.9948, 3.22286],
        states={"a": 1.48905},
    )
    check_golden(case, step_mode)


def test_alif_fires_less_the_longer_it_is_driven_and_is_lif_without_adaptation():
    x = torch.full((200, 1), 0.5)
    adapting, plain = (ALIFNode(10.0, 50.0, beta, step_mode="m", backend="torch")(x) for beta in (0.5, 0.0))
    assert adapting[150:].sum() < 0.7 * adapting[:50].sum()
    assert plain[150:].sum() == pytest.approx(plain[:50].sum().item(), abs=1)


# --- CE-LIF ----------------------------------------------------------------------------------------------------------


def embedded(T: int = 6, channels: int | None = None, **more: Any) -> CELIFNode:
    return CELIFNode(T, channels, v_threshold=0.5, backend="torch", **more).double()


@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_celif_gives_the_golden_numbers(run):
    node = embedded()
    with torch.no_grad():
        node.embedding[:, 0] = torch.tensor([0.1, -0.2, 0.3, 0.05, -0.4, 0.2])
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    s = run(node, x)
    ((torch.arange(1, 7) * s).sum() + node.v).backward()
    assert s.tolist() == [1, 1, 0, 1, 1, 0]
    assert (node.v.item(), node.h.item()) == pytest.approx((0.1, 0.1))
    assert node.theta.item() == pytest.approx(0.186986, abs=6e-7)
    assert x.grad.tolist() == pytest.approx([2.61402, -1.60195, 1.16742, 2.55111, -0.942962, 6.72497], rel=6e-6)
    expected = [0, -3.03384, -7.19027, 1.77671, -10.7531, -5.15247]
    assert node.embedding.grad[:, 0].tolist() == pytest.approx(expected, rel=6e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
def test_celif_follows_its_equations_for_each_step_and_channel(dtype, v_reset):
    """A plain loop over numbers, in the order of the equations."""
    T, channels, decay, beta = 9, 3, 0.75, 0.125
    node = CELIFNode(T, channels, decay, beta, v_threshold=0.5, v_reset=v_reset).to(dtype)
    with torch.no_grad():
        node.embedding.normal_(0.0, 0.5)
    x = random(T, 4, channels, 5, dtype=dtype, scale=2.0)
    number = np.float32 if dtype == torch.float32 else np.float64
    E, values = node.embedding.detach().numpy(), x.numpy()
    v, h, theta = (np.full(values.shape[1:], start, number) for start in (v_reset or 0.0, 0.0, 0.5))
    spikes = []
    for t in range(T):
        theta = theta + h * E[t][:, None] - number(beta) * (theta - number(0.5))
        h = number(decay) * v + values[t]
        s = (h - theta >= 0).astype(number)
        v = h - s * number(0.5) if v_reset is None else np.where(s > 0, number(v_reset), h)
        spikes.append(s)
    for run in (in_steps, in_chunks, lambda node, x: in_chunks(node, x, [2, 3, 4])):
        node.reset()
        out = run(node, x)
        assert torch.equal(out, torch.from_numpy(np.stack(spikes))) and 0.1 < out.mean() < 0.9
        for name, expected in {"v": v, "h": h, "theta": theta}.items():
            assert np.array_equal(getattr(node, name).detach().numpy(), expected), name
        assert node.t == T


@pytest.mark.parametrize("channels, shape", [(None, (4, 3)), (2, (4, 3, 2))])
def test_gradcheck_of_celif_holds_for_input_initial_states_and_embedding(channels, shape):
    node = CELIFNode(5, channels, v_threshold=0.5, surrogate_function=Sigmoid(2.0, spiking=False))
    equations.check_gradients_numerically(node, node.state_names, shape)


def test_celif_takes_as_many_steps_as_it_has_embeddings_and_the_channels_it_was_made_for():
    node = CELIFNode(5, 3, step_mode="m", backend="torch")
    assert node.embedding.shape == (5, 3) and CELIFNode(5).embedding.shape == (5, 1)
    node(torch.zeros(3, 2, 3))
    with pytest.raises(ValueError, match=r"^CELIFNode: T is 5, but 3 steps .* 3 more .*reset_net"):
        node(torch.zeros(3, 2, 3))
    functional.reset_net(node)
    node(torch.zeros(5, 2, 3))
    with pytest.raises(ValueError, match=r"^CELIFNode: channels is 3, .* \[N, 3, \*\], got shape \[2, 4\]"):
        CELIFNode(5, 3)(torch.zeros(2, 4))


def test_embeddings_are_drawn_by_torchs_generator_around_a_hundredth():
    torch.manual_seed(0)
    values = CELIFNode(100, 50).embedding.detach()
    assert [values.mean().item(), values.std().item()] == pytest.approx([0.01, 0.01], abs=5e-4)


@pytest.mark.parametrize("node", [ALIFNode(), CELIFNode(4), CELIFNode(4, 3)], ids=["ALIF", "CE-LIF", "channels"])
def test_a_kernel_can_be_made_of_it(node):
    assert isinstance(plan_for(node, torch.zeros(2, 3)), Plan)
