"""NonSpikingIFNode and NonSpikingLIFNode: golden numbers, closed forms, decoding, and what every neuron promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random

from snntrain.neuron import BaseNode
from snntrain.neuron.readout import DECODES, NonSpikingIFNode, NonSpikingLIFNode

X = [0.5, 1.2, -0.3, 2.0, 0.9, 0.1]
V = [0.25, 0.725, 0.2125, 1.10625, 1.003125, 0.551562]
NODES = {"IF": NonSpikingIFNode, "LIF": NonSpikingLIFNode, "LIF tau 3": lambda: NonSpikingLIFNode(3.0)}
over_nodes = pytest.mark.parametrize("make", NODES.values(), ids=NODES)
numbers = st.one_of(st.integers(-12, 16).map(lambda n: n / 4), st.floats(-3, 4, width=32))
sequences = st.lists(numbers, min_size=1, max_size=8)


def double(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_neuron_gives_the_golden_numbers():
    node = NonSpikingLIFNode(tau=2.0)
    assert node(double(X)).tolist() == pytest.approx(V, rel=2e-6)
    node = NonSpikingLIFNode(tau=2.0, decode="max-abs-mem")
    assert node(double(X)).item() == pytest.approx(1.10625)
    node.reset()
    assert node(-double(X)).item() == pytest.approx(-1.10625)


@settings(max_examples=40, deadline=None)
@given(x=sequences, start=numbers, tau=st.one_of(st.just(49.0), st.floats(1.01, 60)), step_mode=st.sampled_from("sm"))
def test_lif_follows_its_equation_in_float32_and_float64(x, start, tau, step_mode):
    for number, dtype in ((np.float32, torch.float32), (np.float64, torch.float64)):
        node = NonSpikingLIFNode(tau)
        node.v = torch.tensor(start, dtype=dtype)
        v, expected = number(start), []
        for x_t in x:
            v = v + (number(x_t) - v) / number(tau)
            expected.append(v)
        out = (in_steps if step_mode == "s" else in_chunks)(node, torch.tensor(x, dtype=dtype))
        assert torch.equal(out, torch.tensor(np.array(expected)))
        assert node.v.item() == expected[-1]


@settings(max_examples=30, deadline=None)
@given(x=sequences, tau=st.floats(1.01, 60), step_mode=st.sampled_from("sm"))
def test_the_gradient_is_the_impulse_response(x, tau, step_mode):
    T = len(x)
    for node, response in (
        (NonSpikingLIFNode(tau), lambda age: (1 - 1 / tau) ** age / tau),
        (NonSpikingIFNode(), lambda age: 1.0),
    ):
        x_seq = double(x).requires_grad_()
        node.v = start = double(0.5).requires_grad_()
        out = (in_steps if step_mode == "s" else in_chunks)(node, x_seq)
        expected = [sum(response(age) * x[t - age] for age in range(t + 1)) for t in range(T)]
        kept = [response(age + 1) * tau if isinstance(node, NonSpikingLIFNode) else 1.0 for age in range(T)]
        assert out.tolist() == pytest.approx([e + 0.5 * k for e, k in zip(expected, kept, strict=True)], abs=1e-9)
        out[-1].backward()
        assert x_seq.grad.tolist() == pytest.approx([response(T - 1 - t) for t in range(T)], rel=1e-9)
        assert start.grad.item() == pytest.approx(kept[-1], rel=1e-9)


def test_gradcheck_holds_for_every_decode():
    x = random(4, 3, dtype=torch.float64).requires_grad_()
    for decode in (None, *DECODES):
        for node in (NonSpikingIFNode(decode), NonSpikingLIFNode(1.7, decode)):
            assert torch.autograd.gradcheck(lambda x, node=node: (node.reset(), node(x))[1], x)


# --- decoding --------------------------------------------------------------------------------------------------------

# Potentials of IF for each column: rising, falling, of both signs, equally far from 0, always 0.
COLUMNS = double([[1, -1, 2, -3, 0], [2, -2, -3, 3, 0], [3, -3, 1, 1, 0]])
DECODED = {
    "last-mem": [3, -3, 1, 1, 0],
    "max-mem": [3, -1, 2, 3, 0],
    "mean-mem": [2, -2, 0, 1 / 3, 0],
    "max-abs-mem": [3, -3, -3, -3, 0],
}


@pytest.mark.parametrize("decode", DECODED)
def test_mode_m_decodes_the_potentials_over_time(decode):
    x = torch.diff(COLUMNS, dim=0, prepend=torch.zeros(1, 5).double())
    for spelled in (decode, decode.replace("-", "_")):
        node = NonSpikingIFNode(spelled)
        assert node.decode == decode and node.step_mode == "m"
        assert node(x).tolist() == pytest.approx(DECODED[decode])
        assert node.v.tolist() == COLUMNS[-1].tolist()
        node.reset()
        assert torch.equal(in_steps(node, x), COLUMNS), "mode 's' returns the potential"
    node = NonSpikingIFNode()
    out = node(x)
    assert isinstance(out, torch.Tensor) and torch.equal(out, COLUMNS)


def test_the_next_call_goes_on_from_the_last_potential():
    node = NonSpikingIFNode("last-mem")
    assert [node(double([1.0, 2.0])).item() for _ in range(3)] == [3, 6, 9]
    node.reset()
    assert node(double([1.0])).item() == 1


def test_it_is_not_a_spiking_neuron_and_keeps_no_surrogate():
    node = NonSpikingLIFNode()
    assert not isinstance(node, BaseNode) and list(node.modules()) == [node]


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_what_the_caller_does_to_the_output_does_not_reach_the_state(step_mode):
    node = NonSpikingIFNode(step_mode=step_mode)
    out = node(torch.ones(1, 2))
    out.fill_(7.0)
    assert node.v.flatten().tolist() == [1, 1]
