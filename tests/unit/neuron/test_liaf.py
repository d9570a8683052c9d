"""LIAFNode: equations, and the activations it takes."""

import itertools
import math
from functools import partial
from typing import Any

import equations
import pytest
import torch
from equations import Constants, Dual, drawn, flags, relu, resets, taus
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random, state_tensors
from torch import Tensor, nn

from snntrain import registry
from snntrain.neuron import LIFNode
from snntrain.neuron.liaf import LIAFNode
from snntrain.surrogate import Sigmoid

LIAF = partial(LIAFNode, backend="torch")

# --- the equations ---------------------------------------------------------------------------------------------------


def tanh(z: Dual) -> Dual:
    y = math.tanh(z.value)
    return z.through(y, 1 - y * y)


def liaf(x: Dual, v: Dual, c: Constants) -> tuple[Dual, ...]:
    h = c.lif(x, v)
    y = c.act(h - c.v_threshold) if c.threshold_related else c.act(h)
    return y, c.reset(h, c.fire(h))


arguments = {"v_reset": resets, "detach_reset": flags, "decay_input": flags, "threshold_related": flags, "tau": taus}


@pytest.mark.parametrize("act, expected", [("relu", relu), (torch.tanh, tanh)], ids=["relu", "tanh"])
@settings(max_examples=30, deadline=None)
@given(problem=drawn(1), constants=st.fixed_dictionaries(arguments))
def test_liaf_follows_its_equations(act, expected, problem, constants):
    make = partial(LIAFNode, act, **constants, **problem.common())
    equations.check_equations(make, liaf, constants | {"act": expected}, problem, exact=act == "relu")


@settings(max_examples=30, deadline=None)
@given(problem=drawn(1), constants=st.fixed_dictionaries(arguments))
def test_float32_outputs_have_the_bits_of_the_equations(problem, constants):
    """A square in place of relu: numpy has no tanh of torch's bits, and a user may bring any function."""

    def square(h: Any) -> Any:
        return h * h

    make = partial(LIAFNode, square, **constants, **problem.common())
    equations.check_float32(make, liaf, constants | {"act": square}, problem)


@pytest.mark.parametrize("v_reset, threshold_related", [*itertools.product((None, 0.0, -0.2), (True, False))])
def test_gradcheck_holds_for_input_and_initial_potential(v_reset, threshold_related):
    node = LIAF("tanh", threshold_related, v_reset=v_reset, surrogate_function=Sigmoid(2.0, spiking=False))
    equations.check_gradients_numerically(node, ["v"])


# --- what sets it apart from LIF -------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [in_steps, in_chunks])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("v_reset", [None, 0.0, -0.2])
def test_its_potential_is_that_of_lif_and_its_output_an_activation_of_the_charge_in_train_and_eval(
    run, training, v_reset
):
    arguments = {"tau": 3.0, "v_threshold": 0.5, "v_reset": v_reset, "backend": "torch"}
    node, lif = LIAFNode("identity", False, **arguments).train(training), LIFNode(**arguments)
    x = random(8, 5, dtype=torch.float64)
    h, s = run(node, x), run(lif, x)
    assert torch.equal(node.v, lif.v)
    assert torch.equal(h >= 0.5, s == 1) and s.unique().tolist() == [0, 1] and h.unique().numel() == 40


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_it_can_be_built_and_run_from_its_first_step(step_mode):
    node = LIAF(torch.relu, True, step_mode=step_mode)
    x = torch.full((1, 3) if step_mode == "m" else (3,), 3.0)
    assert node(x).flatten().tolist() == [0.5] * 3  # h = 3/2


def test_the_threshold_moves_the_activation_only_where_related():
    x = torch.tensor([1.0, 4.0])
    for related, expected in ((True, [0.0, 0.5]), (False, [0.5, 2.0])):
        assert LIAF("relu", related, v_threshold=1.5)(x).tolist() == expected


NAMED = {
    "relu": nn.functional.relu,
    "leaky_relu": nn.LeakyReLU(0.01),
    "selu": nn.SELU(),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": nn.Identity(),
}


@pytest.mark.parametrize("name", NAMED)
def test_an_activation_may_be_named(name):
    x = random(5, 4)
    by_name, expected = LIAF(name, True), LIAF(NAMED[name], True)
    assert torch.equal(in_chunks(by_name, x), in_chunks(expected, x))
    assert f"act={name}" in repr(by_name)
    built = registry.build("neuron", "LIAFNode", act=name, threshold_related=True, backend="torch")
    assert torch.equal(in_chunks(built, x), in_chunks(LIAF(name, True), x))


def test_every_name_is_in_the_docstring():
    from snntrain.neuron.liaf import ACTIVATIONS

    assert NAMED.keys() == ACTIVATIONS.keys()
    assert all(f"'{name}'" in LIAFNode.__doc__ for name in ACTIVATIONS)


def test_a_module_as_activation_is_trained_and_saved_with_the_neuron():
    node = LIAF(nn.PReLU(init=0.5), True)
    assert list(node.state_dict()) == ["act.weight"]
    assert repr(node).count("PReLU") == 1
    in_chunks(node, random(5, 3)).sum().backward()
    assert node.act.weight.grad.abs() > 0


def test_the_reset_of_the_spike_reaches_the_gradient_unless_detached():
    def gradient(detach: bool) -> Tensor:
        node = LIAF("identity", False, detach_reset=detach)
        x = torch.tensor([[1.5], [0.0]], dtype=torch.float64, requires_grad=True)
        in_chunks(node, x)[1].sum().backward()
        return x.grad[0]

    sg = 4 * torch.sigmoid(torch.tensor(-1.0)) * torch.sigmoid(torch.tensor(1.0))  # h = 0.75
    assert gradient(True).item() == pytest.approx(0.25)
    assert gradient(False).item() == pytest.approx(0.25 * (1 - 0.75 * sg.item()))


def test_spikes_are_no_state():
    node = LIAF("relu", True)
    node(torch.ones(2))
    assert list(state_tensors(node)) == ["v"]
