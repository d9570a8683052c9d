"""lava-dl's batch normalization: a mean per channel, and one scale that is a power of two."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, integer, invalid, real
from snntrain.lava_exchange.lava_shim import slayer


def identity(x: Tensor) -> Tensor:
    """x."""
    return x


class BatchNorm2d(nn.Module):
    """y = (x − pre_hook_fx(mean)) / 2^e, e = ⌈log2 √(variance + eps)⌉ within ± weight_exp_bits.

    The mean is that of a channel, the variance that of all values. Nothing is learned; the gradient passes through the
    mean, not through the scale.

    netx files have no place for the scale: fold a common BatchNorm into the weights instead where a net is exported.

    Args:
        num_features: channels.
        eps: ≥ 0.
        momentum: of the running statistics, in [0, 1].
        track_running_stats: keep statistics for evaluation; False: always those of the batch.
        weight_exp_bits: ≥ 0.
        pre_hook_fx: applied to the mean, e.g. a neuron's quantize_8bit, which that neuron puts there itself.

    Shapes: [N, C, H, W] → the same.
    Source: lava-dl's WgtScaleBatchNorm.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        track_running_stats: bool = True,
        weight_exp_bits: int = 3,
        pre_hook_fx: Callable[[Tensor], Tensor] = identity,
    ) -> None:
        super().__init__()
        self.num_features = integer(self, "num_features", num_features, at_least=1)
        self.eps = real(self, "eps", eps, at_least=0)
        self.momentum = real(self, "momentum", momentum, at_least=0, at_most=1)
        self.track_running_stats = flag(self, "track_running_stats", track_running_stats)
        self.weight_exp_bits = integer(self, "weight_exp_bits", weight_exp_bits, at_least=0)
        if not callable(pre_hook_fx):
            raise invalid(self, "pre_hook_fx", "a function of the mean", pre_hook_fx)
        self.pre_hook_fx = pre_hook_fx
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.num_features:
            raise invalid(self, "the input", f"of shape [N, {self.num_features}, H, W]", list(x.shape))
        if self.training or not self.track_running_stats:
            mean, variance = x.mean((0, 2, 3)), x.var(correction=0)
            if self.training and self.track_running_stats:
                self._track(mean, variance, x.numel() / self.num_features)
        else:
            mean, variance = self.running_mean, self.running_var
        exponent = torch.ceil(torch.log2(torch.sqrt(variance.detach() + self.eps)))
        scale = torch.exp2(exponent.clamp(-self.weight_exp_bits, self.weight_exp_bits))
        return (x - self.pre_hook_fx(mean).view(1, -1, 1, 1)) / scale

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: float) -> None:
        variance = (variance * count / (count + 1)).reshape(1)  # as lava-dl counts
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            running.lerp_(value.to(running.dtype), self.momentum)

    def to_lava(self) -> nn.Module:
        """The same layer of lava-dl, with the same statistics."""
        norm: Any = slayer().neuron.norm.WgtScaleBatchNorm(
            self.num_features, self.momentum, self.weight_exp_bits, self.eps, self.pre_hook_fx
        )
        norm.load_state_dict(self.state_dict())
        return norm.train(self.training)

    def extra_repr(self) -> str:
        names = ("num_features", "eps", "momentum", "track_running_stats", "weight_exp_bits")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
