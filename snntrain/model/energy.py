"""Three estimates of the energy of a net, from what its layers and neurons did per sample. None is a measurement."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# --- 45 nm, Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014; pJ ------------------------
PJ_PER_MAC = 4.6  # 32-bit floating point: a multiplication and an addition take 3.7 pJ + 0.9 pJ
PJ_PER_SOP = 0.9
ADD_INT32, MULTIPLY_INT32 = 0.1, 3.1
ADD_INT8, MULTIPLY_INT8 = 0.03, 0.2
_SRAM = ((8 * 1024, 10.0), (32 * 1024, 20.0), (1024 * 1024, 100.0))  # (bytes, an access of 64 bits)
_BYTES = 4  # of a value in the memory-inclusive model: 32-bit integers

# --- 22 nm, Yan et al., arXiv 2409.08290, "typical neuromorphic"; pJ --------------------------------------------------
ACCUMULATE = COMPARE = SUBTRACT = 0.05448
MOVE_SPIKE = 3.0  # one hop on a network for sparse events, from what Loihi's events take
MOVE_BIT = 0.25  # of a dense activation, one hop
READ_WEIGHT_BIT = 0.0175  # not given there: fits its crossings at T = 2 and 3 with weights of 8 bits


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A layer of weights, per sample over all steps.

    Attributes:
        macs_a_step: multiply-accumulates of one step.
        inputs, outputs: values in and out in one step.
        weights, biases: parameters.
        spikes: that entered; 0 where values entered.
        sops: additions of weights that these spikes caused.
        runs: steps in which values were multiplied with the weights; 0 where spikes entered.
        shares_weights: a convolution, where the place of a weight has to be computed for each spike.
    """

    macs_a_step: float
    inputs: float
    outputs: float
    weights: int
    biases: int = 0
    spikes: float = 0.0
    sops: float = 0.0
    runs: float = 0.0
    shares_weights: bool = False


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """A layer of neurons, per sample.

    Attributes:
        neurons: how many.
        steps: in which each was updated.
        spikes: that they fired.
        leaks: whether an update multiplies the potential.
    """

    neurons: float
    steps: float
    spikes: float
    leaks: bool = True


def sram(size: float) -> float:
    """pJ of one access to a memory of so many bytes: the line of least squares through Horowitz's three sizes."""
    mean_x, mean_y = (sum(point[axis] for point in _SRAM) / len(_SRAM) for axis in (0, 1))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in _SRAM) / sum((x - mean_x) ** 2 for x, _ in _SRAM)
    return mean_y + slope * (size - mean_x)


# --- 1. arithmetic only ----------------------------------------------------------------------------------------------


def arithmetic(macs: float, sops: float) -> float:
    """µJ: 4.6 pJ · MACs + 0.9 pJ · SOPs.

    Leaves out all memory, the neurons and the movement of data, which take most of the energy of real chips.
    """
    return (PJ_PER_MAC * macs + PJ_PER_SOP * sops) / 1e6


# --- 2. with memory --------------------------------------------------------------------------------------------------


def with_memory(layers: Sequence[Weights], neurons: Sequence[Neurons]) -> float:
    """µJ of a spiking net with the accesses to its memories, all values 32-bit integers in SRAM of their own.

    A layer that θ spikes enter reads θ spikes from a queue (eq. 5). For each synaptic operation it reads a weight
    (7, 8), reads and writes a potential (9, 10, 14, 15), adds (1.4, 2.4), and adds once more for the address (16.3,
    17.2); with shared weights an address takes two multiply-accumulates for each spike (16.2). In each step every
    neuron reads and writes its potential and adds, and multiplies if it leaks (1.3, 2.3); a spike is written to the
    queue (13) and its reset subtracts. Biases are read once. A layer that values enter computes as in an ANN, in each
    step in which that is necessary.

    Leaves out the network between cores, the control, leakage power, and off-chip memory; of eq. 2.4, which counts a
    fully connected layer's additions once for every input too often, the corrected form is used.

    Source: Lemaire et al., An analytical estimation of spiking neural networks energy efficiency, ICONIP 2022
    (arXiv 2210.13107).
    """
    multiply_add = ADD_INT32 + MULTIPLY_INT32
    energy = 0.0
    for layer in layers:
        potentials = sram(layer.outputs * _BYTES)
        energy += layer.spikes * sram(layer.inputs * _BYTES)
        energy += layer.sops * (sram(layer.weights * _BYTES) + 2 * potentials + 2 * ADD_INT32)
        energy += 2 * layer.spikes * multiply_add if layer.shares_weights else 0.0
        energy += layer.runs * _dense(layer)
        if layer.biases and not layer.runs:
            energy += layer.outputs * sram(layer.biases * _BYTES)
    for group in neurons:
        updates, memory = group.neurons * group.steps, sram(group.neurons * _BYTES)
        energy += updates * (2 * memory + ADD_INT32 + (multiply_add if group.leaks else 0.0))
        energy += group.spikes * (memory + ADD_INT32)
    return energy / 1e6


