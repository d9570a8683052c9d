"""QuantizationAware: fine-tune a copy of the net in integer arithmetic and turn it into an integer-only net."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch import Tensor, nn

from snntrain.ann2snn import SpikingNet
from snntrain.arguments import integer, real
from snntrain.callback.fit_end.drift import Drift
from snntrain.callback.fit_end.evaluation import (
    Headline,
    drawn_batches,
    judged,
    judged_in_test,
    scores_of,
    sequences,
    test_sequences,
)
from snntrain.callback.fit_end.fit_end import FitEnd, Trained
from snntrain.callback.spike_statistics import watching
from snntrain.files import write_json
from snntrain.model.builder import is_stateful
from snntrain.number_format import is_share
from snntrain.quantize import (
    IntegerNet,
    IntegerRun,
    QuantizationError,
    QuantizedNet,
    QuantSettings,
    freeze,
    observe,
    prepare,
    preset,
    to_integer,
)
from snntrain.registry import register
from snntrain.terminal import ModulePath, print_line, table

_NEARLY_FLOAT = {"w": {"bits": 12}, "v": {"bits": 16}}  # the other layers, where one is looked at by itself


@register("callback")
class QuantizationAware(FitEnd):
    """Quantize, fine-tune, convert to integers, compare.

    Files: net.safetensors (see snntrain.quantize.IntegerNet), quantization.json, checkpoints/.

    Args:
        quant: a name in snntrain.quantize.PRESETS, or keys of QuantSettings.
        layers: keys that are different for some layers, {pattern: keys}.
        epochs: of fine-tuning, with the run's task, data, optimizer and trainer; 0: none.
        lr: learning rate at its start, > 0, falling as a cosine; None: a tenth of the run's.
        batches: training batches that the ranges are found on, ≥ 1.
        verify_samples: test samples on which spikes and potentials of every neuron are compared, ≥ 0; outputs are
            compared on all that are tested.
        sensitivity_batches: validation batches on which each layer is quantized by itself; 0: this is left out.
        common: T, encoder and readout in a plain Trainer, see FitEnd.
    """

    name = "qat"

    def __init__(
        self,
        quant: str | dict[str, Any] = "int8",
        layers: dict[str, Any] | None = None,
        epochs: int = 2,
        lr: float | None = None,
        batches: int = 16,
        verify_samples: int = 256,
        sensitivity_batches: int = 8,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.quant = _settings(quant, layers or {})
        self.epochs = integer(self, "epochs", epochs, at_least=0)
        self.lr = None if lr is None else real(self, "lr", lr, above=0)
        self.batches = integer(self, "batches", batches, at_least=1)
        self.verify_samples = integer(self, "verify_samples", verify_samples, at_least=0)
        self.sensitivity_batches = integer(self, "sensitivity_batches", sensitivity_batches, at_least=0)

    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        if not is_stateful(net):
            raise ValueError(
                "it quantizes spiking nets, and this one has no spiking neurons. Choose a neuron, or convert the net "
                "first: callbacks=[default,ann2snn,qat]."
            )
        if isinstance(net, SpikingNet) and net.readout_start:
            raise ValueError(
                "the method ltb delays the readout, which fine-tuning does not. Use "
                "callbacks.ann2snn.arguments.delayed_readout=false."
            )
        return prepare(net, self.quant, torch.rand(2, 2, *sample_shape, generator=torch.Generator().manual_seed(0)))

    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        original = trained.net.to(trained.device).eval()
        task = trained.task_for(original, trained.T).to(trained.device)
        result: dict[str, Any] = {"T": trained.T, "quant": self.quant.as_dict(), "epochs": self.epochs}
        name = result["headline"] = Headline(task).name
        result[f"{name}_float"] = judged_in_test(task, original, trained, console, "qat float")
        source = torch.Generator().manual_seed(trained.seed)
        drawn = drawn_batches(trained.data, self.batches, source)
        inputs = [x_seq for x_seq, _ in sequences(task, drawn, trained.device)]
        net = self._quantized(original, self.quant, inputs, trained)
        result[f"{name}_ptq"] = judged_in_test(task, net, trained, console, "qat quantized")
        _say(console, f"float {result[f'{name}_float']:.4f}   quantized {result[f'{name}_ptq']:.4f}")
        if self.sensitivity_batches:
            result["sensitivity"] = self._sensitivity(original, net, inputs, task, trained)
        if self.epochs:
            trained.fine_tune(net.train(), trained.T, self.epochs, self.lr, folder, partial(_say, console))
            net.to(trained.device).eval()
            result[f"{name}_qat"] = judged_in_test(task, net, trained, console, "qat fine-tuned")
        freeze(net)
        integers = to_integer(net.eval())
        result |= self._compare(original, net, integers, task, trained, console)
        float_bytes = sum(parameter.numel() * parameter.element_size() for parameter in original.parameters())
        result |= {"size_bytes": integers.size_in_bytes, "float_bytes": float_bytes, "layers": _rows(net, result)}
        integers.save(folder / "net.safetensors")
        write_json(folder / "quantization.json", result)
        _print(result, console)
        if result["mismatches"]:
            raise RuntimeError(
                f"qat: the integer net differs from the fine-tuned one in {result['mismatches']:,} values; see "
                f"{folder / 'quantization.json'}. The trained net is not affected."
            )
        names = (*(f"{name}_{kind}" for kind in _KINDS), "mismatches", "size_bytes")
        return net, {name: float(result[name]) for name in names if name in result}

    # --- steps -------------------------------------------------------------------------------------------------------

    def _quantized(
        self, original: nn.Module, quant: QuantSettings, inputs: list[Tensor], trained: Trained
    ) -> QuantizedNet:
        """A copy in integers, its ranges found on these sequences."""
        net = prepare(original, quant, inputs[0])
        observe(net, inputs, self.batches)
        return net.to(trained.device).eval()

    def _sensitivity(
        self,
        original: nn.Module,
        net: QuantizedNet,
        inputs: list[Tensor],
        task: pl.LightningModule,
        trained: Trained,
    ) -> dict[str, float]:
        """First layer of each group → what validation samples lose of the headline if only that group has few bits."""
        samples = trained.data.splits["val"]
        count = min(self.sensitivity_batches * trained.data.batch_size, len(samples))
        batches = [samples.__getitems__(list(part)) for part in torch.arange(count).split(trained.data.batch_size)]
        whole, lost = judged(task, original, sequences(task, batches, trained.device)), {}
        sign = 1 if Headline(task).higher_is_better else -1
        for junction in net.junctions:
            own = {
                path: _bits_of(self.quant, path)
                for path in (*junction.layers, *junction.consumers)
                if path != "readout"
            }
            settings = self.quant.as_dict() | {"layers": {"*": _NEARLY_FLOAT, **own}}
            try:
                alone = self._quantized(original, QuantSettings(settings), inputs, trained)
            except QuantizationError:  # sums of so many bits do not fit: nothing is known of this layer
                continue
            lost[junction.layers[0]] = sign * (whole - judged(task, alone, sequences(task, batches, trained.device)))
        return lost

    @torch.no_grad()
    def _compare(
        self,
        original: nn.Module,
        net: QuantizedNet,
        integers: IntegerNet,
        task: pl.LightningModule,
        trained: Trained,
        console: Console,
    ) -> dict[str, Any]:
        """The integer net beside the one it was made of, on the test set; firing rates beside the float net's."""
        total = differing = compared = 0
        headline = Headline(task)
        headroom: dict[str, dict[str, int]] = {}
        drift = Drift(original, net)
        for x_seq, label in test_sequences(task, trained, console, "qat integer"):
            record = compared < self.verify_samples
            found = integers.run(x_seq, record=record)
            if record:
                with drift.watching(), _keeping(net) as kept:
                    y_seq = scores_of(net, x_seq)
                    scores_of(original, x_seq)
                differing += _differing(kept, found)
                compared += len(label)
            else:
                y_seq = scores_of(net, x_seq)
            differing += int((found.logits != y_seq.to(found.logits.device)).sum())
            for name, values in found.headroom.items():
                before = headroom.get(name, {"largest": 0})
                headroom[name] = values | {"largest": max(values["largest"], before["largest"])}
            headline.add(task.scores(found.logits.to(trained.device)), label)
            total += len(label)
        return {
            f"{headline.name}_int": headline.value,
            "samples": total,
            "mismatches": differing,
            "verified_samples": compared,
            "headroom": headroom,
            "firing": drift.rows(),
        }


