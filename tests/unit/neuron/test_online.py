"""OTTTLIFNode and SLTTLIFNode: golden numbers, gradients that stay in their step, and what every neuron promises."""

import math
from typing import Any

import promises
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_steps, random
from torch import Tensor

from snntrain import functional
from snntrain.neuron import LIFNode
from snntrain.neuron.online import OTTTLIFNode, SLTTLIFNode

NODES = {
    "SLTT": SLTTLIFNode,
    "SLTT soft": lambda: SLTTLIFNode(3.0, False, v_reset=None, detach_reset=False),
    "OTTT": lambda: OTTTLIFNode().eval(),
    "OTTT hard": lambda: OTTTLIFNode(3.0, True, v_reset=-0.2, detach_reset=False).eval(),
}
over_nodes = pytest.mark.parametrize("make", NODES.values(), ids=NODES)
numbers = st.one_of(st.integers(-12, 16).map(lambda n: n / 4), st.floats(-3, 4, width=32))
X = [0.5, 1.2, -0.3, 2.0, 0.9, 0.1]


def test_ottt_gives_the_golden_numbers():
    node, pairs = OTTTLIFNode(), []
    for x in X:
        pairs.append(node(torch.tensor(x, dtype=torch.float64)))
        assert type(pairs[-1]) is list
    assert [s.item() for s, _ in pairs] == [0, 1, 0, 1, 1, 0]
    assert [trace.item() for _, trace in pairs] == [0, 1, 0.5, 1.25, 1.625, 0.8125]


@settings(max_examples=60, deadline=None)
@given(
    x=st.lists(numbers, min_size=1, max_size=7),
    kind=st.sampled_from([OTTTLIFNode, SLTTLIFNode]),
    tau=st.one_of(st.sampled_from([2.0, 3.0, 49.0]), st.floats(1.01, 60)),
    decay_input=st.booleans(),
    v_reset=st.sampled_from([None, 0.0, -0.3]),
    detach=st.booleans(),
    data=st.data(),
)
def test_values_are_those_of_lif_and_the_gradient_stays_in_its_step(x, kind, tau, decay_input, v_reset, detach, data):
    g_s = data.draw(st.lists(numbers, min_size=len(x), max_size=len(x)), label="dL/ds")
    start = data.draw(numbers, label="v_init")
    r = v_reset or 0.0
    v, trace, spikes, potentials, traces, g_x = start, 0.0, [], [], [], []
    for x_t, g in zip(x, g_s, strict=True):
        h = v + (x_t - (v - r)) / tau if decay_input else v - (v - r) / tau + x_t
        s = 1 if h >= 1 else 0
        v = (h - 1 if v_reset is None else r) if s else h
        trace = trace * (1 - 1 / tau) + s
        tail = math.exp(-abs(4 * (h - 1)))
        g_x.append(g * 4 * tail / (1 + tail) ** 2 * (1 / tau if decay_input else 1))
        spikes.append(s), potentials.append(v), traces.append(trace)
    node = kind(tau, decay_input, v_reset=v_reset, detach_reset=detach, backend="torch")
    node.v = v_init = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    x_seq = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    outputs, seen = [], []
    for x_t in x_seq:
        out = node(x_t)
        if kind is OTTTLIFNode:
            out, trace_out = out
            seen.append(trace_out.item())
            assert not trace_out.requires_grad and out.requires_grad
            assert trace_out.item() == node.trace.item()
        outputs.append(out)
        assert node.v.item() == potentials[len(outputs) - 1]
    (torch.stack(outputs) * torch.tensor(g_s)).sum().backward()
    assert [s.item() for s in outputs] == spikes
    assert seen == (traces if kind is OTTTLIFNode else [])
    assert x_seq.grad.tolist() == pytest.approx(g_x, rel=1e-9, abs=1e-12)
    assert v_init.grad is None, "no gradient through time"


@pytest.mark.parametrize("kind", [OTTTLIFNode, SLTTLIFNode])
@pytest.mark.parametrize("training", [True, False])
def test_every_step_can_be_learned_from_on_its_own(kind, training):
    """One backward per step: the graph of a step must not hang on the one before, which is gone by then."""
    node = kind().train(training)
    weight = torch.full((3, 3), 0.5, requires_grad=True)
    for t in range(4):
        out = node(random(2, 3, seed=t) @ weight)
        (out[0] if isinstance(out, list) else out).sum().backward()
    assert weight.grad.abs().sum() > 0


