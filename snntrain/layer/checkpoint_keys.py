"""Checkpoints in which a layer's weights have other names: older ones of ours, and SpikingJelly's."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

StateDict = dict[str, Any]


def rename_keys(state_dict: StateDict, prefix: str, names: Mapping[str, str]) -> list[str]:
    """Rename in place the keys that begin with prefix and one of these names; what has its new name already stays.

    Args:
        names: beginning → new beginning.

    Returns: the new keys.
    """
    renamed = []
    for theirs, ours in names.items():
        for key in [key for key in state_dict if key.startswith(prefix + theirs)]:
            new = prefix + ours + key.removeprefix(prefix + theirs)
            value = state_dict.pop(key)
            state_dict.setdefault(new, value)
            renamed.append(new)
    return renamed


def split_keys(
    state_dict: StateDict, prefix: str, name: str, parts: list[str], split: Callable[[Tensor], list[Tensor]]
) -> None:
    """Replace each key that begins with prefix and name by one for each part, whose values split gives."""
    for key in [key for key in state_dict if key.startswith(prefix + name)]:
        value = state_dict.pop(key)
        for part, piece in zip(parts, split(value), strict=True):
            state_dict.setdefault(prefix + part + key.removeprefix(prefix + name), piece)
