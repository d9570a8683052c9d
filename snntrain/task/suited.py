"""Which losses and metrics compare with which kind of targets."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from snntrain import registry
from snntrain.data.target import Target
from snntrain.error import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def suits(*kinds: Target, step_by_step: bool = True, of_populations: bool = True) -> Callable[[F], F]:
    """Declare the kinds of targets of a loss or metric. One without a declaration, of a plugin, may have any.

    Args:
        kinds: of targets.
        step_by_step: whether a loss also makes sense of the outputs of a single step, which task=online learns from.
        of_populations: whether a loss also makes sense of the summed outputs of several neurons (task.population).
    """

    def declare(function: F) -> F:
        function.suits = kinds
        function.step_by_step, function.of_populations = step_by_step, of_populations
        return function

    return declare


def suited(what: str, kind: Target, also: str = "suits") -> list[str]:
    """Names of the registered losses or metrics ("loss", "metric") that compare with a kind of targets.

    Args:
        also: what they must declare besides: "step_by_step" or "of_populations".
    """
    ours = registry.table(what).items()
    return [name for name, one in ours if kind in getattr(one, "suits", Target) and getattr(one, also, True)]


def check_suited(what: str, setting: Any, kind: Target, path: str) -> None:
    """Refuse a registered loss or metric for another kind of targets.

    Args:
        what: "loss" or "metric".
        setting: a name, or {name: …}.
        path: the setting's place in the config.
    """
    name = setting.get("name") if isinstance(setting, Mapping) else setting
    found = registry.table(what).get(name) if isinstance(name, str) else None
    if found is None or kind in getattr(found, "suits", Target):
        return
    raise UsageError(
        f"{path}: {name} compares with {' or '.join(one.value for one in found.suits)}, and the targets of this task "
        f"are {kind.value}. Use {', '.join(suited(what, kind))}."
    )
