"""AdLIFNode and SEAdLIFNode: their equations, what sets them apart, and parameters that stay in their ranges."""

from collections.abc import Callable
from typing import Any

import equations
import numpy as np
import pytest
import torch
from equations import Dual, Golden, X, check_golden, drawn, dual, exp
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random

from snntrain.bounded import Bounded
from snntrain.kernel import Plan, plan_for
from snntrain.neuron import AdLIFBaseNode, AdLIFNode, SEAdLIFNode
from snntrain.surrogate import Sigmoid

TAU = {"tau_v": (2.0, 4.0), "tau_w": (10.0, 20.0)}
PLACES = {"tau_v_place": 0.25, "tau_w_place": 0.75, "coupling": 0.6, "jump": 0.5}


def with_places(kind: type[AdLIFBaseNode], **more: Any) -> AdLIFBaseNode:
    node = kind(**TAU, q=5.0, v_threshold=0.2, backend="torch", **more).double()
    with torch.no_grad():
        for name, value in PLACES.items():
            node.get_parameter(name).fill_(value)
    return node


# --- the equations ---------------------------------------------------------------------------------------------------


def retention(low: float, high: float, place: Dual) -> Dual:
    return exp(dual(-1.0) / (low + place * (high - low)))


def ef_adlif(x: Dual, v: Dual, w: Dual, s_prev: Dual, c: Any, *parameters: Dual) -> tuple[Dual, ...]:
    alpha, beta, a, b = retention(2, 4, parameters[0]), retention(10, 20, parameters[1]), *parameters[2:]
    h = alpha * v + (1.0 - alpha) * (x - w)
    s = c.fire(h)
    return s, c.reset(h, s), beta * w + (1.0 - beta) * (a * v + b * s_prev) * c.q, s


def se_adlif(x: Dual, v: Dual, w: Dual, c: Any, *parameters: Dual) -> tuple[Dual, ...]:
    alpha, beta, a, b = retention(2, 4, parameters[0]), retention(10, 20, parameters[1]), *parameters[2:]
    h = alpha * v + (1.0 - alpha) * (x - w)
    s = c.fire(h)
    v = c.reset(h, s)
    return s, v, beta * w + (1.0 - beta) * (a * v + b * s) * c.q


inside = st.floats(0.05, 0.95)


@pytest.mark.parametrize(
    "kind, form, problems", [(AdLIFNode, ef_adlif, drawn(3)), (SEAdLIFNode, se_adlif, drawn(2))], ids=["EF", "SE"]
)
@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    places=st.tuples(inside, inside, inside, inside),
    q=st.floats(0.5, 20),
    v_reset=equations.resets,
    detach=st.booleans(),
)
def test_adlif_follows_its_equations(kind, form, problems, data, places, q, v_reset, detach):
    problem = data.draw(problems)
    constants = {"q": q, "v_reset": v_reset, "detach_reset": detach}
    equations.check_equations(
        lambda: kind(**TAU, **constants, **problem.common()),
        form,
        constants,
        problem,
        dict(zip(PLACES, places, strict=True)),
        exact=False,
    )


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize(
    "kind, v, g, states, extra",
    [
        (
            AdLIFNode,
            [0.16484, 0, -0.107959, 0, 0, -0.0556693],
            [0.0838623, 0.22884, 0.799414, 0.540561, 1.31719, 1.88325],
            {"w": 0.392778, "s_prev": 0.0},
            [-1.14096, 0.416809, -0.0935625, -1.48508],
        ),
        (
            SEAdLIFNode,
            [0.16484, 0, -0.153233, 0, 0, -0.0943046],
            [0.102837, 0.246157, 0.728613, 0.556247, 1.3364, 1.77683],
            {"w": 0.348894},
            [-0.930992, 0.638628, -0.0369142, -2.42555],
        ),
    ],
    ids=["EF", "SE"],
)
def test_adlif_gives_the_golden_numbers(kind, v, g, states, extra, step_mode):
    gradients = dict(zip(PLACES, extra, strict=True))
    check_golden(Golden(lambda: with_places(kind), [0, 1, 0, 1, 1, 0], v, g, states, gradients), step_mode)


