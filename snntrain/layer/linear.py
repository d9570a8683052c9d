"""Fully connected layer, and the flattening in front of it."""

from torch import Tensor, fx, nn

from snntrain.arguments import invalid
from snntrain.functional import repeat, repeated_step
from snntrain.kernel import sparse_product
from snntrain.layer.fold import FoldedLayer, StepLayer
from snntrain.layer.fuse import ChoosesFuse
from snntrain.registry import register


@register("layer")
class Linear(ChoosesFuse, StepLayer, nn.Linear):
    """Fully connected layer on the last dim; arguments as in torch. Nothing is folded.

    Shapes: [N, *, in] → [N, *, out] ('s'); [T, N, *, in] → [T, N, *, out] ('m').

    Attributes:
        fuse: 'fast' to multiply with those inputs only that are not zero, where these are few; see set_fuse.
    """

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self.check_steps(x)
        step = repeated_step(x) if self.step_mode == "m" else None
        return self._product(x) if step is None else repeat(self._product(step), x.shape[0])

    def _product(self, x: Tensor) -> Tensor:
        y = sparse_product.linear(x, self.weight, self.bias) if self.fuse == "fast" else None
        return super().forward(x) if y is None else y


@register("layer")
class Flatten(FoldedLayer, nn.Flatten):
    """Join the dims start_dim to end_dim, counted in both modes as those of one step (0 is the batch).

    Shapes, by default: [N, C, *] → [N, F] ('s'); [T, N, C, *] → [T, N, F] ('m'), F the product of C and what follows.
    Raises: ValueError in 'm' for a start_dim that is the batch: time would be merged into it.
    """

    step_shapes = ("N, C, *",)

    def check_rank(self, x: Tensor) -> None:
        """Raises: ValueError for a wrong rank, and in 'm' for a start_dim that is the batch."""
        super().check_rank(x)
        step_rank = x.dim() - 1
        if self.step_mode == "m" and self.start_dim in (0, -step_rank):
            wanted = f"a dim after the batch in step_mode 'm', or time would be merged too (input {list(x.shape)})"
            raise invalid(self, "start_dim", wanted, self.start_dim)
