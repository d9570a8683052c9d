"""Checks whether arguments from a config fit a signature, and values the annotations."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from torch import Tensor, nn

from snntrain.error import UsageError
from snntrain.ranges import check_ranges
from snntrain.registry import check_arguments, get
from snntrain.signature import signature_of


def check_call(
    target: Callable[..., Any],
    arguments: Mapping[str, Any],
    path: str,
    supplied: Collection[str] = (),
    inferred: Collection[str] = (),
) -> None:
    """Check names, ranges and types of the arguments of a call that a config describes.

    Args:
        target: class or function.
        arguments: what the config gives; values that are themselves described by a config pass as mappings.
        path, supplied, inferred: as in snntrain.registry.check_arguments.

    Raises: UsageError for an unknown argument (with a suggestion), a missing one, or a value of the wrong type.
    """
    try:
        check_arguments(target, arguments, path=path, supplied=supplied, inferred=inferred)
    except ValueError as error:
        raise UsageError(str(error)) from error
    check_ranges(target, arguments, path)
    parameters = signature_of(target).parameters
    for key, value in arguments.items():
        annotation = parameters[key].annotation if key in parameters else Any
        if not matches(value, annotation):
            shown = "null" if value is None else repr(value)
            raise UsageError(f"{path}.{key} must be {describe(annotation)}, got {shown}.")


def bind_named(
    kind: str,
    setting: Any,
    path: str,
    called_with: Collection[str] = (),
    offered: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """What a setting names: a registered function with its settings bound, or an object of a registered class.

    Args:
        kind: of the registry.
        setting: a name, {name: <name>, arguments…}, or a callable, which is returned as it is.
        path: the setting's place in the config, for errors.
        called_with: arguments that a function gets when it is called; the setting must not give them.
        offered: arguments for those that take them and whose setting leaves them out.

    Raises: ValueError for an unknown name or argument, with the nearest one, a missing argument, or a wrong value.
    """
    if callable(setting):
        return setting
    arguments = dict(setting) if isinstance(setting, Mapping) else {"name": setting}
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(
            f"{path} must be the name of a registered {kind}, or {{name: …}} with arguments, got {setting}."
        )
    try:
        target = get(kind, name)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    parameters, is_class = signature_of(target).parameters, inspect.isclass(target)
    defaults = {key: value for key, value in (offered or {}).items() if key in parameters}
    supplied = () if is_class else [key for key in called_with if key in parameters]
    check_call(target, arguments, path, supplied=supplied, inferred=defaults)
    arguments = defaults | arguments
    return target(**arguments) if is_class else functools.partial(target, **arguments)


def matches(value: Any, annotation: Any) -> bool:
    """Whether a value from YAML fits an annotation. Annotations that YAML cannot express accept anything."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, option) for option in inner)
    if origin is typing.Annotated:
        return matches(value, inner[0])
    if origin is typing.Literal:
        return value in inner
    if annotation in (None, type(None)):
        return value is None
    if isinstance(value, Mapping) and ("name" in value or "_target_" in value):
        return True  # described by a config of its own
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str)
    container = origin or annotation
    if container in (list, tuple, set, Sequence, Iterable):
        items = [item for item in inner if item is not Ellipsis]
        if not isinstance(value, (list, tuple)):
            return False
        if container is tuple and items and Ellipsis not in inner:
            return len(value) == len(items) and all(map(matches, value, items))
        return not items or all(matches(item, items[0]) for item in value)
    if container in (dict, Mapping):
        return isinstance(value, Mapping)
    return not (_is_beyond_yaml(annotation) and isinstance(value, (bool, int, float, str, type(None))))


def _is_beyond_yaml(annotation: Any) -> bool:
    """Whether only an object fits, such as a tensor, a module or a time."""
    return inspect.isclass(annotation) and issubclass(annotation, (Tensor, nn.Module, timedelta))


def describe(annotation: Any) -> str:
    """An annotation in words: "a number or null"."""
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in names:
        return names[annotation]
    if origin in (typing.Union, types.UnionType):
        written = [option for option in inner if not _is_beyond_yaml(option)] or inner
        return " or ".join(dict.fromkeys(describe(option) for option in written))
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin is tuple and Ellipsis not in inner:
        return f"a list of {len(inner)}"
    if (origin or annotation) in (list, tuple, Sequence, Iterable):
        return "a list" + (f" (each item {describe(inner[0])})" if inner else "")
    if (origin or annotation) in (dict, Mapping):
        return "a mapping"
    return getattr(annotation, "__name__", str(annotation))
