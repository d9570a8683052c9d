"""Golden cases, and a neuron's equations as a plain loop over numbers that carry their own gradient."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random, with_potentials
from torch import Tensor

from snntrain.base import MemoryModule
from snntrain.surrogate import ATan, Sigmoid

X = [0.5, 1.2, -0.3, 2.0, 0.9, 0.1]
ROUNDED = {"rel": 6e-6, "abs": 1e-12}  # the golden numbers have six digits


# --- golden numbers --------------------------------------------------------------------------------------------------


@dataclass
class Golden:
    """Outputs of x, potentials after reset, last values of other states, and gradients of Σ t·s[t] + v[6].

    `extra` holds the gradients of parameters.
    """

    make: Callable[[], MemoryModule]
    out: list[float]
    v: list[float]
    g: list[float]
    states: dict[str, float] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)
    x: list[float] = field(default_factory=lambda: X)


def check_golden(case: Golden, step_mode: str) -> None:
    """Run x and compare with the six-digit numbers of the case."""
    node = case.make()
    x = torch.tensor(case.x, dtype=torch.float64, requires_grad=True)
    out, v = with_potentials(node, x, step_mode)
    ((torch.arange(1, 7, dtype=torch.float64) * out).sum() + node.v).backward()
    assert v.tolist() == pytest.approx(case.v, **ROUNDED)
    assert node.v.item() == pytest.approx(case.v[-1], **ROUNDED)
    assert out.tolist() == pytest.approx(case.out, **ROUNDED)
    assert x.grad.tolist() == pytest.approx(case.g, **ROUNDED)
    for name, value in case.states.items():
        assert getattr(node, name).item() == pytest.approx(value, **ROUNDED), name
    for name, value in case.extra.items():
        assert node.get_parameter(name).grad.item() == pytest.approx(value, **ROUNDED), name


# --- equations that carry their own gradient -------------------------------------------------------------------------


class Dual:
    """A number and its gradient, by forward differentiation: equations written once give values and gradients."""

    __array_ufunc__ = None  # numpy scalars on the left leave the operation to this class

    def __init__(self, value: Any, gradient: Any = 0.0) -> None:
        self.value, self.gradient = value, gradient

    def __add__(self, other: Any) -> "Dual":
        other = dual(other)
        return Dual(self.value + other.value, self.gradient + other.gradient)

    def __sub__(self, other: Any) -> "Dual":
        other = dual(other)
        return Dual(self.value - other.value, self.gradient - other.gradient)

    def __mul__(self, other: Any) -> "Dual":
        other = dual(other)
        gradient = self.gradient * float(other.value) + float(self.value) * other.gradient
        return Dual(self.value * other.value, gradient)

    def __truediv__(self, other: Any) -> "Dual":
        other = dual(other)
        value = self.value / other.value
        return Dual(value, (self.gradient - float(value) * other.gradient) / float(other.value))

    def __radd__(self, other: Any) -> "Dual":
        return dual(other) + self

    def __rsub__(self, other: Any) -> "Dual":
        return dual(other) - self

    def __rmul__(self, other: Any) -> "Dual":
        return dual(other) * self

    def through(self, value: Any, slope: float) -> "Dual":
        """A function of this number, given by its value and its derivative here."""
        return Dual(value, slope * self.gradient)


def dual(value: Any) -> Dual:
    return value if isinstance(value, Dual) else Dual(value)


def exp(z: Dual) -> Dual:
    e = math.exp(z.value)
    return z.through(e, e)


def sigmoid(z: Dual) -> Dual:
    p = 1 / (1 + math.exp(-z.value))
    return z.through(p, p * (1 - p))


def relu(z: Dual) -> Dual:
    return z if z.value > 0 else z.through(z.value * 0, 0.0)


def sigmoid_slope(z: float, alpha: float) -> float:
    e = math.exp(-abs(alpha * z))
    return alpha * e / (1 + e) ** 2


def atan_slope(z: float, alpha: float) -> float:
    return alpha / 2 / (1 + (math.pi * alpha * z / 2) ** 2)


SURROGATES = {"sigmoid": (Sigmoid, sigmoid_slope), "atan": (ATan, atan_slope)}


class Constants:
    """The constants of a neuron as attributes, and section 1 of the specification: fire and reset."""

    def __init__(self, slope: Callable[[float], float], number: type = float, **values: Any) -> None:
        self.slope = slope
        for name, value in values.items():
            setattr(self, name, number(value) if type(value) is float else value)

    @property
    def r(self) -> Any:
        return 0.0 if self.v_reset is None else self.v_reset

    def theta(self, z: Dual) -> Dual:
        return z.through(1.0 if z.value >= 0 else 0.0, self.slope(float(z.value)))

    def fire(self, h: Dual) -> Dual:
        return self.theta(h - self.v_threshold)

    def gate(self, s: Dual) -> Dual:
        return Dual(s.value) if self.detach_reset else s

    def reset(self, h: Dual, s: Dual) -> Dual:
        s_d = self.gate(s)
        return h - s_d * self.v_threshold if self.v_reset is None else s_d * self.v_reset + (1.0 - s_d) * h

    def lif(self, x: Dual, v: Dual) -> Dual:
        """Charge of the LIF neuron."""
        return v + (x - (v - self.r)) / self.tau if self.decay_input else v - (v - self.r) / self.tau + x


Equations = Callable[..., tuple[Dual, ...]]
"""(x, *states, constants, *parameters) → (output, *new states)."""


def follow(
    equations: Equations, constants: Constants, x: list, states: list, parameters: list
) -> tuple[list[Dual], list[list[Dual]]]:
    """Outputs and states of every step."""
    outputs, history = [], []
    for x_t in x:
        out, *states = equations(x_t, *states, constants, *parameters)
        outputs.append(out)
        history.append(states)
    return outputs, history


numbers = st.one_of(st.integers(-12, 16).map(lambda n: n / 4), st.floats(-3, 4, width=32))
small_numbers = st.one_of(st.integers(-6, 8).map(lambda n: n / 4), st.floats(-1.5, 2, width=32))
resets = st.sampled_from([None, 0.0, -0.2])
flags = st.booleans()
taus = st.one_of(st.sampled_from([1.5, 2.0, 3.0, 49.0]), st.floats(1.01, 100))


@dataclass
class Drawn:
    """A drawn problem: inputs, initial states, loss weights, threshold and surrogate."""

    sizes: list[int]
    x: list[float]
    g: list[float]
    states: list[float]
    g_states: list[float]
    threshold: float
    alpha: float
    surrogate: str

    def common(self) -> dict[str, Any]:
        return {"v_threshold": self.threshold, "surrogate_function": SURROGATES[self.surrogate][0](self.alpha)}

    def slope(self, z: float) -> float:
        return SURROGATES[self.surrogate][1](z, self.alpha)


@st.composite
def drawn(draw: Any, states: int, inputs: Any = numbers) -> Drawn:
    """A problem for a neuron with so many states."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3), label="sizes of the chunks")
    T = sum(sizes)

    def sequence(length: int, elements: Any, label: str) -> list[float]:
        return draw(st.lists(elements, min_size=length, max_size=length), label=label)

    return Drawn(
        sizes,
        sequence(T, inputs, "x"),
        sequence(T, numbers, "dL/dout"),
        sequence(states, small_numbers, "initial states"),
        sequence(states, numbers, "dL/dstates"),
        draw(st.one_of(st.sampled_from([0.25, 0.5, 1.0]), st.floats(0.25, 2)), label="threshold"),
        draw(st.floats(0.5, 5), label="alpha"),
        draw(st.sampled_from(sorted(SURROGATES)), label="surrogate"),
    )