@contextlib.contextmanager
def _keeping(net: QuantizedNet) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Collect the spikes and potentials of each neuron of a net while the block runs."""
    kept: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str, node: Any, spikes: Tensor) -> None:
        kept[name] = spikes != 0, node.v_seq  # a reset empties v_seq

    for node in net.neurons.values():
        node.store_v_seq = True
    try:
        with watching(net.neurons, keep):
            yield kept
    finally:
        for node in net.neurons.values():
            node.store_v_seq = False


def _differing(kept: Mapping[str, tuple[Tensor, Tensor]], found: IntegerRun) -> int:
    """How many spikes and potentials of a run are different."""
    pairs = (
        pair
        for name, (spikes, potentials) in kept.items()
        for pair in ((spikes, found.spikes[name]), (potentials, found.potentials[name]))
    )
    return sum(int((ours.to(theirs.device).double() != theirs.double()).sum()) for ours, theirs in pairs)


def _settings(quant: str | dict[str, Any], layers: dict[str, Any]) -> QuantSettings:
    quant = preset(quant) if isinstance(quant, str) else quant
    return QuantSettings({**quant, "layers": {**(quant.get("layers") or {}), **layers}})


def _bits_of(quant: QuantSettings, path: str) -> dict[str, Any]:
    params = quant.of(path)
    return {kind: {"bits": params.kind(kind).bits} for kind in ("w", "v")}


def _rows(net: QuantizedNet, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each group of layers that feed the same neurons."""
    rows = []
    for junction in net.junctions:
        consumer = next((path for path in junction.consumers if path in net.neurons), None)
        first = net.layers[junction.layers[0]]
        row: dict[str, Any] = {
            "layers": list(junction.layers),
            "neurons": consumer,
            "w_bits": first.weights_bits,
            "weights": sum(net.layers[path].weight.numel() for path in junction.layers),
            "sensitivity": result.get("sensitivity", {}).get(junction.layers[0]),
        }
        if consumer is not None:
            theta = net.neurons[consumer].threshold()
            row |= {"v_bits": net.neurons[consumer].v_params.bits, "theta": [int(theta.min()), int(theta.max())]}
            row |= {"headroom": result["headroom"].get(consumer), "firing": result["firing"].get(consumer)}
        rows.append(row)
    return rows


