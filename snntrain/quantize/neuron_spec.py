"""What a neuron computes, in the terms in which it is quantised."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snntrain.ann2snn.node import SpikingRectifier
from snntrain.neuron import ATIFNode, CubaLIFNode, IFNode, LIFNode, ParametricLIFNode
from snntrain.quantize.atif import QuantizedATIF
from snntrain.quantize.error import refusal
from snntrain.quantize.node import QuantizedIFNode, QuantizedLIFNode

REMEDY = "Use LIFNode, IFNode, ParametricLIFNode or ATIFNode."


@dataclass(frozen=True)
class NeuronSpec:
    """v ← v·(1 − rate) + input/gain, with a threshold and a reset.

    Attributes:
        threshold: θ, [1] or [C].
        v_reset: for hard reset, where the leak pulls to; None: soft reset.
        rate: 1/tau, or None.
        gain: tau where the input is divided by it, else 1.
        surrogate_function, detach_reset, backend: as in BaseNode.
        height: of a spike, [1] or [C]; None: 1.
        v_start: potential at the start, [1], [C] or [C, *]; None: v_reset, or 0.
        bias: added to the input, [1] or [C]; None: nothing.
    """

    threshold: Tensor
    v_reset: float | None
    rate: float | None
    gain: float
    surrogate_function: Callable[[Tensor], Tensor]
    detach_reset: bool = False
    backend: str = "auto"
    height: Tensor | None = None
    v_start: Tensor | None = None
    bias: Tensor | None = None


@torch.no_grad()
def spec_of(path: str, neuron: nn.Module) -> NeuronSpec:
    """What a neuron computes.

    Raises: QuantizationError naming the neuron, if it is of a kind that is not known, or has settings that are not.
    """
    reader = _READERS.get(type(neuron))  # not isinstance: a subclass may compute something else
    kind = type(neuron).__name__
    if reader is None:
        raise refusal(path, kind, "its dynamics are not known in integers", REMEDY)
    spec = reader(path, neuron)
    rest = 0.0 if spec.v_reset is None else spec.v_reset
    if not bool((spec.threshold > rest).all()):
        raise refusal(path, kind, f"its threshold is not above {rest:g} (v_reset, or 0 with soft reset)", "Raise it.")
    return spec


def _threshold(neuron: nn.Module) -> Tensor:
    return torch.as_tensor(neuron.v_threshold).detach().float().reshape(-1)


def _plain(neuron: nn.Module, rate: float | None, divides_input: bool) -> NeuronSpec:
    gain = 1.0 / rate if divides_input and rate else 1.0
    return NeuronSpec(
        _threshold(neuron), neuron.v_reset, rate, gain, neuron.surrogate_function, neuron.detach_reset, neuron.backend
    )


def _lif(path: str, neuron: nn.Module) -> NeuronSpec:
    return _plain(neuron, 1.0 / neuron.tau, neuron.decay_input)


def _cuba(path: str, neuron: CubaLIFNode) -> NeuronSpec:
    current_decay, voltage_decay = (float(decay) for decay in neuron.step_parameters(torch.float32))
    if current_decay != 1.0:
        reason = f"its current has a memory of its own (current_decay = {current_decay:g})"
        raise refusal(path, "CubaLIFNode", reason, "Use current_decay = 1, or LIFNode.")
    if neuron.v_reset:
        raise refusal(path, "CubaLIFNode", "its leak pulls to 0 and its reset to v_reset", "Use v_reset = 0 or None.")
    return _plain(neuron, voltage_decay or None, False)


def _atif(path: str, neuron: ATIFNode | QuantizedATIF) -> NeuronSpec:
    theta = _threshold(neuron).clamp(min=1e-3)
    common = (neuron.surrogate_function, neuron.detach_reset, neuron.backend)
    return NeuronSpec(theta, None, None, 1.0, *common, height=theta)


def _rectifier(path: str, neuron: SpikingRectifier) -> NeuronSpec:
    kind = "SpikingRectifier"
    if neuron.delay:
        raise refusal(
            path,
            kind,
            f"it waits {neuron.delay} steps before it fires",
            "Convert it with a method that does not delay (callbacks.ann2snn.method).",
        )
    bias = neuron.bias
    if bias is not None and bias.dim() == 2:
        raise refusal(path, kind, "its bias differs from step to step", "Use callbacks.ann2snn.calibration=bias.")
    theta = neuron.theta.detach().float().reshape(-1)
    v_start = neuron.v_init.detach().float() if bool((neuron.v_init != 0).any()) else None
    common = (neuron.node.surrogate_function, neuron.node.detach_reset, neuron.node.backend)
    return NeuronSpec(
        theta,
        0.0 if neuron.hard_reset else None,
        None,
        1.0,
        *common,
        height=None if bool((theta == 1).all()) else theta,
        v_start=v_start.reshape(-1) if v_start is not None and v_start.dim() == 0 else v_start,
        bias=None if bias is None else bias.detach().float().reshape(-1),
    )


_READERS: dict[type, Callable[[str, nn.Module], NeuronSpec]] = {
    IFNode: lambda path, neuron: _plain(neuron, None, False),
    QuantizedIFNode: lambda path, neuron: _plain(neuron, None, False),
    LIFNode: _lif,
    ParametricLIFNode: _lif,
    QuantizedLIFNode: _lif,
    CubaLIFNode: _cuba,
    ATIFNode: _atif,
    QuantizedATIF: _atif,
    SpikingRectifier: _rectifier,
}
