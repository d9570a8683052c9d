"""Integer spike counts as binary spikes in finer time, and back: how ILIF networks run on binary hardware.

ILIFNode → SpikeCountToBinary → weight layer without bias → TemporalBinSum → bias, added once.
"""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from snntrain.arguments import flag, integer
from snntrain.base import SequenceModule
from snntrain.layer.fold import StepLayer
from snntrain.registry import register


class _BinarySlots(torch.autograd.Function):
    """Counts [T, N, *] → spikes [T, D, N, *], with the gradient of slot = count/D."""

    @staticmethod
    def forward(ctx, counts: Tensor, D: int) -> Tensor:
        ctx.D = D
        d = torch.arange(D, device=counts.device).view(D, *[1] * (counts.dim() - 1))
        return (d < counts.unsqueeze(1)).to(counts.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.sum(1) / ctx.D, None


class _SlotLayer(SequenceModule, StepLayer, nn.Module):
    """Arguments and checks of the two layers below."""

    def __init__(self, num_slots: int, always_convert: bool = False) -> None:
        super().__init__()
        self.num_slots = integer(self, "num_slots", num_slots, at_least=1)
        self.always_convert = flag(self, "always_convert", always_convert)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        if x.dim() < 2:
            raise ValueError(f"{self._title()}: the input must be [T, N, *], got shape {list(x.shape)}.")
        self.check_steps(x)
        return self.convert(x) if self.always_convert or not self.training else x

    def convert(self, x: Tensor) -> Tensor:
        """The conversion itself."""
        raise NotImplementedError


@register("layer")
class SpikeCountToBinary(_SlotLayer):
    """Unroll each step into num_slots steps of binary spikes, the first c of which fire.

    y[t·D + d] = [d < c[t]] for d = 0 … D − 1, D = num_slots; gradient as if y[t·D + d] = c[t]/D.

    The identity in training: a weight layer maps counts and the sum over their slots alike, so training may use the
    counts. Batch normalization, a bias or a neuron between this layer and TemporalBinSum breaks that.

    Args:
        num_slots: D, ≥ 1, the largest count that can occur.
        always_convert: convert in training as well.

    Shapes: [T, N, *] → [T·D, N, *], 'm' only.
    Raises: ValueError for an argument out of range, and where it converts, for what no number of slots stands for:
        counts above D, negative ones (as of a ternary neuron) and fractions.
    Source: Luo et al., ECCV 2024, arXiv 2407.20708.
    """

    def convert(self, x: Tensor) -> Tensor:
        slots = _BinarySlots.apply(x, self.num_slots)
        represented = slots.detach().sum(1, dtype=x.dtype)
        if not torch.equal(represented, x):
            worst = x[represented != x].max().item()
            raise ValueError(
                f"{self._title()}: counts must be integers from 0 to num_slots = {self.num_slots}, got {worst:g}. "
                "num_slots must be the largest count of the neuron before this layer."
            )
        return slots.flatten(0, 1)


@register("layer")
class TemporalBinSum(_SlotLayer):
    """Sum over groups of num_slots steps: undoes SpikeCountToBinary behind a weight layer without bias.

    y[t] = Σ_d x[t·D + d], d = 0 … D − 1, D = num_slots; steps missing in the last group count as 0.

    The identity in training, as SpikeCountToBinary is.

    Args:
        num_slots: D, ≥ 1.
        always_convert: sum in training as well; the same as in the SpikeCountToBinary before it.

    Shapes: [T·D, N, *] → [T, N, *], 'm' only.
    Raises: ValueError for an argument out of range, and for an input of rank < 2.
    Source: Luo et al., ECCV 2024, arXiv 2407.20708.
    """

    def convert(self, x: Tensor) -> Tensor:
        groups = -(-x.shape[0] // self.num_slots)
        missing = groups * self.num_slots - x.shape[0]
        padded = F.pad(x, (*[0, 0] * (x.dim() - 1), 0, missing)) if missing else x
        return padded.unflatten(0, (groups, self.num_slots)).sum(1)
