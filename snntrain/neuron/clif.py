"""CLIF neuron: a LIF neuron with a complementary potential that remembers its spikes."""

from collections.abc import Callable

import torch
from torch import Tensor

from snntrain.neuron.lif import LIFNode
from snntrain.registry import register
from snntrain.surrogate import Rect


@register("neuron")
class ComplementaryLIFNode(LIFNode):
    """Leaky integrate-and-fire neuron that is reset the deeper, the more it fired lately.

    Charge: h as in LIFNode
    Memory: m' = m·sigmoid(h/tau) + s
    Reset:  v' = (h after the reset of LIFNode) − s·sigmoid(m'); with soft reset h − s·(v_threshold + sigmoid(m')).

    detach_reset keeps the gradient of s out of v', not out of m'.

    Args:
        surrogate_function: as in BaseNode; None: a fresh Rect(1.0).
        Others as in LIFNode; note the other defaults of decay_input and v_reset.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Raises: ValueError naming the argument, the range and the value received.
    Source: Huang et al. (CLIF), ICML 2024, arXiv 2402.04663.
    """

    state_names = ("v", "m")

    def __init__(
        self,
        tau: float = 2.0,
        decay_input: bool = False,
        v_threshold: float = 1.0,
        v_reset: float | None = None,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        detach_reset: bool = False,
        step_mode: str = "s",
        backend: str = "auto",
        store_v_seq: bool = False,
    ) -> None:
        if surrogate_function is None:
            surrogate_function = Rect(1.0)
        common = (surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        super().__init__(tau, decay_input, v_threshold, v_reset, *common)
        self.register_memory("m", 0.0)

    def reset_states(self, h: Tensor, s: Tensor, m: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Potential v' and complementary potential m' after the spikes s."""
        m = m * torch.sigmoid(h / tau) + s
        s_d = s.detach() if self.detach_reset else s
        return self.reset_potential(h, s) - s_d * torch.sigmoid(m), m

    def step(self, x: Tensor, v: Tensor, m: Tensor, tau: Tensor) -> tuple[Tensor, ...]:
        h = self.charge(x, v, tau)
        s = self.fire(h)
        return s, *self.reset_states(h, s, m, tau)

    def neuronal_reset(self, s: Tensor) -> None:
        """Write both potentials after the spikes to self.v and self.m."""
        self.v, self.m = self.reset_states(self.v, s, self.m, *self.parameters_for(self.v))
