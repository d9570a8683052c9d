"""A plan: what becomes of every part of a net, and the layers that come out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.arguments import invalid, real
from snntrain.export import netx_file
from snntrain.export.chain import Chain, Row
from snntrain.export.error import MAX_POOL_REMEDY, ExportError
from snntrain.export.loihi_neuron import LoihiNeuron, Rounding, integer_layer
from snntrain.export.netx_file import DECAY_ONE, NetxLayer
from snntrain.export.synapse import Pair, Synapse
from snntrain.quantize import rounded

READOUT_BITS = 16
_POOLED = "Pool after the neurons, or give its weights fewer bits (callbacks.qat.quant.w.bits)."
CAVEAT = "Lava's simulator holds a net of any size: a pass there does not prove that it fits a chip."


@dataclass(frozen=True)
class InputSpec:
    """The integers that a file takes.

    Attributes:
        lowest, highest: their range.
        per_step: None: the net's input are integers itself; else they are clip(R(x·per_step), lowest, highest).
        rounding: R, 'nearest' (ties up), 'floor', 'ceil' or 'zero'.
    """

    lowest: int = 0
    highest: int = 1
    per_step: float | None = None
    rounding: str = "nearest"

    @property
    def message_bits(self) -> int:
        """Bits of a message, which Lava's reader is told: 0 for spikes."""
        if (self.lowest, self.highest) == (0, 1):
            return 0
        return max(self.highest, -self.lowest - 1).bit_length() + (self.lowest < 0)

    def encode(self, x_seq: Tensor) -> Tensor:
        """Integers, as float32, from an input of the net.

        Raises: ExportError for values that are not integers in the range, if the net's input are integers itself.
        """
        x = x_seq.detach().float()
        if self.per_step is not None:
            return rounded(x * self.per_step, self.rounding).clamp(self.lowest, self.highest)
        if not torch.equal(x, x.round()) or bool((x < self.lowest).any() or (x > self.highest).any()):
            low, high = x.min().item(), x.max().item()
            raise ExportError(
                "",
                f"the input must hold integers from {self.lowest} to {self.highest}, as the example did, got values "
                f"from {low:g} to {high:g}",
                "Use an encoder that spikes, or quantize the net: callbacks.qat.quant=loihi.",
            )
        return x


@dataclass(frozen=True, eq=False)
class Readout:
    """A last layer without neurons, computed off-chip from the spikes: (W·s + b)·step, in integers up to the step.

    Attributes:
        weight: [K, N] of the flattened spikes (C, H, W).
        bias: [K].
        step: [1] or [K].
    """

    weight: np.ndarray
    bias: np.ndarray
    step: np.ndarray

    def __call__(self, spikes: Tensor) -> Tensor:
        """[T, N, *] → [T, N, K]."""
        weight, bias = (torch.from_numpy(part).to(spikes.device, torch.float64) for part in (self.weight, self.bias))
        step = torch.from_numpy(self.step).to(spikes.device)
        return (spikes.flatten(2).double() @ weight.T + bias).float() * step


@dataclass
class Plan:
    """What export will write.

    Attributes:
        rows: one for every layer of the net, in order.
        layers: of the file; not complete if there are problems.
        scales: position in the file → how the layer was rounded.
        input: how the input becomes integers.
        readout: what is left for the host; None: the output is the last layer's spikes.
        limits: at which the net clips its own potentials; None: nowhere.
    """

    rows: list[Row] = field(default_factory=list)
    layers: list[NetxLayer] = field(default_factory=list)
    scales: dict[int, Rounding] = field(default_factory=dict)
    input: InputSpec = field(default_factory=InputSpec)
    readout: Readout | None = None
    limits: tuple[int, int] | None = None

    @property
    def problems(self) -> list[str]:
        """What cannot be exported and why, one text for each part."""
        return [str(row.problem) for row in self.rows if row.problem]

    @property
    def is_exact(self) -> bool:
        """Whether the file's spikes are those of the net, because nothing was rounded."""
        return not self.problems and all(rounding.is_exact for rounding in self.scales.values())

    def __str__(self) -> str:
        cells = [("layer", "kind", "becomes")]
        cells += [(row.name, row.kind, f"✗ {row.problem}" if row.problem else row.becomes) for row in self.rows]
        first, second = (max(len(cell[column]) for cell in cells) for column in (0, 1))
        lines = [f"{name:<{first}}  {kind:<{second}}  {text}".rstrip() for name, kind, text in cells]
        return "\n".join([*lines, "", CAVEAT])


