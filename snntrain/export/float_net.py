"""The plan of a net of floats."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snntrain.export.error import ExportError
from snntrain.export.loihi_neuron import neuron_of
from snntrain.export.plan import InputSpec, Plan, PlanBuilder
from snntrain.export.walker import walk


def plan_of(
    net: nn.Module,
    example: Tensor,
    scale: float | Mapping[str, float] | None,
    append_neuron: nn.Module | None,
    max_pool: str,
) -> Plan:
    """What becomes of a net; see snntrain.export.plan."""
    builder = PlanBuilder(tuple(example.shape[2:]), scale, max_pool)
    builder.plan.input = input_of(example)
    builder.plan.rows = walk(net, example, builder, neuron_of, append_neuron)
    if not builder.plan.problems:
        builder.check_patterns()
    return builder.plan


def input_of(x: Tensor) -> InputSpec:
    """The integers that an example consists of.

    Raises: ExportError if it holds others.
    """
    if not torch.equal(x.float(), x.float().round()):
        raise ExportError(
            "",
            "the input holds values that are not integers, and a file takes spikes or integers",
            "Use an encoder that spikes (encoder=poisson, latency, …), or quantize the net: callbacks.qat.quant=loihi "
            "makes the input integers.",
        )
    low, high = int(x.min()), int(x.max())
    if low >= 0:
        return InputSpec(0, 2 ** max(high, 1).bit_length() - 1)
    half = 2 ** max(high, -low - 1).bit_length()
    return InputSpec(-half, half - 1)
