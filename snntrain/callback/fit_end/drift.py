"""How firing rates change when a net is quantized."""

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn

from snntrain.ann2snn import SpikingNet, SpikingRectifier
from snntrain.callback.spike_statistics import spiking_layers, watching
from snntrain.quantize import QuantizedNet


class Drift:
    """Firing rates of the neurons of a net and of its quantized copy, neuron by neuron.

    Args:
        original: what was quantized.
        quantized: its copy; the same neurons, in the same order.
    """

    def __init__(self, original: nn.Module, quantized: QuantizedNet) -> None:
        neurons = original.neurons if isinstance(original, SpikingNet) else spiking_layers(original)
        self._before = dict(zip(quantized.neurons, neurons.values(), strict=False))
        self._after = quantized.neurons
        self._fired: dict[nn.Module, Tensor] = {}
        self._seen: dict[nn.Module, int] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count what both nets fire inside the block."""
        with watching(self._before, self._count), watching(self._after, self._count):
            yield

    def _count(self, name: str, layer: nn.Module, y: Tensor) -> None:
        y_seq = y.unflatten(0, (layer.T, -1)) if isinstance(layer, SpikingRectifier) else y
        self._fired[layer] = self._fired.get(layer, 0.0) + (y_seq != 0).sum((0, 1)).flatten().double().cpu()
        self._seen[layer] = self._seen.get(layer, 0) + y_seq.shape[0] * y_seq.shape[1]

    def rows(self) -> dict[str, dict[str, float]]:
        """Neurons → mean rates, earth mover's distance of the rates, share of neurons that never fired."""
        rates = {layer: fired / self._seen[layer] for layer, fired in self._fired.items()}
        pairs = {name: (rates.get(layer), rates.get(self._after[name])) for name, layer in self._before.items()}
        return {
            name: {
                "rate_float": float(before.mean()),
                "rate": float(after.mean()),
                "distance": earth_movers_distance(before, after),
                "dead_float": float((before == 0).double().mean()),
                "dead": float((after == 0).double().mean()),
            }
            for name, (before, after) in pairs.items()
            if before is not None and after is not None
        }


def earth_movers_distance(a: Tensor, b: Tensor) -> float:
    """Between two sets of as many numbers: the mean distance of what has the same rank (1-d Wasserstein distance)."""
    return float((a.sort().values - b.sort().values).abs().mean())
