"""A neuron's step as a list of scalar operations, forward and backward, traced from its torch code."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Value = str | float | bool  # the name of an earlier value, or a constant

#: Operations that are written alike in Python and in C.
ARITHMETIC = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "ge": "{0} >= {1}",
    "gt": "{0} > {1}",
    "le": "{0} <= {1}",
    "lt": "{0} < {1}",
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "neg": "-{0}",
    "reciprocal": "ONE / {0}",
    "sigmoid_backward": "{0} * (ONE - {1}) * {1}",
    "tanh_backward": "{0} * (ONE - {1} * {1})",
}
#: Functions of one number that both languages take from a library, most of them under the same name.
FUNCTIONS = ("abs", "exp", "log", "log1p", "sin", "cos", "tanh", "sqrt", "erf", "round", "floor", "ceil", "trunc")


class Unsupported(Exception):
    """The step cannot become a kernel; the text gives the reason."""


@dataclass(frozen=True)
class Operation:
    """name = op(*arguments)."""

    name: str
    op: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True)
class Graph:
    """Scalar code of one step.

    Attributes:
        inputs: names of the arguments, in order.
        operations: in order of execution, all of them needed.
        outputs: names (or constants) of the results, in order.
    """

    inputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]


def constants(graph: Graph) -> list[float]:
    """The constants of a graph in the order in which its kernel reads them."""
    found: list[float] = []
    for value in [*(a for operation in graph.operations for a in operation.arguments), *graph.outputs]:
        # By their text: 0.0 and −0.0 are equal, but not the same.
        if isinstance(value, float) and repr(value) not in map(repr, found):
            found.append(value)
    return found


def expressions(
    graph: Graph, templates: Mapping[str, str], names: Mapping[str, str], prefix: str
) -> tuple[list[tuple[str, str]], list[str]]:
    """The graph in another language: (name, expression) of each operation, and an expression for each output.

    Args:
        graph: to be written.
        templates: operation → its expression, in which {0}, {1} … stand for the arguments; True and False likewise.
        names: what the inputs of the graph are called there.
        prefix: of the constants, which are numbered in the order of constants().
    """
    table = [repr(constant) for constant in constants(graph)]

    def shown(value: Value) -> str:
        if isinstance(value, str):
            return names.get(value, value)
        return templates.get(repr(value)) or f"{prefix}{table.index(repr(value))}"

    lines = [(o.name, templates[o.op].format(*map(shown, o.arguments))) for o in graph.operations]
    return lines, [shown(value) for value in graph.outputs]


def with_products(graph: Graph, values: Mapping[str, float]) -> Graph:
    """The graph with divisions by powers of two as products, which are equal to the last bit and take a fraction.

    Args:
        graph: to be rewritten.
        values: of inputs that are known.
    """

    def rewritten(operation: Operation) -> Operation:
        if operation.op != "div":
            return operation
        dividend, divisor = operation.arguments
        divisor = values.get(divisor, divisor) if isinstance(divisor, str) else divisor
        if isinstance(divisor, float) and has_exact_inverse(divisor):
            return Operation(operation.name, "mul", (dividend, 1.0 / divisor))
        return operation

    return replace(graph, operations=tuple(map(rewritten, graph.operations)))


def has_exact_inverse(value: float) -> bool:
    """Whether a number is a power of two that single precision holds, as its inverse."""
    return 2.0**-100 <= abs(value) <= 2.0**100 and abs(math.frexp(value)[0]) == 0.5


# aten operators → our operations: many have the same name, and several aten overloads mean one scalar operation.
_UNARY = {"sgn": "sign", "bitwise_not": "not", "logical_not": "not"}
_UNARY |= {name: name for name in ("neg", "reciprocal", "sign", "relu", "sigmoid", *FUNCTIONS)}
_BINARY = {
    "true_divide": "div",
    "bitwise_and": "and",
    "bitwise_or": "or",
    "logical_and": "and",
    "logical_and_": "and",  # from the gradient of a clamp with two bounds, which uses the result only
    "logical_or": "or",
}
_BINARY |= {name: name for name in ("add", "sub", "mul", "div", "ge", "gt", "le", "lt", "eq", "ne")}
_BINARY |= {name: name for name in ("maximum", "minimum", "clamp_min", "clamp_max")}
_BINARY |= {name: name for name in ("sigmoid_backward", "tanh_backward")}
_SAME_VALUE = ("detach", "alias", "clone", "lift_fresh_copy", "view", "expand", "expand_as", "squeeze", "unsqueeze")
_ZERO = ("zeros_like", "new_zeros", "zeros")
_ONE = ("ones_like", "new_ones", "ones")


def trace_forward(
    step: Callable[..., Sequence[Tensor]], branches: int, states: int, parameters: int, dtype: torch.dtype
) -> Graph:
    """The operations of (*x, *states, *parameters) → (output, *new states); x is one tensor for each branch.

    Raises: Unsupported.
    """
    return _trace(lambda *arguments: tuple(step(*arguments)), branches + states + parameters, dtype)


def trace_backward(
    step: Callable[..., Sequence[Tensor]],
    branches: int,
    states: int,
    parameters: int,
    learnable: Sequence[int],
    dtype: torch.dtype,
) -> Graph:
    """The operations of (*x, *states, *parameters, g_output, *g_states) → (*g_x, *g_states before, *g_parameters).

    Args:
        step: one time step.
        branches, states, parameters: how many inputs, states and parameters it takes.
        learnable: indices of the parameters that need a gradient.
        dtype: of the arithmetic.

    Raises: Unsupported.
    """
    inputs = branches + states
    taken = inputs + parameters
    positions = [*range(inputs), *(inputs + index for index in learnable)]

    def backward(*arguments: Tensor) -> tuple[Tensor | None, ...]:
        values, gradients = arguments[:taken], arguments[taken:]
        for position in positions:
            values[position].requires_grad_()
        # A sum of products, not grad_outputs, for which torch would import a library for symbolic algebra.
        loss = sum((y * g).sum() for y, g in zip(step(*values), gradients, strict=True) if y.requires_grad)
        leaves = [values[position] for position in positions]
        return (
            torch.autograd.grad(loss, leaves, allow_unused=True) if isinstance(loss, Tensor) else [None] * len(leaves)
        )

    return _trace(backward, taken + 1 + states, dtype)


def _trace(function: Callable[..., Sequence[Tensor | None]], inputs: int, dtype: torch.dtype) -> Graph:
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        return _traced(function, inputs, dtype)


def _traced(function: Callable[..., Sequence[Tensor | None]], inputs: int, dtype: torch.dtype) -> Graph:
    # Parameters have the shape of x here: their gradient then comes per neuron, to be summed by the kernel.
    samples = [torch.linspace(0.1, 0.9, 3, dtype=dtype, device="cpu") + 0.01 * index for index in range(inputs)]
    recorder = _Recorder(samples)
    try:
        with recorder:
            results = function(*samples)
    except Unsupported:
        raise
    except Exception as error:  # a step that does more than arithmetic can raise anything
        raise Unsupported(f"its step cannot be traced ({str(error).strip().splitlines()[0]})") from error
    return recorder.graph(results)


class _Recorder(TorchDispatchMode):
    """Records the operators that run on some tensors.

    (make_fx would do, but importing it takes a second, and tracing with it a tenth to a half of one.)
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.inputs = tuple(f"a{index}" for index in range(len(inputs)))
        self.operations: dict[str, Operation] = {}
        self.unsupported: dict[str, Unsupported] = {}
        self.alive = list(inputs)  # so that no memory is used again, and tells a value apart
        self.names: dict[int, Value] = dict(zip(map(_memory, inputs), self.inputs, strict=True))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, a second's work, in order to keep it away from here

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        out = operator(*args, **kwargs)
        if not isinstance(out, Tensor):
            raise Unsupported(f"its step cannot be traced ({operator} reads values or gives several tensors)")
        self.alive.append(out)
        name = f"t{len(self.alive)}"
        arguments = [self.value(argument) for argument in args]
        try:
            result = _lower(operator, args, kwargs, arguments, name)
        except Unsupported as reason:  # raised only if an output depends on it
            self.unsupported[name] = reason
            result = Operation(name, "", tuple(arguments))
        if isinstance(result, Operation):
            self.operations[name] = result
            result = name
        self.names[_memory(out)] = result
        return out

    def value(self, argument: object) -> Value:
        """An argument of an operator in scalar code."""
        if isinstance(argument, Tensor):
            if _memory(argument) not in self.names:
                raise Unsupported("its step reads a tensor that is neither input, state nor parameter")
            return self.names[_memory(argument)]
        if isinstance(argument, bool) or argument is None:
            return bool(argument)
        if isinstance(argument, (int, float)):
            return float(argument)
        return ""  # sizes, dtypes and the like: no scalar reads them

    def graph(self, results: Sequence[Tensor | None]) -> Graph:
        """The operations that the results depend on."""
        outputs = tuple(0.0 if result is None else self.value(result) for result in results)
        needed: set[str] = set()
        pending = [value for value in outputs if isinstance(value, str)]
        while pending:
            name = pending.pop()
            if name in self.operations and name not in needed:
                needed.add(name)
                pending += [value for value in self.operations[name].arguments if isinstance(value, str)]
        for name in self.unsupported:
            if name in needed:
                raise self.unsupported[name]
        # Numbered anew: equal steps then share a kernel, whatever else was traced beside them.
        kept = [operation for name, operation in self.operations.items() if name in needed]
        names = {operation.name: f"t{index}" for index, operation in enumerate(kept, 1)}

        def renamed(values: Sequence[Value]) -> tuple[Value, ...]:
            return tuple(names.get(value, value) for value in values)

        operations = tuple(Operation(names[o.name], o.op, renamed(o.arguments)) for o in kept)
        return Graph(self.inputs, operations, renamed(outputs))


