"""IF, LIF and PLIF: the threshold, the two resets, and the learnable time constant."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from cases import PLAIN
from equations import Constants, Drawn, Dual, check_in_both_precisions, drawn, flags, resets, taus
from hypothesis import example, given, settings
from promises import INF, NAN, inside_a_model, one_call, random
from torch import Tensor, nn

from snntrain.neuron import BaseNode, IFNode, LIFNode, ParametricLIFNode, SimpleIFNode, SimpleLIFNode
from snntrain.surrogate import Rect, Sigmoid

over_modes = pytest.mark.parametrize("step_mode", ["s", "m"])


class UserTheta(torch.autograd.Function):
    """A user's own surrogate, which knows nothing of `spiking`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 0.5 * grad


@pytest.mark.parametrize("name, make", PLAIN.items(), ids=PLAIN)
@over_modes
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_reaching_the_threshold_fires_and_nan_does_not(name, make, step_mode, dtype):
    """The parameters make h = x exactly: tau does not touch v = r = 0 and the input is not decayed."""
    arguments = {"decay_input": False} if "LIF" in name else {}
    for threshold in (1.0, 0.5, -0.25, 0.0):
        node = make(v_threshold=threshold, **arguments)
        at = torch.tensor(threshold, dtype=dtype)
        x = torch.stack([at, at - 1 / 128, at + 1 / 128, torch.full_like(at, NAN)])
        assert one_call(node, x, step_mode).tolist() == [1, 0, 1, 0]
        assert node.v[1] == x[1] and node.v[3].isnan()


def test_the_threshold_in_float32_is_the_float32_nearest_to_the_argument():
    x = torch.tensor([0.1], dtype=torch.float32)
    assert IFNode(v_threshold=0.1)(x).item() == 1
    assert IFNode(v_threshold=0.1)(x.nextafter(torch.tensor(0.0))).item() == 0


@over_modes
@pytest.mark.parametrize("surrogate", [None, UserTheta.apply, Rect()])
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("v_reset", [0.0, -0.2])
def test_hard_reset_selects_so_that_an_overflowing_potential_resets(step_mode, surrogate, detach_reset, v_reset):
    node = IFNode(v_reset=v_reset, surrogate_function=surrogate, detach_reset=detach_reset)
    s = one_call(node, torch.tensor([INF, 3e38, 0.5, -INF]), step_mode)
    assert s.tolist() == [1, 1, 0, 0]
    expected = torch.tensor([v_reset, v_reset, torch.tensor(v_reset) + 0.5, -INF])
    assert torch.equal(node.v, expected)


@pytest.mark.parametrize("surrogate", [torch.sigmoid, Sigmoid(1.0, spiking=False)])
def test_an_output_between_0_and_1_mixes_reset_value_and_potential(surrogate):
    node = IFNode(v_threshold=0.5, v_reset=-2.0, surrogate_function=surrogate)
    y = node(torch.tensor([2.5, 3.0], dtype=torch.float64))  # h = 0.5, 1
    assert y.tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-0.5))])
    assert node.v.tolist() == pytest.approx([float(p * -2 + (1 - p) * h) for p, h in zip(y, (0.5, 1.0), strict=True)])


@over_modes
def test_a_users_own_surrogate_gives_value_and_gradient(step_mode):
    node = IFNode(surrogate_function=UserTheta.apply)
    x = torch.tensor([0.5, 1.5], requires_grad=True)
    s = one_call(node, x, step_mode)
    (s.sum() + node.v.sum()).backward()
    assert s.tolist() == [0, 1]
    assert x.grad.tolist() == [0.5 + (1 - 0.5 * 0.5), 0.5 + (0 - 1.5 * 0.5)]  # sg + (1 − s) + (r − h)·sg


# --- ParametricLIF ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("w, shown", [(0.0, "tau=2.0,"), (-1e4, "tau=inf,"), (1e4, "tau=1.0,")])
def test_parametric_lif_prints_its_current_tau_whatever_w_became(w, shown):
    node = ParametricLIFNode(init_tau=1.5)
    with torch.no_grad():
        node.w.fill_(w)
    assert shown in repr(node)


def test_a_parametric_lif_without_data_can_be_printed():
    assert "tau=nan" in repr(ParametricLIFNode().to("meta"))


