"""Which products with weights NeuroBench counts of a layer: all of them, and those of two numbers that are not 0."""

import torch
from torch import Tensor, nn

from snntrain import layer
from snntrain.hooks import step_mode_of
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
        self._shape: tuple[int, ...] | None = None

    def steps_of(self, x: Tensor) -> int:
        """How many calls NeuroBench would make for an input."""
        rank = 1 if isinstance(self.layer, nn.Linear) else self.layer.weight.dim() - 1
        return x.shape[0] if step_mode_of(self.layer) == "m" and x.dim() > rank + 1 else 1

    def add(self, x: Tensor, steps: int, repeats: int, *, are_spikes: bool) -> None:
        """Count an input.

        Args:
            x: of steps · vectors of the layer's input, in this order.
            repeats: how often this input is meant.
            are_spikes: all of it is known to be 0 or 1.
        """
        self._prepare(x)
        x = x.reshape(steps, -1, self._reached.numel())
        self.calls += 1
        self.dense += x.shape[0] * x.shape[1] * self._all * repeats
        # Sums of so many zeros and ones are exact in float32, up to 2^24 in one batch.
        if are_spikes:
            x = x.flatten(0, 1).float()
            self.acs = (x.new_ones(len(x)) @ x).to(self._reached) @ self._reached * repeats + self.acs
            return
        is_set = x != 0
        products = is_set.sum(1, dtype=torch.float32).to(self._reached) @ self._reached * repeats
        is_analog = (is_set & (x.abs() != 1)).flatten(1).any(1).to(products.device)
        self.macs = products[is_analog].sum() + self.macs
        self.acs = products[~is_analog].sum() + self.acs

    def _prepare(self, x: Tensor) -> None:
        rank = 1 if isinstance(self.layer, nn.Linear) else self.layer.weight.dim() - 1
        shape = tuple(x.shape[-rank:])
        if self._shape != shape:
            self._shape = shape
            self._reached = fan_out(self.layer, shape, effective=True).flatten()
            self._all = int(fan_out(self.layer, shape, effective=False).sum())
