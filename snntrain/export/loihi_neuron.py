"""Neurons of a net in Loihi's terms, and the integers that they and the weights before them become."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snntrain.export.error import ExportError
from snntrain.export.netx_file import (
    DECAY_ONE,
    LARGEST_BIAS,
    LARGEST_THRESHOLD,
    LARGEST_WEIGHT,
    SMALLEST_WEIGHT,
    NetxLayer,
    is_misread,
)
from snntrain.export.synapse import Synapse
from snntrain.graph import linear_form_at

_POWERS = range(-8, 21)  # exponents of the power-of-two scales to try
_CLOSE = 1e-9  # the relative error that folding a pooling in float64 leaves


@dataclass(frozen=True, eq=False)
class LoihiNeuron:
    """What a layer of neurons computes.

    Attributes:
        i_decay, v_decay: decays of current and potential times 4096.
        threshold: [1] or [C], in the units of the weights.
        fires_at_threshold: also where the potential equals it, which Lava's does not.
        scale: integers per unit that it was trained with; None: any scale gives the same.
        is_integer: its arithmetic is that of integers, not of floats which integers approximate.
    """

    i_decay: int
    v_decay: int
    threshold: Tensor
    fires_at_threshold: bool = False
    scale: float | None = None
    is_integer: bool = True

    @property
    def keeps_grid(self) -> bool:
        """Whether potentials are sums of weights, because nothing leaks (or all of it does)."""
        return {self.i_decay, self.v_decay} <= {0, DECAY_ONE}


def neuron_of(place: str, neuron: nn.Module) -> LoihiNeuron:
    """A neuron in Loihi's terms.

    Raises: NetError naming it, and what to use instead.
    """
    remedy = (
        "Train with neuron=cuba_lif (CubaLIFNode) or neuron=if, or quantize the net with callbacks.qat.quant=loihi."
    )
    form = linear_form_at(place, neuron, "its dynamics are not those of Loihi's CUBA neuron", remedy)
    if form.v_reset is None:
        raise ExportError(place, "it subtracts the threshold (soft reset), and Loihi resets to 0", _RESET_TO_0)
    if form.v_reset != 0:
        more = "Without a leak v_threshold − v_reset is then the same threshold."
        raise ExportError(place, f"it resets to {form.v_reset:g}, and Loihi to 0", f"{_RESET_TO_0} {more}")
    for name, value in {"spikes that are not 1": form.height, "a bias": form.bias, "a start": form.v_start}.items():
        if value is not None:
            reason = f"it has {name}, which belongs into the weights before it or behind it"
            raise ExportError(place, reason, "Quantize the net with callbacks.qat.quant=loihi, which puts it there.")
    decays = [decay * DECAY_ONE for decay in (form.current_decay, form.voltage_decay)]
    i_decay, v_decay = (round(decay) for decay in decays)
    sums = form.only_sums and form.gain == 1.0  # integers then give the spikes of floats
    return LoihiNeuron(
        i_decay,
        v_decay,
        form.threshold.cpu() / form.gain,
        fires_at_threshold=form.fires_at_threshold,
        scale=None if form.scale is None else float(form.scale),
        is_integer=form.scale is not None or sums,
    )


_RESET_TO_0 = "Use neuron.v_reset=0."


@dataclass(frozen=True)
class Rounding:
    """How a layer became integers.

    Attributes:
        scale: integers per unit of a weight.
        is_exact: nothing was rounded, so that its spikes are those of the net.
        error: largest change of a weight, as a share of the largest weight.
    """

    scale: float
    is_exact: bool
    error: float


def integer_layer(
    synapse: Synapse, neuron: LoihiNeuron, shape: tuple[int, ...], scale: float | None = None
) -> tuple[NetxLayer, Rounding]:
    """The layer of a netx file; its numbers may be out of range, see netx_file.check.

    Args:
        shape: of its output for one step.
        scale: integers per unit of a weight. None: the neuron's own, or for neurons without one a power of two, if no
            weight is rounded with it; or else the largest with which all numbers are in range.

    Raises: ExportError for weights that are not finite.
    """
    if not all(bool(torch.isfinite(weight).all()) for weight in synapse.weights):
        raise ExportError(f"{synapse.name} (layer)", "its weights hold NaN or infinite values", "Train it again.")
    scale = scale or _own_scale(synapse, neuron) or _largest_scale(synapse, neuron)
    weights = [2 * torch.round(weight * (scale / 2)) for weight in synapse.weights]
    bias = None if synapse.bias is None or not synapse.bias.any() else torch.round(synapse.bias * scale)
    steps = neuron.threshold * scale
    if not neuron.keeps_grid:
        threshold = torch.round(steps)
    elif neuron.fires_at_threshold:
        threshold = torch.ceil(steps * (1 - _CLOSE)) - 1  # v ≥ θ and v > ⌈θ⌉ − 1 are the same for integers v
    else:
        threshold = torch.floor(steps * (1 + _CLOSE))
    is_exact = (
        _is_on_grid(synapse, scale)
        and neuron.is_integer
        and (neuron.keeps_grid or (neuron.scale in (None, scale) and _is_whole(steps)))
    )
    layer = NetxLayer(
        kind="conv" if synapse.is_conv else "dense" if synapse.weight_rec is None else "dense_rec",
        shape=shape,
        weight=_integers(weights[0]),
        weight_rec=_integers(weights[1]) if len(weights) > 1 else None,
        bias=None if bias is None else _integers(bias),
        stride=synapse.stride,
        padding=synapse.padding,
        dilation=synapse.dilation,
        groups=synapse.groups,
        i_decay=neuron.i_decay,
        v_decay=neuron.v_decay,
        threshold=int(threshold) if threshold.numel() == 1 else _integers(threshold),
        delay=None if synapse.delay is None or not synapse.delay.any() else _integers(synapse.delay),
        name=synapse.name,
    )
    return layer, Rounding(scale, is_exact, _error(synapse.weights, weights, scale))


def _own_scale(synapse: Synapse, neuron: LoihiNeuron) -> float | None:
    """The neuron's scale, or the smallest power of two times what poolings divided by, that rounds nothing."""
    if not any(weight.any() for weight in synapse.weights):
        return None
    candidates = [neuron.scale] if neuron.scale else [synapse.area * 2.0**power for power in _POWERS]
    for scale in candidates:
        if _is_on_grid(synapse, scale):
            integers = [_integers(torch.round(weight * scale)) for weight in synapse.weights]
            return None if not synapse.is_conv and is_misread(integers) else scale
    return None


