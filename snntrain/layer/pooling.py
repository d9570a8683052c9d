"""Layers that change the resolution: pooling, unpooling and upsampling, each step by itself."""

from collections.abc import Sequence

from torch import Tensor, nn

from snntrain.arguments import refuse
from snntrain.layer.fold import FoldedLayer, as_tuple
from snntrain.registry import register


class _MaxPool(FoldedLayer):
    """Constructor of MaxPool1d, MaxPool2d and MaxPool3d."""

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        step_mode: str = "s",
    ) -> None:
        sizes = map(as_tuple, (kernel_size, stride, padding, dilation))
        super().__init__(*sizes, return_indices, ceil_mode)
        self.step_mode = step_mode


@register("layer")
class MaxPool1d(_MaxPool, nn.MaxPool1d):
    """Maximum over windows of one spatial dim; arguments as in torch.

    Shapes: [N, C, L] → [N, C, L'] ('s'); [T, N, C, L] → [T, N, C, L'] ('m').
    With return_indices: (output, indices), both of that shape; an index counts within its own step and channel.
    """

    step_shapes = ("N, C, L",)


@register("layer")
class MaxPool2d(_MaxPool, nn.MaxPool2d):
    """Maximum over windows of two spatial dims; arguments as in torch.

    Shapes: [N, C, H, W] → [N, C, H', W'] ('s'); [T, N, C, H, W] → [T, N, C, H', W'] ('m').
    With return_indices: (output, indices), both of that shape; an index counts within its own step and channel.
    """

    step_shapes = ("N, C, H, W",)


@register("layer")
class MaxPool3d(_MaxPool, nn.MaxPool3d):
    """Maximum over windows of three spatial dims; arguments as in torch.

    Shapes: [N, C, D, H, W] → [N, C, D', H', W'] ('s'); [T, N, C, D, H, W] → [T, N, C, D', H', W'] ('m').
    With return_indices: (output, indices), both of that shape; an index counts within its own step and channel.
    """

    step_shapes = ("N, C, D, H, W",)


class _MaxUnpool(FoldedLayer):
    """Constructor and forward of MaxUnpool1d, MaxUnpool2d and MaxUnpool3d."""

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
        step_mode: str = "s",
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.step_mode = step_mode

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """output_size: spatial sizes, or a full shape; chooses one where the stride leaves several."""
        if indices.shape != x.shape:
            wanted = f"of the input's shape {list(x.shape)}"
            raise refuse(self, "indices", wanted, list(indices.shape))
        return super().forward(x, indices, output_size=self.spatial_sizes(x, output_size))


@register("layer")
class MaxUnpool1d(_MaxUnpool, nn.MaxUnpool1d):
    """Put pooled values back to where MaxPool1d(return_indices=True) found them, zeros elsewhere.

    Shapes: [N, C, L] → [N, C, L'] ('s'); [T, N, C, L] → [T, N, C, L'] ('m').
    """

    step_shapes = ("N, C, L",)


@register("layer")
class MaxUnpool2d(_MaxUnpool, nn.MaxUnpool2d):
    """Put pooled values back to where MaxPool2d(return_indices=True) found them, zeros elsewhere.

    Shapes: [N, C, H, W] → [N, C, H', W'] ('s'); [T, N, C, H, W] → [T, N, C, H', W'] ('m').
    """

    step_shapes = ("N, C, H, W",)


@register("layer")
class MaxUnpool3d(_MaxUnpool, nn.MaxUnpool3d):
    """Put pooled values back to where MaxPool3d(return_indices=True) found them, zeros elsewhere.

    Shapes: [N, C, D, H, W] → [N, C, D', H', W'] ('s'); [T, N, C, D, H, W] → [T, N, C, D', H', W'] ('m').
    """

    step_shapes = ("N, C, D, H, W",)


@register("layer")
class AvgPool1d(FoldedLayer, nn.AvgPool1d):
    """Mean over windows of one spatial dim; arguments as in torch.

    Shapes: [N, C, L] → [N, C, L'] ('s'); [T, N, C, L] → [T, N, C, L'] ('m').
    """

    step_shapes = ("N, C, L",)

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        step_mode: str = "s",
    ) -> None:
        super().__init__(*map(as_tuple, (kernel_size, stride, padding)), ceil_mode, count_include_pad)
        self.step_mode = step_mode


class _AvgPool(FoldedLayer):
    """Constructor of AvgPool2d and AvgPool3d."""

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        step_mode: str = "s",
    ) -> None:
        sizes = map(as_tuple, (kernel_size, stride, padding))
        super().__init__(*sizes, ceil_mode, count_include_pad, divisor_override)
        self.step_mode = step_mode


