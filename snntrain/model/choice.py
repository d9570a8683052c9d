"""The neuron and the normalization that a config chose for the layers of its model."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from snntrain import registry
from snntrain.model.layer_class import layer_class

Choice = str | Mapping[str, Any] | Callable[..., nn.Module]


def build_neuron(
    neuron: Choice, overrides: Mapping[str, Any] | None = None, shape: tuple[int, ...] | None = None
) -> nn.Module:
    """A new neuron of the chosen kind, with some arguments replaced.

    A neuron with parameters of each channel gets the channels of shape, which its input has for one sample and step,
    unless `channels` is given; where no shape is known, one value is for all channels.

    Raises: ValueError if arguments are to be replaced but the choice is a function.
    """
    overrides = overrides or {}
    if callable(neuron):
        if overrides:
            raise ValueError(f"the neuron comes from a function, which leaves no way to set {', '.join(overrides)}.")
        return neuron()
    arguments = {"name": neuron} if isinstance(neuron, str) else dict(neuron)
    if arguments.get("name") == "ReLU":
        overrides = {}  # the ANN twin has no time constants or thresholds to override
    arguments |= overrides
    surrogate = arguments.get("surrogate_function")
    if isinstance(surrogate, Mapping):
        arguments["surrogate_function"] = registry.build("surrogate", **surrogate)
    return registry.build("neuron", **_channels_of(arguments, shape), **arguments)


def _channels_of(arguments: Mapping[str, Any], shape: tuple[int, ...] | None) -> dict[str, int]:
    """The argument `channels`, for a neuron that takes it and whose config does not give it."""
    taken = inspect.signature(registry.get("neuron", arguments["name"])).parameters if shape else {}
    if "channels" not in taken or "channels" in arguments:
        return {}
    branches = arguments.get("branches", taken["branches"].default) if "branches" in taken else 1
    if not isinstance(branches, int) or branches < 1:
        return {}  # its constructor says so
    if shape[0] % branches:
        raise ValueError(f"{shape[0]} channels reach it, which its {branches} branches cannot share evenly.")
    return {"channels": shape[0] // branches}


def inner_neuron(neuron: Choice, **wishes: Any) -> nn.Module:
    """A neuron inside a layer, which asks for settings that the chosen kind may not have."""
    if callable(neuron):
        return neuron()
    name = neuron if isinstance(neuron, str) else neuron["name"]
    known = inspect.signature(registry.get("neuron", name)).parameters
    return build_neuron(neuron, {key: value for key, value in wishes.items() if key in known})


def chosen_norm(norm: Choice, overrides: Mapping[str, Any]) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """Class and arguments of the chosen normalization, with an entry's overrides.

    An override that only other normalizations have (alpha of tdBN, say) does not concern the chosen one.
    """
    if callable(norm):
        return norm, {}
    arguments = {"name": norm} if isinstance(norm, str) else dict(norm)
    target = layer_class(str(arguments.pop("name", None)))
    own = inspect.signature(target).parameters
    kept = {key: value for key, value in overrides.items() if key in own or not _is_of_a_norm(key)}
    return target, {**arguments, **kept}


def _is_of_a_norm(key: str) -> bool:
    """Whether some normalization has an argument."""
    norms = (registry.get("layer", name) for name in registry.names("layer", "*Norm*"))
    return any(key in inspect.signature(norm).parameters for norm in norms)
