"""TCLIFNode and DHLIFNode: their equations, and the branches of the latter."""

import math
from typing import Any

import equations
import numpy as np
import pytest
import torch
from equations import Dual, Golden, check_golden, drawn, sigmoid
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random

from snntrain import functional
from snntrain.kernel import Plan, plan_for
from snntrain.neuron import DHLIFNode, TCLIFNode
from snntrain.surrogate import Sigmoid


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# --- TC-LIF ----------------------------------------------------------------------------------------------------------


def tc_lif(x: Dual, v: Dual, d: Dual, c: Any, c1: Dual, c2: Dual) -> tuple[Dual, ...]:
    d = d - sigmoid(c1) * v + x
    h = v + sigmoid(c2) * d
    s = c.fire(h)
    return s, h - c.v_threshold * c.gate(s), d - c.gamma * c.gate(s)


@settings(max_examples=25, deadline=None)
@given(
    problem=drawn(2),
    c1=st.floats(-3, 3),
    c2=st.floats(-3, 3),
    gamma=st.floats(0, 2),
    detach=st.booleans(),
)
def test_tc_lif_follows_its_equations(problem, c1, c2, gamma, detach):
    equations.check_equations(
        lambda: TCLIFNode(gamma=gamma, detach_reset=detach, **problem.common()),
        tc_lif,
        {"gamma": gamma, "detach_reset": detach},
        problem,
        {"c1": c1, "c2": c2},
        exact=False,
    )


def compartments() -> TCLIFNode:
    node = TCLIFNode(backend="torch").double()
    with torch.no_grad():
        node.c1.fill_(logit(0.4)), node.c2.fill_(logit(0.6))
    return node


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_tc_lif_gives_the_golden_numbers(step_mode):
    case = Golden(
        compartments,
        [0, 1, 0, 1, 1, 1],
        [0.3, 0.248, 0.65648, 1.1074, 1.53255, 1.34989],
        [2.57832, 2.80257, 2.34965, 1.49088, 1.17057, 0.653737],
        states={"d": 0.862225},
        extra={"c1": -1.1281, "c2": 1.63234},
    )
    check_golden(case, step_mode)


def test_the_couplings_start_at_their_arguments():
    node = TCLIFNode(-0.2, 0.9)
    assert [p.item() for p in node.step_parameters(torch.float32)] == pytest.approx([0.2, 0.9])


# --- DH-LIF ----------------------------------------------------------------------------------------------------------


def one_branch(x: Dual, v: Dual, d: Dual, c: Any, tau_m: Dual, tau_n: Dual) -> tuple[Dual, ...]:
    alpha, beta = sigmoid(tau_m), sigmoid(tau_n)
    d = beta * d + (1.0 - beta) * x
    h = v + ((1.0 - alpha) * d if c.decay_input else d)
    s = c.fire(h)
    return s, alpha * h - c.v_threshold * c.gate(s), d


@settings(max_examples=25, deadline=None)
@given(
    problem=drawn(2), tau_m=st.floats(-3, 3), tau_n=st.floats(-3, 3), detach=st.booleans(), decay_input=st.booleans()
)
def test_a_branch_follows_its_equations(problem, tau_m, tau_n, detach, decay_input):
    constants = {"detach_reset": detach, "decay_input": decay_input}
    equations.check_equations(
        lambda: DHLIFNode(1, **constants, **problem.common()),
        one_branch,
        constants,
        problem,
        {"tau_m": tau_m, "tau_n": tau_n},
        exact=False,
    )


def two_branches(**more: Any) -> DHLIFNode:
    node = DHLIFNode(2, v_threshold=0.3, backend="torch", **more).double()
    with torch.no_grad():
        node.tau_m.fill_(logit(0.5))
        node.tau_n.copy_(torch.tensor([logit(0.75), logit(0.25)]))
    return node