def _is_on_grid(synapse: Synapse, scale: float) -> bool:
    """Whether weights and biases are integers of that scale, and the weights even and in range."""
    if synapse.bias is not None and not _is_whole(synapse.bias, scale):
        return False
    if not all(_is_whole(weight, scale / 2) for weight in synapse.weights):
        return False
    low, high = (
        min(float(weight.min()) for weight in synapse.weights),
        max(float(weight.max()) for weight in synapse.weights),
    )
    return round(low * scale) >= SMALLEST_WEIGHT and round(high * scale) <= LARGEST_WEIGHT


def _largest_scale(synapse: Synapse, neuron: LoihiNeuron) -> float:
    """The largest scale with which weights, biases and thresholds are in range."""
    highest = max(float(weight.max()) for weight in synapse.weights)
    lowest = min(float(weight.min()) for weight in synapse.weights)
    all_signs = all(bool((weight > 0).any()) for weight in synapse.weights)
    smallest = SMALLEST_WEIGHT if all_signs else SMALLEST_WEIGHT + 2  # see netx_file.is_misread
    bias = 0.0 if synapse.bias is None else float(synapse.bias.abs().max())
    limits = [
        (highest, LARGEST_WEIGHT),
        (-lowest, -smallest),
        (bias, LARGEST_BIAS),
        (float(neuron.threshold.max()), LARGEST_THRESHOLD),
    ]
    return min((limit / value for value, limit in limits if value > 0), default=1.0)


def _is_whole(values: Tensor, factor: float = 1.0) -> bool:
    """Whether all times the factor are integers, up to the rounding of float64."""
    flat = values.flatten()
    for part in (flat[:100], flat):  # fail fast: most tensors that are not integer show it in the first 100 values
        scaled = part * factor
        if not bool(((scaled - scaled.round()).abs() <= _CLOSE * scaled.abs()).all()):
            return False
    return True


def _integers(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.int64)


def _error(weights: list[Tensor], rounded: list[Tensor], scale: float) -> float:
    largest = max(float(weight.abs().max()) for weight in weights)
    if largest == 0.0:
        return 0.0
    pairs = zip(weights, rounded, strict=True)
    return max(float((weight - integers / scale).abs().max()) for weight, integers in pairs) / largest
