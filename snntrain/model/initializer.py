"""How the parameters of a layer start, where a model says it: the functions of torch.nn.init by name."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from snntrain.arguments import invalid
from snntrain.registry import check_arguments, did_you_mean

# kaiming_normal for torch's kaiming_normal_, and so on.
_FUNCTIONS = {
    name.removesuffix("_"): function
    for name, function in vars(nn.init).items()
    if name.endswith("_") and not name.startswith("_") and callable(function)
}


def initialize(layer: nn.Module, init: Any) -> None:
    """Set parameters of a layer.

    Args:
        layer: whose parameters are set.
        init: parameter name → a number, the name of a function of torch.nn.init without its underscore, or {name: …,
            arguments}. What is not such a mapping is meant for `weight`.

    Raises: ValueError naming an unknown parameter, function or argument, with the nearest name.
    Sources: Glorot & Bengio 2010; He et al., ICCV 2015; Saxe et al. 2014 (torch.nn.init names them).
    """
    settings = init if isinstance(init, Mapping) and "name" not in init else {"weight": init}
    parameters = dict(layer.named_parameters())
    for name, setting in settings.items():
        if name not in parameters:
            listing = ", ".join(parameters) or "none"
            raise ValueError(
                f"init: {type(layer).__name__} has no parameter {name}.{did_you_mean(name, parameters)} "
                f"Parameters: {listing}."
            )
        _apply(parameters[name], name, setting)


def _apply(parameter: nn.Parameter, name: str, setting: Any) -> None:
    if isinstance(setting, (int, float)) and not isinstance(setting, bool):
        setting = {"name": "constant", "val": setting}
    elif isinstance(setting, str):
        setting = {"name": setting}
    if not isinstance(setting, Mapping):
        raise invalid("init", name, "a number, the name of an initializer, or {name: …, arguments}", setting)
    arguments = dict(setting)
    function = arguments.pop("name")
    if function not in _FUNCTIONS:
        suggestion = did_you_mean(function, _FUNCTIONS)
        raise ValueError(f"init: {function!r} is not an initializer.{suggestion} Known: {', '.join(_FUNCTIONS)}.")
    for argument, value in arguments.items():
        if isinstance(value, bool):  # torch would take it for 0 or 1
            raise invalid(f"init {function}", argument, "a number", value)
    check_arguments(_FUNCTIONS[function], {"tensor": parameter, **arguments}, title=f"init {function}")
    _FUNCTIONS[function](parameter, **arguments)
