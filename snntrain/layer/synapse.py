"""What happens to spikes between two neurons: synaptic currents and delays."""

import torch
from torch import Tensor

from snntrain.arguments import flag, integer, real
from snntrain.base import MemoryModule
from snntrain.neuron.lif import time_constant_of, weight_of_time_constant
from snntrain.registry import register


@register("layer")
class SynapseFilter(MemoryModule):
    """Synaptic current: a trace of the spikes that decays while none arrives.

    I[t] = I[t−1] − (1 − S[t])·I[t−1]/tau + S[t],  I[0] = 0; the output is I[t].

    The formula holds for inputs that are not binary too.

    Args:
        tau: time constant in time steps, > 1; where it is learnable, its initial value.
        learnable: learn w, one parameter per layer, with 1/tau = sigmoid(w).

    Shapes: [N, *] ('s') or [T, N, *] ('m'); output as input. State `out_i` [N, *].
    Source: Diehl & Cook, Front. Comput. Neurosci. 2015; Fang et al., IJCAI 2020, arXiv 2003.02944; as a readout: Lee et
        al., Front. Neurosci. 2020, arXiv 1903.06379.
    """

    def __init__(self, tau: float = 100.0, learnable: bool = False, step_mode: str = "s") -> None:
        super().__init__(step_mode)
        self._tau = real(self, "tau", tau, above=1)
        self.learnable = flag(self, "learnable", learnable)
        self.register_parameter("w", weight_of_time_constant(self._tau) if self.learnable else None)
        self.register_memory("out_i", 0.0)

    @property
    def tau(self) -> float:
        """The present time constant; NaN on the meta device where it is learnable."""
        return self._tau if self.w is None else time_constant_of(self.w)

    def single_step_forward(self, x: Tensor) -> Tensor:
        i = self.out_i
        decay = i / self._tau if self.w is None else i * torch.sigmoid(self.w.to(x.dtype))
        self.out_i = i - (1.0 - x) * decay + x
        return self.out_i


@register("layer")
class Delay(MemoryModule):
    """Give each input back delay_steps steps later.

    y[t] = x[t − delay_steps], 0 where there is no such step yet.

    Args:
        delay_steps: ≥ 0; 0 is the identity.

    Shapes: [N, *] ('s') or [T, N, *] ('m'); output as input. State `queue`: the last delay_steps inputs, oldest first.
    """

    def __init__(self, delay_steps: int, step_mode: str = "s") -> None:
        super().__init__(step_mode)
        self._delay_steps = integer(self, "delay_steps", delay_steps, at_least=0)
        self.register_memory("queue", [])

    @property
    def delay_steps(self) -> int:
        """Steps between input and output."""
        return self._delay_steps

    def single_step_forward(self, x: Tensor) -> Tensor:
        if self.delay_steps == 0:
            return x
        steps = [*self.queue, x.clone()]  # the caller may fill the same buffer with the next step
        if len(steps) <= self.delay_steps:
            self.queue = steps
            return torch.stack([torch.zeros_like(x), x])[0]  # zeros, yet part of the graph: x has a gradient, 0
        self.queue = steps[1:]
        return steps[0]

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        if self.delay_steps == 0:
            return x_seq
        T, waiting = x_seq.shape[0], self.queue
        zeros = x_seq.new_zeros((self.delay_steps - len(waiting), *x_seq.shape[1:]))
        first = torch.cat([zeros, *(x.unsqueeze(0) for x in waiting)])
        last = x_seq[-self.delay_steps :].clone().unbind(0)
        self.queue = [*waiting, *last][-self.delay_steps :]
        return torch.cat([first[:T], x_seq[: max(T - self.delay_steps, 0)]])
