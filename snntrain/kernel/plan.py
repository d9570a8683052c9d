"""One neuron's step as graphs, traced once and shared by all neurons that differ in nothing else."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from snntrain.kernel.graph import Graph, Unsupported, constants, trace_backward, trace_forward, with_products

DTYPES = (torch.float32, torch.float64)


@dataclass
class Plan:
    """Graphs of a neuron's step, and how many values it takes.

    Attributes:
        forward: graph of (*x, *states, *parameters) → (output, *states).
        backward: graph of (*x, *states, *parameters, g_output, *g_states) → (*g_x, *g_states, *g_parameters).
        states, parameters: their numbers.
        learnable: which parameters get a gradient.
        dtype: of state and arithmetic.
        dims: of each parameter: 0, one value for all neurons; 1, [C], one per channel; 2, [T, C], also one per step.
        branches: inputs that a neuron has at each step.
        compiled: the compiled code of each driver, by the driver's name.
    """

    forward: Graph
    backward: Graph
    states: int
    parameters: int
    learnable: tuple[int, ...]
    dtype: torch.dtype
    dims: tuple[int, ...] = ()
    branches: int = 1
    compiled: dict[str, Any] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """'float32' or 'float64'."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def scalars(self) -> list[int]:
        """The parameters with one value for all neurons."""
        return [index for index, dims in enumerate(self.dims) if dims == 0]

    @property
    def spread(self) -> list[int]:
        """The parameters whose values differ between neurons."""
        return [index for index, dims in enumerate(self.dims) if dims]

    @functools.cached_property
    def constants(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers in both graphs; kernels take them as arguments, so that they serve every value."""
        return tuple(np.array(constants(graph), self.precision) for graph in (self.forward, self.backward))


def make_plan(
    step: Callable[..., Sequence[torch.Tensor]],
    states: int,
    parameters: int,
    learnable: Sequence[int],
    dtype: torch.dtype,
    dims: Sequence[int] | None = None,
    branches: int = 1,
    values: Mapping[int, float] | None = None,
) -> Plan:
    """Trace a step.

    Args:
        step: (*x, *states, *parameters) → (output, *new states), pure and pointwise; x is one tensor for each branch.
        states, parameters: their numbers.
        learnable: indices of the parameters that need a gradient.
        dtype: of state and arithmetic, float32 or float64.
        dims: of each parameter, see Plan; None: 0 for all.
        branches: inputs that a neuron has at each step.
        values: of parameters that are the same at every call of the plan, by their indices; None: of none.

    Raises: Unsupported with the reason.
    """
    if dtype not in DTYPES:
        raise Unsupported(f"kernels compute in float32 or float64, not {dtype}")
    forward = trace_forward(step, branches, states, parameters, dtype)
    if len(forward.outputs) != 1 + states:
        raise Unsupported(f"its step returns {len(forward.outputs)} tensors for one output and {states} states")
    backward = trace_backward(step, branches, states, parameters, learnable, dtype)
    dims = (0,) * parameters if dims is None else tuple(dims)
    known = {forward.inputs[branches + states + index]: value for index, value in (values or {}).items()}
    forward, backward = (with_products(graph, known) for graph in (forward, backward))
    return Plan(forward, backward, states, parameters, tuple(learnable), dtype, dims, branches)
