"""The steps of a prepared net: observe chooses them, freeze fixes them."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import integer
from snntrain.graph import input_of
from snntrain.quantize.arithmetic import power_of_two_above
from snntrain.quantize.cuba import QuantizedCubaLIFNode
from snntrain.quantize.integer_layer import IntegerLayer
from snntrain.quantize.node import QuantizedNode
from snntrain.quantize.quantized_net import Junction, QuantizedNet

_SHIFTS = range(-16, 24)
_WEIGHT_BITS = 7  # by which a step of Loihi's weights, 2/scale, is larger than one of its states, 1/(64·scale)
_FIRING = 0.15  # share of inputs that are 1, a guess that weighs errors of weights against those of potentials


@torch.no_grad()
def observe(net: QuantizedNet, loader: Iterable[Any], batches: int = 16) -> None:
    """Find the range of a prepared net's input, and with it all steps.

    The step of a current is the one that its layers' weights ask for (`w.range_setting`), or the nearest one of which
    the threshold is a multiple; with powers of two, the next larger one. That of a potential is 2^shift times it, with
    the shift for which rounding weights and rounding potentials together do least harm.

    Args:
        net: from prepare.
        loader: batches of inputs, or tuples that start with one: [N, *], or sequences of any shape that the net takes.
        batches: how many are looked at, ≥ 1.

    Steps stay as they are unless they are learned (LSQ): weights that grow beyond them in training are clipped.

    Raises: QuantizationError naming a layer whose sums may leave the integers of float32; ValueError if there is no
    batch, or an input is not finite.
    """
    quantizer = net.input_quantizer
    seen = 0
    for batch in itertools.islice(loader, integer("observe", "batches", batches, at_least=1)):
        quantizer.observe(input_of(batch).to(quantizer.per_step.device))
        seen += 1
    if not seen:
        raise ValueError("observe: the loader gave no batch.")
    quantizer.settle()
    settle(net)


@torch.no_grad()
def settle(net: QuantizedNet) -> None:
    """Choose all steps anew for the present weights."""
    for junction in net.junctions:
        _settle_junction(net, junction)
    net.is_observed = True
    check_exact(net)


def freeze(net: QuantizedNet) -> None:
    """Keep all steps as they are, also those that were learned; weights and biases can still be trained."""
    for junction in net.junctions:
        net.layers[junction.layers[0]].current.requires_grad_(False)
    check_exact(net)


def check_exact(net: QuantizedNet) -> None:
    """Raises: QuantizationError naming a layer whose sums may leave the integers that float32 holds."""
    for junction in net.junctions:
        neurons = [net.neurons[path] for path in junction.consumers if path in net.neurons]
        largest = max((neuron.room_for_rounding() for neuron in neurons), default=0)
        largest += sum(net.layers[path].largest_sum() for path in junction.layers)
        for path in junction.layers:
            net.layers[path].check_exact(path, largest)


def _settle_junction(net: QuantizedNet, junction: Junction) -> None:
    layers = [net.layers[path] for path in junction.layers]
    neurons = [net.neurons[path] for path in junction.consumers if path in net.neurons]
    for module in layers:
        base = net.input_quantizer.step if module.reads_input else torch.tensor(1.0)
        module.input_step.copy_(base / module.input_divisor)
    current = layers[0].current
    own = torch.stack([module.own_step().expand(current.size) for module in layers])
    own = torch.nan_to_num(own, nan=0.0).amax(0)
    own = torch.where(own > 0, own, own[own > 0].mean() if bool((own > 0).any()) else _fallback(neurons))
    if not neurons:
        current.settle(own)
        return
    if isinstance(neurons[0], QuantizedCubaLIFNode):
        _settle_in_integers(layers, neurons, own)
        return
    thresholds = [_in_steps(neuron, current.size) for neuron in neurons]
    if neurons[0].threshold_grid > 1:
        floor = thresholds[0] / (2.0 ** neurons[0].shift * neurons[0].largest_threshold)
        current.settle(own, floor)
        return
    alike = all(torch.equal(theta, thresholds[0]) for theta in thresholds)
    noise = sum(_noise(module) for module in layers)
    for neuron, theta in zip(neurons, thresholds, strict=True):
        neuron.shift = _best_shift(own, theta, neuron, noise, current.power_of_two)
    if not alike:
        pairs = zip(neurons, thresholds, strict=True)
        floors = [theta * (2.0**-neuron.shift / neuron.largest_threshold) for neuron, theta in pairs]
        current.settle(own, torch.stack(floors).amax(0))
        return
    shift, most = max(neuron.shift for neuron in neurons), min(neuron.largest_threshold for neuron in neurons)
    for neuron in neurons:
        neuron.shift = shift
    grid = thresholds[0] * 2.0**-shift
    scalar_steps = current.size == 1 and neurons[0].theta_value.numel() > 1
    current.settle(own, grid / most, None if scalar_steps else grid)


def _settle_in_integers(layers: list[IntegerLayer], neurons: list[Any], own: Tensor) -> None:
    """The step before neurons in Loihi's integers, a power of two times that of their states.

    It is the one of the chip's 8-bit weights, 2/scale, if all weights are multiples of it and fit: then nothing is
    rounded. Otherwise it is the smallest that covers the weights.
    """
    unit = neurons[0].state_step * neurons[0].divisor
    shift = -math.ceil(math.log2(float(own.max()) / unit) - 1e-6)
    shift = min(max(shift, _SHIFTS[0]), _SHIFTS[-1])  # beyond, states would saturate with one spike, or never charge
    finest = max(module.input_divisor for module in layers) * neurons[0].divisor
    if finest & (finest - 1) == 0 and finest <= 2**_WEIGHT_BITS:
        of_the_chip = -(_WEIGHT_BITS - finest.bit_length() + 1)
        if all(_fits(module, unit * 2.0**-of_the_chip) for module in layers):
            shift = of_the_chip
    layers[0].current.settle(torch.full_like(own, unit * 2.0**-shift))
    for neuron in neurons:
        neuron.shift = shift


def _fits(module: IntegerLayer, step: float) -> bool:
    """Whether the weights are integers of their bits, counted in steps of a current."""
    integers = module.weight.detach().double() * (float(module.input_step) / step)
    low, high = module.w_params.smallest, module.w_params.largest
    return bool(((integers == integers.round()) & (integers >= low) & (integers <= high)).all())


def _fallback(neurons: list[QuantizedNode]) -> Tensor:
    """A step for layers whose weights are all 0."""
    return neurons[0].theta_value.max() / neurons[0].largest_threshold if neurons else torch.tensor(1.0)


def _in_steps(neuron: QuantizedNode, count: int) -> Tensor:
    """The neuron's threshold in units of the current, one for each of its steps: the largest where they are fewer."""
    theta = neuron.theta_value * neuron.divisor
    return theta.max().reshape(1) if count == 1 else theta.expand(count)


def _noise(module: IntegerLayer) -> float:
    """Mean of Σ x² over the inputs of one output: what an error of the weights is multiplied by."""
    fan_in = module.weight[0].numel()
    typical = (0.3 * module.input_largest) ** 2 if module.reads_input else _FIRING * module.input_largest
    return fan_in * typical


def _best_shift(own: Tensor, theta: Tensor, neuron: QuantizedNode, noise: float, power_of_two: bool) -> int:
    """The shift for which errors of weights and of potentials, in thresholds, are least together."""
    most = neuron.largest_threshold
    errors = []
    for shift in _SHIFTS:
        grid = theta * 2.0**-shift
        if power_of_two:
            step = torch.maximum(own, power_of_two_above(grid / most))
        else:
            step = grid / torch.floor(grid / own + 0.5).clamp(1, most)
        # A step beside the best one rounds more, or clips more.
        weights = noise * (own * torch.maximum(step / own, own / step)) ** 2
        potential = (step * 2.0**shift) ** 2
        errors.append(float(((weights + potential) / theta**2).mean()))
    return _SHIFTS[min(range(len(errors)), key=errors.__getitem__)]
