"""IF, LIF and ParametricLIF against published numbers, and against their equations written as a plain loop."""

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from equations import (
    Constants,
    Drawn,
    Dual,
    Golden,
    check_equations,
    check_float32,
    check_golden,
    drawn,
    taus,
)
from hypothesis import example, given, settings
from torch import Tensor

from snntrain.neuron import BaseNode, IFNode, LIFNode, ParametricLIFNode
from snntrain.surrogate import Sigmoid

# --- golden numbers --------------------------------------------------------------------------------------------------

GOLDEN = {
    "IF r=0": Golden(
        IFNode,
        [0, 1, 0, 1, 0, 1],
        [0.5, 0, -0.3, 0, 0.9, 0],
        [1.0783, 0.833316, -1.09131, -1.14926, 5.48052, 5],
    ),
    "IF r=0 detach": Golden(
        partial(IFNode, detach_reset=True),
        [0, 1, 0, 1, 0, 1],
        [0.5, 0, -0.3, 0, 0.9, 0],
        [0.852279, 0.432305, 0.930084, 0.86461, 10.8052, 6],
    ),
    "IF soft": Golden(
        partial(IFNode, v_reset=None),
        [0, 1, 0, 1, 1, 1],
        [0.5, 0.7, 0.4, 1.4, 1.3, 0.4],
        [2.2951, 3.23283, 3.57279, 3.82419, 3.82157, 3.79528],
    ),
    "LIF tau 2 r=0": Golden(
        partial(LIFNode, tau=2.0),
        [0, 0, 0, 1, 0, 0],
        [0.25, 0.725, 0.2125, 0, 0.45, 0.275],
        [0.537199, 0.935975, 0.816838, 1.20107, 1.34485, 1.06601],
    ),
    "LIF soft, no decay_input": Golden(
        partial(LIFNode, v_reset=None, decay_input=False),
        [0, 1, 0, 1, 1, 0],
        [0.5, 0.45, -0.075, 0.9625, 0.38125, 0.290625],
        [0.780022, 1.24149, 1.04332, 1.86837, 3.3579, 2.04539],
    ),
    "LIF r=-.2, no decay_input": Golden(
        partial(LIFNode, v_reset=-0.2, decay_input=False),
        [0, 1, 0, 1, 0, 0],
        [0.3, -0.2, -0.5, -0.2, 0.7, 0.35],
        [0.899924, 1.53325, 0.0695304, 0.0796288, 3.98993, 2.40301],
    ),
    "PLIF init_tau 1.5 r=0": Golden(
        partial(ParametricLIFNode, init_tau=1.5),
        [0, 0, 0, 1, 0, 0],
        [0.333333, 0.911111, 0.103704, 0, 0.6, 0.266667],
        [0.564322, 1.31336, 0.54557, 1.01767, 2.17369, 1.40018],
        extra={"w": 1.31523},
    ),
}


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("case", GOLDEN.values(), ids=GOLDEN)
def test_neuron_gives_the_golden_numbers(case, step_mode):
    check_golden(case, step_mode, backend="auto")


# --- the equations as a plain loop -----------------------------------------------------------------------------------


def integrate(x: Dual, v: Dual, c: Constants) -> tuple[Dual, ...]:
    h = v + x
    s = c.fire(h)
    return s, c.reset(h, s)


def leaky(x: Dual, v: Dual, c: Constants) -> tuple[Dual, ...]:
    h = c.lif(x, v)
    s = c.fire(h)
    return s, c.reset(h, s)


def parametric(x: Dual, v: Dual, c: Constants, w: Dual) -> tuple[Dual, ...]:
    number = type(w.value)
    dtype = torch.float32 if number is np.float32 else torch.float64
    p = torch.sigmoid(torch.tensor(w.value, dtype=dtype)).item()  # torch's own: its last bit decides spikes
    leak = w.through(number(p), p * (1 - p))
    h = v + (x - (v - c.r)) * leak if c.decay_input else v - (v - c.r) * leak + x
    s = c.fire(h)
    return s, c.reset(h, s)


KINDS = {"IF": (IFNode, integrate), "LIF": (LIFNode, leaky), "PLIF": (ParametricLIFNode, parametric)}


