"""Layers that change the resolution: pooling, unpooling and upsampling, each step by itself."""

from collections.abc import Sequence

from torch import Tensor, fx, nn

from snntrain.arguments import invalid
from snntrain.layer.fold import FoldedLayer
from snntrain.registry import register


@register("layer")
class MaxPool1d(FoldedLayer, nn.MaxPool1d):
    """Maximum over windows of one spatial dim, and with return_indices its index within step and channel."""


@register("layer")
class MaxPool2d(FoldedLayer, nn.MaxPool2d):
    """Maximum over windows of two spatial dims, and with return_indices its index within step and channel."""


@register("layer")
class MaxPool3d(FoldedLayer, nn.MaxPool3d):
    """Maximum over windows of three spatial dims, and with return_indices its index within step and channel."""


class _MaxUnpool(FoldedLayer):
    """Forward of MaxUnpool1d, MaxUnpool2d and MaxUnpool3d."""

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """output_size: spatial sizes, or a full shape; chooses one where the stride leaves several."""
        if isinstance(x, fx.Proxy):
            return self.fx_node(x, (indices, output_size))
        if indices.shape != x.shape:
            wanted = f"of the input's shape {list(x.shape)}"
            raise invalid(self, "indices", wanted, list(indices.shape))
        return super().forward(x, indices, output_size=self.spatial_sizes(x, output_size))


@register("layer")
class MaxUnpool1d(_MaxUnpool, nn.MaxUnpool1d):
    """Put pooled values back to where MaxPool1d(return_indices=True) found them, zeros elsewhere."""


@register("layer")
class MaxUnpool2d(_MaxUnpool, nn.MaxUnpool2d):
    """Put pooled values back to where MaxPool2d(return_indices=True) found them, zeros elsewhere."""


@register("layer")
class MaxUnpool3d(_MaxUnpool, nn.MaxUnpool3d):
    """Put pooled values back to where MaxPool3d(return_indices=True) found them, zeros elsewhere."""


@register("layer")
class AvgPool1d(FoldedLayer, nn.AvgPool1d):
    """Mean over windows of one spatial dim; arguments as in torch."""


@register("layer")
class AvgPool2d(FoldedLayer, nn.AvgPool2d):
    """Mean over windows of two spatial dims; arguments as in torch."""


@register("layer")
class AvgPool3d(FoldedLayer, nn.AvgPool3d):
    """Mean over windows of three spatial dims; arguments as in torch."""


@register("layer")
class AdaptiveAvgPool1d(FoldedLayer, nn.AdaptiveAvgPool1d):
    """Mean over as many windows as output_size asks for; None keeps the size of that dim."""


@register("layer")
class AdaptiveAvgPool2d(FoldedLayer, nn.AdaptiveAvgPool2d):
    """Mean over as many windows as output_size asks for; None keeps the size of that dim."""


@register("layer")
class AdaptiveAvgPool3d(FoldedLayer, nn.AdaptiveAvgPool3d):
    """Mean over as many windows as output_size asks for; None keeps the size of that dim."""


@register("layer")
class AdaptiveMaxPool1d(FoldedLayer, nn.AdaptiveMaxPool1d):
    """Maximum over as many windows as output_size asks for; None keeps that dim's size. Indices as in MaxPool1d."""


@register("layer")
class AdaptiveMaxPool2d(FoldedLayer, nn.AdaptiveMaxPool2d):
    """Maximum over as many windows as output_size asks for; None keeps that dim's size. Indices as in MaxPool2d."""


@register("layer")
class AdaptiveMaxPool3d(FoldedLayer, nn.AdaptiveMaxPool3d):
    """Maximum over as many windows as output_size asks for; None keeps that dim's size. Indices as in MaxPool3d."""


@register("layer")
class Upsample(FoldedLayer, nn.Upsample):
    """Resize one to three spatial dims to size, or by scale_factor; arguments as in torch."""

    step_shapes = ("N, C, L", "N, C, H, W", "N, C, D, H, W")
