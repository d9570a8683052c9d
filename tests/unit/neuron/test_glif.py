"""GatedLIFNode: golden numbers, equations, channels, and the number of steps it was made for."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from equations import ROUNDED, SURROGATES, Constants, Dual, X, check_gradients_numerically, numbers, sigmoid
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random
from torch import Tensor, nn

from snntrain import functional
from snntrain.neuron.glif import GatedLIFNode
from snntrain.surrogate import Sigmoid

SCALARS = ["alpha", "beta", "gamma", "tau", "v_threshold", "linear_decay", "v_subreset"]


def logit(p: float) -> float:
    return math.log(p / (1 - p))


@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_neuron_gives_the_golden_numbers(run):
    node = GatedLIFNode(6)
    with torch.no_grad():
        for gate in (node.alpha, node.beta, node.gamma):
            gate.zero_()
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    u = []
    node.step_mode = "s"
    for x_t in x:
        node(x_t)
        u.append(node.u.item())
    assert u == pytest.approx([0.354167, 1.100521, -0.151921, 1.384216, 0.836734, 0.065646], rel=0, abs=6e-7)
    node.reset()
    s = run(node, x)
    ((torch.arange(1, 7) * s).sum() + node.u).backward()
    assert s.tolist() == [0, 1, 0, 1, 1, 0]
    assert x.grad.tolist() == pytest.approx([0.865709, 0.600177, 1.08949, 0.896867, 2.38807, 3.04048], **ROUNDED)


# --- the equations ---------------------------------------------------------------------------------------------------


def glif(x: list, u: Dual, s: Dual, raw: list[Dual], theta: Callable[[Dual], Dual]) -> tuple[list[Dual], Dual, Dual]:
    """Spikes and last states; raw holds SCALARS, then conduct."""
    alpha, beta, gamma, tau, v_threshold, linear_decay, v_subreset, *conduct = map(sigmoid, raw)
    spikes = []
    for x_t, conduct_t in zip(x, conduct, strict=False):
        u = (
            (1.0 - alpha * (1.0 - tau)) * u * (1.0 - gamma * s)
            - (1.0 - alpha) * linear_decay
            - (1.0 - gamma) * v_subreset * s
            + x_t * (1.0 - beta * (1.0 - conduct_t))
        )
        s = theta(u - v_threshold)
        spikes.append(s)
    return spikes, u, s


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), spare=st.integers(0, 2))
def test_glif_follows_its_equations_in_every_gradient(data, sizes, spare):
    steps, T = sum(sizes), sum(sizes) + spare

    def sequence(length: int, elements: st.SearchStrategy, label: str) -> list[float]:
        return data.draw(st.lists(elements, min_size=length, max_size=length), label=label)

    x, g = sequence(steps, numbers, "x"), sequence(steps, numbers, "dL/ds")
    u_init, s_init, g_u, g_s = sequence(4, numbers, "u, s_prev and their gradients")
    raw = sequence(len(SCALARS) + T, st.floats(-3, 3), "raw parameters")
    name, alpha = data.draw(st.sampled_from(sorted(SURROGATES))), data.draw(st.floats(0.5, 5), label="alpha")
    surrogate, slope = SURROGATES[name]

    leaves = [*x, u_init, s_init, *raw]
    duals = [Dual(value, row) for value, row in zip(leaves, np.eye(len(leaves)), strict=True)]
    table = Constants(lambda z: slope(z, alpha))
    spikes, u, s = glif(duals[:steps], *duals[steps : steps + 2], duals[steps + 2 :], table.theta)
    loss = sum((w * y for w, y in zip([*g, g_u, g_s], [*spikes, u, s], strict=True)), Dual(0.0))

    for run in (in_steps, in_chunks, lambda node, x: in_chunks(node, x, sizes)):
        node = GatedLIFNode(T, surrogate_function=surrogate(alpha)).double()
        values = dict(zip(SCALARS, raw, strict=False)) | {"conduct": raw[len(SCALARS) :]}
        with torch.no_grad():
            for key, value in values.items():
                node.get_parameter(key).copy_(torch.tensor(value, dtype=torch.float64))
        inputs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        states = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (u_init, s_init)]
        node.u, node.s_prev = states
        out = run(node, inputs)
        total = (out * torch.tensor(g, dtype=torch.float64)).sum() + g_u * node.u + g_s * node.s_prev
        gradients = torch.autograd.grad(total, [inputs, *states, *(node.get_parameter(key) for key in values)])
        assert out.tolist() == [y.value for y in spikes] and node.s_prev.item() == s.value
        assert node.u.item() == pytest.approx(u.value, rel=1e-12, abs=1e-12)
        actual = torch.cat([gradient.reshape(-1) for gradient in gradients])
        assert actual.tolist() == pytest.approx(loss.gradient.tolist(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("inplane, shape", [(None, (4, 3)), (2, (4, 3, 2))])
def test_gradcheck_holds_for_input_initial_states_and_all_parameters(inplane, shape):
    node = GatedLIFNode(5, inplane, surrogate_function=Sigmoid(2.0, spiking=False))
    check_gradients_numerically(node, ["u", "s_prev"], shape)


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inplane, channels", [(None, []), (1, [1]), (5, [5])])
def test_parameters_have_one_value_per_layer_or_channel_and_step(inplane, channels):
    node = GatedLIFNode(3, inplane)
    shapes = {name: list(parameter.shape) for name, parameter in node.named_parameters()}
    assert shapes == {**dict.fromkeys(SCALARS, channels), "conduct": [3, *channels]}
    assert list(node.state_dict()) == [*SCALARS, "conduct"] and list(node.buffers()) == []
    assert all(isinstance(parameter, nn.Parameter) for parameter in node.parameters())


def test_parameters_start_at_the_logits_of_the_arguments():
    def start(**arguments: float) -> dict[str, float]:
        return {name: p.flatten()[0].item() for name, p in GatedLIFNode(4, **arguments).named_parameters()}

    values = start()
    expected = {"tau": 0.25, "v_threshold": 0.5, "linear_decay": 0.5 / 8, "v_subreset": 0.5, "conduct": 0.5}
    assert {n: values[n] for n in expected} == pytest.approx({n: logit(p) for n, p in expected.items()}, abs=1e-6)
    values = start(init_v_threshold=0.8)
    expected = {"v_threshold": 0.8, "linear_decay": 0.1, "v_subreset": 0.8}
    assert {n: values[n] for n in expected} == pytest.approx({n: logit(p) for n, p in expected.items()}, abs=1e-6)
    values = start(init_linear_decay=0.3, init_v_subreset=0.7, init_tau=0.9, init_conduct=0.6)
    expected = {"linear_decay": 0.3, "v_subreset": 0.7, "tau": 0.9, "conduct": 0.6}
    assert {n: values[n] for n in expected} == pytest.approx({n: logit(p) for n, p in expected.items()}, abs=1e-6)


def test_gates_are_drawn_by_torchs_generator():
    def gates(torch_seed: int, numpy_seed: int) -> Tensor:
        torch.manual_seed(torch_seed)
        np.random.seed(numpy_seed)
        node = GatedLIFNode(2, 200)
        return torch.stack([node.alpha, node.beta, node.gamma]).detach()

    assert torch.equal(gates(1, 1), gates(1, 2)) and not torch.equal(gates(1, 1), gates(2, 1))
    drawn = gates(3, 3)
    assert drawn.unique().numel() > 590 and drawn.abs().max() <= 0.1
    assert drawn.min() < -0.09 and drawn.max() > 0.09 and drawn.mean().abs() < 0.01


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 2, 5), (0, 3, 2)])
@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_channels_have_a_neuron_of_their_own_at_any_rank(run, shape):
    torch.manual_seed(0)
    node = GatedLIFNode(5, 3)
    with torch.no_grad():
        for parameter in node.parameters():
            parameter.uniform_(-1.0, 1.0)
    x = random(5, *shape)
    out = run(node, x)
    for channel in range(3):
        single = GatedLIFNode(5)
        single.load_state_dict({name: value[..., channel] for name, value in node.state_dict().items()})
        assert torch.equal(out[:, :, channel], run(single, x[:, :, channel]))
        assert torch.equal(node.u[:, channel], single.u) and torch.equal(node.s_prev[:, channel], single.s_prev)


@pytest.mark.parametrize("shape", [(), (3,), (4, 2), (4, 1, 5), (3, 4, 5)])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_an_input_without_these_channels_is_refused(shape, step_mode):
    node = GatedLIFNode(5, 3, step_mode=step_mode)
    x = torch.zeros(shape if step_mode == "s" else (2, *shape))
    with pytest.raises(ValueError, match=r"^GatedLIFNode: inplane is 3, .* \[N, 3, \*\], got ") as error:
        node(x)
    assert str(list(shape)) in str(error.value) and node.t == 0


# --- T ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[6], [2, 4], [5, 1], [1, 1, 1, 1, 1, 1], [4, 2]])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_step_beyond_T_is_an_error_that_names_reset(step_mode, sizes):
    node = GatedLIFNode(5, step_mode=step_mode)
    model = nn.Sequential(node)

    def run(size: int) -> None:
        for x in [torch.ones(2)] * size if step_mode == "s" else [torch.ones(size, 2)]:
            model(x)

    *fitting, last = sizes
    for size in fitting:
        run(size)
    with pytest.raises(ValueError, match=r"^0 \(GatedLIFNode\): T is 5, but .* reset\(\)"):
        run(last)
    functional.reset_net(model)
    assert node.t == 0
    run(5)


def test_a_refused_sequence_leaves_the_states_alone():
    node = GatedLIFNode(4)
    node(random(3, 2))
    before = functional.get_states(node)
    with pytest.raises(ValueError):
        node(random(2, 2))
    after = functional.get_states(node)
    assert before["t"] == after["t"] == 3
    assert torch.equal(before["u"], after["u"]) and torch.equal(before["s_prev"], after["s_prev"])


def test_a_shorter_sequence_takes_the_first_input_weights():
    node, x = GatedLIFNode(6), random(6, 3, dtype=torch.float64)
    with torch.no_grad():
        node.conduct.copy_(torch.linspace(-3, 3, 6))
    first = node(x[:2])
    node.reset()
    assert torch.equal(node(x)[:2], first)
    node.reset()
    (gradient,) = torch.autograd.grad(node(x[:2]).sum(), node.conduct)
    assert gradient[:2].abs().min() > 0 and gradient[2:].abs().max() == 0


def test_state_is_potential_last_spike_and_step():
    node = GatedLIFNode(4, step_mode="s")
    assert dict(node.named_memories()) == {"u": 0.0, "s_prev": 0.0, "t": 0}
    s = node(torch.tensor([9.0, -9.0]))
    assert node.t == 1 and torch.equal(node.s_prev, s) and s.tolist() == [1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("inplane", [3, pytest.param(None, marks=pytest.mark.slow)])
def test_every_parameter_gets_the_loops_gradient_from_the_kernel(inplane):
    fused, looped = (GatedLIFNode(9, inplane, backend=backend) for backend in ("fused", "torch"))
    looped.load_state_dict(fused.state_dict())
    found = []
    for node in (fused, looped):
        x = (2.0 * random(7, 4, 3, 5)).requires_grad_()
        s = torch.cat([node(x[:2]), node(x[2:])])
        found.append((s, node.u, *torch.autograd.grad((s * random(*s.shape, seed=1)).sum(), [x, *node.parameters()])))
        assert node.t == 7
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.detach().abs().max().item())
    assert torch.equal(found[0][0], found[1][0]) and 0.05 < found[0][0].mean() < 0.95


def test_potentials_that_are_reset_in_the_next_step_cannot_be_kept():
    with pytest.raises(ValueError, match=r"^GatedLIFNode: stored_states are some of u, s_prev, .* got 'v'"):
        GatedLIFNode(2).store_v_seq = True


def test_repr_shows_a_surrogate_that_is_a_plain_function():
    assert "surrogate_function=sigmoid" in repr(GatedLIFNode(2, surrogate_function=torch.sigmoid))