def check_equations(
    make: Callable[[], MemoryModule],
    equations: Equations,
    constants: dict[str, Any],
    problem: Drawn,
    parameters: dict[str, float] | None = None,
    exact: bool = True,
    bound: float = 1e5,
    backend: str = "torch",
) -> None:
    """The node equals the equations in outputs, states and gradients, by steps, as one sequence and in chunks.

    Args:
        make: builds the node with the same constants, and the problem's surrogate and threshold.
        parameters: values of the learnable scalars that follow the constants in the equations.
        exact: values must be equal bit for bit.
        bound: problems with larger numbers than this are passed over.
    """
    parameters = parameters or {}
    T, names = len(problem.x), make().state_names
    leaves = [*problem.x, *problem.states, *parameters.values()]
    duals = [Dual(value, row) for value, row in zip(leaves, np.eye(len(leaves)), strict=True)]
    split = T + len(names)
    table = Constants(problem.slope, **constants, v_threshold=problem.threshold)
    with np.errstate(all="ignore"):
        try:
            outputs, history = follow(equations, table, duals[:T], duals[T:split], duals[split:])
        except OverflowError:
            assume(False)
        loss = sum(
            (g * y for g, y in zip([*problem.g, *problem.g_states], [*outputs, *history[-1]], strict=True)), Dual(0.0)
        )
        values = [z.value for z in [*outputs, *(z for states in history for z in states)]]
        assume(np.all(np.abs(values) < bound) and np.all(np.abs(loss.gradient) < bound))

    close = {"rel": 1e-9, "abs": 1e-9 * max(1.0, np.abs(loss.gradient).max())}
    equal = {"rel": 0, "abs": 0} if exact else {"rel": 1e-12, "abs": 1e-12}
    runs = {"steps": in_steps, "sequence": in_chunks, "chunks": lambda node, x: in_chunks(node, x, problem.sizes)}
    for way, run in runs.items():
        node = make().double()
        node.backend = backend
        node.store_v_seq = way == "sequence"
        inputs = torch.tensor(problem.x, dtype=torch.float64, requires_grad=True)
        states = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in problem.states]
        for name, state in zip(names, states, strict=True):
            setattr(node, name, state)
        with torch.no_grad():
            for name, value in parameters.items():
                node.get_parameter(name).fill_(value)
        out = run(node, inputs)
        final = [getattr(node, name) for name in names]
        total = (out * torch.tensor(problem.g, dtype=torch.float64)).sum()
        total = total + sum(g * state for g, state in zip(problem.g_states, final, strict=True))
        learned = [node.get_parameter(name) for name in parameters]
        gradients = torch.autograd.grad(total, [inputs, *states, *learned])

        assert out.tolist() == pytest.approx([y.value for y in outputs], **equal), way
        assert [state.item() for state in final] == pytest.approx([z.value for z in history[-1]], **equal), way
        if node.store_v_seq:
            assert node.v_seq.tolist() == pytest.approx([states[0].value for states in history], **equal)
        actual = np.concatenate([g.numpy().reshape(-1) for g in gradients])
        assert actual.tolist() == pytest.approx(loss.gradient.tolist(), **close), way


