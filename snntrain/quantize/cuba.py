"""Loihi's current-based neuron in a prepared net: its integers are those of the chip, and stay what they are."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from snntrain.neuron.cuba_arithmetic import DECAY_BITS, STATE_BITS
from snntrain.neuron.linear_form import LinearForm
from snntrain.quantize.arithmetic import Leak
from snntrain.quantize.node import QuantizedNode
from snntrain.quantize.params import QuantParams

_BITS = 24  # of current and potential, as on the chip
_ROUNDING = "zero"  # of leaks, as on the chip


class QuantizedCubaLIFNode(QuantizedNode, positional=True, without=("rate", "gain", "v_threshold", "v_reset")):
    """CubaLIFNode on integers.

    u = fit(trunc(u·(4096 − iDecay)/4096) + 64·scale·x),  h = fit(trunc(v·(4096 − vDecay)/4096) + u)
    s = Θ(h − (64·vThMant + 1)),  v = h·(1 − s)

    The input x is an integer in the step of a Current, which is a power of two times that of the states: shifted, it
    counts in the states' own step, 1/(64·scale). fit saturates at 24 bits, which CubaLIFNode does not imitate. Of
    quant_params nothing changes the neuron; they are for the weights before it.

    Args:
        quant_params: mapping or QuantParams, see there.
        form: of a CubaLIFNode, which has a scale.
        Others as in BaseNode.

    Attributes:
        current_leak, leak: of current and potential.
        state_step: what a step of the states is worth.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Source: Davies et al. (Loihi), IEEE Micro 2018.
    """

    state_names = ("v", "i", "theta")

    def __init__(self, quant_params: Mapping[str, Any] | QuantParams, form: LinearForm, **common: Any) -> None:
        params = QuantParams.of(quant_params).as_dict() | {"v": {"bits": _BITS}, "overflow": "saturate"}
        threshold = float(form.threshold)
        super().__init__(params, v_threshold=threshold, v_reset=0.0, **common)
        self.register_memory("i", 0.0)
        self.form = form
        self.current_leak, self.leak = _leak(form.current_decay), _leak(form.voltage_decay)
        self.state_step = 1.0 / (form.scale * 2**STATE_BITS)
        self.integer_threshold = round(threshold * form.scale) * 2**STATE_BITS + 1  # it fires above, not at it

    @property
    def rounding(self) -> str:
        return _ROUNDING

    def threshold(self) -> Tensor:
        return torch.full_like(self.theta_value, self.integer_threshold)

    def step(self, x: Tensor, v: Tensor, i: Tensor, theta: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        theta = theta.detach()
        i = self.fit((i if self.current_leak is None else self.current_leak(i)) + self.incoming(x, *parameters))
        total = (v if self.leak is None else self.leak(v)) + i
        s = self.fire(total, theta)
        return s, self.fit(self.reset_potential(total, s)), i, theta

    def linear_form(self) -> LinearForm | None:
        return self.form

    def settings(self) -> dict[str, Any]:
        own = {"current_decay": self.form.current_decay, "voltage_decay": self.form.voltage_decay}
        return {**own, "scale": self.form.scale, **super().settings()}


def _leak(decay: float) -> Leak | None:
    """What is left of a state after one step; None: all of it."""
    lost = round(decay * 2**DECAY_BITS)
    return Leak("multiply", 2**DECAY_BITS - lost, DECAY_BITS, _ROUNDING) if lost else None