@register("layer")
class AvgPool2d(_AvgPool, nn.AvgPool2d):
    """Mean over windows of two spatial dims; arguments as in torch.

    Shapes: [N, C, H, W] → [N, C, H', W'] ('s'); [T, N, C, H, W] → [T, N, C, H', W'] ('m').
    """

    step_shapes = ("N, C, H, W",)


@register("layer")
class AvgPool3d(_AvgPool, nn.AvgPool3d):
    """Mean over windows of three spatial dims; arguments as in torch.

    Shapes: [N, C, D, H, W] → [N, C, D', H', W'] ('s'); [T, N, C, D, H, W] → [T, N, C, D', H', W'] ('m').
    """

    step_shapes = ("N, C, D, H, W",)


class _AdaptiveAvgPool(FoldedLayer):
    """Constructor of AdaptiveAvgPool1d, AdaptiveAvgPool2d and AdaptiveAvgPool3d."""

    def __init__(self, output_size: int | tuple[int | None, ...] | None, step_mode: str = "s") -> None:
        super().__init__(as_tuple(output_size))
        self.step_mode = step_mode


@register("layer")
class AdaptiveAvgPool1d(_AdaptiveAvgPool, nn.AdaptiveAvgPool1d):
    """Mean over as many windows as output_size asks for; None keeps the size of that dim.

    Shapes: [N, C, L] → [N, C, L'] ('s'); [T, N, C, L] → [T, N, C, L'] ('m').
    """

    step_shapes = ("N, C, L",)


@register("layer")
class AdaptiveAvgPool2d(_AdaptiveAvgPool, nn.AdaptiveAvgPool2d):
    """Mean over as many windows as output_size asks for; None keeps the size of that dim.

    Shapes: [N, C, H, W] → [N, C, H', W'] ('s'); [T, N, C, H, W] → [T, N, C, H', W'] ('m').
    """

    step_shapes = ("N, C, H, W",)


@register("layer")
class AdaptiveAvgPool3d(_AdaptiveAvgPool, nn.AdaptiveAvgPool3d):
    """Mean over as many windows as output_size asks for; None keeps the size of that dim.

    Shapes: [N, C, D, H, W] → [N, C, D', H', W'] ('s'); [T, N, C, D, H, W] → [T, N, C, D', H', W'] ('m').
    """

    step_shapes = ("N, C, D, H, W",)


class _AdaptiveMaxPool(FoldedLayer):
    """Constructor of AdaptiveMaxPool1d, AdaptiveMaxPool2d and AdaptiveMaxPool3d."""

    def __init__(
        self,
        output_size: int | tuple[int | None, ...] | None,
        return_indices: bool = False,
        step_mode: str = "s",
    ) -> None:
        super().__init__(as_tuple(output_size), return_indices)
        self.step_mode = step_mode


@register("layer")
class AdaptiveMaxPool1d(_AdaptiveMaxPool, nn.AdaptiveMaxPool1d):
    """Maximum over as many windows as output_size asks for; None keeps the size of that dim.

    Shapes: [N, C, L] → [N, C, L'] ('s'); [T, N, C, L] → [T, N, C, L'] ('m').
    With return_indices: (output, indices), both of that shape.
    """

    step_shapes = ("N, C, L",)


@register("layer")
class AdaptiveMaxPool2d(_AdaptiveMaxPool, nn.AdaptiveMaxPool2d):
    """Maximum over as many windows as output_size asks for; None keeps the size of that dim.

    Shapes: [N, C, H, W] → [N, C, H', W'] ('s'); [T, N, C, H, W] → [T, N, C, H', W'] ('m').
    With return_indices: (output, indices), both of that shape.
    """

    step_shapes = ("N, C, H, W",)


@register("layer")
class AdaptiveMaxPool3d(_AdaptiveMaxPool, nn.AdaptiveMaxPool3d):
    """Maximum over as many windows as output_size asks for; None keeps the size of that dim.

    Shapes: [N, C, D, H, W] → [N, C, D', H', W'] ('s'); [T, N, C, D, H, W] → [T, N, C, D', H', W'] ('m').
    With return_indices: (output, indices), both of that shape.
    """

    step_shapes = ("N, C, D, H, W",)


@register("layer")
class Upsample(FoldedLayer, nn.Upsample):
    """Resize one to three spatial dims to size, or by scale_factor; arguments as in torch.

    Shapes: [N, C, L], [N, C, H, W] or [N, C, D, H, W] ('s'); the same after T ('m').
    """

    step_shapes = ("N, C, L", "N, C, H, W", "N, C, D, H, W")

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        step_mode: str = "s",
    ) -> None:
        super().__init__(as_tuple(size), as_tuple(scale_factor), mode, align_corners, recompute_scale_factor)
        self.step_mode = step_mode
