"""Integrate-and-fire neurons, which have no leak."""

from typing import Any

from torch import Tensor

from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.linear_form import LinearForm
from snntrain.registry import register


@register("neuron")
class IFNode(BaseNode):
    """Integrate-and-fire neuron.

    Charge: h = v + x.

    Source: Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4.
    """

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x

    def linear_form(self) -> LinearForm | None:
        return LinearForm.of(self)


class SimpleIFNode(IFNode, positional=True, without=("backend", "store_v_seq")):
    """IFNode, by SpikingJelly's name, whose potential starts at 0 whatever v_reset is."""

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        start_at_zero(self)

    def linear_form(self) -> LinearForm | None:
        return None if self.rest else super().linear_form()  # the potential does not start at rest


def start_at_zero(node: BaseNode) -> None:
    """Let the potential start at 0 now and after each reset."""
    node.set_reset_value("v", 0.0)
    node.v = 0.0
