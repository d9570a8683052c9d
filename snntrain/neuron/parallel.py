"""Parallel spiking neurons: a weighted sum over time replaces charge and reset, so all steps are computed at once."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import choice, flag, integer, real, surrogate
from snntrain.base import MemoryModule, SequenceModule
from snntrain.registry import register
from snntrain.surrogate import ATan


class ParallelNode(MemoryModule):
    """Base of the parallel neurons: s = Θ(H), H a weighted sum of inputs plus a bias, minus the threshold.

    Args:
        surrogate_function: module or function with Θ as value and a surrogate as gradient; None: a fresh ATan(2.0).
        step_mode: 's', x is [N, *], or 'm', x is [T, N, *].

    Shapes: spikes have the shape and dtype of x.
    Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
    """

    is_spiking = True

    def __init__(self, surrogate_function: Callable[[Tensor], Tensor] | None, step_mode: str) -> None:
        super().__init__(step_mode)
        if surrogate_function is None:
            surrogate_function = ATan(2.0)
        self.surrogate_function = surrogate(self, surrogate_function)

    def _check_length(self, x_seq: Tensor) -> None:
        if len(x_seq) != self.T:
            raise ValueError(
                f"{self._title()}: the sequence must have T = {self.T} time steps, got {len(x_seq)} "
                f"(input shape {list(x_seq.shape)})."
            )


def weight_and_bias_over(T: int) -> tuple[nn.Parameter, nn.Parameter]:
    """W [T, T] from U(±1/√T), b [T, 1] of −1, which is a threshold of 1."""
    weight = nn.Parameter(torch.empty(T, T))
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight, nn.Parameter(torch.full((T, 1), -1.0))


def matrix_over_time(weight: Tensor, x_seq: Tensor) -> Tensor:
    """Σ_j weight[t, j]·x_seq[j] for each t."""
    return (weight @ x_seq.reshape(len(x_seq), -1)).reshape(len(weight), *x_seq.shape[1:])


def weighted_sum(weights: Iterable[Tensor], inputs: Iterable[Tensor]) -> Tensor:
    """Σ_i weights[i]·inputs[i], first term first."""
    first, *others = (w * x for w, x in zip(weights, inputs, strict=True))
    return sum(others, start=first)


@register("neuron")
class PSN(SequenceModule, ParallelNode):
    """Parallel spiking neuron: every step sees all steps.

    H[t] = Σ_j W[t, j]·X[j] + b[t],  s = Θ(H);  W [T, T] and b [T, 1] are learnable, b starts at −1.

    Args:
        T: time steps of a sequence, ≥ 1.
        surrogate_function: as in ParallelNode.

    Shapes: x [T, N, *]; step mode 'm' only.
    Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
    """

    def __init__(self, T: int, surrogate_function: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__(surrogate_function, "m")
        self.T = integer(self, "T", T, at_least=1)
        self.weight, self.bias = weight_and_bias_over(self.T)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        self._check_length(x_seq)
        weight, bias = self.weight.to(x_seq.dtype), self.bias.to(x_seq.dtype)
        h = matrix_over_time(weight, x_seq) + bias.view(-1, *[1] * (x_seq.dim() - 1))
        return self.surrogate_function(h)


@register("neuron")
class MaskedPSN(ParallelNode):
    """Parallel spiking neuron that sees all steps at first, and only the last k at the end of training.

    H[t] = Σ_j (λ·M + (1 − λ)·J)[t, j]·W[t, j]·X[j] + b[t],  s = Θ(H);  M[t, j] = 1 for t − k < j ≤ t, J is all ones.

    λ is the buffer `lambda_`, a number from 0 to 1 that training raises to 1. Below 1 a step depends on later ones, so
    mode 's' needs λ = 1. A sequence has T steps: after them, and before mode 'm', call reset().

    Args:
        k: number of the last steps that count in the end, ≥ 1.
        T: time steps of a sequence, ≥ 1.
        lambda_init: initial λ, 0 to 1.
        surrogate_function, step_mode: as in ParallelNode.

    Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
    """

    def __init__(
        self,
        k: int,
        T: int,
        lambda_init: float = 0.0,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        step_mode: str = "s",
    ) -> None:
        super().__init__(surrogate_function, step_mode)
        self.k = integer(self, "k", k, at_least=1)
        self.T = integer(self, "T", T, at_least=1)
        self.weight, self.bias = weight_and_bias_over(self.T)
        self.register_buffer("_lambda_", torch.tensor(real(self, "lambda_init", lambda_init, at_least=0, at_most=1)))
        self.register_memory("queue", [])
        self.register_memory("t", 0)

    @property
    def lambda_(self) -> Tensor:
        """λ, 0-d."""
        return self._lambda_

    @lambda_.setter
    def lambda_(self, value: float) -> None:
        self._lambda_ = torch.full_like(self._lambda_, real(self, "lambda_", value, at_least=0, at_most=1))

    def single_step_forward(self, x: Tensor) -> Tensor:
        if self.t >= self.T:
            raise ValueError(
                f"{self._title()}: all T = {self.T} time steps have been run. Call reset() before each new sequence."
            )
        if self._lambda_ != 1:
            raise ValueError(
                f"{self._title()}: step_mode 's' needs lambda_ = 1, got {self._lambda_.item():g}: below 1 a step "
                "depends on later inputs. Use step_mode 'm' or set lambda_ = 1."
            )
        queue = [*self.queue, x.clone()][-self.k :]  # a clone: the caller may change x in place afterward
        weights = self.weight[self.t, self.t + 1 - len(queue) : self.t + 1].to(x.dtype)
        h = weighted_sum(weights, queue) + self.bias[self.t, 0].to(x.dtype)
        self.queue, self.t = queue, self.t + 1
        return self.surrogate_function(h)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        self._check_length(x_seq)
        if self.t:
            raise ValueError(
                f"{self._title()}: a sequence is under way, at time step {self.t} of T = {self.T}. Call reset() before "
                "each new sequence."
            )
        weight, bias = self._masked_weight(x_seq.dtype), self.bias.to(x_seq.dtype)
        h = matrix_over_time(weight, x_seq) + bias.view(-1, *[1] * (x_seq.dim() - 1))
        self.queue, self.t = [x.clone() for x in x_seq[-self.k :]], self.T
        return self.surrogate_function(h)

    def _masked_weight(self, dtype: torch.dtype) -> Tensor:
        """(λ·M + (1 − λ)·J)⊙W, [T, T]."""
        weight, lambda_ = self.weight.to(dtype), self._lambda_.to(dtype)
        everything = torch.ones_like(weight)
        band = everything.tril().triu(1 - self.k)
        return (lambda_ * band + (1.0 - lambda_) * everything) * weight

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        for mask in ("mask0", "mask1"):  # SpikingJelly's checkpoints hold M and J, which follow from k and T
            state_dict.pop(prefix + mask, None)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def settings(self) -> dict[str, Any]:
        lambda_ = math.nan if self._lambda_.is_meta else self._lambda_.item()
        return super().settings() | {"lambda_": lambda_}


@register("neuron")
class SlidingPSN(ParallelNode):
    """Parallel spiking neuron that sees the last k steps with the same weights at every step, for any length.

    H[t] = Σ_{i=0..k−1} W[i]·X[t − k + 1 + i] + b,  s = Θ(H);  inputs before the first count as 0, the last k − 1 of
    earlier calls are kept. W [k] and b are learnable, b starts at −1.

    Args:
        k: number of steps, ≥ 1.
        exp_init: start with W = …, 1/4, 1/2, 1, a leak of time constant 2; else U(±1/√k).
        surrogate_function, step_mode: as in ParallelNode.
        algorithm: of mode 'm', equal up to the order of summation. 'gemm': one product with a banded matrix [T, T + k −
            1]; 'conv': k products of a weight and the sequence, the same bits as mode 's', better for a small k and a
            large T.

    Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
    """

    def __init__(
        self,
        k: int,
        exp_init: bool = True,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        step_mode: str = "s",
        algorithm: str = "gemm",
    ) -> None:
        super().__init__(surrogate_function, step_mode)
        self.k = integer(self, "k", k, at_least=1)
        self.exp_init = flag(self, "exp_init", exp_init)
        self.algorithm = choice(self, "algorithm", algorithm, ("gemm", "conv"))
        if exp_init:
            self.weight = nn.Parameter(2.0 ** torch.arange(1 - self.k, 1))
        else:
            self.weight = nn.Parameter(torch.empty(self.k).uniform_(-(self.k**-0.5), self.k**-0.5))
        self.bias = nn.Parameter(torch.tensor(-1.0))
        self.register_memory("queue", [])

    def single_step_forward(self, x: Tensor) -> Tensor:
        inputs = [*self.queue, x]
        weights = self.weight[self.k - len(inputs) :].to(x.dtype)
        h = weighted_sum(weights, inputs) + self.bias.to(x.dtype)
        self._keep(inputs)
        return self.surrogate_function(h)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        weight, bias = self.weight.to(x_seq.dtype), self.bias.to(x_seq.dtype)
        inputs = torch.cat([torch.stack(self.queue), x_seq]) if self.queue else x_seq
        if self.algorithm == "gemm":
            h = matrix_over_time(self._banded(weight, len(x_seq), len(inputs)), inputs)
        else:
            missing = self.k - 1 + len(x_seq) - len(inputs)
            padded = torch.cat([inputs.new_zeros(missing, *inputs.shape[1:]), inputs])
            h = weighted_sum(weight, [padded[i : i + len(x_seq)] for i in range(self.k)])
        self._keep(inputs)
        return self.surrogate_function(h + bias)

    def _banded(self, weight: Tensor, T: int, length: int) -> Tensor:
        """[T, length]: row t holds the weights of all inputs, of which the last T belong to this sequence."""
        now = torch.arange(length - T, length, device=weight.device)[:, None]
        age = now - torch.arange(length, device=weight.device)
        band = weight[self.k - 1 - age.clamp(0, self.k - 1)]
        return torch.where((age >= 0) & (age < self.k), band, torch.zeros_like(band))

    def _keep(self, inputs: list[Tensor] | Tensor) -> None:
        first = max(0, len(inputs) - (self.k - 1))
        self.queue = [x.clone() for x in inputs[first:]]  # clones: the caller may change x in place afterward
