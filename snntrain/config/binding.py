"""Does a value fit a parameter's annotation, do arguments fit a signature?"""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from torch import Tensor, nn

from snntrain.config.error import UsageError, refusing
from snntrain.config.ranges import check_ranges
from snntrain.registry import check_arguments, did_you_mean
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
    with refusing():
        check_arguments(target, arguments, path=path, supplied=supplied, inferred=inferred)
    check_ranges(target, arguments, path)
    parameters = signature_of(target).parameters
    for key, value in arguments.items():
        annotation = parameters[key].annotation if key in parameters else Any
        if not matches(value, annotation):
            shown = "null" if value is None else repr(value)
            raise UsageError(f"{path}.{key} must be {describe(annotation)}, got {shown}.")


def matches(value: Any, annotation: Any) -> bool:
    """Whether a plain value (from YAML) fits an annotation; annotations that YAML cannot express are let through."""
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
    """Whether only an object will do: a tensor, a module, a time."""
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


def check_mapping(node: Any, path: str) -> None:
    """Refuse anything but a mapping.

    Raises: UsageError.
    """
    if not isinstance(node, Mapping):
        raise UsageError(f"{path} must be a mapping, got {node!r}.")


def resolve_name(dotted: Any, path: str) -> Callable[..., Any]:
    """The class or function a `_target_` names.

    Raises: UsageError if it cannot be imported, with the nearest name its module offers.
    """
    import importlib

    if not isinstance(dotted, str) or "." not in dotted:
        raise UsageError(f"{path}._target_ must be a dotted name such as torch.optim.AdamW, got {dotted!r}.")
    module_name, _, attribute = dotted.rpartition(".")
    with refusing(f"{path}._target_ {dotted} cannot be imported"):
        module = importlib.import_module(module_name)
    if not callable(getattr(module, attribute, None)):
        offered = [name for name in dir(module) if callable(getattr(module, name, None))]
        raise UsageError(
            f"{path}._target_: {module_name} has no class or function {attribute}.{did_you_mean(attribute, offered)}"
        )
    return getattr(module, attribute)
