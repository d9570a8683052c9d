"""Current-based LIF neuron in floating point, as Loihi's: a leaky current feeds a leaky potential."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, real
from snntrain.neuron.base_node import BaseNode, stores_sequence
from snntrain.neuron.linear_form import LinearForm, values_of
from snntrain.registry import register


class CurrentBasedNode(BaseNode):
    """Base of the neurons whose potential is charged by a current of its own; subclasses define current and charge.

    The reset acts on v alone.
    """

    state_names = ("v", "i")
    store_i_seq = stores_sequence("i")

    def register_current(self, requires_grad: bool, store_i_seq: bool, **decays: float) -> None:
        """Register the current i, and decays by their names: in [0, 1], parameters if they are to be learned.

        Raises: ValueError naming the argument.
        """
        self.requires_grad = flag(self, "requires_grad", requires_grad)
        for name, value in decays.items():
            decay = real(self, name, value, at_least=0, at_most=1)
            setattr(self, name, nn.Parameter(torch.tensor(decay)) if requires_grad else decay)
        self.store_i_seq = store_i_seq
        self.register_memory("i", 0.0)

    def current(self, x: Tensor, i: Tensor, current_decay: Tensor, *parameters: Tensor) -> Tensor:
        """Current i' after the input x arrived."""
        raise NotImplementedError(f"{type(self).__name__} must define current(x, i, current_decay, …).")

    def charge(self, i: Tensor, v: Tensor, current_decay: Tensor, voltage_decay: Tensor) -> Tensor:
        """Potential h that the new current i leads to."""
        raise NotImplementedError(f"{type(self).__name__} must define charge(i, v, current_decay, voltage_decay).")

    def step(self, x: Tensor, v: Tensor, i: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        i = self.current(x, i, *parameters)
        h = self.charge(i, v, *parameters)
        s = self.fire(h)
        return s, self.reset_potential(h, s), i

    def neuronal_charge(self, x: Tensor) -> None:
        """Write the new current to self.i and the charged potential h to self.v."""
        parameters = self.parameters_for(x)
        self.i = self.current(x, self.i, *parameters)
        self.v = self.charge(self.i, self.v, *parameters)

    def settings(self) -> dict[str, Any]:
        decays = {name: _present_value(getattr(self, name)) for name in ("current_decay", "voltage_decay")}
        own = {"requires_grad": self.requires_grad, "store_i_seq": self.store_i_seq}
        return decays | own | super().settings()


def _present_value(decay: float | Tensor) -> float:
    if isinstance(decay, float):
        return decay
    return math.nan if decay.is_meta else decay.item()


@register("neuron")
class CubaLIFNode(CurrentBasedNode):
    """Current-based leaky integrate-and-fire neuron.

    Current: i' = (1 − current_decay)·i + x
    Charge:  h = (1 − voltage_decay)·v + i'

    The reset acts on v alone. Some libraries name the factor that is kept, 1 − decay; here it is what decays.

    Args:
        current_decay: part of the current lost per step, in [0, 1].
        voltage_decay: part of the potential lost per step, in [0, 1].
        requires_grad: learn both decays, one pair per layer; beyond [0, 1] they act as the nearer bound.
        store_i_seq: in mode 'm' keep the currents in `i_seq` [T, N, *], in the state dtype.
        Others as in BaseNode.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Raises: ValueError naming the argument, the range and the value received.
    Source: Shrestha & Orchard (SLAYER), NeurIPS 2018; Davies et al. (Loihi), IEEE Micro 2018.
    """

    def __init__(
        self,
        current_decay: float = 0.5,
        voltage_decay: float = 0.25,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        requires_grad: bool = False,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        detach_reset: bool = False,
        step_mode: str = "s",
        backend: str = "auto",
        store_v_seq: bool = False,
        store_i_seq: bool = False,
    ) -> None:
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        self.register_current(requires_grad, store_i_seq, current_decay=current_decay, voltage_decay=voltage_decay)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        decays = self.current_decay, self.voltage_decay
        return tuple(decay.to(dtype).clamp(0.0, 1.0) for decay in decays) if self.requires_grad else decays

    def current(self, x: Tensor, i: Tensor, current_decay: Tensor, *parameters: Tensor) -> Tensor:
        """Current i' after the input x arrived."""
        return (1.0 - current_decay) * i + x

    def charge(self, i: Tensor, v: Tensor, current_decay: Tensor, voltage_decay: Tensor) -> Tensor:
        """Potential h that the new current i leads to."""
        return (1.0 - voltage_decay) * v + i

    def linear_form(self) -> LinearForm | None:
        current_decay, voltage_decay = map(float, self.step_parameters(torch.float64))
        start = values_of(self.v_reset) if self.v_reset else None  # where no leak pulls to
        return LinearForm.of(self, current_decay=current_decay, voltage_decay=voltage_decay, rest=0.0, v_start=start)