def check_float32(
    make: Callable[[], MemoryModule],
    equations: Equations,
    constants: dict[str, Any],
    problem: Drawn,
    parameters: dict[str, float] | None = None,
    backend: str = "torch",
) -> None:
    """In float32 outputs and states have the very bits of the equations, operation by operation."""
    parameters = parameters or {}
    node = make()
    node.backend = backend
    table = Constants(lambda z: 0.0, np.float32, **constants, v_threshold=problem.threshold)
    x, states, learned = (
        [Dual(np.float32(value)) for value in values] for values in (problem.x, problem.states, parameters.values())
    )
    with np.errstate(all="ignore"):
        outputs, history = follow(equations, table, x, states, learned)
    assume(np.isfinite([z.value for states in history for z in states]).all())
    for name, value in zip(node.state_names, problem.states, strict=True):
        setattr(node, name, torch.tensor(value))
    with torch.no_grad():
        for name, value in parameters.items():
            node.get_parameter(name).fill_(value)
        out = in_chunks(node, torch.tensor(problem.x), problem.sizes)
    assert out.tolist() == [float(y.value) for y in outputs]
    assert [getattr(node, name).item() for name in node.state_names] == [float(z.value) for z in history[-1]]


def check_in_both_precisions(
    make: Callable[[], MemoryModule],
    equations: Equations,
    constants: dict[str, Any],
    problem: Drawn,
    parameters: dict[str, float] | None = None,
    backend: str = "torch",
) -> None:
    """check_equations and check_float32."""
    check_equations(make, equations, constants, problem, parameters, backend=backend)
    check_float32(make, equations, constants, problem, parameters, backend)


def check_gradients_numerically(node: MemoryModule, states: Sequence[str], shape: Sequence[int] = (4, 3)) -> None:
    """gradcheck of outputs and final states with respect to inputs, initial states and parameters."""
    node.double()
    node.backend, node.step_mode = "torch", "m"
    names = [name for name, _ in node.named_parameters()]

    def run(x: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        node.reset()
        for name, value in zip(states, leaves, strict=False):
            setattr(node, name, value)
        parameters = dict(zip(names, leaves[len(states) :], strict=True))
        out = torch.func.functional_call(node, parameters, (x,))
        return out, *(getattr(node, name) for name in states)

    x = random(*shape, seed=5, dtype=torch.float64).mul(0.5).requires_grad_()
    initial = [
        random(*shape[1:], seed=6 + n, dtype=torch.float64).mul(0.3).requires_grad_() for n in range(len(states))
    ]
    parameters = [p.detach().clone().requires_grad_() for p in node.parameters()]
    assert torch.autograd.gradcheck(run, (x, *initial, *parameters))
