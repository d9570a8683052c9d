"""IF, LIF and ParametricLIF against published numbers, and against their equations written as a plain loop."""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from snntrain.neuron import BaseNode, IFNode, LIFNode, ParametricLIFNode
from snntrain.surrogate import ATan, Sigmoid

# --- golden numbers --------------------------------------------------------------------------------------------------


@dataclass
class Golden:
    """Inputs X, surrogate Sigmoid(4); v after reset; g = dL/dx and dw = dL/dw of L = Σ t·s[t] + v[6]."""

    node: type[BaseNode]
    arguments: dict[str, Any]
    s: list[int]
    v: list[float]
    g: list[float]
    dw: float | None = None


X = [0.5, 1.2, -0.3, 2.0, 0.9, 0.1]
GOLDEN = {
    "IF r=0": Golden(
        IFNode,
        {},
        [0, 1, 0, 1, 0, 1],
        [0.5, 0, -0.3, 0, 0.9, 0],
        [1.0783, 0.833316, -1.09131, -1.14926, 5.48052, 5],
    ),
    "IF r=0 detach": Golden(
        IFNode,
        {"detach_reset": True},
        [0, 1, 0, 1, 0, 1],
        [0.5, 0, -0.3, 0, 0.9, 0],
        [0.852279, 0.432305, 0.930084, 0.86461, 10.8052, 6],
    ),
    "IF soft": Golden(
        IFNode,
        {"v_reset": None},
        [0, 1, 0, 1, 1, 1],
        [0.5, 0.7, 0.4, 1.4, 1.3, 0.4],
        [2.2951, 3.23283, 3.57279, 3.82419, 3.82157, 3.79528],
    ),
    "LIF tau 2 r=0": Golden(
        LIFNode,
        {"tau": 2.0},
        [0, 0, 0, 1, 0, 0],
        [0.25, 0.725, 0.2125, 0, 0.45, 0.275],
        [0.537199, 0.935975, 0.816838, 1.20107, 1.34485, 1.06601],
    ),
    "LIF soft, no decay_input": Golden(
        LIFNode,
        {"v_reset": None, "decay_input": False},
        [0, 1, 0, 1, 1, 0],
        [0.5, 0.45, -0.075, 0.9625, 0.38125, 0.290625],
        [0.780022, 1.24149, 1.04332, 1.86837, 3.3579, 2.04539],
    ),
    "LIF r=-.2, no decay_input": Golden(
        LIFNode,
        {"v_reset": -0.2, "decay_input": False},
        [0, 1, 0, 1, 0, 0],
        [0.3, -0.2, -0.5, -0.2, 0.7, 0.35],
        [0.899924, 1.53325, 0.0695304, 0.0796288, 3.98993, 2.40301],
    ),
    "PLIF init_tau 1.5 r=0": Golden(
        ParametricLIFNode,
        {"init_tau": 1.5},
        [0, 0, 0, 1, 0, 0],
        [0.333333, 0.911111, 0.103704, 0, 0.6, 0.266667],
        [0.564322, 1.31336, 0.54557, 1.01767, 2.17369, 1.40018],
        dw=1.31523,
    ),
}


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("case", GOLDEN.values(), ids=GOLDEN)
def test_neuron_gives_the_golden_numbers(case, step_mode):
    node = case.node(**case.arguments, step_mode=step_mode, store_v_seq=True)
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    if step_mode == "m":
        s = node(x)
        v = node.v_seq
    else:
        s, v = map(torch.stack, zip(*[(node(x_t), node.v) for x_t in x], strict=True))
    loss = (torch.arange(1, 7, dtype=torch.float64) * s).sum() + node.v
    loss.backward()

    rounded = {"rel": 6e-6, "abs": 1e-12}  # the numbers have six digits
    assert s.tolist() == case.s
    assert v.tolist() == pytest.approx(case.v, **rounded)
    assert x.grad.tolist() == pytest.approx(case.g, **rounded)
    if case.dw is not None:
        assert node.w.grad.item() == pytest.approx(case.dw, **rounded)


# --- the equations as a plain loop -----------------------------------------------------------------------------------


