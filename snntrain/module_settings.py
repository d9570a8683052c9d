"""What a module prints of itself."""

import inspect
import math
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
