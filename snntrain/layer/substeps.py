"""Several steps of neurons for each step of the data."""

import torch
from torch import Tensor, fx, nn

from snntrain.arguments import integer, invalid
from snntrain.base import StepModule


class Substeps(StepModule, nn.Module):
    """Run layers several times on every step, with their states carried on, and give the mean of their outputs.

    With one step a neuron's output is 0 or 1; its mean over several takes more values, which regression needs.

    Args:
        net: the layers. They see sequences of T·count steps.
        count: runs for each step, ≥ 1.
        step_mode: 's' or 'm'; net has its own.

    Shapes: [N, *] ('s'), [T, N, *] ('m'); the output of net.
    """

    def __init__(self, net: nn.Module, count: int, step_mode: str = "s") -> None:
        super().__init__()
        if not isinstance(net, nn.Module):
            raise invalid(self, "net", "a module (torch.nn.Module)", net)
        self.net = net
        self.count = integer(self, "count", count, at_least=1)
        self.step_mode = step_mode

    @property
    def T(self) -> int | None:
        """Length of the sequences that it takes, if a layer inside takes only those of one length."""
        inside = (getattr(module, "T", None) for module in self.net.modules())
        return next((steps // self.count for steps in inside if isinstance(steps, int)), None)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        if self.step_mode == "s":
            return torch.stack([self.net(x) for _ in range(self.count)]).mean(0)
        self.check_sequence(x)
        return self.net(x.repeat_interleave(self.count, 0)).unflatten(0, (x.shape[0], self.count)).mean(1)

    def extra_repr(self) -> str:
        return f"count={self.count}, step_mode={self.step_mode}"