def _say(console: Console, text: str) -> None:
    print_line(console, f"qat   {text}")


def _print(result: Mapping[str, Any], console: Console) -> None:
    headers = ("layers", "neurons", "W\nbits", "V\nbits", "θ", "range of\nh used", "EMD of\nrates", "dead", "alone")
    shown = table(*headers)
    scale, digits = (100, 2) if is_share(result["headline"]) else (1, 4)
    for row in result["layers"]:
        firing, room, theta = row.get("firing"), row.get("headroom"), row.get("theta")
        shown.add_row(
            ModulePath(", ".join(row["layers"])),
            ModulePath(row["neurons"] or ""),
            str(row["w_bits"]),
            str(row.get("v_bits", "")),
            "" if theta is None else str(theta[0]) if theta[0] == theta[1] else f"{theta[0]}–{theta[1]}",
            "" if room is None else f"{room['largest'] / room['range']:.1%}",
            "" if firing is None else f"{firing['distance']:.4f}",
            "" if firing is None else f"{firing['dead']:.1%}",
            "" if row["sensitivity"] is None else f"{-scale * row['sensitivity']:+.{digits}f}",
        )
    console.print(shown)
    named = {f"{result['headline']}_{kind}": label for kind, label in _KINDS.items()}
    parts = [f"{label} {result[key]:.4f}" for key, label in named.items() if key in result]
    _say(
        console,
        "   ".join(parts) + f"   {result['size_bytes'] / 1024:,.0f} KiB of {result['float_bytes'] / 1024:,.0f}   "
        f"{result['mismatches']} mismatches",
    )


_KINDS = {"float": "float", "ptq": "quantized", "qat": "fine-tuned", "int": "integer"}
