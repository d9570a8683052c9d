"""How firing rates change when a net is quantized."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.ann2snn import SpikingNet, SpikingRectifier
from snntrain.callback.spike_statistics import spiking_layers
from snntrain.quantize import QuantizedNet


class Drift:
    """Firing rates of the neurons of a net and of its quantized copy, neuron by neuron.

    Args:
        original: what was quantized.
        quantized: its copy; the same neurons, in the same order.
    """

    def __init__(self, original: nn.Module, quantized: QuantizedNet) -> None:
        before = original.neurons if isinstance(original, SpikingNet) else spiking_layers(original)
        self.before = _Rates(list(before.values()))
        self.after = _Rates(list(quantized.neurons.values()))
        self.names = list(quantized.neurons)

    @contextmanager
    def watching(self, active: bool) -> Iterator[None]:
        """Count what both nets fire inside the block."""
        handles = [*self.before.hooks(), *self.after.hooks()] if active else []
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def rows(self) -> dict[str, dict[str, float]]:
        """Neurons → mean rates, earth mover's distance of the rates, share of neurons that never fired."""
        found = {}
        for place, name in enumerate(self.names):
            if place not in self.after.fired or place not in self.before.fired:
                continue
            before, after = self.before.of(place), self.after.of(place)
            found[name] = {
                "rate_float": float(before.mean()),
                "rate": float(after.mean()),
                "distance": earth_movers_distance(before, after),
                "dead_float": float((before == 0).double().mean()),
                "dead": float((after == 0).double().mean()),
            }
        return found


def earth_movers_distance(a: Tensor, b: Tensor) -> float:
    """Between two sets of as many numbers: the mean distance of what has the same rank (1-d Wasserstein distance)."""
    return float((a.sort().values - b.sort().values).abs().mean())


class _Rates:
    def __init__(self, layers: list[nn.Module]) -> None:
        self.layers = layers
        self.fired: dict[int, Tensor] = {}
        self.seen: dict[int, int] = {}

    def hooks(self) -> list[Any]:
        return [layer.register_forward_hook(self._counter(place)) for place, layer in enumerate(self.layers)]

    def _counter(self, place: int) -> Any:
        @torch.no_grad()
        def count(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            y_seq = y.unflatten(0, (module.T, -1)) if isinstance(module, SpikingRectifier) else y
            fired = (y_seq != 0).sum((0, 1)).flatten().double().cpu()
            self.fired[place] = self.fired.get(place, 0.0) + fired
            self.seen[place] = self.seen.get(place, 0) + y_seq.shape[0] * y_seq.shape[1]

        return count

    def of(self, place: int) -> Tensor:
        return self.fired[place] / self.seen[place]
