"""Spiking neurons as lava-dl's CUBA neuron."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from snntrain.neuron.cuba_loihi import CubaLIFNode
from snntrain.neuron.linear_form import linear_form_of

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


@torch.no_grad()
def cuba_parameters(neuron: nn.Module, gain: int = 1, on_grid: bool = True) -> CubaParameters:
    """A neuron as lava-dl's.

    Args:
        neuron: CubaLIFNode, or a neuron with a linear form, such as IFNode, LIFNode, ParametricLIFNode,
            FloatCubaLIFNode.
        gain: by which its inputs are larger than they were.
        on_grid: its inputs are multiples of 1/scale. A neuron without a leak fires at its threshold and lava-dl's above
            it; on a grid that is the same with a threshold one step lower.

    Raises: ValueError for settings that lava-dl's neuron has not; NotImplementedError for another neuron.
    """
    where = type(neuron).__name__
    if type(neuron) is CubaLIFNode:  # with its norm, which no linear form has
        decays = (float(decay) / neuron.p_scale for decay in neuron.step_parameters(torch.float64))
        return CubaParameters(neuron.v_threshold * gain, *decays, neuron.scale, neuron.requires_grad)
    form = linear_form_of(neuron)
    if form is None:
        raise NotImplementedError(
            f"{where}: lava-dl's CUBA neuron cannot stand for it. Use CubaLIFNode, IFNode, LIFNode, "
            "ParametricLIFNode, FloatCubaLIFNode, or a neuron of your own with a method linear_form()."
        )
    if form.v_reset is None:
        raise ValueError(f"{where}: v_reset is None (soft reset), but Loihi resets to 0. Use v_reset=0.")
    if form.v_reset != 0:
        raise ValueError(f"{where}: v_reset is {form.v_reset:g}, but Loihi resets to 0. Use v_reset=0.")
    if form.gain != 1.0:
        raise ValueError(
            f"{where}: inputs are multiplied by {form.gain:g} (decay_input is True), but Loihi does not. Use "
            "decay_input=False, with the weights before it multiplied instead (divided by tau)."
        )
    if any(value is not None for value in (form.height, form.bias, form.v_start)) or form.threshold.numel() > 1:
        raise ValueError(f"{where}: lava-dl's neuron has no spikes other than 1, no bias, no start, and one threshold.")
    threshold = form.threshold.item() * gain
    if form.only_sums and on_grid:
        threshold = (math.ceil(threshold * SCALE) - 1) / SCALE
    if threshold < 0:
        raise ValueError(f"{where}: v_threshold is {form.threshold.item():g}, but a threshold on Loihi is positive.")
    return CubaParameters(threshold, form.current_decay, form.voltage_decay)


def is_neuron(module: nn.Module) -> bool:
    """Whether cuba_parameters knows this kind of module."""
    return type(module) is CubaLIFNode or linear_form_of(module) is not None


def fires_alike(neuron: nn.Module) -> bool:
    """Whether lava-dl's neuron gives equal spikes on a grid: nothing is truncated, because nothing leaks."""
    return type(neuron) is CubaLIFNode or ((form := linear_form_of(neuron)) is not None and form.only_sums)
