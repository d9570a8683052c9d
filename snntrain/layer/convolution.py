"""Convolutions and transposed convolutions over space, shared by all time steps."""

from collections.abc import Sequence

from torch import Tensor, fx, nn

from snntrain.kernel import sparse_product
from snntrain.layer.fold import FoldedLayer
from snntrain.layer.fuse import ChoosesFuse
from snntrain.registry import register


@register("layer")
class Conv1d(FoldedLayer, nn.Conv1d):
    """Convolution over one spatial dim; arguments as in torch."""


@register("layer")
class Conv2d(ChoosesFuse, FoldedLayer, nn.Conv2d):
    """Convolution over two spatial dims; arguments as in torch.

    Attributes:
        fuse: 'fast' to let a 1×1 convolution multiply with those inputs only that are not zero, where these are few and
            channels are innermost in memory; see set_fuse.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.fuse == "fast" and self._is_linear() and x.dim() == 4:
            y = sparse_product.linear(x.movedim(1, -1), weight.flatten(1), bias)
            if y is not None:
                return y.movedim(-1, 1)
        return super()._conv_forward(x, weight, bias)

    def _is_linear(self) -> bool:
        """Whether each place of the picture is multiplied by the same matrix, without its neighbors."""
        sizes = (self.kernel_size, self.stride, self.dilation)
        return all(size == (1, 1) for size in sizes) and self.groups == 1 and self.padding in (0, (0, 0), "valid")


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
