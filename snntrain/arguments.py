"""Checks of constructor arguments: one sentence naming the class, the argument, the range and the value received."""

import functools
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

#: Backends of the neurons.
BACKENDS = ("auto", "torch", "fused")

#: Whether neighboring layers of a net may run as one kernel: without or with a change of rounding, or not at all.
FUSE = ("exact", "fast", "off")

#: SpikingJelly's names of backends that generate kernels.
PEERS_BACKENDS = ("cupy", "triton")


def invalid(owner: object, name: str, allowed: str, value: object) -> ValueError:
    """The error that every check here raises; owner is the object whose argument it is, or its name."""
    title = owner if isinstance(owner, str) else type(owner).__name__
    return ValueError(f"{title}: {name} must be {allowed}, got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Describes finite numbers or integers within bounds. A bool is neither."""

    whole: bool = False
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    def allow(self, value: Any) -> bool:
        """Whether the value is such a number."""
        number = _as_float(value)
        return (
            math.isfinite(number)
            and (not self.whole or isinstance(value, Integral))
            and (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
            and (self.below is None or number < self.below)
            and (self.at_most is None or number <= self.at_most)
        )

    def __str__(self) -> str:
        bounds = [(">", self.above), ("≥", self.at_least), ("<", self.below), ("≤", self.at_most)]
        kind = "an integer" if self.whole else "a finite number"
        return kind + " and".join(f" {sign} {bound:g}" for sign, bound in bounds if bound is not None)


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
        alternative: what else the caller accepts, for the error, e.g. " or None".
    """
    bounds = Bounds(above=above, at_least=at_least, below=below, at_most=at_most)
    if not bounds.allow(value):
        raise invalid(owner, name, f"{bounds}{alternative}", value)
    return float(value)


def _as_float(value: Any) -> float:
    """The value as a float: NaN if it is not a real number, infinity if it is too large."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def interval(owner: object, name: str, value: Any, *, above: float | None = None) -> tuple[float, float]:
    """Check a range [low, high] of finite numbers, which may be equal."""
    bounds = Bounds(above=above)
    is_pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not is_pair or not all(map(bounds.allow, value)) or value[0] > value[1]:
        limit = "" if above is None else f", both > {above:g}"
        raise invalid(owner, name, f"two finite numbers [low, high] with low ≤ high{limit}", value)
    return float(value[0]), float(value[1])


def integer(owner: object, name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None) -> int:
    """An int within the bounds; bool and floats are refused."""
    bounds = Bounds(whole=True, at_least=at_least, at_most=at_most)
    if not bounds.allow(value):
        raise invalid(owner, name, str(bounds), value)
    return int(value)


def flag(owner: object, name: str, value: Any) -> bool:
    """True or False; values that merely behave like them are refused."""
    if not isinstance(value, bool):
        raise invalid(owner, name, "True or False", value)
    return value


def choice(owner: object, name: str, value: Any, allowed: Sequence[str]) -> str:
    """One of the allowed strings."""
    if not isinstance(value, str) or value not in allowed:
        raise invalid(owner, name, "one of " + ", ".join(map(repr, allowed)), value)
    return value


def also_called(**names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Accept arguments of a function under another library's names too: their name = our name."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            for theirs in names.keys() & named.keys():
                if names[theirs] in named:
                    raise TypeError(f"{function.__qualname__}: {theirs} and {names[theirs]} are one argument.")
                named[names[theirs]] = named.pop(theirs)
            return function(*arguments, **named)

        return call

    return decorate


def backend(owner: object, value: Any) -> str:
    """A backend of the neurons. SpikingJelly's 'cupy' and 'triton', which generate kernels, become 'auto'."""
    if isinstance(value, str) and value in PEERS_BACKENDS:
        title = owner if isinstance(owner, str) else type(owner).__name__
        warnings.warn(
            f"{title}: backend {value!r} is SpikingJelly's; it is taken as 'auto', which generates kernels of its own.",
            stacklevel=users_level(),
        )
        return "auto"
    return choice(owner, "backend", value, BACKENDS)


def users_level() -> int:
    """The `stacklevel` with which the caller's warning points at the first line outside of snntrain and torch."""
    level, frame = 0, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("snntrain", "torch"):
        level, frame = level + 1, frame.f_back
    return level + 1


def surrogate(owner: object, value: Any) -> Any:
    """A surrogate module or another function of a tensor. Classes are refused: only instances have parameters."""
    if isinstance(value, type) or not callable(value):
        raise invalid(owner, "surrogate_function", "a surrogate module such as ATan(2.0), or None", value)
    return value