class PlanBuilder(Chain):
    """Makes layers of a netx file.

    Args:
        shape: of the input for one step, [C, H, W] or [N].
        scale: integers per unit of the weights, one number or {pattern of names: number}; None: chosen for each layer.
        max_pool: 'refuse', or 'neurons': put neurons in the place of a maximum of spikes.
    """

    def __init__(
        self, shape: tuple[int, ...], scale: float | Mapping[str, float] | None = None, max_pool: str = "refuse"
    ) -> None:
        super().__init__(shape)
        self.plan = Plan(layers=[NetxLayer("input", shape)])
        self.scale, self.max_pool = scale, max_pool
        self.keeps_integers = False  # refuse what would have to be rounded
        self.used_patterns: set[str] = set()
        self.readout_step: np.ndarray | None = None  # what 1 of an output is worth, where weights are integers

    def maximum(self, row: Row, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> None:
        """A maximum over windows: of spikes it is a neuron that fires at any of them and forgets all else."""
        if self.max_pool != "neurons":
            raise ExportError(row.place, "netx has no maximum", f"Use AvgPool2d, or {MAX_POOL_REMEDY}.")
        graded = self.plan.input.message_bits and not self.count
        if self.synapse is not None or self.pools or self.flat or graded:
            raise ExportError(row.place, "what it pools are no spikes", "Put it just after neurons.")
        channels = self.now[0]
        ones = torch.ones(channels, 1, *kernel, dtype=torch.float64)
        self.weights(row, Synapse(row.name, ones, None, stride, padding, dilation, groups=channels))
        half = torch.tensor([0.5], dtype=torch.float64)
        self.neurons(row, LoihiNeuron(DECAY_ONE, DECAY_ONE, half, scale=2.0))

    def emit_flatten(self) -> None:
        self.plan.layers.append(NetxLayer("flatten", self.shape))

    def emit(self, row: Row, synapse: Synapse, neuron: LoihiNeuron, shape: tuple[int, ...]) -> str:
        layer, rounding = integer_layer(synapse, neuron, shape, self._scale_of(synapse.name))
        if layer.delay is not None and layer.kind != "dense":
            what = "convolutions" if layer.kind == "conv" else "recurrent layers"
            remedy = "Put delay at Linear layers that are not recurrent, or leave it out."
            raise ExportError(f"{synapse.name} (delay)", f"Lava delays what dense layers read, and no {what}", remedy)
        if self.keeps_integers and not rounding.is_exact:
            reason = "joined with a pooling, or all negative, its integers are none that Lava computes with"
            raise ExportError(f"{synapse.name} (layer)", reason, _POOLED)
        index = len(self.plan.layers)
        self.plan.layers.append(layer)
        self.plan.scales[index] = rounding
        row.becomes = _describe(layer, rounding, index)
        netx_file.check(self.plan.layers)
        return f"layer {index}"

    def emit_readout(self, synapse: Synapse) -> str:
        if synapse.delay is not None and synapse.delay.any():
            reason = "the host computes the last layer, which has no neurons, and knows no delays"
            raise ExportError(f"{synapse.name} (delay)", reason, "End the net with neurons, or leave out delay there.")
        self.plan.readout = _integer_readout(synapse, self.readout_step)
        return "the readout, which the host computes from the spikes of the last layer"

    def _scale_of(self, name: str) -> float | None:
        if not isinstance(self.scale, Mapping):
            return None if self.scale is None else real("export", "scale", self.scale, above=0)
        for pattern, value in self.scale.items():
            if fnmatchcase(name, pattern):
                self.used_patterns.add(pattern)
                return real("export", f"scale[{pattern!r}]", value, above=0)
        return None

    def check_patterns(self) -> None:
        """Raises: ValueError naming a pattern of scale that no layer has."""
        names = ", ".join(layer.name for layer in self.plan.layers if layer.has_neurons)
        for pattern in self.scale if isinstance(self.scale, Mapping) else ():
            if pattern not in self.used_patterns:
                raise invalid("export", "scale", f"a mapping of patterns that match one of {names}", pattern)


def _integer_readout(dense: Synapse, step: np.ndarray | None) -> Readout:
    weight, bias = dense.weight, dense.bias
    bias = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias
    if step is None:
        largest = float(weight.abs().max())
        unit = largest / (2 ** (READOUT_BITS - 1) - 1) if largest > 0 else 1.0
        weight, bias, step = torch.round(weight / unit), torch.round(bias / unit), np.array([unit])
    return Readout(weight.numpy().astype(np.int32), bias.numpy().astype(np.int64), step.astype(np.float32))


def _describe(layer: NetxLayer, rounding: Rounding, index: int) -> str:
    shape = "×".join(map(str, layer.shape))
    size = f" {layer.weight.shape[2]}×{layer.weight.shape[3]}" if layer.kind == "conv" else ""
    rounded = "exact" if rounding.is_exact else f"weights rounded by up to {rounding.error:.2%} of the largest"
    largest = np.max(layer.threshold)
    delayed = [] if layer.delay is None else [f"delays up to {layer.delay.max()} steps"]
    decays: list[Any] = [f"iDecay {layer.i_decay}", f"vDecay {layer.v_decay}"]
    if layer.i_decay == DECAY_ONE and layer.v_decay == 0:
        decays = ["no leak"]
    facts = [f"scale {rounding.scale:g}", f"vThMant {largest}", *decays, *delayed, rounded]
    return f"layer {index}: {layer.kind}{size} → {shape}, {', '.join(facts)}"
