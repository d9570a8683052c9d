"""Leaky integrate-and-fire neurons for training online: no gradient goes back through time."""

from typing import Any

import torch
from torch import Tensor, fx

from snntrain.neuron.lif import LIFNode
from snntrain.registry import register


class OnlineLIFNode(LIFNode):
    """Base of the neurons here: LIFNode whose charge sends no gradient to v, one step per call."""

    reason_for_step_mode = "it takes one step per call; use step_mode 's'"

    def supported_step_mode(self) -> tuple[str, ...]:
        return ("s",)

    def charge(self, x: Tensor, v: Tensor, tau: Tensor) -> Tensor:
        return super().charge(x, v.detach(), tau)


@register("neuron")
class SLTTLIFNode(OnlineLIFNode, positional=True):
    """Leaky integrate-and-fire neuron whose gradient stays within the time step.

    Equations: as LIFNode, with v in the charge taken as a constant.

    Args: as in LIFNode, with detach_reset on by default; step_mode is 's' only.
    Shapes: x [N, *]; spikes of the same shape.
    Source: Meng et al., ICCV 2023, arXiv 2302.14311.
    """

    def __init__(self, *, detach_reset: bool = True, **common: Any) -> None:
        super().__init__(detach_reset=detach_reset, **common)


@register("neuron")
class OTTTLIFNode(OnlineLIFNode, positional=True):
    """Leaky integrate-and-fire neuron that also follows how much its past spikes still count.

    Equations: as LIFNode, with v in the charge taken as a constant; trace' = trace·(1 − 1/tau) + s without gradient,
    from 0. The weight layer after it takes the trace for its weight gradient, the spikes for everything else.

    Args: as in LIFNode, with a soft reset, no decay_input and detach_reset by default; step_mode is 's' only.
    Shapes: x [N, *]; in training a list [s, trace] of tensors of this shape, in evaluation s alone.
    Raises: ValueError if the input is such a list.
    Source: Xiao et al., NeurIPS 2022, arXiv 2210.04195.
    """

    state_names = ("v", "trace")

    def __init__(
        self, *, decay_input: bool = False, v_reset: float | None = None, detach_reset: bool = True, **common: Any
    ) -> None:
        super().__init__(decay_input=decay_input, v_reset=v_reset, detach_reset=detach_reset, **common)
        self.register_memory("trace", 0.0)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return self.tau, 1.0 - 1.0 / self.tau

    def charge_states(self, x: Tensor, v: Tensor, trace: Tensor, tau: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        return self.charge(x, v, tau), trace

    def reset_states(self, s: Tensor, h: Tensor, trace: Tensor, tau: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        return self.reset_potential(h, s), trace.detach() * kept + s.detach()

    def forward(self, x: Tensor) -> Any:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        if isinstance(x, (list, tuple)):
            raise ValueError(
                f"{self._title()}: the input is a pair [spikes, trace], as another OTTT neuron returns it; put a "
                "weight layer that takes such pairs between the two."
            )
        s = super().forward(x)
        return [s, self.trace.to(s.dtype)] if self.training else s
