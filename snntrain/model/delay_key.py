"""The key `delay` of an entry in a list of layers."""

import inspect
from collections.abc import Mapping
from typing import Any

from snntrain import registry
from snntrain.layer import DelaySettings
from snntrain.model.layer_class import layer_class
from snntrain.model.layer_list import Layer


def takes_delay(layer: Layer) -> bool:
    """Whether a layer's class has an argument `delay` of its own, so that the key is none of ours."""
    return "delay" in inspect.signature(layer_class(layer.name)).parameters


def delay_settings(word: Any) -> DelaySettings:
    """The settings that the key `delay` of an entry holds.

    Raises: ValueError naming an unknown key, with the nearest one, a missing one, or a value out of range.
    """
    if not isinstance(word, Mapping):
        raise ValueError(f"delay must be a mapping such as {{max: 16, kind: axonal}}, got {word!r}.")
    registry.check_arguments(DelaySettings, word, title="delay", path="delay")
    return DelaySettings(**word)
