"""Allowed values of arguments of other libraries' classes, listed beside the code that passes them on.

Our own constructors check their ranges. Those of torch, Lightning and torchvision often check only the type, or
nothing: a meaningless value then fails deep inside of them, after minutes, or trains garbage. A subclass has the ranges
of its base.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from snntrain.arguments import Bounds
from snntrain.error import UsageError


class Allowed(Protocol):
    """The values that an argument may have; str() describes them in words."""

    def allow(self, value: Any) -> bool:
        """Whether a single value, not a list, is allowed."""


@dataclass(frozen=True, kw_only=True)
class Range(Bounds):
    """A number, or a list of such numbers.

    Attributes:
        also: other allowed values, None for null.
        any_text: whether text is allowed too; it is checked elsewhere.
        rising: whether a list is a lower and an upper bound.
    """

    also: tuple[Any, ...] = ()
    any_text: bool = False
    rising: bool = False

    def allow(self, value: Any) -> bool:
        if isinstance(value, str):
            return self.any_text
        return super().allow(value) or OneOf(*self.also).allow(value)

    def __str__(self) -> str:
        return " or ".join([super().__str__(), *("null" if other is None else str(other) for other in self.also)])


class Duration:
    """A time such as 00:12:00:00, or a mapping of its parts. Lightning's Timer reads it."""

    _PARTS = ("days", "hours", "minutes", "seconds", "weeks")

    def allow(self, value: Any) -> bool:
        """Whether it is a positive time, or null."""
        if isinstance(value, Mapping):
            parts = list(value.values())
            return (
                set(value) <= set(self._PARTS) and all(Bounds(at_least=0).allow(part) for part in parts) and any(parts)
            )
        if isinstance(value, str):
            found = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", value)
            return found is not None and any(map(int, found.groups()))
        return value is None

    def __str__(self) -> str:
        return "a time days:hours:minutes:seconds such as 00:12:00:00, or a mapping such as {hours: 12}, or null"


class OneOf:
    """One of a few words or numbers, None for null."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def allow(self, value: Any) -> bool:
        """Whether it is among them."""
        return any(value == other and type(value) is type(other) for other in self.values)

    def __str__(self) -> str:
        return " or ".join("null" if value is None else str(value) for value in self.values)


class BatchLimit:
    """A number of batches of an epoch, or a share of them.

    Args:
        or_none: allow 0 as well.
        or_time: allow a time as well.
    """

    def __init__(self, or_none: bool = False, or_time: bool = False) -> None:
        self.or_none, self.or_time = or_none, or_time

    def allow(self, value: Any) -> bool:
        """Whether it is an integer ≥ 1, a share in (0, 1] as a fraction, or null for all of them."""
        is_share = isinstance(value, float) and Bounds(above=0, at_most=1).allow(value)
        is_none = self.or_none and Bounds(at_least=0, at_most=0).allow(value)
        is_time = self.or_time and Duration().allow(value)
        return value is None or Bounds(whole=True, at_least=1).allow(value) or is_share or is_none or is_time

    def __str__(self) -> str:
        more = ", or 0" * self.or_none + ", or a time such as 00:00:30:00" * self.or_time
        return f"a number of batches ≥ 1, or a share of them such as 0.5, > 0 and ≤ 1{more}, or null"


def number(**bounds: Any) -> Range:
    """A finite number within bounds."""
    return Range(**bounds)


def whole(at_least: int, *also: Any, **more: Any) -> Range:
    """An integer with a lower bound."""
    return Range(whole=True, at_least=at_least, also=also, **more)


@dataclass(frozen=True)
class Ranges:
    """The ranges of a class, and where they are documented or checked."""

    source: str
    by_argument: dict[str, Allowed]


RANGES: dict[Callable[..., Any], Ranges] = {}


def set_ranges(target: Callable[..., Any], source: str, **by_argument: Allowed) -> None:
    """State the allowed values of arguments of a class, and where they are documented or checked."""
    RANGES[target] = Ranges(source, by_argument)


def range_of(target: Callable[..., Any], argument: str) -> Allowed | None:
    """The allowed values of an argument of a class or of its bases; None: the table has none."""
    for kind in inspect.getmro(target) if inspect.isclass(target) else (target,):
        found = RANGES.get(kind)
        if found is not None and argument in found.by_argument:
            return found.by_argument[argument]
    return None


def check_ranges(target: Callable[..., Any], arguments: Mapping[str, Any], path: str) -> None:
    """Refuse numbers outside of the table's ranges, and null or true in their place."""
    for argument, value in arguments.items():
        allowed = range_of(target, argument)
        if allowed is None or (isinstance(value, Mapping) and "_target_" in value):
            continue
        items = enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]
        for index, item in items:
            if not allowed.allow(item):
                place = f"{path}.{argument}" + ("" if index is None else f"[{index}]")
                raise UsageError(f"{place} must be {allowed}, got {_written(item)}.")
        if isinstance(value, (list, tuple)) and getattr(allowed, "rising", False) and sorted(value) != list(value):
            raise UsageError(f"{path}.{argument} must be a lower and an upper bound, got {list(value)}.")


def _written(value: Any) -> str:
    """The value as YAML writes it."""
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
