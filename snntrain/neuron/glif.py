"""GLIF neuron: gates decide between the leaks, resets and input weights of several LIF neurons."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from snntrain.arguments import integer, real, surrogate
from snntrain.base import MemoryModule
from snntrain.neuron.base_node import ChoosesBackend
from snntrain.registry import register
from snntrain.surrogate import Sigmoid


@register("neuron")
class GatedLIFNode(ChoosesBackend, MemoryModule):
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
        surrogate_function: as in BaseNode.
        step_mode: 's' or 'm'.
        backend: 'auto' or 'torch'; no kernel is generated for it.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'), with inplane [N, inplane, *]; spikes of the same shape.
    Source: Yao et al. (GLIF), NeurIPS 2022.
    """

    is_spiking = True

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
        super().__init__(step_mode)
        self.T = integer(self, "T", T, at_least=1)
        self.inplane = None if inplane is None else integer(self, "inplane", inplane, at_least=1)
        required = {"init_tau": init_tau, "init_v_threshold": init_v_threshold, "init_conduct": init_conduct}
        optional = {"init_linear_decay": init_linear_decay, "init_v_subreset": init_v_subreset}
        inits = {name: real(self, name, value, above=0, below=1) for name, value in required.items()}
        for name, value in optional.items():
            inits[name] = None if value is None else real(self, name, value, above=0, below=1, alternative=" or None")
        for name, value in inits.items():
            setattr(self, name, value)
        if surrogate_function is None:
            surrogate_function = Sigmoid(4.0)
        self.surrogate_function = surrogate(self, surrogate_function)
        self.backend = backend

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

    def reason_against_fusion(self) -> str | None:
        return "its input weights change from step to step"

    def single_step_forward(self, x: Tensor) -> Tensor:
        return self.multi_step_forward(x[None])[0]

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        self._check_input(x_seq)
        # [C] → [C, 1, …], to be broadcast from dimension 1 of a step
        channels = () if self.inplane is None else (self.inplane, *(1 for _ in x_seq.shape[3:]))
        learned = (self.alpha, self.beta, self.gamma, self.tau, self.v_threshold, self.linear_decay, self.v_subreset)
        sigmoids = [torch.sigmoid(logit.to(x_seq.dtype)).view(channels) for logit in learned]
        conduct = torch.sigmoid(self.conduct.to(x_seq.dtype)).view(self.T, *channels)[self.t :]
        outputs = []
        for x, conduct_t in zip(x_seq.unbind(0), conduct.unbind(0), strict=False):
            s, self.u = self.step(x, self.u, self.s_prev, *sigmoids, conduct_t)
            self.s_prev = s.view_as(s)  # the output's gradient and the state's then add up alike in both step modes
            outputs.append(s)
        self.t += len(x_seq)
        return torch.stack(outputs)

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
    ) -> tuple[Tensor, Tensor]:
        """Spikes and u' of one time step; the letters stand for values, not logits."""
        kept = (1.0 - alpha * (1.0 - tau)) * u * (1.0 - gamma * s_prev)
        lost = (1.0 - alpha) * linear_decay
        subtracted = (1.0 - gamma) * v_subreset * s_prev
        u = kept - lost - subtracted + x * (1.0 - beta * (1.0 - conduct))
        return self.surrogate_function(u - v_threshold), u

    def _check_input(self, x_seq: Tensor) -> None:
        shape = list(x_seq.shape[1:])
        if self.inplane is not None and (len(shape) < 2 or shape[1] != self.inplane):
            raise ValueError(
                f"{self._title()}: inplane is {self.inplane}, so that one step must be [N, {self.inplane}, *], "
                f"got {shape}."
            )
        if self.t + len(x_seq) > self.T:
            raise ValueError(
                f"{self._title()}: T is {self.T}, but {self.t} steps were run since the last reset() and "
                f"{len(x_seq)} more are to follow. Call functional.reset_net(model) before each batch, or raise T."
            )


def _logits(shape: tuple[int, ...], probability: float) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, math.log(probability) - math.log1p(-probability)))