def ann_with_memory(layers: Sequence[Weights]) -> float:
    """µJ of the same layers as an ANN, run once, in the model of `with_memory` (its eqs. 1–4, 6, 11, 12)."""
    return sum(_dense(layer) for layer in layers) / 1e6


def _dense(layer: Weights) -> float:
    """pJ of one step of a layer into which values enter."""
    reads = layer.macs_a_step if layer.shares_weights else layer.inputs
    energy = reads * sram(layer.inputs * _BYTES) + layer.macs_a_step * sram(layer.weights * _BYTES)
    energy += layer.outputs * (sram(layer.biases * _BYTES) if layer.biases else 0.0)
    energy += layer.outputs * sram(layer.outputs * _BYTES)
    energy += layer.macs_a_step * (ADD_INT32 + MULTIPLY_INT32) + layer.outputs * ADD_INT32
    addresses = layer.inputs + layer.outputs + layer.weights if layer.shares_weights else layer.macs_a_step
    return energy + addresses * ADD_INT32


# --- 3. against an int8 ANN ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A spiking net beside the ANN with activations of a few bits.

    Attributes:
        snn, ann: µJ a sample.
        rate: share of (synapse, step) that a spike passes, over the layers that spikes enter; None: there are none.
        crossing: the rate at which both would take the same; 0: the ANN takes less at any rate; None as `rate`.
    """

    snn: float
    ann: float
    rate: float | None
    crossing: float | None


def multiply_accumulate(activation_bits: int, weight_bits: int) -> float:
    """pJ: an accumulation, and a product that grows with both widths, at Horowitz's ratio of the two for 8 bits."""
    return ACCUMULATE * (1 + MULTIPLY_INT8 / ADD_INT8 * activation_bits * weight_bits / 64)


def against_ann(
    layers: Sequence[Weights], neurons: Sequence[Neurons], steps: float, bits: int = 8, weight_bits: int = 8
) -> Crossing:
    """The energy of a spiking net beside that of its ANN twin, and the firing rate at which they are equal.

    Per synapse, the twin moves an activation by one hop, reads a weight and multiplies, once; the spiking net does the
    like for each spike that passes, up to T times: it moves the spike, reads the weight and accumulates. Neurons
    compare in each step and subtract at a spike. Both have the same weights; layers that values enter compute in the
    spiking net as in the twin, in each step in which that is necessary.

    Leaves out zeros among the twin's activations (which would favor it), control of events (which would favor it as
    well), and reuse of weights over steps (which would favor the spiking net). The paper's twin has ⌈log₂(T + 1)⌉ bits;
    one of 8 bits is what is deployed.

    Args:
        layers, neurons: what they did; a net without spiking layers has no crossing.
        steps: T.
        bits: of the twin's activations.
        weight_bits: of the weights of both.

    Source: Yan et al., Reconsidering the energy efficiency of spiking neural networks, arXiv 2409.08290.
    """
    read = READ_WEIGHT_BIT * weight_bits
    product = bits * MOVE_BIT + multiply_accumulate(bits, weight_bits) + read
    ann = sum(layer.macs_a_step for layer in layers) * product + sum(group.neurons for group in neurons) * COMPARE
    fixed = sum(layer.macs_a_step * layer.runs for layer in layers) * product
    fixed += sum(group.neurons * group.steps for group in neurons) * COMPARE
    by_spikes = sum(layer.sops for layer in layers) * (MOVE_SPIKE + ACCUMULATE + read)
    by_spikes += sum(group.spikes for group in neurons) * SUBTRACT
    synapses = sum(layer.macs_a_step for layer in layers if not layer.runs) * steps
    rate = sum(layer.sops for layer in layers) / synapses if synapses else None
    if rate is None:
        crossing = None
    elif by_spikes:
        crossing = max(0.0, rate * (ann - fixed) / by_spikes)
    else:  # a silent net: what a spike at every synapse in every step would take
        crossing = max(0.0, (ann - fixed) / (synapses * (MOVE_SPIKE + ACCUMULATE + read)))
    return Crossing(
        snn=(fixed + by_spikes) / 1e6,
        ann=ann / 1e6,
        rate=rate,
        crossing=None if crossing is None or not math.isfinite(crossing) else crossing,
    )