@pytest.mark.parametrize("kind", [AdLIFNode, SEAdLIFNode])
@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_every_channel_has_parameters_of_its_own(kind, run):
    """A plain loop over numbers in float64, channel by channel."""
    node = kind(**TAU, q=8.0, channels=3, v_threshold=0.2).double()
    x = random(12, 4, 3, 5, dtype=torch.float64, scale=2.0)
    out = run(node, x)
    assert all(node.get_parameter(name).shape == (3,) for name in PLACES)
    for c in range(3):
        place_v, place_w, a, b = (node.get_parameter(name)[c].item() for name in PLACES)
        alpha, beta = np.exp(-1 / (2 + 2 * place_v)), np.exp(-1 / (10 + 10 * place_w))
        v = w = s = np.zeros((4, 5))
        for t, x_t in enumerate(x[:, :, c].numpy()):
            before, s_before = v, s
            h = alpha * v + (1 - alpha) * (x_t - w)
            s = (h >= 0.2).astype(float)
            v = h * (1 - s)
            drive = a * before + b * s_before if kind is AdLIFNode else a * v + b * s
            w = beta * w + (1 - beta) * drive * 8.0
            assert np.array_equal(out[t, :, c].detach().numpy(), s)
        np.testing.assert_allclose(node.v[:, c].detach().numpy(), v, rtol=1e-12, atol=1e-14)
    assert 0.05 < out.mean() < 0.5


@pytest.mark.parametrize("kind", [AdLIFNode, SEAdLIFNode])
def test_gradcheck_holds_for_input_initial_states_and_parameters(kind):
    node = kind(**TAU, q=5.0, channels=2, v_threshold=0.2, surrogate_function=Sigmoid(2.0, spiking=False))
    equations.check_gradients_numerically(node, node.state_names, (4, 3, 2))


def test_strong_coupling_makes_the_forward_euler_form_diverge_and_not_the_symplectic_one():
    """Fig. 3 of the paper: tau_v 25, tau_w 60, coupling 120, a kick and no spikes."""
    x = torch.zeros(400, 1)
    x[0] = 1.0

    def highest(kind: type[AdLIFBaseNode]) -> float:
        fixed = {"tau_v": (25.0, 25.0), "tau_w": (60.0, 60.0), "a": (1.0, 1.0), "b": (0.0, 0.0)}
        node = kind(**fixed, q=120.0, v_threshold=1e9, step_mode="m", backend="torch", store_v_seq=True)
        node(x)
        return node.v_seq[-60:].abs().max().item() / node.v_seq[:60].abs().max().item()

    assert highest(AdLIFNode) > 1 > 1e-2 > highest(SEAdLIFNode)


# --- ranges ----------------------------------------------------------------------------------------------------------


def test_parameters_start_in_their_ranges_and_are_buffers_if_they_are_not_learned():
    torch.manual_seed(0)
    node = SEAdLIFNode(a=(0.5, 0.75), b=(2.0, 2.0), channels=500)
    for name, (low, high) in {"tau_v_place": (0, 1), "tau_w_place": (0, 1), "coupling": (0.5, 0.75)}.items():
        values = node.get_parameter(name)
        assert low <= values.min() < low + 0.02 and high - 0.02 < values.max() <= high
    assert torch.equal(node.jump, torch.full((500,), 2.0))
    fixed = SEAdLIFNode(learnable=False)
    assert list(fixed.parameters()) == [] and list(dict(fixed.named_buffers())) == list(PLACES)


def test_beyond_a_bound_the_bound_counts_and_gradients_lead_back_only():
    value = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    assert Bounded.apply(value, 0.0, 1.0).tolist() == [0, 0, 0.5, 1, 1]
    (raised,) = torch.autograd.grad(Bounded.apply(value, 0.0, 1.0).sum(), value)
    (lowered,) = torch.autograd.grad(-Bounded.apply(value, 0.0, 1.0).sum(), value)
    assert raised.tolist() == [0, 0, 1, 1, 1]  # a descent makes the value smaller
    assert lowered.tolist() == [-1, -1, -1, 0, 0]


def test_training_neither_leaves_a_range_nor_is_stuck_at_its_edge():
    node = SEAdLIFNode(**TAU, q=5.0, v_threshold=0.2, step_mode="m", backend="torch")
    optimizer = torch.optim.SGD([node.jump], lr=5.0)

    def train(wanted: float) -> None:
        for _ in range(60):
            optimizer.zero_grad()
            node.reset()
            loss: torch.Tensor = (node(torch.tensor(X).repeat(3)[:, None]).mean() - wanted) ** 2
            loss.backward()
            optimizer.step()

    train(1.0)
    assert node.step_parameters(torch.float32)[3] == 0.0 and node.jump <= 0.0
    train(-1.0)
    assert node.jump > 0.1


@pytest.mark.parametrize("make", [AdLIFNode, SEAdLIFNode, lambda: SEAdLIFNode(channels=3)])
def test_a_kernel_can_be_made_of_it(make: Callable[[], AdLIFBaseNode]):
    assert isinstance(plan_for(make(), torch.zeros(2, 3)), Plan)
