"""AdaptBaseNode and IzhikevichNode: equations, and what the adaptation current does."""

import warnings
from functools import partial
from typing import Any

import equations
import pytest
import torch
from equations import Constants, Dual, drawn, flags, resets, small_numbers, taus
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random
from torch import Tensor

from snntrain.neuron.adaptive import AdaptBaseNode, IzhikevichNode
from snntrain.surrogate import Sigmoid

pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")

Izhikevich = partial(IzhikevichNode, backend="torch")

# --- the equations ---------------------------------------------------------------------------------------------------


def izhikevich(x: Dual, v: Dual, w: Dual, c: Constants) -> tuple[Dual, ...]:
    h = v + (x + c.a0 * (v - c.v_rest) * (v - c.v_c) - w) / c.tau
    w = w + (c.a * (h - c.v_rest) - w) / c.tau_w
    s = c.fire(h)
    return s, c.reset(h, s), w + c.b * s


def linear(x: Dual, v: Dual, w: Dual, c: Constants) -> tuple[Dual, ...]:
    h = v + (x - v - w) / c.tau
    w = w + (c.a * (h - c.v_rest) - w) / c.tau_w
    s = c.fire(h)
    return s, c.reset(h, s), w + c.b * s


class LinearNode(AdaptBaseNode):
    """A user's neuron: LIF with adaptation, as a pure charge."""

    def __init__(self, tau: float, **more: Any) -> None:
        super().__init__(**more)
        self.tau = tau

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return *super().step_parameters(dtype), self.tau

    def charge(self, x: Tensor, v: Tensor, w: Tensor, tau_w: Tensor, tau: Tensor) -> Tensor:
        return v + (x - v - w) / tau


class LinearHookNode(LinearNode):
    """The same in the older style, on self.v and self.w."""

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + (x - self.v - self.w) / self.tau


adaptation = {
    "tau_w": st.one_of(st.sampled_from([1.0, 2.0, 7.0]), st.floats(0.5, 50)),
    "a": st.floats(-1, 1),
    "b": st.floats(-1, 1),
    "v_rest": st.floats(-0.5, 0.5),
    "tau": taus,
    "v_reset": resets,
    "detach_reset": flags,
}
quadratic = adaptation | {"a0": st.floats(0.125, 1.5), "v_c": st.floats(0, 1)}


@settings(max_examples=50, deadline=None)
@given(problem=drawn(2, small_numbers), constants=st.fixed_dictionaries(quadratic))
def test_izhikevich_follows_its_equations_in_float64_and_float32(problem, constants):
    make = partial(IzhikevichNode, **constants, **problem.common())
    equations.check_in_both_precisions(make, izhikevich, constants, problem)


@pytest.mark.parametrize("node_class", [LinearNode, LinearHookNode])
@settings(max_examples=20, deadline=None)
@given(problem=drawn(2), constants=st.fixed_dictionaries(adaptation))
def test_a_users_adaptive_neuron_follows_its_equations(node_class, problem, constants):
    equations.check_equations(lambda: node_class(**constants, **problem.common()), linear, constants, problem)


@pytest.mark.parametrize("v_reset", [None, 0.0, 0.2])
def test_gradcheck_holds_for_input_and_initial_states(v_reset):
    surrogate = Sigmoid(2.0, spiking=False)
    node = Izhikevich(v_reset=v_reset, a=0.3, b=0.4, tau_w=3.0, surrogate_function=surrogate)
    equations.check_gradients_numerically(node, ["v", "w"])


# --- what the adaptation current does --------------------------------------------------------------------------------


def test_states_start_at_v_reset_and_w_rest():
    node = IzhikevichNode(v_reset=0.25, w_rest=-0.5)
    assert dict(node.named_memories()) == {"v": 0.25, "w": -0.5}
    assert dict(IzhikevichNode(v_reset=None).named_memories()) == {"v": 0.0, "w": 0.0}


def test_without_coupling_and_jump_w_only_decays():
    node = Izhikevich(w_rest=0.5, tau_w=4.0)
    for t in range(1, 6):
        node(torch.full((2,), 2.0, dtype=torch.float64))
        assert node.w.tolist() == pytest.approx([0.5 * 0.75**t] * 2)


def test_charge_reads_the_w_of_the_step_before_and_adaptation_the_charged_potential():
    """By hand, tau 2, tau_w 2: h = .5 + (1 + .6·−.3 − .2)/2 = .81; w = .2 + (.5·(.81 + .1) − .2)/2 = .3275."""
    node = Izhikevich(a=0.5, b=10.0)
    node.v, node.w = torch.tensor([0.5]).double(), torch.tensor([0.2]).double()
    s = node(torch.tensor([1.0]).double())
    assert s.item() == 0 and node.v.item() == pytest.approx(0.81) and node.w.item() == pytest.approx(0.3275)


