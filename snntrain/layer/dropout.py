"""Regularizers that silence inputs or connections: one draw for a whole sequence, where the paper wants it."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from snntrain.arguments import flag, integer, invalid, real
from snntrain.base import MemoryModule, state_dtype
from snntrain.functional import repeat, repeated_step, reset_net
from snntrain.layer.container import SingleStepChildren
from snntrain.layer.fold import wrong_shape
from snntrain.registry import register


def _check_step_rank(layer: MemoryModule, x: Tensor, letters: str) -> None:
    """Raises: ValueError unless x is one step with these letters ('s'), or a sequence of such steps ('m')."""
    of_sequence = letters.count(",") + 2
    if x.dim() != of_sequence - (layer.step_mode == "s"):
        raise wrong_shape(layer, x, [letters], fits_as_sequence=x.dim() == of_sequence)


@register("layer")
class Dropout(MemoryModule):
    """Dropout with one mask per sequence: what is silent at the first step stays silent until reset().

    Training: y[t] = x[t]·mask, each entry of mask being 1/(1 − p) with probability 1 − p, else 0.
    Eval:     y = x.

    A fresh mask at each step, as torch's Dropout would draw, averages out over time.

    Args:
        p: probability of silencing an input, 0 ≤ p < 1.

    Shapes: [N, *] ('s'); [T, N, *] ('m'); output as input. State `mask` [N, *], None before the first training step.
    Source: Lee et al., Front. Neurosci. 2020, arXiv 1903.06379.
    """

    def __init__(self, p: float = 0.5, step_mode: str = "s") -> None:
        super().__init__(step_mode)
        self.p = real(self, "p", p, at_least=0, below=1)
        self.register_memory("mask", None)

    def create_mask(self, x: Tensor) -> None:
        """Draw the mask of the sequences that the step x begins, and keep it."""
        self.mask = self.draw(x)

    def draw(self, x: Tensor) -> Tensor:
        """A mask for sequences of the step x."""
        return torch.empty_like(x, dtype=state_dtype(x.dtype)).bernoulli_(1.0 - self.p).div_(1.0 - self.p)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self.check_input(x)
        if not self.training:
            return x
        step = x[0] if self.step_mode == "m" else x
        self.materialize(step.to(state_dtype(x.dtype)))
        if self.mask is None:
            self.create_mask(step)
        repeated = repeated_step(x) if self.step_mode == "m" else None
        if repeated is None:
            return (x * self.mask).to(x.dtype)
        return repeat((repeated * self.mask).to(x.dtype), x.shape[0])


@register("layer")
class Dropout2d(Dropout):
    """Dropout of whole channels of images, with one mask per sequence.

    Args:
        p: probability of silencing a channel of a sample, 0 ≤ p < 1.

    Shapes: [N, C, H, W] ('s'); [T, N, C, H, W] ('m'); output as input. State `mask` [N, C, H, W], constant over H, W.
    Source: Lee et al., Front. Neurosci. 2020, arXiv 1903.06379.
    """

    def __init__(self, p: float = 0.2, step_mode: str = "s") -> None:
        super().__init__(p, step_mode)

    def check_input(self, x: Tensor) -> None:
        """Raises: ValueError for what Dropout refuses, and for a wrong rank, which torch would read as unbatched."""
        super().check_input(x)
        _check_step_rank(self, x, "N, C, H, W")

    def draw(self, x: Tensor) -> Tensor:
        return super().draw(x[:, :, :1, :1]).expand(x.shape)


@register("layer")
class DropConnectLinear(SingleStepChildren, MemoryModule):
    """Fully connected layer and activation whose connections are dropped, for each sample by itself.

    Training: y = act((weight ⊙ M)·x + bias ⊙ m), entries of the masks M, m being 1 with probability 1 − p, else 0;
              nothing is rescaled.
    Eval:     y = mean of act over samples_num draws from N(μ, σ²), the first two moments of the above:
              μ = (1 − p)·(weight·x + bias),  σ² = p·(1 − p)·(weight²·x² + bias²).

    Eval is random too, and differentiable. With p = 0 both are exactly act(weight·x + bias).

    Args:
        in_features, out_features, bias: as in Linear.
        p: probability of dropping a connection, 0 ≤ p < 1.
        samples_num: draws in eval, ≥ 1.
        invariant: keep the masks of the first training step until reset(), instead of drawing at each step.
        activation: module or function of a tensor; a class is constructed, so that each layer has its own; None: the
            identity. It gets single steps in both modes, hence stays in 's'. In eval it sees [samples_num, N, out]:
            with a stateful one, reset between training and eval.

    Shapes: [N, in] → [N, out] ('s'); [T, N, in] → [T, N, out] ('m'). States, of an invariant layer in training:
        `dropped_w` [N, out, in] and `dropped_b` [N, out], the masks.
    Source: Wan et al., ICML 2013.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        p: float = 0.5,
        samples_num: int = 1024,
        invariant: bool = False,
        activation: Callable[[Tensor], Tensor] | type[nn.Module] | None = nn.ReLU,
        step_mode: str = "s",
    ) -> None:
        super().__init__(step_mode)
        self.in_features = integer(self, "in_features", in_features, at_least=1)
        self.out_features = integer(self, "out_features", out_features, at_least=1)
        self.p = real(self, "p", p, at_least=0, below=1)
        self.samples_num = integer(self, "samples_num", samples_num, at_least=1)
        self.invariant = flag(self, "invariant", invariant)
        self.weight = nn.Parameter(torch.empty(self.out_features, self.in_features))
        self.bias = nn.Parameter(torch.empty(self.out_features)) if flag(self, "bias", bias) else None
        if isinstance(activation, type):
            activation = activation()
        if activation is not None and not callable(activation):
            raise invalid(self, "activation", "a module or function such as torch.relu, or None", activation)
        self.activation = activation
        self.check_children()
        self.register_memory("dropped_w", None)
        self.register_memory("dropped_b", None)
        self.reset_parameters()

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"bias": self.bias is not None}

    def reset_parameters(self) -> None:
        """Draw weight and bias as torch's Linear does."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1.0 / math.sqrt(self.in_features)
            nn.init.uniform_(self.bias, -bound, bound)

    def reset(self) -> None:
        super().reset()
        if isinstance(self.activation, nn.Module):
            reset_net(self.activation)

    def check_input(self, x: Tensor) -> None:
        """Raises: ValueError for what no state could follow, a wrong shape, and an activation in step_mode 'm'."""
        super().check_input(x)
        self.check_children()
        _check_step_rank(self, x, "N, in_features")
        if x.shape[-1] != self.in_features:
            raise ValueError(
                f"{self._title()}: the last dim of the input must be in_features = {self.in_features}, "
                f"got shape {list(x.shape)}."
            )

    def state_shape(self, name: str, x: Tensor) -> torch.Size:
        inputs = (self.in_features,) if name == "dropped_w" else ()
        return torch.Size((x.shape[0], self.out_features, *inputs))

    def materialize(self, x: Tensor) -> None:
        if self.training:  # eval uses no masks, so it leaves alone those of another batch
            super().materialize(x)

    def single_step_forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.p == 0:
            return self.activate(F.linear(x, weight, bias))
        if self.training:
            kept_w, kept_b = self.masks(x)
            y = torch.bmm(weight * kept_w, x.unsqueeze(-1)).squeeze(-1)
            return self.activate(y if bias is None else y + bias * kept_b)
        mean = (1.0 - self.p) * F.linear(x, weight, bias)
        variance = self.p * (1.0 - self.p) * F.linear(x**2, weight**2, None if bias is None else bias**2)
        # The bound keeps the gradient of the root finite where all inputs are 0.
        deviation = variance.clamp(min=1e-12).sqrt()
        noise = torch.randn((self.samples_num, *mean.shape), dtype=x.dtype, device=x.device)
        return self.activate(mean + deviation * noise).mean(0)

    def masks(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Masks of weight and bias for the samples of the step x: new ones, or those kept."""
        if not self.invariant:
            return self._drawn(x)
        if self.dropped_w is None:
            self.dropped_w, self.dropped_b = self._drawn(x)
        return self.dropped_w, self.dropped_b

    def drop(self, batch_size: int) -> None:
        """Draw masks for a batch and keep them; an invariant layer uses them until reset()."""
        self.dropped_w, self.dropped_b = self._drawn(self.weight.new_empty(batch_size, 0))

    def _drawn(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        kept_w = self.draw(self.state_shape("dropped_w", x), x)
        return kept_w, None if self.bias is None else self.draw(self.state_shape("dropped_b", x), x)

    def draw(self, shape: torch.Size, x: Tensor) -> Tensor:
        """Ones with probability 1 − p, else zeros."""
        return (torch.rand(shape, dtype=x.dtype, device=x.device) >= self.p).to(x.dtype)

    def activate(self, y: Tensor) -> Tensor:
        """The activation of one step."""
        return y if self.activation is None else self.activation(y)
