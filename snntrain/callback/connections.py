"""Which products with weights NeuroBench counts of a layer: all of them, and those of two numbers that are not 0."""

import torch
from torch import Tensor, nn

from snntrain import layer
from snntrain.hooks import step_mode_of
from snntrain.kernel.spike_count import memory_order, spike_counts
from snntrain.layer.per_step import PerStep, plain_class

# Not isinstance: a subclass may compute something else (standardized weights, say).
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, layer.Conv1d, layer.Conv2d, layer.Conv3d)
_COUNTED = (nn.Linear, layer.Linear, *_CONVOLUTIONS)


def is_counted(module: nn.Module) -> bool:
    """Whether a module is one of the layers whose products are counted: Linear, or a convolution."""
    kind = plain_class(module) if isinstance(module, PerStep) else type(module)
    return kind in _COUNTED


@torch.inference_mode(False)
def fan_out(module: nn.Module, shape: tuple[int, ...], *, effective: bool) -> Tensor:
    """How many products each value of an input takes part in; zeros with which a convolution pads do not count.

    Args:
        module: one that `is_counted`.
        shape: of the input of one sample at one step, as the layer takes it: [in], or [C, *].
        effective: count only the products with weights that are not 0.

    Returns: float64, of that shape; on the layer's device if that has float64, else on the CPU.
    """
    with torch.no_grad():
        weight = module.weight.detach().clone()
        mask = (weight != 0).float() if effective else torch.ones_like(weight, dtype=torch.float32)
    if isinstance(module, nn.Linear):
        found = mask.sum(0)
    else:
        with torch.enable_grad():
            x = torch.zeros(1, *shape, device=mask.device, requires_grad=True)
            (found,) = torch.autograd.grad(module._conv_forward(x, mask, None).sum(), x)
        found = found[0]
    return (found.cpu() if found.device.type == "mps" else found).double()


class Connections:
    """What one layer multiplies or adds up in a test, on its device.

    NeuroBench calls the layer once for each step of a batch. Where all that enters then is 0, 1 or −1, the products are
    accumulations (ACs), and otherwise multiply-accumulates (MACs); a product with a 0 is none.

    Args:
        layer: one that `is_counted`.

    Attributes:
        calls: how often the layer was called.
        macs, acs: effective ones so far.
        dense: products so far, those with a 0 included.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.calls = 0
        self.macs: Tensor | float = 0.0
        self.acs: Tensor | float = 0.0
        self.dense = 0
        self.rank = 1 if isinstance(layer, nn.Linear) else layer.weight.dim() - 1  # of a vector of the input
        self._lies: tuple[tuple[int, ...], list[int]] | None = None

    def steps_of(self, x: Tensor) -> int:
        """How many calls NeuroBench would make for an input."""
        return x.shape[0] if step_mode_of(self.layer) == "m" and x.dim() > self.rank + 1 else 1

    def add(self, x: Tensor, steps: int, repeats: int) -> Tensor | None:
        """Count an input, and return how many spikes it holds; None where it is not known that all of it is 0 or 1.

        Args:
            x: of steps · vectors of the layer's input, in this order.
            repeats: how often this input is meant.
        """
        x, reached = self._laid_out(x)
        x = x.reshape(-1, reached.numel())
        self.calls += 1
        self.dense += len(x) * self._all * repeats
        counts = spike_counts(x)
        if counts is not None:
            self.acs = counts.to(reached) @ reached * repeats + self.acs
            return counts.sum(dtype=torch.float64)
        # Sums of so many zeros and ones are exact in float32, up to 2^24 in one batch.
        x = x.unflatten(0, (steps, -1))
        is_set = x != 0
        products = is_set.sum(1, dtype=torch.float32).to(reached) @ reached * repeats
        is_analog = (is_set & (x.abs() != 1)).flatten(1).any(1).to(products.device)
        self.macs = products[is_analog].sum() + self.macs
        self.acs = products[~is_analog].sum() + self.acs
        return None

    def _laid_out(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """An input whose vectors stand as they lie in memory, and the effective fan-out of their values likewise.

        Convolutions like to compute with channels last, and to put them first would copy the input.
        """
        leading, shape = x.dim() - self.rank, tuple(x.shape[-self.rank :])
        order = memory_order(x.stride()[leading:])
        if self._lies != (shape, order):
            self._lies = shape, order
            self._reached = fan_out(self.layer, shape, effective=True).permute(order).flatten()
            self._all = int(fan_out(self.layer, shape, effective=False).sum())
        return x.permute(*range(leading), *(leading + place for place in order)), self._reached
