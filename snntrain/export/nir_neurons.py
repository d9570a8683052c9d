"""The neurons of NIR graphs, in steps of dt.

LIF      v ← v + dt/tau·(v_leak − v + r·x),                                        CubaLIF: of i, not of x
CubaLIF  i ← i + dt/tau_syn·(w_in·x − i)
IF       v ← v + r·x: x is a number of spikes, so that all readers leave dt out
         a spike where v > v_threshold, then v ← v_reset

LI, I and CubaLI are the same without spikes, and give v. Ours have a gain of one: with g the product of r, w_in and the
decays, the potential of FloatCubaLIFNode is v/|g|, and its threshold v_threshold/|g|; the sign of g goes to what the
neuron reads. Where gain or threshold differ from neuron to neuron, all of g/v_threshold goes there.
"""

import math

import numpy as np
from torch import nn

from snntrain.export.nir_layers import Read, Reader
from snntrain.export.nir_node import LARGEST, NirNode, Shape
from snntrain.neuron import FloatCubaLIFNode, NonSpikingIFNode, NonSpikingLIFNode

_NEVER = 2.0**-24  # a decay below loses nothing in float32
_SAME = 1e-6

Value = float | np.ndarray  # the same for all neurons, or one for each


def _cuba_lif(node: NirNode, shape: Shape, dt: float) -> Read:
    current_decay, voltage_decay = _decay(node, "tau_syn", shape, dt), _decay(node, "tau_mem", shape, dt)
    gain = _gain(node, "w_in", shape) * current_decay * _gain(node, "r", shape) * voltage_decay
    return _spiking(node, shape, current_decay, voltage_decay, gain)


def _lif(node: NirNode, shape: Shape, dt: float) -> Read:
    voltage_decay = _decay(node, "tau", shape, dt)
    return _spiking(node, shape, 1.0, voltage_decay, _gain(node, "r", shape) * voltage_decay)


def _if(node: NirNode, shape: Shape, dt: float) -> Read:
    return _spiking(node, shape, 1.0, 0.0, _gain(node, "r", shape))


def _threshold(node: NirNode, shape: Shape, dt: float) -> Read:
    """A neuron that forgets everything within a step."""
    return _firing(node, shape, (1.0, 1.0), node.values("threshold", shape), 1.0, "threshold")


def _li(node: NirNode, shape: Shape, dt: float) -> Read:
    decay, gain = _decay(node, "tau", shape, dt), _gain(node, "r", shape)
    _refuse_leak(node)
    return Read(_leaky(decay), _behind(node, "r", shape), gain)


def _i(node: NirNode, shape: Shape, dt: float) -> Read:
    return Read(NonSpikingIFNode(), _behind(node, "r", shape), _gain(node, "r", shape))


def _cuba_li(node: NirNode, shape: Shape, dt: float) -> Read:
    decays = (_decay(node, tau, shape, dt) for tau in ("tau_syn", "tau_mem"))
    gain = _gain(node, "w_in", shape) * _gain(node, "r", shape)
    _refuse_leak(node)
    return Read(nn.Sequential(*map(_leaky, decays)), _behind(node, "r", shape), gain)


def _decay(node: NirNode, tau: str, shape: Shape, dt: float) -> float:
    """The part of current or potential that is lost in a step."""
    value = node.one(tau, shape)
    if value <= 0:
        raise node.error(f"{tau} must be > 0, it is {value:g}")
    if dt / value > 1 + _SAME:
        raise node.error(f"dt/{tau} must be from 0 to 1, it is {dt / value:g}; is dt right?")
    return min(dt / value, 1.0)


def _gain(node: NirNode, what: str, shape: Shape) -> Value:
    value = node.values(what, shape)
    if not np.all(value):
        raise node.error(f"{what} is 0, so that no input reaches it")
    return value


def _behind(node: NirNode, what: str, shape: Shape) -> Shape:
    """Shape of a step behind neurons: that before them, or, where it is not known, that of a parameter."""
    own = node.numbers(what).shape
    return own if shape is None and own else shape


def _leaky(decay: float) -> nn.Module:
    if decay == 1:
        return nn.Identity()  # it keeps nothing
    return NonSpikingLIFNode(tau=1 / decay)


def _refuse_leak(node: NirNode) -> None:
    if node.numbers("v_leak").any():
        raise node.error("v_leak is not 0, and readers start at different potentials then")


def _spiking(node: NirNode, shape: Shape, current_decay: float, voltage_decay: float, gain: Value) -> Read:
    """Neurons whose potential is counted from where it rests, starts and is reset to."""
    rest = node.values("v_leak", shape) if getattr(node.node, "v_leak", None) is not None else 0.0
    reset = node.values("v_reset", shape) if getattr(node.node, "v_reset", None) is not None else 0.0
    if np.any(np.not_equal(rest, reset)):
        raise node.error("v_reset is not " + ("v_leak" if np.any(rest) else "0") + ", where the potential starts")
    decays = tuple(0.0 if value < _NEVER else value for value in (current_decay, voltage_decay))
    return _firing(node, shape, decays, node.values("v_threshold", shape) - rest, gain, "v_threshold")


def _firing(node: NirNode, shape: Shape, decays: tuple[float, ...], threshold: Value, gain: Value, what: str) -> Read:
    """A threshold that is exceeded, ours being one that is met."""
    if np.min(threshold) < 0:
        raise node.error(f"{what} must be ≥ 0, it is {np.min(threshold):g}: it would fire without any input")
    factor: Value
    if np.ndim(threshold) or np.ndim(gain):
        if not np.all(threshold):
            raise node.error(f"{what} is 0 for some neurons and not for others, or their gains differ")
        factor, level = gain / threshold, 1.0
        used = np.abs(factor).max()
    else:
        level = threshold / abs(gain) if gain else math.inf
        factor, used = math.copysign(1.0, gain), level
    if not used < LARGEST:
        raise node.error(f"{what} {np.max(threshold):g} divided by its gain {np.min(np.abs(gain)):g} is beyond float32")
    above = float(np.nextafter(np.float32(level), np.float32(np.inf)))
    return Read(FloatCubaLIFNode(*decays, v_threshold=above), _behind(node, what, shape), factor)


#: As LAYERS.
NEURONS: dict[str, Reader] = {
    "CubaLIF": _cuba_lif,
    "LIF": _lif,
    "IF": _if,
    "Threshold": _threshold,
    "LI": _li,
    "I": _i,
    "CubaLI": _cuba_li,
}