def sigmoid_slope(z: float, alpha: float) -> float:
    e = math.exp(-abs(alpha * z))
    return alpha * e / (1 + e) ** 2


def atan_slope(z: float, alpha: float) -> float:
    return alpha / 2 / (1 + (math.pi * alpha * z / 2) ** 2)


SURROGATES = {"sigmoid": (Sigmoid, sigmoid_slope), "atan": (ATan, atan_slope)}


@dataclass
class Equations:
    """One neuron, one sequence: forward in the number type of x, gradients by hand (backpropagation through time).

    leak is the tau to divide by, or the p to multiply by; IF has none.
    """

    leak: Any = None
    divide: bool = True
    decay_input: bool = True
    v_threshold: Any = 1.0
    v_reset: Any = 0.0
    detach_reset: bool = False
    slope: Any = None
    h: list = field(default_factory=list)
    s: list = field(default_factory=list)
    v: list = field(default_factory=list)

    def scaled(self, value: Any) -> Any:
        return value / self.leak if self.divide else value * self.leak

    def charge(self, x: Any, v: Any) -> Any:
        r = 0 * x if self.v_reset is None else self.v_reset
        if self.leak is None:
            return v + x
        if self.decay_input:
            return v + self.scaled(x - (v - r))
        return v - self.scaled(v - r) + x

    def forward(self, x_seq: list, v_init: Any) -> None:
        v = v_init
        for x in x_seq:
            h = self.charge(x, v)
            s = 1 if h >= self.v_threshold else 0
            after_spike = h - self.v_threshold if self.v_reset is None else self.v_reset
            v = after_spike if s else h
            self.h.append(h)
            self.s.append(s)
            self.v.append(v)

    def backward(self, x_seq: list, v_init: float, g_s: list, g_v_seq: list) -> tuple[list, float, float]:
        """dL/dx, dL/dv_init, dL/d(leak factor p) from dL/ds and dL/dv of every step."""
        p = None if self.leak is None else 1 / self.leak if self.divide else self.leak
        dh_dx = 1.0 if p is None or not self.decay_input else p
        dh_dv = 1.0 if p is None else 1 - p
        r = 0.0 if self.v_reset is None else self.v_reset
        g_x, g_p, g_v = [0.0] * len(x_seq), 0.0, 0.0
        for t in reversed(range(len(x_seq))):
            g_v += g_v_seq[t]
            sg = self.slope(self.h[t] - self.v_threshold)
            attached = 0.0 if self.detach_reset else 1.0
            if self.v_reset is None:
                dv_dh = 1 - attached * self.v_threshold * sg
            else:
                dv_dh = (1 - self.s[t]) + attached * (self.v_reset - self.h[t]) * sg
            g_h = g_s[t] * sg + g_v * dv_dh
            before = self.v[t - 1] if t else v_init
            g_p += g_h * ((x_seq[t] if self.decay_input else 0.0) - (before - r))
            g_x[t] = g_h * dh_dx
            g_v = g_h * dh_dv
        return g_x, g_v, g_p


def built(kind: str, tau: float, **common: Any) -> tuple[BaseNode, dict[str, Any]]:
    """The module, and the equations' arguments for its leak; the sigmoid of w is torch's own, which decides spikes."""
    if kind == "IF":
        common.pop("decay_input")
        return IFNode(**common), {}
    if kind == "LIF":
        return LIFNode(tau, **common), {"leak": tau}
    node = ParametricLIFNode(tau, **common)
    return node, {"leak": torch.sigmoid(node.w.detach().double()).item(), "divide": False}


VARIANTS = [
    (kind, v_reset, detach, decay)
    for kind, v_reset, detach, decay in itertools.product(
        ("IF", "LIF", "PLIF"), (None, 0.0, -0.3), (False, True), (True, False)
    )
    if kind != "IF" or decay
]
over_variants = pytest.mark.parametrize("kind, v_reset, detach_reset, decay_input", VARIANTS)

numbers = st.one_of(st.integers(-12, 16).map(lambda n: n / 4), st.floats(-3, 4, width=32))
taus = st.one_of(st.sampled_from([1.5, 2.0, 3.0, 49.0]), st.floats(1.01, 100))


