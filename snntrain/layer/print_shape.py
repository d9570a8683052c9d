"""A look at the shapes that pass through a network."""

from torch import Tensor, distributed, nn

from snntrain.arguments import invalid
from snntrain.registry import register


@register("layer")
class PrintShapeModule(nn.Module):
    """Print a text and the shape of the input on one line of stdout, and hand the input on; for debugging.

    In a distributed run only rank 0 prints.

    Args:
        ext_str: the text, to tell several such layers apart.

    Shapes: any; the output is the input itself.
    """

    def __init__(self, ext_str: str = "PrintShapeModule") -> None:
        super().__init__()
        if not isinstance(ext_str, str):
            raise invalid(self, "ext_str", "a string", ext_str)
        self.ext_str = ext_str

    def forward(self, x: Tensor) -> Tensor:
        is_distributed = distributed.is_available() and distributed.is_initialized()
        if not is_distributed or distributed.get_rank() == 0:
            print(self.ext_str, list(x.shape))
        return x

    def extra_repr(self) -> str:
        return f"ext_str={self.ext_str!r}"
