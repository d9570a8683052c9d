"""A neuron's step as a list of scalar operations, forward and backward, traced from its torch code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

Value = str | float | bool  # the name of an earlier value, or a constant


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


def place_of(value: float, table: list[float]) -> int:
    """Where a constant stands in the table that constants() gave."""
    return [repr(constant) for constant in table].index(repr(value))


# aten operator → (our operation, number of arguments kept). Several aten overloads mean one scalar operation.
_BINARY = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "div": "div",
    "true_divide": "div",
    "maximum": "maximum",
    "minimum": "minimum",
    "ge": "ge",
    "gt": "gt",
    "le": "le",
    "lt": "lt",
    "eq": "eq",
    "ne": "ne",
    "bitwise_and": "and",
    "bitwise_or": "or",
    "logical_and": "and",
    "logical_and_": "and",  # from the gradient of a clamp with two bounds, which uses the result only
    "logical_or": "or",
    "clamp_min": "clamp_min",
    "clamp_max": "clamp_max",
    "sigmoid_backward": "sigmoid_backward",
    "tanh_backward": "tanh_backward",
}
_UNARY = {
    "neg": "neg",
    "abs": "abs",
    "reciprocal": "reciprocal",
    "exp": "exp",
    "log": "log",
    "log1p": "log1p",
    "sin": "sin",
    "cos": "cos",
    "tanh": "tanh",
    "sqrt": "sqrt",
    "sigmoid": "sigmoid",
    "round": "round",
    "sign": "sign",
    "sgn": "sign",
    "relu": "relu",
    "bitwise_not": "not",
    "logical_not": "not",
    "erf": "erf",
}
_SAME_VALUE = ("detach", "alias", "clone", "lift_fresh_copy", "view", "expand", "expand_as", "squeeze", "unsqueeze")
_ZERO = ("zeros_like", "new_zeros", "zeros")
_ONE = ("ones_like", "new_ones", "ones")


def trace_forward(step: Callable[..., Sequence[Tensor]], states: int, parameters: int, dtype: torch.dtype) -> Graph:
    """The operations of (x, *states, *parameters) → (output, *new states).

    Raises: Unsupported.
    """
    return _trace(lambda *arguments: tuple(step(*arguments)), 1 + states + parameters, dtype)


def trace_backward(
    step: Callable[..., Sequence[Tensor]], states: int, parameters: int, learnable: Sequence[int], dtype: torch.dtype
) -> Graph:
    """The operations of (x, *states, *parameters, g_output, *g_states) → (g_x, *g_states before, *g_parameters).

    Args:
        step: one time step.
        states, parameters: how many it takes.
        learnable: indices of the parameters whose gradient is wanted.
        dtype: of the arithmetic.

    Raises: Unsupported.
    """
    taken = 1 + states + parameters
    # Parameters are traced with the shape of x: their gradient then comes per neuron, to be summed by the kernel.
    wanted = [*range(1 + states), *(1 + states + index for index in learnable)]

    def backward(*arguments: Tensor) -> tuple[Tensor, ...]:
        values, gradients = list(arguments[:taken]), arguments[taken:]

        def of_wanted(*some: Tensor) -> tuple[Tensor, ...]:
            filled = list(values)
            for position, value in zip(wanted, some, strict=True):
                filled[position] = value
            return tuple(step(*filled))

        _, pull_back = torch.func.vjp(of_wanted, *(values[position] for position in wanted))
        return pull_back(tuple(gradients))

    return _trace(backward, taken + 1 + states, dtype)


def _trace(function: Callable[..., tuple[Tensor, ...]], inputs: int, dtype: torch.dtype) -> Graph:
    from torch.fx.experimental.proxy_tensor import make_fx  # here: it takes as long to import as snntrain

    # Distinct tensors: the tracer merges arguments that are one object.
    samples = [torch.linspace(0.1, 0.9, 3, dtype=dtype) + 0.01 * index for index in range(inputs)]
    try:
        with torch.enable_grad():
            traced = make_fx(function)(*samples)
    except Unsupported:
        raise
    except Exception as error:  # whatever a step that branches on values or moves data provokes in the tracer
        raise Unsupported(f"its step cannot be traced ({str(error).strip().splitlines()[0]})") from error
    traced.graph.eliminate_dead_code()
    return _scalar_graph(traced.graph, inputs)


def _scalar_graph(graph: fx.Graph, inputs: int) -> Graph:
    names: dict[fx.Node, Value] = {}
    operations: list[Operation] = []
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for index, node in enumerate(placeholders):
        names[node] = f"a{index}"
    outputs: tuple[Value, ...] = ()
    for node in graph.nodes:
        if node.op == "placeholder":
            continue
        if node.op == "output":
            results = node.args[0] if isinstance(node.args[0], (tuple, list)) else (node.args[0],)
            outputs = tuple(0.0 if result is None else _value(result, names) for result in results)
            continue
        if node.op != "call_function":
            raise Unsupported(f"its step reads a tensor that is neither input, state nor parameter ({node.target})")
        result = _lower(node, [_value(argument, names) for argument in node.args], f"t{len(operations)}")
        if isinstance(result, Operation):
            operations.append(result)
            names[node] = result.name
        else:
            names[node] = result
    return Graph(tuple(f"a{index}" for index in range(inputs)), tuple(operations), outputs)


def _value(argument: object, names: dict[fx.Node, Value]) -> Value:
    if isinstance(argument, fx.Node):
        return names[argument]
    if isinstance(argument, bool) or argument is None:
        return bool(argument)
    if isinstance(argument, (int, float)):
        return float(argument)
    return ""  # sizes, dtypes and the like: no scalar reads them


def _lower(node: fx.Node, arguments: list[Value], name: str) -> Operation | Value:
    """One aten call as a scalar operation, or as the value it merely passes on."""
    target = node.target
    aten = target.overloadpacket.__name__ if hasattr(target, "overloadpacket") else str(target)
    scale = node.kwargs.get("alpha", 1)
    if aten in _BINARY and len(arguments) >= 2 and scale == 1 and not node.kwargs.get("rounding_mode"):
        return Operation(name, _BINARY[aten], tuple(arguments[:2]))
    if aten in _UNARY and not node.kwargs.get("decimals"):
        return Operation(name, _UNARY[aten], (arguments[0],))
    if aten == "rsub" and scale == 1 and len(arguments) == 2:
        return Operation(name, "sub", (arguments[1], arguments[0]))
    if aten == "where" and len(arguments) == 3:
        return Operation(name, "where", tuple(arguments))
    if aten == "clamp":
        return _clamp(node, arguments, name)
    if aten == "threshold_backward":
        return Operation(name, "threshold_backward", tuple(arguments))
    if aten in ("_to_copy", "to"):
        return Operation(name, "to_float", (arguments[0],)) if _is_float(node) else arguments[0]
    if aten in _SAME_VALUE:
        return arguments[0]
    if aten in ("scalar_tensor", "full_like", "full"):
        return arguments[-1] if aten != "scalar_tensor" else arguments[0]
    if aten in _ZERO or aten in _ONE:
        return 0.0 if aten in _ZERO else 1.0
    if aten == "pow" and len(arguments) == 2 and arguments[1] == 2.0:
        return Operation(name, "mul", (arguments[0], arguments[0]))
    raise Unsupported(f"its step uses {target}, for which no kernel code is known")


def _clamp(node: fx.Node, arguments: list[Value], name: str) -> Operation:
    def bound(position: int, keyword: str) -> object:
        return node.args[position] if len(node.args) > position else node.kwargs.get(keyword)

    low, high = bound(1, "min"), bound(2, "max")
    if low is not None and high is not None:
        return Operation(name, "clamp", (arguments[0], float(low), float(high)))
    return Operation(
        name,
        *(("clamp_min", (arguments[0], float(low))) if low is not None else ("clamp_max", (arguments[0], float(high)))),
    )


def _is_float(node: fx.Node) -> bool:
    dtype = node.kwargs.get("dtype")
    if dtype is None:
        return False
    if not dtype.is_floating_point:
        if dtype is torch.bool:
            return False
        raise Unsupported(f"its step computes in {dtype}")
    return True
