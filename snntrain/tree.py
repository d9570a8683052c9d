"""Trees of mappings and lists, such as configs and the states in checkpoints."""

from collections.abc import Iterator, Mapping
from typing import Any

DEEPEST = 60
"""Levels that a tree from elsewhere may have."""


def walk(node: Any, path: str = "", key: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """Every (path, key, value) of nested mappings and lists; key is None in lists.

    A path reads as users write it: trainer.plugins[0]. An empty mapping inside another one is a value.
    """
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from walk(value, f"{path}.{name}" if path else str(name), name)
        if key is not None and not node:
            yield path, key, node
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from walk(value, f"{path}[{index}]")
    else:
        yield path, key, node


def values_in(tree: Any) -> float:
    """How many values a tree has once every alias of YAML is written out; infinite beyond DEEPEST levels.

    Each shared node is counted once and remembered, so that a tree of 9^10 values takes no time.
    """
    known: dict[int, float] = {}

    def count(node: Any, level: int) -> float:
        if not isinstance(node, (Mapping, list, tuple)):
            return 1
        if level > DEEPEST:
            return float("inf")
        if id(node) not in known:
            known[id(node)] = float("inf")  # an alias of a node inside itself
            children = node.values() if isinstance(node, Mapping) else node
            known[id(node)] = 1 + sum(count(child, level + 1) for child in children)
        return known[id(node)]

    return count(tree, 0)