def test_a_training_step_gives_the_pair_and_an_evaluation_step_the_differentiable_spikes():
    x = random(5, 2, 3)
    in_training, in_evaluation = OTTTLIFNode(), OTTTLIFNode().eval()
    for x_t in x:
        x_t = x_t.requires_grad_()
        pair, s = in_training(x_t), in_evaluation(x_t)
        assert isinstance(s, Tensor) and torch.equal(pair[0], s)
        assert torch.equal(pair[1], in_evaluation.trace)
        (from_pair,) = torch.autograd.grad(pair[0].sum(), x_t, retain_graph=True)
        (from_spikes,) = torch.autograd.grad(s.sum(), x_t)
        assert torch.equal(from_pair, from_spikes) and from_spikes.abs().min() > 0


def test_sltt_is_lif_in_its_values():
    x = random(8, 4)
    for arguments in ({}, {"tau": 3.0, "decay_input": False, "v_reset": None}):
        sltt, lif = SLTTLIFNode(**arguments), LIFNode(**arguments)
        assert torch.equal(in_steps(sltt, x), in_steps(lif, x)) and torch.equal(sltt.v, lif.v)


def test_v_and_trace_are_states_and_no_buffers():
    node = OTTTLIFNode()
    node(torch.full((3,), 2.0))
    assert list(node.buffers()) == [] and list(node.state_dict()) == []
    assert [name for name, _ in functional.named_states(node)] == ["v", "trace"]
    node.reset()
    assert dict(node.named_memories()) == {"v": 0.0, "trace": 0.0}


def test_half_precision_pairs_have_the_dtype_of_the_input_and_float32_states():
    node, in_full = OTTTLIFNode(3.0), OTTTLIFNode(3.0)
    for x in random(4, 5, dtype=torch.float16):
        pair, expected = node(x), in_full(x.float())
        for actual, wanted in zip(pair, expected, strict=True):
            assert actual.dtype == torch.float16 and torch.equal(actual, wanted.half())
        assert node.trace.dtype == torch.float32 and torch.equal(node.trace, in_full.trace)


@pytest.mark.parametrize("pair", [list, tuple])
def test_a_pair_as_input_is_refused(pair):
    model = promises.inside_a_model(OTTTLIFNode())
    with pytest.raises(ValueError, match=r"^block\.neuron \(OTTTLIFNode\): the input is a pair .* weight layer"):
        model(pair([torch.ones(2), torch.ones(2)]))


# --- what every neuron promises --------------------------------------------------------------------------------------


@over_nodes
def test_a_sequence_per_call_is_refused_later_as_well(make):
    node = make()
    assert node.supported_step_mode() == ("s",)
    title = type(node).__name__
    for switch in (lambda: setattr(node, "step_mode", "m"), lambda: functional.set_step_mode(node, "m")):
        with pytest.raises(ValueError, match=rf"^{title}: step_mode 'm' is not supported, it takes one step per call"):
            switch()
    with pytest.raises(ValueError, match="one step per call"):
        type(node)(step_mode="m")
    assert node.step_mode == "s"
    functional.set_step_mode(node, "s")


@over_nodes
def test_a_neuron_keeps_the_promises_of_every_neuron(make):
    def pairs_left(node: Any) -> list:
        return [value for value in promises.state_tensors(node).values() if value.requires_grad]

    promises.assert_any_shape(make, runs=[in_steps])
    promises.assert_copies_go_on_alike(make, in_steps)
    promises.assert_states_can_be_restored(make, in_steps)
    promises.assert_half_precision_is_computed_in_float32(make, in_steps)
    promises.assert_state_dict_holds(make, [], torch.ones(3))
    promises.assert_forgotten_reset_is_explained(make, "v", torch.zeros(4, 3), torch.zeros(2, 3))
    promises.assert_states_never_change_in_place(make, random(4, 3), in_steps)
    promises.assert_inputs_are_refused(make, "s")
    node = make()
    in_steps(node, random(2, 3).requires_grad_())
    node.detach()
    assert pairs_left(node) == []


def test_sltt_is_the_same_in_train_and_eval():
    promises.assert_eval_is_train(SLTTLIFNode, random(5, 3), in_steps)


@over_nodes
def test_the_step_can_be_traced_for_kernels(make):
    promises.assert_traceable(make(), learnable=0)
