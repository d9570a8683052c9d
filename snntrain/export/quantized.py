"""The plan of a net of integers: what snntrain.quantize makes for the target 'loihi' is what Lava computes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.export.chain import NO_NEURONS, Row
from snntrain.export.error import ExportError
from snntrain.export.loihi_neuron import LoihiNeuron
from snntrain.export.netx_file import DECAY_ONE, STATE_LIMIT
from snntrain.export.plan import InputSpec, Plan, PlanBuilder
from snntrain.export.synapse import Pool, Synapse, diagonal, pair
from snntrain.quantize import LOIHI_GRID, LOIHI_SHIFT, IntegerNet

_EVEN = 2.0  # integer weights w stand for Loihi's even weights 2w
_STATE_BITS = 24
_REMEDY = "Quantize the net with callbacks.qat.quant=loihi."


def plan_of(net: IntegerNet, shape: tuple[int, ...], max_pool: str) -> Plan:
    """What becomes of a net of integers; see snntrain.export.plan."""
    builder = PlanBuilder(shape, max_pool=max_pool)
    builder.keeps_integers = True
    builder.plan.limits = (-STATE_LIMIT, STATE_LIMIT - 1)
    rows = [Row(operation["name"], operation["op"]) for operation in net.operations]
    for index, (row, operation) in enumerate(zip(rows, net.operations, strict=True)):
        try:
            if operation["sources"] != ([index - 1] if index else []):
                reason = "it has several inputs, or an earlier one; layers must follow one another"
                raise ExportError(row.place, reason, "Leave out residual paths and branches.")
            _Visit(builder, row, net, operation).visit()
        except ExportError as error:
            row.problem = error
            break  # the shapes behind it are not known
    builder.plan.rows = rows
    if not builder.plan.problems and not builder.count:
        rows[-1].problem = ExportError(*NO_NEURONS)
    return builder.plan


class _Visit:
    """One operation."""

    def __init__(self, builder: PlanBuilder, row: Row, net: IntegerNet, operation: dict[str, Any]) -> None:
        self.builder, self.row, self.net, self.operation = builder, row, net, operation

    def visit(self) -> None:
        step = getattr(self, f"_{self.operation['op']}", None)
        if step is None:
            remedy = "Build the net from convolutions, linear layers, average pooling and neurons."
            raise ExportError(self.row.place, "there is no such layer", remedy)
        step()

    def own(self, part: str) -> np.ndarray | None:
        return self.net.arrays.get(f"{self.operation['name']}.{part}")

    def double(self, part: str) -> Tensor | None:
        value = self.own(part)
        return None if value is None else torch.from_numpy(value.astype(np.float64))

    def pairs(self, *names: str) -> list[tuple[int, int]]:
        return [pair(tuple(self.operation[name])) for name in names]

    def _input(self) -> None:
        given, per_step = self.operation, float(self.own("per_step")[0])
        self.builder.plan.input = InputSpec(given["lowest"], given["highest"], per_step, given["rounding"])
        self.row.becomes = f"integers from {given['lowest']} to {given['highest']}, made by the host"

    def _linear(self) -> None:
        self.builder.weights(self.row, Synapse(self.row.name, self.double("weight"), self.double("bias")))

    def _conv(self) -> None:
        weight = self.double("weight")
        if weight.dim() != 4:
            raise ExportError(f"{self.row.name} (Conv1d)", "convolutions have two dims", "Use Conv2d.")
        stride, padding, dilation = self.pairs("stride", "padding", "dilation")
        groups = self.operation["groups"]
        self.builder.weights(
            self.row, Synapse(self.row.name, weight, self.double("bias"), stride, padding, dilation, groups)
        )

    def _scale(self) -> None:
        if self.own("bias") is not None:
            raise ExportError(self.row.place, "it has weights for channels and a bias", "Use a layer there.")
        weight = self.double("weight")
        if self.builder.flat:  # what is flattened holds channel after channel
            weight = weight.repeat_interleave(self.builder.now[0] // len(weight))
        self.builder.weights(self.row, diagonal(self.row.name, weight, self.builder.now))

    def _votes(self) -> None:
        size = self.operation["size"]
        weight = torch.eye(self.builder.now[-1] // size, dtype=torch.float64).repeat_interleave(size, 1)
        self.builder.weights(self.row, Synapse(self.row.name, weight))

    def _sum_pool(self) -> None:
        self.builder.pool(self.row, Pool(*self.pairs("kernel", "stride", "padding"), average=False))

    def _max_pool(self) -> None:
        self.builder.maximum(self.row, *self.pairs("kernel", "stride", "padding"))

    def _flatten(self) -> None:
        self.builder.flatten(self.row)

    def _neuron(self) -> None:
        given, leak = self.operation, self.operation["leak"]
        wrong = {
            "it subtracts the threshold (soft reset), and Loihi resets to 0": given["reset"] != "hard",
            f"its potential has {given['bits']} bits, and Lava's {_STATE_BITS}": given["bits"] != _STATE_BITS,
            "its potential does not count 1/128 of a weight": given["shift"] != LOIHI_SHIFT,
            "it starts from potentials of its own": self.own("start") is not None,
            "its leak is not that of Loihi": leak is not None
            and (leak["form"], leak["bits"], leak["rounding"]) != ("multiply", 12, "zero"),
        }
        for reason, is_so in wrong.items():
            if is_so:
                raise ExportError(self.row.place, reason, _REMEDY)
        steps = self.double("threshold") - 1  # fires at 64·k + 1, the first integer above 64·k
        if bool((steps % LOIHI_GRID).any()):
            raise ExportError(self.row.place, "its threshold is not 64·k + 1", _REMEDY)
        v_decay = 0 if leak is None else DECAY_ONE - leak["factor"]
        neuron = LoihiNeuron(DECAY_ONE, v_decay, steps / (LOIHI_GRID * _EVEN), scale=_EVEN)
        self.builder.neurons(self.row, neuron)

    def _cuba(self) -> None:
        reason = "Loihi's own neuron is exported from the net that was trained, not from a quantized one"
        raise ExportError(self.row.place, reason, "Leave out qat: callbacks=[default,lava].")

    def _output(self) -> None:
        self.builder.readout_step = self.own("scale")
        self.builder.readout()
        self.row.becomes = "the output"
