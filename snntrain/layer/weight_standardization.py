"""Scaled weight standardization: the normalization acts on the weights, so no statistics of activations are needed."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain.arguments import flag, real
from snntrain.layer.convolution import Conv2d
from snntrain.layer.linear import Linear
from snntrain.registry import register


class _StandardizedWeight:
    """Mixin: get_weight, and the two arguments that it depends on."""

    weight: nn.Parameter

    def _add_standardization(self, gain: bool, eps: float) -> None:
        self.eps = real(self, "eps", eps, above=0)
        fan_in = self.weight[0].numel()
        if fan_in < 2:
            raise ValueError(
                f"{type(self).__name__}: an output needs at least 2 weights for their variance to exist, but the "
                f"weight has shape {list(self.weight.shape)}."
            )
        per_output = (self.weight.shape[0], *[1] * (self.weight.dim() - 1))
        self.gain = nn.Parameter(self.weight.new_ones(per_output)) if flag(self, "gain", gain) else None

    def get_weight(self) -> Tensor:
        """The standardized weight that the forward uses; its gradient reaches `weight`."""
        dims = tuple(range(1, self.weight.dim()))
        variance, mean = torch.var_mean(self.weight, dims, correction=1, keepdim=True)
        fan_in = self.weight[0].numel()
        standardized = (self.weight - mean) * torch.rsqrt(variance * fan_in + self.eps)
        return standardized if self.gain is None else self.gain * standardized

    def reset_parameters(self) -> None:
        """Draw weight and bias as torch does; the gain starts at 1."""
        super().reset_parameters()
        if getattr(self, "gain", None) is not None:  # torch's constructor calls this before there is a gain
            nn.init.ones_(self.gain)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gain={self.gain is not None}, eps={self.eps:g}"


@register("layer")
class WSConv2d(_StandardizedWeight, Conv2d):
    """Convolution over two spatial dims with standardized weights, for networks without normalization layers.

    W' = gain·(W − mean)/√(var·fan_in + eps), mean and unbiased variance over the fan_in weights of each output channel,
    fan_in = in_channels/groups·kh·kw.

    Args:
        gain: learn a factor per output channel, initially 1.
        eps: > 0.
        Others as in Conv2d.

    Shapes: [N, C, H, W] → [N, C', H', W'] ('s'); [T, N, C, H, W] → [T, N, C', H', W'] ('m').
    Raises: ValueError for a value out of range, and for fan_in = 1.
    Source: Qiao et al., arXiv 1903.10520; Brock et al., ICLR 2021, arXiv 2101.08692.
    """

    def __init__(self, *, gain: bool = True, eps: float = 1e-4, **common: Any) -> None:
        super().__init__(**common)
        self._add_standardization(gain, eps)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # torch's forward comes through here, with padding modes yet to be applied.
        return super()._conv_forward(input, self.get_weight(), bias)


class _StandardizedLinear(nn.Linear):
    """torch's Linear as seen by ours below: it brings the weight, ours the step modes."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get_weight(), self.bias)


@register("layer")
class WSLinear(_StandardizedWeight, Linear, _StandardizedLinear):
    """Fully connected layer on the last dim with standardized weights, for networks without normalization layers.

    W' = gain·(W − mean)/√(var·fan_in + eps), mean and unbiased variance over the fan_in = in_features weights of each
    output.

    Args:
        gain: learn a factor per output, initially 1.
        eps: > 0.
        Others as in Linear.

    Shapes: [N, *, in] → [N, *, out] ('s'); [T, N, *, in] → [T, N, *, out] ('m').
    Raises: ValueError for a value out of range, and for in_features = 1.
    Source: Qiao et al., arXiv 1903.10520; Brock et al., ICLR 2021, arXiv 2101.08692.
    """

    def __init__(self, *, gain: bool = True, eps: float = 1e-4, **common: Any) -> None:
        super().__init__(**common)
        self._add_standardization(gain, eps)
