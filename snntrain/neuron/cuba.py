"""Current-based LIF neuron in floating point: a leaky current charges a leaky potential."""

from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, real
from snntrain.neuron.base_node import BaseNode, stores_sequence
from snntrain.neuron.linear_form import LinearForm, values_of
from snntrain.registry import register


class CurrentBasedNode(BaseNode, positional=True):
    """Base of the neurons with a current i, which charges the potential; subclasses define current and charge.

    The reset acts on v alone.

    Args:
        current_decay: fraction of the current that is lost per step, in [0, 1].
        voltage_decay: fraction of the potential that is lost per step, in [0, 1].
        requires_grad: learn both decays, one pair per layer; beyond [0, 1] they act as the nearer bound.
        store_i_seq: in mode 'm' keep the currents in `i_seq` [T, N, *], in the state dtype.
    """

    state_names = ("v", "i")
    store_i_seq = stores_sequence("i")

    def __init__(
        self,
        current_decay: float = 0.5,
        voltage_decay: float = 0.25,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        requires_grad: bool = False,
        *,
        store_i_seq: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(v_threshold=v_threshold, v_reset=v_reset, **common)
        self.requires_grad = flag(self, "requires_grad", requires_grad)
        for name, value in (("current_decay", current_decay), ("voltage_decay", voltage_decay)):
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

    def charge_states(self, x: Tensor, v: Tensor, i: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        i = self.current(x, i, *parameters)
        return self.charge(i, v, *parameters), i

    def reset_states(self, s: Tensor, h: Tensor, i: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        return self.reset_potential(h, s), i


@register("neuron")
class FloatCubaLIFNode(CurrentBasedNode):
    """Current-based leaky integrate-and-fire neuron in floating point.

    Current: i' = (1 − current_decay)·i + x
    Charge:  h = (1 − voltage_decay)·v + i'

    Some libraries name the factor that is kept, 1 − decay; here it is what decays.

    Source: Shrestha & Orchard (SLAYER), NeurIPS 2018; Davies et al. (Loihi), IEEE Micro 2018.
    """

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        decays = self.current_decay, self.voltage_decay
        return tuple(decay.to(dtype).clamp(0.0, 1.0) for decay in decays) if self.requires_grad else decays

    def current(self, x: Tensor, i: Tensor, current_decay: Tensor, *parameters: Tensor) -> Tensor:
        return (1.0 - current_decay) * i + x

    def charge(self, i: Tensor, v: Tensor, current_decay: Tensor, voltage_decay: Tensor) -> Tensor:
        return (1.0 - voltage_decay) * v + i

    def linear_form(self) -> LinearForm | None:
        current_decay, voltage_decay = map(float, self.step_parameters(torch.float64))
        start = values_of(self.v_reset) if self.v_reset else None  # where no leak pulls to
        return LinearForm.of(self, current_decay=current_decay, voltage_decay=voltage_decay, rest=0.0, v_start=start)