def _memory(x: Tensor) -> int:
    """Identity of a value: a tensor that autograd saved comes back as another object over the same memory."""
    return x.untyped_storage()._cdata


def _lower(operator: Any, args: tuple, kwargs: dict, arguments: list[Value], name: str) -> Operation | Value:
    """One aten call as a scalar operation, or as the value it merely passes on."""
    aten = operator.overloadpacket.__name__
    scale = kwargs.get("alpha", 1)
    if aten == "mul" and 1.0 in arguments[:2]:
        return arguments[arguments[0] == 1.0]
    if aten in _BINARY and len(arguments) >= 2 and scale == 1 and not kwargs.get("rounding_mode"):
        return Operation(name, _BINARY[aten], tuple(arguments[:2]))
    if aten in _UNARY and not kwargs.get("decimals"):
        return Operation(name, _UNARY[aten], (arguments[0],))
    if aten == "rsub" and scale == 1 and len(arguments) == 2:
        return Operation(name, "sub", (arguments[1], arguments[0]))
    if aten == "where" and len(arguments) == 3:
        return Operation(name, "where", tuple(arguments))
    if aten == "clamp":
        return _clamp(args, kwargs, arguments, name)
    if aten == "threshold_backward":
        return Operation(name, "threshold_backward", tuple(arguments))
    if aten == "leaky_relu":
        return Operation(name, "leaky_relu", (arguments[0], arguments[1] if len(arguments) > 1 else 0.01))
    if aten == "leaky_relu_backward" and arguments[3] is False:
        return Operation(name, "leaky_relu_backward", tuple(arguments[:3]))
    if aten in ("_to_copy", "to"):
        return Operation(name, "to_float", (arguments[0],)) if _is_float(kwargs) else arguments[0]
    if aten in _SAME_VALUE:
        return arguments[0]
    if aten in ("scalar_tensor", "full_like", "full"):
        return arguments[-1] if aten != "scalar_tensor" else arguments[0]
    if aten in _ZERO or aten in _ONE:
        return 0.0 if aten in _ZERO else 1.0
    if aten == "pow" and len(arguments) == 2 and arguments[1] == 2.0:
        return Operation(name, "mul", (arguments[0], arguments[0]))
    raise Unsupported(f"its step uses {operator}, for which no kernel code is known")


def _clamp(args: tuple, kwargs: dict, arguments: list[Value], name: str) -> Operation:
    def bound(position: int, keyword: str) -> object:
        return args[position] if len(args) > position else kwargs.get(keyword)

    low, high = bound(1, "min"), bound(2, "max")
    if low is not None and high is not None:
        return Operation(name, "clamp", (arguments[0], float(low), float(high)))
    return Operation(
        name,
        *(("clamp_min", (arguments[0], float(low))) if low is not None else ("clamp_max", (arguments[0], float(high)))),
    )


def _is_float(kwargs: dict) -> bool:
    dtype = kwargs.get("dtype")
    if dtype is None:
        return False
    if not dtype.is_floating_point:
        if dtype is torch.bool:
            return False
        raise Unsupported(f"its step computes in {dtype}")
    return True
