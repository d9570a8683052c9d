"""Convolutions and transposed convolutions over space, shared by all time steps."""

from collections.abc import Sequence

from torch import Tensor, fx, nn

from snntrain.layer.fold import FoldedLayer
from snntrain.registry import register


@register("layer")
class Conv1d(FoldedLayer, nn.Conv1d):
    """Convolution over one spatial dim; arguments as in torch."""


@register("layer")
class Conv2d(FoldedLayer, nn.Conv2d):
    """Convolution over two spatial dims; arguments as in torch."""


@register("layer")
class Conv3d(FoldedLayer, nn.Conv3d):
    """Convolution over three spatial dims; arguments as in torch."""


class _TransposedConvolution(FoldedLayer):
    """Forward of ConvTranspose1d, ConvTranspose2d and ConvTranspose3d."""

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """output_size: spatial sizes, or a full shape; chooses one where the stride leaves several."""
        if isinstance(x, fx.Proxy):
            return self.fx_node(x, (output_size,))
        return super().forward(x, output_size=self.spatial_sizes(x, output_size))


@register("layer")
class ConvTranspose1d(_TransposedConvolution, nn.ConvTranspose1d):
    """Transposed convolution over one spatial dim; arguments as in torch (bias comes before dilation)."""


@register("layer")
class ConvTranspose2d(_TransposedConvolution, nn.ConvTranspose2d):
    """Transposed convolution over two spatial dims; arguments as in torch (bias comes before dilation)."""


@register("layer")
class ConvTranspose3d(_TransposedConvolution, nn.ConvTranspose3d):
    """Transposed convolution over three spatial dims; arguments as in torch (bias comes before dilation)."""
