"""Plain forms of the two basic neurons, by SpikingJelly's names: fewer arguments, and a potential that starts at 0."""

from collections.abc import Callable

from torch import Tensor

from snntrain.neuron.integrate_and_fire import IFNode
from snntrain.neuron.lif import LIFNode
from snntrain.neuron.linear_form import LinearForm


class SimpleIFNode(IFNode):
    """IFNode whose potential starts at 0, whatever v_reset is.

    Args: as in IFNode, without backend and store_v_seq.
    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Source: Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4.
    """

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        detach_reset: bool = False,
        step_mode: str = "s",
    ) -> None:
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode)
        self.set_reset_value("v", 0.0)
        self.v = 0.0

    def linear_form(self) -> LinearForm | None:
        return None if self.rest else super().linear_form()  # the potential does not start at rest


class SimpleLIFNode(LIFNode):
    """LIFNode whose potential starts at 0, whatever v_reset is; tau and decay_input have no defaults.

    Args: as in LIFNode, without backend and store_v_seq.
    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Source: Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4.
    """

    def __init__(
        self,
        tau: float,
        decay_input: bool,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        detach_reset: bool = False,
        step_mode: str = "s",
    ) -> None:
        super().__init__(tau, decay_input, v_threshold, v_reset, surrogate_function, detach_reset, step_mode)
        self.set_reset_value("v", 0.0)
        self.v = 0.0

    def linear_form(self) -> LinearForm | None:
        return None if self.rest else super().linear_form()  # the potential does not start at rest
