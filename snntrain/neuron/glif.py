"""GLIF neuron: gates decide between the leaks, resets and input weights of several LIF neurons."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from snntrain.arguments import integer, real
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.channels import check_channels, check_number_of_steps
from snntrain.registry import register


@register("neuron")
class GatedLIFNode(BaseNode):
    """Gated leaky integrate-and-fire neuron; everything about it is learnable, per layer or per channel.

    u' = (1 − alpha·(1 − tau))·u·(1 − gamma·s_prev) − (1 − alpha)·linear_decay
         − (1 − gamma)·v_subreset·s_prev + x·(1 − beta·(1 − conduct[t]))
    s = Θ(u' − v_threshold)

    alpha gates exponential against linear leak, beta the input weights of the time steps, gamma hard against soft
    reset; the reset happens in the next step, by the spike s_prev kept until then. The parameters hold the logits of
    these letters: each is used through a sigmoid. The gates' logits start uniform in (−0.1, 0.1).

    Args:
        T: most time steps between two resets, ≥ 1.
        inplane: number of channels, ≥ 1, for parameters of their own along dimension 1 of x; None: one for all.
        init_linear_decay: in (0, 1); None: init_v_threshold/(2T).
        init_v_subreset: in (0, 1); None: init_v_threshold.
        init_tau, init_v_threshold, init_conduct: in (0, 1).
        surrogate_function, step_mode, backend: as in BaseNode.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'), with inplane [N, inplane, *]; spikes of the same shape.
    Source: Yao et al. (GLIF), NeurIPS 2022.
    """

    state_names = ("u", "s_prev")
    step_counter = "t"

    def __init__(
        self,
        T: int,
        inplane: int | None = None,
        init_linear_decay: float | None = None,
        init_v_subreset: float | None = None,
        init_tau: float = 0.25,
        init_v_threshold: float = 0.5,
        init_conduct: float = 0.5,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        step_mode: str = "m",
        backend: str = "auto",
    ) -> None:
        super().__init__(surrogate_function=surrogate_function, step_mode=step_mode, backend=backend)
        del self.v, self.v_threshold  # a potential that is reset in the next step, and a threshold that is learned
        self.T = integer(self, "T", T, at_least=1)
        self.inplane = None if inplane is None else integer(self, "inplane", inplane, at_least=1)
        required = {"init_tau": init_tau, "init_v_threshold": init_v_threshold, "init_conduct": init_conduct}
        optional = {"init_linear_decay": init_linear_decay, "init_v_subreset": init_v_subreset}
        inits = {name: real(self, name, value, above=0, below=1) for name, value in required.items()}
        for name, value in optional.items():
            inits[name] = None if value is None else real(self, name, value, above=0, below=1, alternative=" or None")
        for name, value in inits.items():
            setattr(self, name, value)

        v_threshold, channels = inits["init_v_threshold"], () if inplane is None else (inplane,)
        for gate in ("alpha", "beta", "gamma"):
            setattr(self, gate, nn.Parameter(torch.empty(channels).uniform_(-0.1, 0.1)))
        self.tau = _logits(channels, inits["init_tau"])
        self.v_threshold = _logits(channels, v_threshold)
        self.linear_decay = _logits(channels, inits["init_linear_decay"] or v_threshold / (2 * self.T))
        self.v_subreset = _logits(channels, inits["init_v_subreset"] or v_threshold)
        self.conduct = _logits((self.T, *channels), inits["init_conduct"])
        for name, value in (("u", 0.0), ("s_prev", 0.0), ("t", 0)):
            self.register_memory(name, value)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        learned = (self.alpha, self.beta, self.gamma, self.tau, self.v_threshold, self.linear_decay, self.v_subreset)
        conduct = torch.sigmoid(self.conduct.to(dtype)).view(self.T, -1)[self.t :]
        return *(torch.sigmoid(logit.to(dtype)) for logit in learned), conduct

    def step(
        self,
        x: Tensor,
        u: Tensor,
        s_prev: Tensor,
        alpha: Tensor,
        beta: Tensor,
        gamma: Tensor,
        tau: Tensor,
        v_threshold: Tensor,
        linear_decay: Tensor,
        v_subreset: Tensor,
        conduct: Tensor,
    ) -> tuple[Tensor, ...]:
        """One time step; the letters stand for values, not logits."""
        kept = (1.0 - alpha * (1.0 - tau)) * u * (1.0 - gamma * s_prev)
        lost = (1.0 - alpha) * linear_decay
        subtracted = (1.0 - gamma) * v_subreset * s_prev
        u = kept - lost - subtracted + x * (1.0 - beta * (1.0 - conduct))
        s = self.surrogate_function(u - v_threshold)
        # A view: the output's gradient and the state's then add up alike in both step modes.
        return s, u, s.view_as(s)

    def check_input(self, x: Tensor) -> None:
        super().check_input(x)
        check_channels(self, "inplane", self.inplane, x)
        check_number_of_steps(self, self.T, x)


def _logits(shape: tuple[int, ...], probability: float) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, math.log(probability) - math.log1p(-probability)))
