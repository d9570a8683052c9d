"""What `quant` may hold: the name of a preset, or quant_params, layers that differ, and a target."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from snntrain.arguments import choice, invalid
from snntrain.quantize.params import QuantParams, plain
from snntrain.registry import did_you_mean

TARGETS = ("generic", "loihi")

_FREE = {"quantype": "fake", "bits": 8}
_LEAST_ERROR = {"range_setting": "MSE_simulation"}

#: name → quant. wXvY: weights of X bits, potentials of Y bits, inputs of 8, steps free, one for each channel.
PRESETS: dict[str, dict[str, Any]] = {
    "int8": dict(_FREE),
    "w4v8": {**_FREE, "w": {"bits": 4, **_LEAST_ERROR}},
    "w4v4": {**_FREE, "w": {"bits": 4, **_LEAST_ERROR}, "v": {"bits": 4}},
    "w2v4": {**_FREE, "w": {"bits": 2, **_LEAST_ERROR}, "v": {"bits": 4}},
    # Lava's fixed-point CUBA neuron: weights are 2·W, even in [−256, 254], potentials of 24 bits, biases 2·b of 13.
    "loihi": {
        **_FREE,
        "granularity": "tensor",
        "w": {"bits": 8},
        "v": {"bits": 24, "roundtype": "floor"},
        "input": {"bits": 5},  # currents stay below 2^23, and biases of few bits are not too small beside them
        "bias": {"bits": 12},
        "target": "loihi",
    },
    # No multiplication but that of weights, and with spikes not even that: powers of two, and leaks that shift.
    "mcu": {"bits": 8, "quantype": "fxp", "granularity": "tensor", "leak": "shift", "v": {"bits": 16}},
}


def preset(name: str) -> dict[str, Any]:
    """A copy of the settings of that name."""
    if name not in PRESETS:
        raise ValueError(f"{name!r} is not a preset.{did_you_mean(name, PRESETS)} Presets: {', '.join(PRESETS)}.")
    return {key: dict(value) if isinstance(value, dict) else value for key, value in PRESETS[name].items()}


class QuantSettings:
    """quant_params for every layer of a net.

    Args:
        quant: keys of quant_params, and
            layers: {pattern: keys that are different}, such as {"layers.0": {"w": {"bits": 8}}}. Patterns are those of
                a shell, matched with the paths of layers and neurons; of several, later ones win.
            target: 'generic'; or 'loihi': leaks of 12 bits rounded to 0, potentials 128 steps of the weights' currents,
                thresholds 64·k + 1, as Lava computes.
    """

    def __init__(self, quant: "Mapping[str, Any] | QuantParams | QuantSettings") -> None:
        if isinstance(quant, (QuantSettings, QuantParams)):
            quant = quant.as_dict()
        if not isinstance(quant, Mapping):
            raise invalid("quant", "the value", "a mapping such as {bits: 8}, or a preset", quant)
        rest = {str(key): value for key, value in quant.items()}
        self.target = choice("quant", "target", rest.pop("target", "generic"), TARGETS)
        layers = rest.pop("layers", None) or {}
        if not isinstance(layers, Mapping) or not all(isinstance(keys, Mapping) for keys in layers.values()):
            raise invalid("quant", "layers", "a mapping {pattern: {key: value}}", layers)
        self.params = QuantParams.of(rest)
        if self.params.mode != "integer":
            raise invalid("prepare", "mode", "'integer'; 'qualia' is for single layers and neurons", self.params.mode)
        self.layers = {str(pattern): plain(keys, f"quant.layers.{pattern}") for pattern, keys in layers.items()}
        for pattern in self.layers:
            self._merged([pattern])

    def of(self, path: str) -> QuantParams:
        """The parameters of the layer or neuron at a path."""
        return self._merged([pattern for pattern in self.layers if fnmatch.fnmatchcase(path, pattern)])

    def check_patterns(self, paths: Iterable[str]) -> None:
        """Raises: ValueError naming a pattern that matches none of the paths."""
        paths = list(paths)
        for pattern in self.layers:
            if not fnmatch.filter(paths, pattern):
                raise ValueError(f"quant.layers: {pattern!r} matches no layer. The net has: {', '.join(paths)}.")

    def _merged(self, patterns: list[str]) -> QuantParams:
        merged = {key: value for key, value in self.params.as_dict().items() if value is not None}
        for pattern in patterns:
            merged = _joined(merged, self.layers[pattern])
        params = QuantParams.of(merged)
        if params.mode != "integer":
            raise invalid("quant.layers", "mode", "'integer'", params.mode)
        return params

    def as_dict(self) -> dict[str, Any]:
        """The mapping again, complete."""
        return {**self.params.as_dict(), "layers": dict(self.layers), "target": self.target}


def _joined(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """base with the keys of more, which reach into mappings; quantype and power_of_two replace each other."""
    joined = dict(base)
    if "quantype" in more or "power_of_two" in more:
        joined.pop("quantype", None)
        joined.pop("power_of_two", None)
    for key, value in more.items():
        old = joined.get(key)
        joined[key] = _joined(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return joined
