"""Convolutions and transposed convolutions over space, shared by all time steps."""

from collections.abc import Sequence

from torch import Tensor, nn

from snntrain.layer.fold import FoldedLayer
from snntrain.registry import register


class _Convolution(FoldedLayer):
    """Constructor of Conv1d, Conv2d and Conv3d."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        step_mode: str = "s",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        self.step_mode = step_mode


@register("layer")
class Conv1d(_Convolution, nn.Conv1d):
    """Convolution over one spatial dim; arguments as in torch.

    Shapes: [N, C, L] → [N, C', L'] ('s'); [T, N, C, L] → [T, N, C', L'] ('m').
    """

    step_shapes = ("N, C, L",)


@register("layer")
class Conv2d(_Convolution, nn.Conv2d):
    """Convolution over two spatial dims; arguments as in torch.

    Shapes: [N, C, H, W] → [N, C', H', W'] ('s'); [T, N, C, H, W] → [T, N, C', H', W'] ('m').
    """

    step_shapes = ("N, C, H, W",)


@register("layer")
class Conv3d(_Convolution, nn.Conv3d):
    """Convolution over three spatial dims; arguments as in torch.

    Shapes: [N, C, D, H, W] → [N, C', D', H', W'] ('s'); [T, N, C, D, H, W] → [T, N, C', D', H', W'] ('m').
    """

    step_shapes = ("N, C, D, H, W",)


class _TransposedConvolution(FoldedLayer):
    """Constructor and forward of ConvTranspose1d, ConvTranspose2d and ConvTranspose3d."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        padding_mode: str = "zeros",
        step_mode: str = "s",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
        )
        self.step_mode = step_mode

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """output_size: spatial sizes, or a full shape; chooses one where the stride leaves several."""
        return super().forward(x, output_size=self.spatial_sizes(x, output_size))


@register("layer")
class ConvTranspose1d(_TransposedConvolution, nn.ConvTranspose1d):
    """Transposed convolution over one spatial dim; arguments as in torch (bias comes before dilation).

    Shapes: [N, C, L] → [N, C', L'] ('s'); [T, N, C, L] → [T, N, C', L'] ('m').
    """

    step_shapes = ("N, C, L",)


@register("layer")
class ConvTranspose2d(_TransposedConvolution, nn.ConvTranspose2d):
    """Transposed convolution over two spatial dims; arguments as in torch (bias comes before dilation).

    Shapes: [N, C, H, W] → [N, C', H', W'] ('s'); [T, N, C, H, W] → [T, N, C', H', W'] ('m').
    """

    step_shapes = ("N, C, H, W",)


@register("layer")
class ConvTranspose3d(_TransposedConvolution, nn.ConvTranspose3d):
    """Transposed convolution over three spatial dims; arguments as in torch (bias comes before dilation).

    Shapes: [N, C, D, H, W] → [N, C', D', H', W'] ('s'); [T, N, C, D, H, W] → [T, N, C', D', H', W'] ('m').
    """

    step_shapes = ("N, C, D, H, W",)
