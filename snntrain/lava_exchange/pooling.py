"""Sums over windows: what lava-dl calls pooling."""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.utils import _pair

from snntrain.arguments import integer, invalid

Size = int | tuple[int, int]


class SumPool2d(nn.Module):
    """Sum over each window of each channel.

    Args:
        kernel_size, stride, padding, dilation: as in AvgPool2d (stride None: kernel_size) and Conv2d.

    Shapes: [*, H, W] → [*, H', W'], with any dims in front, time among them.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1) -> None:
        super().__init__()
        self.kernel_size = self._sizes("kernel_size", kernel_size, 1)
        self.stride = self._sizes("stride", kernel_size if stride is None else stride, 1)
        self.padding = self._sizes("padding", padding, 0)
        self.dilation = self._sizes("dilation", dilation, 1)

    def _sizes(self, name: str, value: Size, at_least: int) -> tuple[int, int]:
        sizes = tuple(_pair(value))
        if len(sizes) != 2:
            raise invalid(self, name, "one integer or two", value)
        return tuple(integer(self, name, size, at_least=at_least) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3:
            raise invalid(self, "the input", "of shape [*, H, W] with a dim in front", list(x.shape))
        height, width = self.padding
        maps = F.pad(x, (width, width, height, height)).flatten(0, -3).unsqueeze(1)
        if self.dilation == (1, 1):
            summed = F.avg_pool2d(maps, self.kernel_size, self.stride, divisor_override=1)
        else:
            summed = F.conv2d(maps, x.new_ones(1, 1, *self.kernel_size), stride=self.stride, dilation=self.dilation)
        return summed.view(*x.shape[:-2], *summed.shape[-2:])

    def extra_repr(self) -> str:
        names = ("kernel_size", "stride", "padding", "dilation")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
