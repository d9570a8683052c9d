"""CLIF neuron: a LIF neuron with a complementary potential that remembers its spikes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snntrain.neuron.lif import LIFNode
from snntrain.registry import register
from snntrain.surrogate import Rect


@register("neuron")
class ComplementaryLIFNode(LIFNode, positional=True):
    """Leaky integrate-and-fire neuron that is reset the deeper, the more it fired lately.

    Charge: h as in LIFNode
    Memory: m' = m·sigmoid(h/tau) + s
    Reset:  v' = (h after the reset of LIFNode) − s·sigmoid(m'); with soft reset h − s·(v_threshold + sigmoid(m')).

    detach_reset keeps the gradient of s out of v', not out of m'.

    Args:
        surrogate_function: as in BaseNode; None: a fresh Rect(1.0).
        Others as in LIFNode; note the other defaults of decay_input and v_reset.

    Source: Huang et al. (CLIF), ICML 2024, arXiv 2402.04663.
    """

    state_names = ("v", "m")

    def __init__(
        self,
        *,
        decay_input: bool = False,
        v_reset: float | None = None,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        **common: Any,
    ) -> None:
        if surrogate_function is None:
            surrogate_function = Rect(1.0)
        super().__init__(decay_input=decay_input, v_reset=v_reset, surrogate_function=surrogate_function, **common)
        self.register_memory("m", 0.0)

    def reset_states(self, s: Tensor, h: Tensor, m: Tensor, tau: Tensor) -> tuple[Tensor, ...]:
        m = m * torch.sigmoid(h / tau) + s
        s_d = s.detach() if self.detach_reset else s
        return self.reset_potential(h, s) - s_d * torch.sigmoid(m), m
