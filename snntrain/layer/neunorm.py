"""NeuNorm: spikes minus a weighted trace of what all channels fired."""

import math

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, integer, real
from snntrain.base import MemoryModule
from snntrain.layer.fold import wrong_shape
from snntrain.registry import register


@register("layer")
class NeuNorm(MemoryModule):
    """Neuron normalization; its place is after a spiking neuron that follows a convolution.

    x[t] = k·x[t−1] + (1 − k)/C²·Σ_c in[t, c],  out[t] = in[t] − w·x[t];  x[−1] = 0, w starts from U(±1/√(H·W)).

    Args:
        in_channels, height, width: C, H and W of the input, ≥ 1.
        k: how much of x is kept from step to step, 0 to 1.
        shared_across_channels: one w for all channels.
        step_mode: 's' or 'm'.

    Shapes: [N, C, H, W] ('s'); [T, N, C, H, W] ('m'); output as input. w [C, H, W], shared: [1, H, W]; x [N, 1, H, W].
    Source: Wu et al., AAAI 2019, arXiv 1809.05793; its v is (1 − k)/C here, since it wants k + v·C = 1.
    """

    def __init__(
        self,
        in_channels: int,
        height: int,
        width: int,
        k: float = 0.9,
        shared_across_channels: bool = False,
        step_mode: str = "s",
    ) -> None:
        super().__init__(step_mode)
        sizes = {"in_channels": in_channels, "height": height, "width": width}
        self.in_channels, self.height, self.width = (
            integer(self, name, size, at_least=1) for name, size in sizes.items()
        )
        self.k = real(self, "k", k, at_least=0, at_most=1)
        self.shared_across_channels = flag(self, "shared_across_channels", shared_across_channels)
        self.w = nn.Parameter(torch.empty(1 if shared_across_channels else self.in_channels, self.height, self.width))
        self.reset_parameters()
        self.register_memory("x", 0.0)

    def reset_parameters(self) -> None:
        """Draw w anew."""
        bound = 1.0 / math.sqrt(self.height * self.width)
        nn.init.uniform_(self.w, -bound, bound)

    def state_shape(self, name: str, x: Tensor) -> torch.Size:
        return torch.Size([x.shape[0], 1, *x.shape[2:]])

    def check_input(self, x: Tensor) -> None:
        super().check_input(x)
        sizes = (self.in_channels, self.height, self.width)
        if x.dim() != (4 if self.step_mode == "s" else 5) or tuple(x.shape[-3:]) != sizes:
            named = f" with C, H, W = {', '.join(map(str, sizes))}"
            raise wrong_shape(self, x, ["N, C, H, W"], fits_as_sequence=x.dim() == 5, sizes=named)

    def single_step_forward(self, x: Tensor) -> Tensor:
        gain = (1.0 - self.k) / self.in_channels**2
        self.x = self.k * self.x + gain * x.sum(1, keepdim=True)
        return x - self.w.to(x.dtype) * self.x
