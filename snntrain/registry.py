"""Finds classes and functions by kind and name, as a YAML's `name:` gives it, and checks their arguments.

@register("neuron")
class MyNode(BaseNode): ...

build("neuron", "LIFNode", tau=4.0)
names("layer", "Conv*")
"""

import difflib
import fnmatch
import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from snntrain.signature import signature_of

T = TypeVar("T", bound=Callable[..., Any])

# Importing these modules registers what snntrain itself offers. They are named here and imported when somebody asks, so
# that importing the registry imports nothing else.
_HOMES = {
    "neuron": ("snntrain.neuron", "snntrain.quantize"),
    "layer": ("snntrain.layer", "snntrain.quantize"),
    "surrogate": ("snntrain.surrogate",),
    "encoder": ("snntrain.encoding",),
    "model": ("snntrain.model", "snntrain.export.nir_model"),
    "data": ("snntrain.data",),
    "task": ("snntrain.task",),
    "loss": ("snntrain.task",),
    "readout": ("snntrain.task",),
    "metric": (),
    "callback": (
        "snntrain.callback",
        "snntrain.callback.fit_end.ann_to_snn",
        "snntrain.callback.fit_end.audit",
        "snntrain.callback.fit_end.c_export",
        "snntrain.callback.fit_end.lava_export",
        "snntrain.callback.fit_end.nir_export",
        "snntrain.callback.fit_end.onnx_export",
        "snntrain.callback.fit_end.quantization_aware",
    ),
    "conversion method": ("snntrain.ann2snn",),
    "report section": ("snntrain.run.report.sections",),
}
_ENTRIES: dict[str, dict[str, Callable[..., Any]]] = {kind: {} for kind in _HOMES}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The sentence ' Did you mean X?' with the nearest known word; '' if none is near."""
    by_lower_case = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), by_lower_case, n=1, cutoff=0.6)
    return f" Did you mean {by_lower_case[near[0]]}?" if near else ""


def register(kind: str, name: str | None = None) -> Callable[[T], T]:
    """Decorator that makes a class, or a function that makes or is one of the kind, known by name.

    Args:
        kind: neuron, layer, surrogate, encoder, model, data, task, loss, readout, metric, callback, conversion method
            or report section.
        name: the name in YAML; default: the class's or function's own name.

    Raises: ValueError for an unknown kind, or a name that another class or function holds.
    """
    entries = _entries_of(kind)

    def decorate(target: T) -> T:
        key = name or target.__name__
        if not target.__module__.startswith("snntrain."):
            _import_homes(kind)  # so that a user's class cannot take a name that snntrain registers later
        held = entries.get(key)
        # A class defined again, as in a notebook, replaces its earlier version.
        if held is not None and (held.__module__, held.__qualname__) != (target.__module__, target.__qualname__):
            holder = f"{held.__module__}.{held.__qualname__}"
            raise ValueError(f"register: the {kind} name {key!r} is held by {holder}; choose another name.")
        entries[key] = target
        return target

    return decorate


def names(kind: str, pattern: str = "*") -> list[str]:
    """Registered names of a kind, filtered by a shell pattern such as 'Conv*', sorted."""
    entries = _entries_of(kind)
    _import_homes(kind)
    return sorted(fnmatch.filter(entries, pattern))


def has(kind: str, name: Any) -> bool:
    """Whether something is registered under a name; unlike a search of all names, it imports only what it has to."""
    return _held(kind, name) is not None


def table(kind: str) -> Mapping[str, Callable[..., Any]]:
    """A live view of what is registered so far: name → class. It imports nothing."""
    return MappingProxyType(_entries_of(kind))


def get(kind: str, name: str) -> Callable[..., Any]:
    """The class registered under a name.

    Raises: ValueError with the nearest name if there is none.
    """
    held = _held(kind, name)
    if held is None:
        known = names(kind)
        raise ValueError(
            f"{name!r} is not a registered {kind}.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}. "
            f"Your own class: @register({kind!r}) in a module listed in plugins."
        )
    return held


def build(kind: str, /, name: str, **arguments: Any) -> Any:
    """Construct the class registered under a name.

    Raises: ValueError if the name or an argument is unknown, an argument is missing, or the class refuses a value.
    """
    target = get(kind, name)
    check_arguments(target, arguments)
    return target(**arguments)


def check_arguments(
    target: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    title: str = "",
    path: str = "",
    supplied: Collection[str] = (),
    inferred: Collection[str] = (),
) -> None:
    """Bind keyword arguments to a signature.

    Args:
        title: what to call the target in an error; default: its name.
        path: where the arguments come from, for the error, e.g. "model.layers[3]".
        supplied: arguments that the program adds itself; the caller must not.
        inferred: arguments that the program adds where the caller leaves them out.

    Raises: ValueError naming the first unknown argument, with a suggestion, or the missing ones.
    """
    title = title or getattr(target, "__name__", str(target))
    parameters = signature_of(target).parameters
    by_name = {key: p for key, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    settable = [key for key in by_name if key not in supplied]
    for key in arguments:
        place = f"{path}.{key}" if path else key
        if key in supplied:
            raise ValueError(f"{place} is filled in by the program; remove it.")
        if key not in by_name and not takes_any:
            suggestion = did_you_mean(key, settable)
            # The Trainer takes forty arguments: a list of them would bury the suggestion.
            listing = "" if suggestion and len(settable) > 12 else f" It takes: {', '.join(settable) or 'nothing'}."
            raise ValueError(f"{place} is not an argument of {title}.{suggestion}{listing}")
    given = {*arguments, *supplied, *inferred}
    missing = [key for key, p in by_name.items() if p.default is p.empty and key not in given]
    if missing:
        prefix = f"{path}: " if path else ""
        raise ValueError(f"{prefix}{title} needs the argument{'s' * (len(missing) > 1)} {', '.join(missing)}.")


def _held(kind: str, name: Any) -> Callable[..., Any] | None:
    """What is registered under a name. Homes are imported until one has it: a plain net needs no quantize."""
    entries = _entries_of(kind)
    if not isinstance(name, str):
        return None
    for home in _HOMES[kind]:
        if name in entries:
            break
        importlib.import_module(home)
    return entries.get(name)


def _import_homes(kind: str) -> None:
    for home in _HOMES[kind]:
        importlib.import_module(home)


def _entries_of(kind: str) -> dict[str, Callable[..., Any]]:
    if kind not in _ENTRIES:
        raise ValueError(
            f"{kind!r} is not a kind of the registry.{did_you_mean(kind, _ENTRIES)} Kinds: {', '.join(_ENTRIES)}."
        )
    return _ENTRIES[kind]
