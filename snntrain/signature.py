"""Constructors that state their own arguments only, and take those of their base class as `**common`."""

import functools
import inspect
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from inspect import Parameter
from typing import Any, TypeVar

T = TypeVar("T")


def signature_of(target: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function or class with its annotations evaluated, as far as they can be."""
    try:
        return inspect.signature(target, eval_str=True)
    except (NameError, TypeError, AttributeError):  # names that only a type checker can see
        return inspect.signature(target)


def takes(target: Callable[..., Any], name: str) -> bool:
    """Whether a function or class can be given an argument of this name, of its own or as one of **more."""
    parameters = signature_of(target).parameters
    return name in parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def merge_signature(
    cls: type,
    *,
    positional: bool = False,
    without: Collection[str] = (),
    groups: Sequence[type] = (),
    inherits: bool = True,
) -> None:
    """Let `**common` in the constructor of cls stand for the arguments that its base class's constructor takes.

    Afterwards `inspect.signature(cls)`, and with it help, docs and the checks of configs, shows all of them by name. An
    argument that both constructors have is that of cls, which passes it on. Call this from the base's
    `__init_subclass__`; a class without a constructor of its own, or without `**common`, stays as it is.

    Args:
        positional: all arguments may also be given by position, as the documentation of SpikingJelly, lava and Qualia
            has it: those of cls, those of the base, those of cls after a bare *; one of the latter that the base has
            as well stands where the base has it. (What cls has after a bare * stays there if the base takes arguments
            by keyword only.) Otherwise the base's are taken by keyword, except among the first three for those with
            which it begins that are required, or None where they are left out.
        without: arguments of the base that cls sets itself, so that nobody else may.
        groups: dataclasses whose fields are arguments too, which cls gets from `**common` with `take`.
        inherits: False if cls passes nothing of it to its base: `**common` is of the groups alone.
    """
    constructor = vars(cls).get("__init__")
    if constructor is None:
        return
    own = list(signature_of(constructor).parameters.values())
    kinds = {parameter.kind for parameter in own}
    if Parameter.VAR_KEYWORD not in kinds or Parameter.VAR_POSITIONAL in kinds:
        return
    inherited = list(signature_of(super(cls, cls).__init__).parameters.values())[1:] if inherits else []
    grouped = [p.replace(kind=p.KEYWORD_ONLY) for group in groups for p in signature_of(group).parameters.values()]
    common = [p for p in (*inherited, *grouped) if p.name not in without and p.kind is not p.VAR_POSITIONAL]
    first = {p.name: p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD}
    last = {p.name: p for p in own if p.kind is p.KEYWORD_ONLY}
    if positional and all(p.kind is p.POSITIONAL_OR_KEYWORD for p in common):
        common = [last.pop(p.name, p) for p in common if p.name not in first]
        ordered = [p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in (*first.values(), *common, *last.values())]
    else:
        common = [p for p in common if p.name not in first and p.name not in last]
        if not positional:
            by_position = _first_three(list(first.values())[1:], common)
            common = [p if p.name in by_position else _by_keyword(p) for p in common]
        ordered = [*own[:-1], *common]
    ordered.sort(key=lambda p: p.kind)  # stable: those of cls before those of its base
    signature = inspect.Signature(ordered, return_annotation=None)

    @functools.wraps(constructor)
    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        try:
            given = signature.bind_partial(self, *arguments, **named)  # what is missing, cls may set itself
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        names = [p.name for p in ordered if p.kind is p.POSITIONAL_OR_KEYWORD]
        constructor(self, **dict(list(zip(names, given.args, strict=False))[1:]), **given.kwargs)

    __init__.__signature__ = signature
    __init__.__annotations__ = {p.name: p.annotation for p in ordered if p.annotation is not p.empty}
    cls.__init__ = __init__


def _first_three(own: list[Parameter], common: list[Parameter]) -> list[str]:
    """The arguments of the base that may follow a class's own ones by position: up to three in all."""
    if any(p.default is not p.empty for p in own):
        return []
    begin = itertools.takewhile(lambda p: p.kind is p.POSITIONAL_OR_KEYWORD and p.default in (p.empty, None), common)
    return [p.name for p in begin][: max(0, 3 - len(own))]


def _by_keyword(parameter: Parameter) -> Parameter:
    is_either = parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
    return parameter.replace(kind=Parameter.KEYWORD_ONLY) if is_either else parameter


def take(group: type[T], arguments: dict[str, Any]) -> T:
    """The dataclass built from those of the arguments that are its fields; these are removed from the arguments."""
    return group(**{field.name: arguments.pop(field.name) for field in fields(group) if field.name in arguments})
