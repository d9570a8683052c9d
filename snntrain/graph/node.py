"""What is said about a node of a traced net: its name, its kind, its arguments, and what became of it."""

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from snntrain.graph.error import NetError

#: Where the layers are that count as a library's, and not as a user's.
OURS = ("snntrain.layer.", "snntrain.graph.fusion", "snntrain.ann2snn.")


def title_of(node: fx.Node) -> str:
    """A module's path; for a function the name of its node and the module that calls it."""
    if node.op == "call_module":
        return node.target
    owner = next(reversed(node.meta.get("nn_module_stack") or {}), "")
    return f"{node.name} in {owner}" if owner else node.name


def kind_of(gm: fx.GraphModule, node: fx.Node) -> str:
    """The class of a module, the name of a function."""
    if node.op == "call_module":
        return type(gm.get_submodule(node.target)).__name__
    if node.op.startswith("call_"):
        return getattr(node.target, "__name__", str(node.target))
    return node.op


def place_of(gm: fx.GraphModule, node: fx.Node) -> str:
    """A node as the place of a NetError: "layers.3 (GELU)"."""
    return f"{title_of(node)} ({kind_of(gm, node)})"


def operation(node: fx.Node) -> str:
    """The function of torch, operator or Tensor that a node calls; '' for other nodes and for a user's functions."""
    if node.op == "call_method":
        return node.target
    if node.op != "call_function":
        return ""
    name = getattr(node.target, "__name__", "")
    homes = (torch, F, operator, torch._C._nn)
    return name if any(getattr(home, name, None) is node.target for home in homes) or node.target is getattr else ""


def library_name(module: nn.Module | None) -> str:
    """Class name of a layer of torch or snntrain that computes what torch's of that name does; '' for all others."""
    kind = type(module)
    return kind.__name__ if kind.__module__.startswith(("torch.nn.modules.", *OURS)) else ""


def module_at(gm: fx.GraphModule, node: object) -> nn.Module | None:
    """The module that a node calls; None for a node that calls none, and for what is no node."""
    return gm.get_submodule(node.target) if isinstance(node, fx.Node) and node.op == "call_module" else None


def argument(node: fx.Node, index: int, name: str, default: Any = None) -> Any:
    """An argument of a function, given by place or by name."""
    if len(node.args) > index:
        return node.args[index]
    if name == "input" and "self" in node.kwargs:
        return node.kwargs["self"]
    return node.kwargs.get(name, default)


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Shape of a node's output for one step, with its batch; None if the graph was made without an example."""
    meta: Any = node.meta.get("tensor_meta")
    return None if meta is None else tuple(meta.shape)


def free_path(gm: fx.GraphModule, wish: str) -> str:
    """The path, or one like it, at which a module can be added without replacing anything."""
    path, number = wish, 1
    while _has(gm, path):
        number += 1
        path = f"{wish}_use{number}"
    return path


def _has(gm: fx.GraphModule, path: str) -> bool:
    try:
        operator.attrgetter(path)(gm)
    except AttributeError:
        return False
    return True


def bypass(gm: fx.GraphModule, node: fx.Node) -> None:
    """Take a node out: what used it uses its input."""
    replace_node(gm, node, node.args[0])


def replace_node(gm: fx.GraphModule, node: fx.Node, replacement: fx.Node) -> None:
    """Let another node take the place of one."""
    node.replace_all_uses_with(replacement)
    gm.graph.erase_node(node)


def call_before(gm: fx.GraphModule, node: fx.Node, path: str, module: nn.Module, source: fx.Node) -> fx.Node:
    """Add a module, and a call of it with `source` just before a node."""
    gm.add_submodule(path, module)
    with gm.graph.inserting_before(node):
        return gm.graph.call_module(path, (source,))


def call_after(gm: fx.GraphModule, node: fx.Node, path: str, module: nn.Module) -> fx.Node:
    """Add a module, and a call of it with a node's output just after the node."""
    gm.add_submodule(path, module)
    with gm.graph.inserting_after(node):
        return gm.graph.call_module(path, (node,))


def modules_of(gm: fx.GraphModule, kind: type | tuple[type, ...]) -> dict[str, Any]:
    """Path → module, of all modules of a kind that the graph calls, in order of execution."""
    return {node.target: module for node in gm.graph.nodes if isinstance(module := module_at(gm, node), kind)}


def adaptive_window(place: str, pool: nn.Module, sizes: tuple[int, ...], remedy: str) -> tuple[int, ...]:
    """The window of an adaptive pooling over maps of these sizes.

    Raises: NetError with the remedy where its windows would not be of one size.
    """
    expected = pool.output_size if isinstance(pool.output_size, tuple) else (pool.output_size,) * len(sizes)
    counts = [have if count is None else count for have, count in zip(sizes, expected, strict=True)]
    if any(have % count for have, count in zip(sizes, counts, strict=True)):
        raise NetError(place, f"{list(sizes)} is no multiple of {counts}", remedy)
    return tuple(have // count for have, count in zip(sizes, counts, strict=True))


def note_origin(gm: fx.GraphModule) -> None:
    """Remember what every node of a freshly traced graph is, for reports."""
    origin = {}
    for node in gm.graph.nodes:
        if node.op.startswith("call_"):
            origin[node.name] = (title_of(node), kind_of(gm, node))
    gm.meta["origin"] = origin
    gm.meta["places"] = {}


def note_place(gm: fx.GraphModule, node: fx.Node, place: str, what: str = "") -> None:
    """Remember where a node went: the path of a module, and what happened if the path does not say it."""
    gm.meta.setdefault("places", {})[node.name] = (place, what)
