"""What `quant` may hold: quant_params, layers that differ, and a target."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from snntrain.arguments import choice, refuse
from snntrain.quantize.params import QuantParams

TARGETS = ("generic", "loihi")


class QuantSettings:
    """quant_params for every layer of a net.

    Args:
        quant: keys of quant_params, and
            layers: {pattern: keys that are different}, such as {"layers.0": {"w": {"bits": 8}}}. Patterns are those of
                a shell, matched with the paths of layers and neurons; of several, later ones win.
            target: 'generic'; or 'loihi': leaks of 12 bits rounded to 0, potentials 128 steps of the weights' currents,
                thresholds 64·k + 1, as Lava computes.

    Raises: ValueError naming key, value and what is allowed.
    """

    def __init__(self, quant: "Mapping[str, Any] | QuantParams | QuantSettings") -> None:
        if isinstance(quant, QuantSettings):
            quant = quant.as_dict()
        if isinstance(quant, QuantParams):
            quant = quant.as_dict()
        if not isinstance(quant, Mapping):
            raise refuse("quant", "the value", "a mapping such as {bits: 8}, or a preset", quant)
        rest = {str(key): value for key, value in quant.items()}
        self.target = choice("quant", "target", rest.pop("target", "generic"), TARGETS)
        layers = rest.pop("layers", None) or {}
        if not isinstance(layers, Mapping) or not all(isinstance(keys, Mapping) for keys in layers.values()):
            raise refuse("quant", "layers", "a mapping {pattern: {key: value}}", layers)
        self.params = QuantParams.of(rest)
        if self.params.mode != "integer":
            raise refuse("prepare", "mode", "'integer'; 'qualia' is for single layers and neurons", self.params.mode)
        self.layers = {str(pattern): _plain(keys) for pattern, keys in layers.items()}
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
            raise refuse("quant.layers", "mode", "'integer'", params.mode)
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


def _plain(keys: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): _plain(value) if isinstance(value, Mapping) else value for key, value in keys.items()}
