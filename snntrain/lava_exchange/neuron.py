"""Spiking neurons as lava-dl's CUBA neuron."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from snntrain.neuron import CubaLIFNode, IFNode, LIFNode, ParametricLIFNode
from snntrain.neuron.cuba_loihi import LoihiCubaLIFNode

SCALE = 64  # of neurons that have none of their own


@dataclass(frozen=True)
class CubaParameters:
    """What a CUBA neuron of lava-dl is constructed with.

    Attributes:
        threshold: it fires above, in steps of 1/scale.
        current_decay, voltage_decay: parts lost per step, in [0, 1].
        scale: weights are counted in steps of 1/scale.
        requires_grad: the decays are learned.
    """

    threshold: float
    current_decay: float
    voltage_decay: float
    scale: int = SCALE
    requires_grad: bool = False

    def of_lava(self) -> dict[str, Any]:
        """As lava-dl takes them, for a neuron that starts every sequence at rest."""
        return asdict(self)


@torch.no_grad()
def cuba_parameters(neuron: nn.Module, gain: int = 1, on_grid: bool = True) -> CubaParameters:
    """A neuron as lava-dl's.

    Args:
        neuron: IFNode, LIFNode, ParametricLIFNode, CubaLIFNode, or the CubaLIFNode of lava_exchange.
        gain: by which its inputs are larger than they were.
        on_grid: its inputs are multiples of 1/scale. IFNode fires at the threshold and lava-dl's neuron above it; on a
            grid that is the same with a threshold one step lower.

    Raises: ValueError for settings that lava-dl's neuron has not; NotImplementedError for another neuron.
    """
    where = type(neuron).__name__
    reader = _READERS.get(type(neuron))  # not isinstance: a subclass may compute something else
    if reader is None:
        known = ", ".join(sorted({kind.__name__ for kind in _READERS}))
        raise NotImplementedError(f"{where}: lava-dl's CUBA neuron cannot stand for it. Use one of {known}.")
    if neuron.v_reset is None:
        raise ValueError(f"{where}: v_reset is None (soft reset), but Loihi resets to 0. Use v_reset=0.")
    if neuron.v_reset != 0:
        raise ValueError(f"{where}: v_reset is {neuron.v_reset:g}, but Loihi resets to 0. Use v_reset=0.")
    if getattr(neuron, "decay_input", False):
        raise ValueError(
            f"{where}: decay_input is True, but Loihi does not divide inputs by tau. Use decay_input=False, with the "
            "weights before it divided by tau."
        )
    parameters = reader(neuron)
    threshold = parameters.threshold * gain
    if type(neuron) is IFNode and on_grid:
        threshold = (math.ceil(threshold * SCALE) - 1) / SCALE
    if threshold < 0:
        raise ValueError(f"{where}: v_threshold is {neuron.v_threshold:g}, but a threshold on Loihi is positive.")
    return replace(parameters, threshold=threshold)


def _lif(neuron: LIFNode) -> CubaParameters:
    return CubaParameters(neuron.v_threshold, 1.0, 1.0 / neuron.tau)


def _plif(neuron: ParametricLIFNode) -> CubaParameters:
    return CubaParameters(neuron.v_threshold, 1.0, float(neuron.w.double().sigmoid()))


def _cuba(neuron: CubaLIFNode) -> CubaParameters:
    return CubaParameters(neuron.v_threshold, *map(float, neuron.step_parameters(torch.float64)))


def _loihi(neuron: LoihiCubaLIFNode) -> CubaParameters:
    decays = (float(decay) / neuron.p_scale for decay in neuron.step_parameters(torch.float64))
    return CubaParameters(neuron.v_threshold, *decays, scale=neuron.scale, requires_grad=neuron.requires_grad)


_READERS: dict[type, Callable[[Any], CubaParameters]] = {
    IFNode: lambda neuron: CubaParameters(neuron.v_threshold, 1.0, 0.0),
    LIFNode: _lif,
    ParametricLIFNode: _plif,
    CubaLIFNode: _cuba,
    LoihiCubaLIFNode: _loihi,
}


def is_neuron(module: nn.Module) -> bool:
    """Whether cuba_parameters knows this kind of module."""
    return type(module) in _READERS
