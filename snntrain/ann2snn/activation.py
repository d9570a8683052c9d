"""Rectified linear activations in a graph, however they are written: each use becomes a module of its own."""

import math
import operator
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional as F

from snntrain.arguments import real
from snntrain.graph import argument, call_before, carriers, free_path, modules_of, note_place, operation, replace_node

_RELU = {"relu", "relu_"}
_CLAMP = {"clamp", "clamp_", "clip", "clip_"}
_CLAMP_MIN = {"clamp_min", "clamp_min_"}
_HARDTANH = {"hardtanh", "hardtanh_"}
_OUT_OF_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


class Rectifier(nn.ReLU):
    """The activation of a net that is prepared for conversion.

    y = min(max(x, 0), cap).

    Args:
        cap: > 0; None: no upper bound.

    Shapes: any; output as input.
    """

    def __init__(self, cap: float | None = None) -> None:
        super().__init__()
        self.cap = None if cap is None else real(self, "cap", cap, above=0, alternative=" or None")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) if self.cap is None else x.clamp(0.0, self.cap)

    def extra_repr(self) -> str:
        return "" if self.cap is None else f"cap={self.cap:g}"


def rectifiers(gm: fx.GraphModule) -> dict[str, Rectifier]:
    """Name → module of every activation of a prepared net, in order of execution."""
    return modules_of(gm, Rectifier)


def resolve_in_place(gm: fx.GraphModule) -> None:
    """Let everything that comes after an operation in place use its result, and make the operation out of place.

    A forward that goes on with a tensor after relu_(tensor) sees the rectified one.
    """
    order = {node: index for index, node in enumerate(gm.graph.nodes)}
    carrying = carriers(gm.graph)
    for node in list(gm.graph.nodes):
        if not _is_in_place(gm, node):
            continue
        source = argument(node, 0, "input")
        # Shapes are numbers, which n += 1 does not change.
        for user in list(source.users) if node in carrying and source in carrying else ():
            if order[user] > order[node]:
                user.replace_input_with(source, node)
        if node.op == "call_function":
            node.target = _OUT_OF_PLACE.get(node.target, node.target)
        elif node.op == "call_method":
            node.target = node.target.removesuffix("_")


def _is_in_place(gm: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return getattr(gm.get_submodule(node.target), "inplace", False) is True
    if node.op == "call_method":
        return node.target.endswith("_") and not node.target.startswith("__")
    if node.op == "call_function":
        name = operation(node)
        flag = {"relu": 1, "relu6": 1, "hardtanh": 3, "silu": 1, "leaky_relu": 2, "elu": 2}.get(name)
        return (
            node.target in _OUT_OF_PLACE
            or (name.endswith("_") and not name.startswith("_"))
            or (flag is not None and argument(node, flag, "inplace") is True)
        )
    return False


def separate_rectifiers(gm: fx.GraphModule) -> None:
    """Put a Rectifier of its own in the place of every use of an activation."""
    taken = set()
    for node in list(gm.graph.nodes):
        cap = _cap(gm, node)
        if cap is None:
            continue
        own = node.target if node.op == "call_module" else node.name
        # The first use of a module may have its place.
        first = node.op == "call_module" and own not in taken
        name = own if first else free_path(gm, own)
        taken.add(name)
        rectifier = Rectifier(None if math.isinf(cap) else cap)
        replacement = call_before(gm, node, name, rectifier, argument(node, 0, "input"))
        replacement.meta = dict(node.meta)
        note_place(gm, node, name)
        replace_node(gm, node, replacement)


def _cap(gm: fx.GraphModule, node: fx.Node) -> float | None:
    """The upper bound of an activation that can be a Rectifier (inf: none), None for every other node."""
    if node.op == "call_module":
        return _cap_of_module(gm.get_submodule(node.target))
    name = operation(node)
    if name in _RELU:
        return math.inf
    if name == "relu6":
        return 6.0
    if name in _HARDTANH:
        return _bounds(argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0))
    if name in _CLAMP:
        return _bounds(argument(node, 1, "min"), argument(node, 2, "max"))
    if name in _CLAMP_MIN:
        return _bounds(argument(node, 1, "min"), None)
    return None


def _cap_of_module(module: nn.Module) -> float | None:
    if isinstance(module, Rectifier):
        return math.inf if module.cap is None else module.cap
    if type(module).forward is nn.ReLU.forward:
        return math.inf
    if type(module).forward is nn.Hardtanh.forward:  # ReLU6 too
        return _bounds(module.min_val, module.max_val)
    return None


def _bounds(low: Any, high: Any) -> float | None:
    numbers = (int, float)
    if isinstance(low, bool) or not isinstance(low, numbers) or low != 0:
        return None
    if high is None:
        return math.inf
    return float(high) if isinstance(high, numbers) and high > 0 else None