def built(kind: str, tau: float, **common: Any) -> BaseNode:
    if kind == "IF":
        common.pop("decay_input")
        return IFNode(**common)
    return KINDS[kind][0](tau, **common)


VARIANTS = [
    (kind, v_reset, detach, decay)
    for kind, v_reset, detach, decay in itertools.product(KINDS, (None, 0.0, -0.3), (False, True), (True, False))
    if kind != "IF" or decay
]
over_variants = pytest.mark.parametrize("kind, v_reset, detach_reset, decay_input", VARIANTS)


def compare(check: Any, kind: str, common: dict[str, Any], problem: Drawn, tau: float) -> None:
    check(
        lambda: built(kind, tau, **common, **problem.common()),
        KINDS[kind][1],
        common | {"tau": tau},
        problem,
        {"w": -math.log(tau - 1)} if kind == "PLIF" else None,
        backend="auto",
    )


@over_variants
@settings(max_examples=10, deadline=None)
@given(problem=drawn(1), tau=taus)
def test_values_and_gradients_follow_the_equations(kind, v_reset, detach_reset, decay_input, problem, tau):
    common = {"v_reset": v_reset, "detach_reset": detach_reset, "decay_input": decay_input}
    compare(check_equations, kind, common, problem, tau)


@over_variants
@settings(max_examples=8, deadline=None)
@given(problem=drawn(1), tau=taus)
@example(problem=Drawn([3], [49.0, 98.0, 147.0], [0.0] * 3, [0.0], [0.0], 1.0, 4.0, "sigmoid"), tau=49.0)
def test_float32_potentials_and_spikes_are_bit_for_bit_those_of_the_equations(
    kind, v_reset, detach_reset, decay_input, problem, tau
):
    """Dividing by tau, in the written order: 1/tau·x or another order would differ in the last bit."""
    common = {"v_reset": v_reset, "detach_reset": detach_reset, "decay_input": decay_input}
    compare(check_float32, kind, common, problem, tau)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_lif_divides_by_tau_where_a_reciprocal_would_lose_the_spike(step_mode, dtype):
    """x = tau charges to exactly 1, but tau·(1/tau) is below 1 for these."""
    taus = [49.0, 98.0, 103.0, 107.0] if dtype == torch.float64 else [41.0, 47.0, 55.0, 61.0]
    number = np.float32 if dtype == torch.float32 else np.float64
    for tau in taus:
        assert number(tau) * (number(1) / number(tau)) < 1
        node = LIFNode(tau=tau, step_mode=step_mode)
        x = torch.full((1, 3) if step_mode == "m" else (3,), tau, dtype=dtype)
        assert node(x).flatten().tolist() == [1, 1, 1], tau


# --- the derivatives of the charge -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, v_reset, decay_input", [(kind, r, decay) for kind, r, detach, decay in VARIANTS if not detach]
)
def test_gradcheck_holds_for_input_initial_potential_and_parameter(kind, v_reset, decay_input, backend):
    node = built(
        kind,
        1.7,
        v_reset=v_reset,
        decay_input=decay_input,
        surrogate_function=Sigmoid(2.0, spiking=False),
        step_mode="m",
        store_v_seq=True,
    )
    node.double()
    names = [name for name, _ in node.named_parameters()]

    def run(x: Tensor, v: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        node.reset()
        node.v = v
        s = torch.func.functional_call(node, dict(zip(names, parameters, strict=True)), (x,))
        return s, node.v_seq

    generator = torch.Generator().manual_seed(5)
    x = torch.randn(4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    v = torch.randn(3, dtype=torch.float64, generator=generator, requires_grad=True)
    parameters = [p.detach().clone().requires_grad_() for p in node.parameters()]
    assert len(parameters) == (kind == "PLIF")
    assert torch.autograd.gradcheck(run, (x, v, *parameters))
    short = x[:2].detach().requires_grad_()
    if backend == "torch":
        assert torch.autograd.gradgradcheck(run, (short, v, *parameters))
    else:
        with pytest.raises(RuntimeError, match="backend='torch'"):
            torch.autograd.gradgradcheck(run, (short, v, *parameters))
