"""Integrate-and-fire neuron, the one without a leak."""

from torch import Tensor

from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.linear_form import LinearForm
from snntrain.registry import register


@register("neuron")
class IFNode(BaseNode):
    """Integrate-and-fire neuron.

    Charge: h = v + x.

    Args: as in BaseNode.
    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Raises: ValueError naming the argument, the range and the value received.
    Source: Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4.
    """

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x

    def linear_form(self) -> LinearForm | None:
        return LinearForm.of(self)
