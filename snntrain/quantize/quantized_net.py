"""QuantizedNet: a prepared net."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.arguments import integer
from snntrain.base import StepModule
from snntrain.functional import repeat, reset_net
from snntrain.graph import modules_of
from snntrain.quantize.integer_layer import InputQuantizer, IntegerLayer
from snntrain.quantize.node import QuantizedNode
from snntrain.quantize.settings import QuantSettings


@dataclass(frozen=True)
class Junction:
    """Paths of layers whose outputs are added, and of the neurons (or the readout) that use the sum."""

    layers: tuple[str, ...]
    consumers: tuple[str, ...]


class QuantizedNet(StepModule, nn.Module):
    """A net whose layers and neurons exchange integers, on float tensors that autograd can follow.

    Training and evaluation compute alike, and IntegerNet computes the same with integers. Between its ends tensors hold
    integers; only its output is scaled to values.

    Its state_dict is loaded into `prepare(net, quant)` of the same net and quant.

    Args:
        net: a graph of modules.
        junctions: which layers add up to which neurons.
        settings: what it was prepared with.

    Shapes: x_seq [T, N, *] → [T, N, K]; step mode 'm' only.
    """

    keeps_children_in_s = True  # set_step_mode leaves the children alone: they stay in 'm'

    def __init__(self, net: fx.GraphModule, junctions: list[Junction], settings: QuantSettings) -> None:
        super().__init__()
        self._step_mode = "m"
        self.net = net
        self.junctions = list(junctions)
        self.quant = settings.as_dict()
        self.readout_start = 0
        self.is_observed = False

    def supported_step_mode(self) -> tuple[str, ...]:
        return ("m",)

    @property
    def is_stateful(self) -> bool:
        return bool(self.neurons)

    @property
    def input_quantizer(self) -> InputQuantizer:
        return self.net.input_quantizer

    @property
    def layers(self) -> dict[str, IntegerLayer]:
        """Path → layer with weights, in order of execution."""
        return modules_of(self.net, IntegerLayer)

    @property
    def neurons(self) -> dict[str, QuantizedNode]:
        """Path → neurons, in order of execution."""
        return modules_of(self.net, QuantizedNode)

    def forward(self, x_seq: Tensor) -> Tensor:
        if not self.is_observed:
            raise RuntimeError(
                "QuantizedNet: the range of its input is not known yet. Call observe(net, loader) with some batches "
                "first, or load a state_dict."
            )
        if x_seq.dim() < 2 or x_seq.shape[0] == 0:
            raise ValueError(
                f"{self._title()}: the input must be a sequence [T, N, *] of T ≥ 1 steps, got shape "
                f"{list(x_seq.shape)}."
            )
        return self.net(x_seq)

    @torch.no_grad()
    def predict(self, x: Tensor, T: int) -> Tensor:
        """The mean output over T steps of a static input [N, *], from reset neurons: [N, K]."""
        start = min(self.readout_start, max(integer(self, "T", T, at_least=1) - 4, 0))
        reset_net(self)
        y = self(repeat(x, T))[start:].mean(0)
        reset_net(self)
        return y

    def get_extra_state(self) -> dict[str, Any]:
        return {"is_observed": self.is_observed, "readout_start": self.readout_start}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.is_observed, self.readout_start = bool(state["is_observed"]), int(state["readout_start"])