@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_dh_lif_gives_the_golden_numbers(run):
    node = two_branches()
    x = torch.tensor([[0.5, 1.2, -0.3, 2.0, 0.9, 0.1], [1.0, -0.5, 0.8, 0.0, 1.5, 0.4]], dtype=torch.float64)
    x = x.T.unsqueeze(1).requires_grad_()  # [T, N, branches]
    s = run(node, x)
    ((torch.arange(1, 7) * s.flatten()).sum() + node.v.sum()).backward()
    assert s.flatten().tolist() == [1, 0, 1, 1, 1, 1]
    assert [node.v.item(), node.d0.item(), node.d1.item()] == pytest.approx([0.0374695, 0.567944, 0.589893], rel=6e-6)
    gradients = [1.20748, 0.926858, 1.36061, 1.46314, 1.38681, 2.00653]
    gradients += [1.20158, 2.19863, 0.8155, 1.71505, 0.487633, 1.4629]
    assert x.grad.flatten().tolist() == pytest.approx(gradients, rel=6e-6)
    learned = [node.tau_m.grad.item(), *node.tau_n.grad.tolist()]
    assert learned == pytest.approx([-2.99981, -2.34745, -0.271877], rel=6e-6)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 2), (4, 6, 2, 3), (0, 6)])
@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_every_channel_and_branch_leaks_at_a_rate_of_its_own(shape, run):
    """A plain loop over numbers in float64; branch b of channel c is fed by channel b·2 + c."""
    node = DHLIFNode(3, 2, (-1.0, 1.0), (-1.0, 1.0), v_threshold=0.2).double()
    x = random(8, *shape, dtype=torch.float64, scale=2.0)
    out = run(node, x)
    assert out.shape == (8, shape[0], 2, *shape[2:]) and node.tau_m.shape == (2,) and node.tau_n.shape == (3, 2)
    for c in range(2):
        alpha = 1 / (1 + math.exp(-node.tau_m[c].item()))
        betas = [1 / (1 + math.exp(-node.tau_n[b, c].item())) for b in range(3)]
        v, d = np.zeros((shape[0], *shape[2:])), [np.zeros((shape[0], *shape[2:]))] * 3
        for t in range(8):
            d = [beta * d[b] + (1 - beta) * x[t, :, 2 * b + c].numpy() for b, beta in enumerate(betas)]
            h = v + (1 - alpha) * (d[0] + d[1] + d[2])
            s = (h >= 0.2).astype(float)
            v = alpha * h - 0.2 * s
            assert np.array_equal(out[t, :, c].detach().numpy(), s)
        np.testing.assert_allclose(node.v[:, c].detach().numpy(), v, rtol=1e-12, atol=1e-14)
    if out.numel():
        assert 0.05 < out.mean() < 0.6


def test_gradcheck_holds_for_branches():
    node = DHLIFNode(2, 3, v_threshold=0.3, step_mode="m", surrogate_function=Sigmoid(2.0, spiking=False)).double()
    node.backend = "torch"
    x = random(4, 2, 6, dtype=torch.float64).requires_grad_()
    states = [random(2, 3, seed=n, dtype=torch.float64).requires_grad_() for n in range(3)]

    def run(x: torch.Tensor, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        node.reset()
        node.v, node.d0, node.d1 = values[:3]
        named = dict(zip(("tau_m", "tau_n"), values[3:], strict=True))
        return torch.func.functional_call(node, named, (x,)), node.v, node.d0, node.d1

    assert torch.autograd.gradcheck(run, (x, *states, *(p.detach().requires_grad_() for p in node.parameters())))


def test_branches_are_carried_over_chunks_and_reset():
    node = two_branches(step_mode="m", store_v_seq=True)
    x = random(6, 3, 4, dtype=torch.float64)
    whole, v_seq = node(x), node.v_seq
    functional.reset_net(node)
    parts = torch.cat([node(x[:2]), node(x[2:])])
    assert torch.equal(whole, parts) and v_seq.shape == (6, 3, 2)
    before = functional.get_states(node)
    assert {name: tuple(value.shape) for name, value in before.items()} == dict.fromkeys(("v", "d0", "d1"), (3, 2))
    with pytest.raises(RuntimeError, match=r"state v has shape \[3, 2\], .*reset_net"):
        node(x[:, :2])


def test_an_input_that_its_branches_cannot_share_is_refused():
    with pytest.raises(
        ValueError, match=r"^DHLIFNode: channels is 2 and branches is 3, .* \[N, 6, \*\], got shape \[4,"
    ):
        DHLIFNode(3, 2)(torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"^DHLIFNode: branches is 3, .* a multiple of 3 channels, got shape \[4, 5\]"):
        DHLIFNode(3)(torch.zeros(4, 5))


@pytest.mark.parametrize("node", [TCLIFNode(), DHLIFNode(1), DHLIFNode(2, 3)], ids=["TC-LIF", "one", "two"])
def test_a_kernel_can_be_made_of_it(node):
    assert isinstance(plan_for(node, torch.zeros(2, 6)), Plan)