@over_variants
@settings(max_examples=15, deadline=None)
@given(data=st.data(), step_mode=st.sampled_from("sm"), surrogate=st.sampled_from(sorted(SURROGATES)))
def test_values_and_gradients_follow_the_equations(
    kind, v_reset, detach_reset, decay_input, data, step_mode, surrogate
):
    T = data.draw(st.integers(1, 7), label="T")
    sequences = st.lists(numbers, min_size=T, max_size=T)
    x_values, g_s, g_v = (data.draw(sequences, label=label) for label in ("x", "dL/ds", "dL/dv"))
    v_value, tau = data.draw(numbers, label="v_init"), data.draw(taus, label="tau")
    threshold = data.draw(st.one_of(st.sampled_from([0.25, 0.5, 1.0]), st.floats(0.25, 2)), label="threshold")
    alpha = data.draw(st.floats(0.5, 5), label="alpha")
    make_surrogate, slope = SURROGATES[surrogate]
    common = {"v_threshold": threshold, "v_reset": v_reset, "detach_reset": detach_reset, "decay_input": decay_input}
    node, leak = built(
        kind, tau, **common, surrogate_function=make_surrogate(alpha), step_mode=step_mode, store_v_seq=True
    )
    reference = Equations(**leak, **common, slope=lambda z: slope(z, alpha))
    reference.forward(x_values, v_value)
    g_x, g_init, g_p = reference.backward(x_values, v_value, g_s, g_v)

    x = torch.tensor(x_values, dtype=torch.float64, requires_grad=True)
    v_init = torch.tensor(v_value, dtype=torch.float64, requires_grad=True)
    node.v = v_init
    if step_mode == "m":
        s = node(x)
        v = node.v_seq
    else:
        s, v = map(torch.stack, zip(*[(node(x_t), node.v) for x_t in x], strict=True))
    ((s * torch.tensor(g_s)).sum() + (v * torch.tensor(g_v)).sum()).backward()

    assert s.tolist() == reference.s
    assert v.tolist() == reference.v, "the same operations in the same order give the same bits"
    close = {"rel": 1e-9, "abs": 1e-9}
    assert x.grad.tolist() == pytest.approx(g_x, **close)
    assert v_init.grad.item() == pytest.approx(g_init, **close)
    if kind == "PLIF":
        p = reference.leak
        assert node.w.grad.item() == pytest.approx(g_p * p * (1 - p), rel=1e-5, abs=1e-5)  # w is float32


@over_variants
@settings(max_examples=8, deadline=None)
@given(
    x_values=st.lists(numbers, min_size=1, max_size=30),
    tau=st.floats(1.1, 100),
    threshold=st.one_of(st.just(1.0), st.floats(0.125, 2, width=32)),
)
@example(x_values=[49.0, 98.0, 147.0], tau=49.0, threshold=1.0)
def test_float32_potentials_and_spikes_are_bit_for_bit_those_of_the_equations(
    kind, v_reset, detach_reset, decay_input, x_values, tau, threshold
):
    """Dividing by tau, in the written order: 1/tau·x or another order would differ in the last bit."""
    common = {"v_threshold": threshold, "v_reset": v_reset, "decay_input": decay_input}
    node, leak = built(kind, tau, **common, detach_reset=detach_reset, step_mode="m", store_v_seq=True)
    if kind == "PLIF":
        leak["leak"] = torch.sigmoid(node.w.detach()).item()
    leak = {name: value if name == "divide" else np.float32(value) for name, value in leak.items()}
    reference = Equations(
        **leak,
        decay_input=decay_input,
        v_threshold=np.float32(threshold),
        v_reset=None if v_reset is None else np.float32(v_reset),
    )
    reference.forward([np.float32(x) for x in x_values], np.float32(0 if v_reset is None else v_reset))
    s = node(torch.tensor(x_values))
    assert s.tolist() == reference.s
    assert torch.equal(node.v_seq, torch.tensor(np.array(reference.v, dtype=np.float32)))


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
    node, _ = built(
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
