"""Readout by vote: several neurons stand for one class."""

from torch import Tensor, fx, nn

from snntrain.arguments import integer
from snntrain.functional import repeat, repeated_step
from snntrain.layer.fold import StepLayer
from snntrain.registry import register


@register("layer")
class VotingLayer(StepLayer, nn.Module):
    """Mean over consecutive groups of voting_size neurons on the last dim.

    y[..., c] = mean of x[..., c·voting_size], …, x[..., (c + 1)·voting_size − 1].

    Args:
        voting_size: neurons per class, ≥ 1.

    Shapes: [N, *, C·voting_size] → [N, *, C] ('s'); [T, N, *, C·voting_size] → [T, N, *, C] ('m').
    Source: Fang et al., ICCV 2021, arXiv 2007.05785.
    """

    def __init__(self, voting_size: int = 10, step_mode: str = "s") -> None:
        super().__init__()
        self.voting_size = integer(self, "voting_size", voting_size, at_least=1)
        self.step_mode = step_mode

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self.check_steps(x)
        if x.dim() == 0 or x.shape[-1] % self.voting_size:
            raise ValueError(
                f"{self._title()}: the last dim of the input must be a multiple of voting_size = {self.voting_size}, "
                f"got shape {list(x.shape)}."
            )
        step = repeated_step(x) if self.step_mode == "m" else None
        return self.vote(x) if step is None else repeat(self.vote(step), x.shape[0])

    def vote(self, x: Tensor) -> Tensor:
        """Means over the groups of the last dim."""
        return x.unflatten(-1, (x.shape[-1] // self.voting_size, self.voting_size)).mean(-1)
