"""Checks of states: they must begin anew with every batch."""

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from snntrain.audit.finding import Seen, check
from snntrain.audit.subject import Subject
from snntrain.audit.trace import Difference, difference
from snntrain.hooks import carries_state, method_of

_OTHER_RESETS = ("reset_mem", "reset_hidden", "reset_state", "reset_states", "init_state", "init_hidden", "clear")


@check(
    "state left over",
    severity="error",
    remedy="Give the module a method reset() that puts its states back, and call snntrain.functional.reset_net(net) "
    "before every batch.",
    source="github.com/genn-team/ml_genn/issues/190",
)
def state_left_over(subject: Subject) -> Iterator[Seen]:
    """Outputs depend on the batch before, although reset_net was called."""

    def compare(other: Tensor) -> Difference | None:
        net = subject.fresh()
        subject.trace(other, net=net)
        return difference(subject.base, subject.trace(subject.few, net=net))

    found = subject.with_others(compare)
    if found is not None:
        yield Seen(found.layer, f"After another batch and a reset, the same samples change {found}.")


@check(
    "never reset",
    severity="error",
    remedy="Keep modules in attributes, nn.ModuleList or nn.ModuleDict, and let reset() need no arguments: then "
    "snntrain.functional.reset_net(net) finds and calls it.",
    source="github.com/jeshraghian/snntorch/pull/414",
)
def never_reset(subject: Subject) -> Iterator[Seen]:
    """Modules that nothing resets: hidden from torch in a plain list, or with a reset that cannot be called."""
    for path, module in _hidden(subject.origin):
        has_weights = any(True for _ in module.parameters())
        if has_weights or any(map(_can_reset, module.modules())):
            also = ", and its weights are neither trained, moved nor saved" if has_weights else ""
            yield Seen(path, f"{type(module).__name__} is no child of a module, so that nothing resets it{also}.")
    for path, module in subject.origin.named_modules():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reset = method_of(module, "reset") if _can_reset(module) else None
        if _can_reset(module) and reset is None:
            yield Seen(path, f"{type(module).__name__}.reset{inspect.signature(module.reset)} needs arguments.")


@check(
    "another reset",
    severity="warning",
    remedy="Give the module a method reset() that calls it, or call it yourself before every batch.",
    source="github.com/BICLab/SpikeYOLO/issues/18",
)
def another_reset(subject: Subject) -> Iterator[Seen]:
    """Modules whose states are reset by a method of another name, which nothing calls."""
    for path, module in subject.origin.named_modules():
        if carries_state(module) or type(module).__module__.startswith("torch."):
            continue
        names = [name for name in _OTHER_RESETS if callable(getattr(type(module), name, None))]
        if names:
            yield Seen(path, f"{type(module).__name__} has {names[0]}() and no reset().")


def _can_reset(module: nn.Module) -> bool:
    reset = getattr(type(module), "reset", None)
    of_metrics = any(cls.__module__.partition(".")[0] == "torchmetrics" for cls in type(module).__mro__)
    return isinstance(reset, Callable) and not isinstance(reset, type) and not of_metrics


def _hidden(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of the modules that lie in attributes where torch does not look."""
    known = set(net.modules())
    for path, module in net.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") and name in _OF_TORCH:
                continue
            for place, inside in _inside(value, f"{path}.{name}" if path else name):
                if inside not in known:
                    known.update(inside.modules())
                    yield place, inside


_OF_TORCH = frozenset(vars(nn.Module()))


def _inside(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(value, nn.Module):
        yield place, value
    elif isinstance(value, (list, tuple)) and depth < 3:
        for number, one in enumerate(value):
            yield from _inside(one, f"{place}[{number}]", depth + 1)
    elif isinstance(value, dict) and depth < 3:
        for key, one in value.items():
            yield from _inside(one, f"{place}[{key!r}]", depth + 1)
