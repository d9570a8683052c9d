"""Checks of constructor arguments: one sentence naming the class, the argument, the range and the value received."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


def refuse(owner: object, name: str, wanted: str, value: object) -> ValueError:
    """The error every check here raises; owner is the object whose argument it is, or its name."""
    title = owner if isinstance(owner, str) else type(owner).__name__
    return ValueError(f"{title}: {name} must be {wanted}, got {value!r}.")


def real(
    owner: object,
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    alternative: str = "",
) -> float:
    """A finite int or float within the bounds, as float; bool, str, NaN and infinities are refused.

    Args:
        alternative: what else the caller accepts, for the text, e.g. " or None".
    """
    bounds = [(">", above), ("≥", at_least), ("<", below), ("≤", at_most)]
    wanted = "a finite number" + " and".join(f" {sign} {bound:g}" for sign, bound in bounds if bound is not None)
    number = _as_float(value)
    outside = (
        not math.isfinite(number)
        or (above is not None and number <= above)
        or (at_least is not None and number < at_least)
        or (below is not None and number >= below)
        or (at_most is not None and number > at_most)
    )
    if outside:
        raise refuse(owner, name, wanted + alternative, value)
    return number


def _as_float(value: Any) -> float:
    """NaN for what is not a real number, inf for what no float can hold."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def integer(owner: object, name: str, value: Any, *, at_least: int | None = None) -> int:
    """An int within the bound; bool and floats are refused."""
    wanted = "an integer" + (f" ≥ {at_least}" if at_least is not None else "")
    if isinstance(value, bool) or not isinstance(value, Integral) or (at_least is not None and value < at_least):
        raise refuse(owner, name, wanted, value)
    return int(value)


def flag(owner: object, name: str, value: Any) -> bool:
    """True or False, nothing that merely behaves like them."""
    if not isinstance(value, bool):
        raise refuse(owner, name, "True or False", value)
    return value


def choice(owner: object, name: str, value: Any, allowed: Sequence[str]) -> str:
    """One of the allowed strings."""
    if not isinstance(value, str) or value not in allowed:
        raise refuse(owner, name, "one of " + ", ".join(map(repr, allowed)), value)
    return value


def surrogate(owner: object, value: Any) -> Any:
    """A surrogate module or another function of a tensor; a class is refused: only an instance has its numbers."""
    if isinstance(value, type) or not callable(value):
        raise refuse(owner, "surrogate_function", "a surrogate module such as ATan(2.0), or None", value)
    return value
