"""Which products with weights a layer does that NeuroBench counts: all of them, and those of two numbers that are not 0."""

from typing import Any

import torch
from torch import Tensor, nn

from snntrain import functional, layer
from snntrain.hooks import carries_state, step_mode_of
from snntrain.layer.padding import padding
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

    Attributes:
        calls: how often the layer was called.
        macs, acs: effective ones so far.
        dense: products so far, those with a 0 included.
    """

    def __init__(self, module: nn.Module) -> None:
        self.is_stateless = not any(map(carries_state, module.modules()))
        self.calls = 0
        self.macs: Tensor | float = 0.0
        self.acs: Tensor | float = 0.0
        self.dense = 0
        self._shape: tuple[int, ...] | None = None

    @torch.no_grad()
    def look(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """A forward pre-hook."""
        x = next(iter((*inputs, *named.values())))
        if not isinstance(x, Tensor) or not x.numel():
            return
        self.calls += 1
        rank = 1 if isinstance(module, nn.Linear) else module.weight.dim() - 1
        self._prepare(module, tuple(x.shape[-rank:]))
        now = padding()
        in_steps = step_mode_of(module) == "m" and x.dim() > rank + 1
        step = functional.repeated_step(x) if in_steps and now is None and self.is_stateless else None
        repeats = 1
        if now is not None:  # only real steps are computed with
            x, in_steps = x[now.of(self, x)], False
        elif step is not None:
            x, repeats, in_steps = step, x.shape[0], False
        steps = x.shape[0] if in_steps else 1
        self._add(x.reshape(steps, -1, *self._shape), repeats)

    def _prepare(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        if self._shape == shape:
            return
        self._shape = shape
        self._reached = fan_out(module, shape, effective=True).flatten()
        self._all = int(fan_out(module, shape, effective=False).sum())

    def _add(self, x: Tensor, repeats: int) -> None:
        """x: [steps, vectors, *shape]."""
        is_set = x != 0
        # A sum of whole numbers in float32 is exact up to 2^24, more than any batch has.
        products = is_set.sum(1, dtype=torch.float32).flatten(1).to(self._reached) @ self._reached * repeats
        is_analog = (is_set & (x.abs() != 1)).flatten(1).any(1).to(products.device)
        self.macs = products[is_analog].sum() + self.macs
        self.acs = products[~is_analog].sum() + self.acs
        self.dense += x.shape[0] * x.shape[1] * self._all * repeats
