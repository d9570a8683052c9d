"""What a module tells of itself: its settings, and its place in a model."""

import inspect
import math
import sys
from typing import Any

from torch import Tensor, nn


def settings_of(module: nn.Module) -> dict[str, Any]:
    """The constructor arguments of a module that it keeps as attributes, with their present values, for printing.

    Left out are modules, which torch prints as children, and collections.
    """
    names: dict[str, None] = {}
    for cls in type(module).__mro__:
        names |= dict.fromkeys(inspect.signature(cls).parameters)
        if cls.__module__.startswith("snntrain."):  # complete; a user's class may leave out what it passes on
            break
    values = {name: getattr(module, name) for name in names if hasattr(module, name)}
    return {
        name: _present_value(value) for name, value in values.items() if not isinstance(value, (nn.Module, dict, list))
    }


def _present_value(value: Any) -> Any:
    """A parameter as its value, or the range of several (NaN on the meta device); a function as its name."""
    if not isinstance(value, Tensor):
        return getattr(value, "__name__", value)
    if value.is_meta:
        return math.nan
    low, high = value.min().item(), value.max().item()
    return low if low == high else f"{low:g}…{high:g}"


def path_in_running_model(module: nn.Module) -> str:
    """Dotted path of module inside the outermost module now being called, '' if none contains it. For error texts."""
    path, frame = "", sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner is not module:
            path = next((name for name, child in owner.named_modules() if child is module), path)
        frame = frame.f_back
    return path