def test_each_spike_lets_w_jump_by_b():
    silent, jumping = Izhikevich(a=0.3), Izhikevich(a=0.3, b=0.75)
    x = torch.tensor([0.5, 5.0, 9.0], dtype=torch.float64)
    s = silent(x), jumping(x)
    assert torch.equal(*s) and s[0].tolist() == [0, 1, 1]
    assert (jumping.w - silent.w).tolist() == pytest.approx([0, 0.75, 0.75])


@pytest.mark.parametrize("run", [in_steps, in_chunks])
@pytest.mark.parametrize("v_reset", [None, 0.0, 0.5])
def test_detach_reset_cuts_both_spikes_in_v_and_none_in_w(run, v_reset):
    """One step, h = x/2: dv'/dx = (1 − s)/2 or 1/2 and dw'/dx = (a/tau_w + b·sg)/2, sg = 1 at the threshold."""
    arguments = {"v_rest": 0.0, "v_c": 0.0, "a0": 1e-30, "a": 0.5, "b": 0.25, "tau_w": 2.0}
    node = Izhikevich(**arguments, v_reset=v_reset, detach_reset=True)
    node.v = torch.zeros(1, dtype=torch.float64)
    x = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    assert run(node, x).item() == 1
    for state, expected in ((node.v, 0.5 if v_reset is None else 0.0), (node.w, (0.25 + 0.25) / 2)):
        (gradient,) = torch.autograd.grad(state, x, retain_graph=True)
        assert gradient.item() == pytest.approx(expected)


def test_the_order_of_reset_rest_and_threshold_is_free():
    node = Izhikevich(v_threshold=-1.0, v_reset=0.5, v_rest=-2.0)
    assert node(torch.zeros(1)).item() == 1 and node.v.item() == 0.5


def test_without_a_reset_value_izhikevich_warns_once_and_the_base_does_not():
    with pytest.warns(UserWarning, match="^IzhikevichNode: .*v_reset=None") as warned:
        node = Izhikevich(v_reset=None)
    assert len(warned) == 1 and warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        in_chunks(node, torch.full((30, 2), 1e4))
        AdaptBaseNode(v_reset=None)
        IzhikevichNode()


def test_v_seq_holds_the_potentials_of_an_adaptive_neuron():
    node, x = Izhikevich(a=0.3, b=0.4, v_reset=0.2, w_rest=0.05, step_mode="m", store_v_seq=True), random(6, 3)
    node(x)
    kept = node.v_seq
    node.step_mode = "s"
    node.reset()
    for x_t, v in zip(x, kept, strict=True):
        node(x_t)
        assert torch.equal(node.v, v)


# --- the hooks that older code calls by hand -------------------------------------------------------------------------


class ByHand(AdaptBaseNode):
    """A step spelled out."""

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + x

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.v_float_to_tensor(x)
        self.w_float_to_tensor(x)
        self.neuronal_charge(x)
        s = self.neuronal_fire()
        reset = self.jit_soft_reset if self.v_reset is None else self.jit_hard_reset
        level = self.v_threshold if self.v_reset is None else self.v_reset
        self.v, self.w = reset(self.v, self.w, s, level, self.b, s)
        return s


@pytest.mark.parametrize("v_reset, v, w", [(None, [0.5, 0.75], [0.5, 0.25]), (-0.5, [0.25, -0.5], [0.25, 0.5])])
def test_a_step_may_be_written_with_the_older_helpers(v_reset, v, w):
    """Two steps of two neurons, the first or the second of which fires; b = 0.25."""
    x = torch.tensor([[0.75, 0.25], [0.75, 0.5]]) if v_reset is None else torch.tensor([[0.75, 0.75], [0.0, 0.75]])
    node = ByHand(v_reset=v_reset, w_rest=0.25, b=0.25, step_mode="m", v_threshold=1.0)
    node(x)
    torch.testing.assert_close([node.v.tolist(), node.w.tolist()], [v, w])


def test_states_become_tensors_once():
    node, x = IzhikevichNode(v_reset=0.2, w_rest=0.1), torch.zeros(3)
    node.v_float_to_tensor(x)
    node.w_float_to_tensor(x)
    v = node.v
    node.v_float_to_tensor(torch.zeros(4))
    assert node.v is v
    torch.testing.assert_close([node.v, node.w], [torch.full((3,), 0.2), torch.full((3,), 0.1)])
    assert AdaptBaseNode.apply_hard_reset is AdaptBaseNode.jit_hard_reset