@pytest.mark.parametrize("init_tau", [1.01, 1.5, 2.0, 4, 100.0])
def test_w_starts_at_minus_log_of_tau_minus_one(init_tau):
    node = ParametricLIFNode(init_tau)
    assert isinstance(node.w, nn.Parameter) and node.w.shape == () and node.w.requires_grad
    assert node.w.item() == pytest.approx(-math.log(init_tau - 1), rel=1e-6, abs=1e-7)
    assert node.tau == pytest.approx(init_tau, rel=1e-6)


def test_every_layer_learns_a_time_constant_of_its_own():
    first, second = ParametricLIFNode(), ParametricLIFNode()
    with torch.no_grad():
        first.w.fill_(5.0)
    assert second.w.item() == 0.0 and first.tau == pytest.approx(1 + math.exp(-5))


def test_tau_never_falls_below_one():
    node = ParametricLIFNode()
    for w in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            node.w.fill_(w)
        assert node.tau >= 1


def test_a_checkpoint_with_the_reference_librarys_key_loads():
    model = inside_a_model(ParametricLIFNode())
    model.load_state_dict({"block.neuron.w": torch.tensor(0.25)})
    assert model.block.neuron.w.item() == 0.25


@over_modes
def test_p_is_computed_in_the_state_dtype(step_mode):
    node = ParametricLIFNode(init_tau=3.0, v_threshold=9.0)
    p = torch.sigmoid(node.w.detach().double())
    one_call(node, torch.ones(1, dtype=torch.float64), step_mode)
    assert node.v.item() == p.item()


def test_without_decay_input_or_with_it_lif_and_parametric_lif_of_the_same_tau_agree():
    x = random(6, 4, dtype=torch.float64)
    for decay in (True, False):
        for v_reset in (None, 0.0, -0.3):
            lif = LIFNode(2.0, decay, v_reset=v_reset, step_mode="m")  # 1/2 is exact
            plif = ParametricLIFNode(2.0, decay, v_reset=v_reset, step_mode="m")
            assert torch.equal(lif(x), plif(x)) and torch.equal(lif.v, plif.v)


# --- the plain forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_reset", [None, 0.0, -0.5])
@pytest.mark.parametrize(
    "simple, full",
    [
        (lambda **kw: SimpleIFNode(1.0, **kw), IFNode),
        (lambda **kw: SimpleLIFNode(2.0, True, **kw), lambda **kw: LIFNode(2.0, True, **kw)),
        (lambda **kw: SimpleLIFNode(2.0, False, **kw), lambda **kw: LIFNode(2.0, False, **kw)),
    ],
)
def test_the_potential_starts_at_zero_and_goes_on_as_in_the_full_neuron(simple, full, v_reset):
    x = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
    mine, other = simple(v_reset=v_reset, step_mode="m"), full(v_reset=v_reset, step_mode="m", backend="torch")
    mine.backend = "torch"
    for _ in range(2):
        other.v = torch.zeros(20)
        assert torch.equal(mine(x), other(x)) and torch.equal(mine.v, other.v)
        mine.reset()
        other.reset()
        assert mine.v == 0.0


# --- the equations -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(problem=drawn(1), tau=taus, v_reset=resets, detach_reset=flags, decay_input=flags)
@example(Drawn([3], [49.0, 98.0, 147.0], [0.0] * 3, [0.0], [0.0], 1.0, 4.0, "sigmoid"), 49.0, 0.0, False, True)
@example(Drawn([3], [49.0, 98.0, 147.0], [0.0] * 3, [0.0], [0.0], 1.0, 4.0, "sigmoid"), 49.0, None, False, False)
def test_values_and_gradients_follow_the_equations_bit_for_bit_also_in_float32(
    kind, problem, tau, v_reset, detach_reset, decay_input
):
    """Dividing by tau, in the written order: 1/tau·x or another order would differ in the last bit."""
    constants = {"v_reset": v_reset, "detach_reset": detach_reset, "decay_input": decay_input}
    make = partial(built, kind, tau, **constants, **problem.common())
    parameters = {"w": -math.log(tau - 1)} if kind == "PLIF" else None
    check_in_both_precisions(make, KINDS[kind][1], constants | {"tau": tau}, problem, parameters, backend="auto")


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


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("v_reset", [None, -0.3])
@pytest.mark.parametrize("kind", KINDS)
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
