"""Constructors of the layers that wrap one of torch: torch's arguments, then step_mode."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any


def parameters_of_torch(cls: type) -> list[inspect.Parameter]:
    """The parameters of a torch layer's constructor without device and dtype; none if cls has another constructor."""
    origin = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if not origin.__module__.startswith("torch."):
        return []
    try:
        parameters = inspect.signature(origin.__init__, eval_str=True).parameters.values()
    except NameError:  # a container whose annotations only a type checker can read
        return []
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):  # nn.Module itself, or a container
        return []
    return [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in ("device", "dtype")]


def constructor_with_step_mode(cls: type, parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """A constructor with these parameters and then step_mode, that turns YAML's lists into tuples."""
    step_mode = inspect.Parameter("step_mode", inspect.Parameter.POSITIONAL_OR_KEYWORD, default="s", annotation=str)
    parameters = [_with_its_default(parameter) for parameter in parameters]
    signature = inspect.Signature([*parameters, step_mode], return_annotation=None)

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            given = signature.bind(self, *arguments, **options)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        given.apply_defaults()
        _, *values, step_mode = given.args
        super(cls, self).__init__(*map(_as_tuple, values))
        self.step_mode = step_mode

    __init__.__signature__ = signature
    return __init__


def _with_its_default(parameter: inspect.Parameter) -> inspect.Parameter:
    """Config checking reads the annotations. torch omits `None` from some of them although the default is None."""
    if parameter.default is not None or parameter.annotation is parameter.empty:
        return parameter
    return parameter.replace(annotation=parameter.annotation | None)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
