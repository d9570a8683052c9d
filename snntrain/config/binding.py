"""Reads parts of a config: mappings, and dotted names of classes."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from snntrain.config.error import refusing
from snntrain.error import UsageError
from snntrain.registry import did_you_mean


def check_mapping(node: Any, path: str) -> None:
    """Refuse anything but a mapping."""
    if not isinstance(node, Mapping):
        raise UsageError(f"{path} must be a mapping, got {node!r}.")


def resolve_name(dotted: Any, path: str) -> Callable[..., Any]:
    """The class or function a `_target_` names.

    Raises: UsageError if it cannot be imported, with the nearest name its module offers.
    """
    if not isinstance(dotted, str) or "." not in dotted:
        raise UsageError(f"{path}._target_ must be a dotted name such as torch.optim.AdamW, got {dotted!r}.")
    module_name, _, attribute = dotted.rpartition(".")
    with refusing(f"{path}._target_ {dotted} cannot be imported"):
        module = importlib.import_module(module_name)
    if not callable(getattr(module, attribute, None)):
        offered = [name for name in dir(module) if callable(getattr(module, name, None))]
        raise UsageError(
            f"{path}._target_: {module_name} has no class or function {attribute}.{did_you_mean(attribute, offered)}"
        )
    return getattr(module, attribute)
