"""Three estimates of the energy of a tested net, side by side."""

from collections.abc import Iterator
from dataclasses import asdict
from math import prod
from typing import Any

import lightning.pytorch as pl
from torch import nn

from snntrain.callback.neurobench import NeuroBench
from snntrain.model.energy import Neurons, Weights, against_ann, ann_with_memory, with_memory
from snntrain.neuron.linear_form import NoLinearForm, linear_form_of

MODELS = {
    "arithmetic": {
        "title": "Arithmetic only",
        "source": "Horowitz, ISSCC 2014: 45 nm, 32-bit floating point",
        "leaves_out": "memory, neurons and all movement of data, which take most of the energy of a real chip",
    },
    "memory": {
        "title": "With memory",
        "source": "Lemaire et al., ICONIP 2022: 45 nm, 32-bit integers, SRAM beside each layer",
        "leaves_out": "the network between cores, the control of events, leakage power, and off-chip memory",
    },
    "crossing": {
        "title": "Against an int8 ANN",
        "source": "Yan et al., arXiv 2409.08290: 22 nm, 3 pJ to move a spike to a synapse, 0.25 pJ a dense bit",
        "leaves_out": "zeros among the ANN's activations, the control of events, and weights kept from step to step",
    },
}
_METRICS = {
    ("memory", "snn_uJ"): "energy_memory_uJ",
    ("memory", "ann_uJ"): "energy_memory_ann_uJ",
    ("crossing", "snn_uJ"): "energy_moved_uJ",
    ("crossing", "ann_uJ"): "energy_int8_ann_uJ",
    ("crossing", "rate"): "synaptic_rate",
    ("crossing", "crossing"): "crossing_rate",
}


class EnergyModels(pl.Callback):
    """Log what three models say of the energy of a test, per sample; see snntrain.model.energy for their equations.

    Logs beside `test/energy_uJ` and `test/energy_ann_uJ`, which are arithmetic only:
        test/energy_memory_uJ, test/energy_memory_ann_uJ: with the accesses to memory; the same layers as an ANN.
        test/energy_moved_uJ, test/energy_int8_ann_uJ: with each spike moved to each synapse; the ANN with 8 bits.
        test/synaptic_rate: share of (synapse, step) that a spike passes, in the layers that spikes enter.
        test/crossing_rate: the rate at which the spiking net would take what the int8 ANN takes.
    A net without layers that spikes enter has no rates.

    Args:
        counted: the callback in front of this one, which counted operations and spikes.
    """

    def __init__(self, counted: NeuroBench) -> None:
        self.counted = counted
        self.result: dict[str, Any] | None = None  # of the last test that saw a sample; plain containers

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.result = None

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        operations = self.counted.operations.result
        if operations is None or self.counted.result is None:
            return
        layers, neurons = list(self._layers(pl_module.net)), list(self._neurons(pl_module.net))
        found = against_ann(layers, neurons, operations["T"])
        numbers: dict[str, dict[str, float | None]] = {
            "arithmetic": {"snn_uJ": operations["energy_uJ"], "ann_uJ": operations["energy_ann_uJ"]},
            "memory": {"snn_uJ": with_memory(layers, neurons), "ann_uJ": ann_with_memory(layers)},
            "crossing": {
                "snn_uJ": found.snn,
                "ann_uJ": found.ann,
                "rate": found.rate,
                "crossing": found.crossing,
            },
        }
        self.result = {
            "models": [{"name": name, **about, **numbers[name]} for name, about in MODELS.items()],
            "layers": [asdict(layer) for layer in layers],
            "neurons": [asdict(group) for group in neurons],
        }
        for (model, key), metric in _METRICS.items():
            if numbers[model][key] is not None:
                pl_module.log(f"test/{metric}", numbers[model][key])

    def _layers(self, net: nn.Module) -> Iterator[Weights]:
        """What has weights, or multiplies activations; what a neuron multiplies inside is not a layer of the ANN."""
        modules, operations = dict(net.named_modules()), self.counted.operations
        for row, did in zip(operations.rows, operations.result["layers"], strict=True):
            if row["neuron"]:
                continue
            parameters = list(modules[row["path"]].parameters())
            weights = sum(parameter.numel() for parameter in parameters if parameter.dim() > 1)
            yield Weights(
                macs_a_step=row["macs"],
                inputs=row["macs"] / row["fan_out"],
                outputs=prod(row["output_shape"]),
                weights=weights,
                biases=sum(parameter.numel() for parameter in parameters if parameter.dim() == 1),
                spikes=did["spikes"],
                sops=did["sops"],
                runs=did["macs"] / row["macs"],
                shares_weights=row["macs"] > weights,
            )

    def _neurons(self, net: nn.Module) -> Iterator[Neurons]:
        modules, T = dict(net.named_modules()), self.counted.operations.result["T"]
        for layer in self.counted.result["layers"]:
            module = modules[layer["path"]]
            if isinstance(module, (nn.ReLU, nn.Sigmoid)):
                continue
            spikes = layer["spikes"] if getattr(module, "is_spiking", False) else 0.0
            yield Neurons(neurons=layer["neurons"] / T, steps=T, spikes=spikes, leaks=_leaks(module))


def _leaks(neuron: nn.Module) -> bool:
    """Whether a step of a neuron multiplies; one whose dynamics are not linear is taken for one that does."""
    try:
        form = linear_form_of(neuron)
    except NoLinearForm:
        return True
    return form is None or not form.only_sums
