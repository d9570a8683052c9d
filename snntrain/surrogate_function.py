"""The base of the surrogate gradients: Θ as value, the derivative of a smoother function as gradient."""

from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import flag, invalid, real
from snntrain.leftover import note_backward
from snntrain.module_settings import settings_of


def heaviside(x: Tensor) -> Tensor:
    """Θ(x) in the dtype of x: 1 where x ≥ 0, else 0; NaN gives 0."""
    return (x >= 0).to(x.dtype)


class SpikeWithSurrogate(torch.autograd.Function):
    """surrogate.spikes(x) as value, surrogate.derivative(x) as gradient."""

    @staticmethod
    def forward(x: Tensor, surrogate: "SurrogateFunction") -> Tensor:
        return surrogate.spikes(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, "SurrogateFunction"], output: Tensor) -> None:
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        note_backward()
        (x,) = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(x), None


class SurrogateFunction(nn.Module):
    """Base of the surrogates: spikes Θ(x) with the gradient `derivative(x)`.

    Args:
        spiking: False returns `primitive(x)` with its own gradient instead, e.g. to check gradients numerically.

    Source: Neftci et al., IEEE Signal Processing Magazine 2019.
    """

    def __init__(self, spiking: bool = True) -> None:
        super().__init__()
        self.spiking = spiking

    @property
    def spiking(self) -> bool:
        return self._spiking

    @spiking.setter
    def spiking(self, value: bool) -> None:
        if not flag(self, "spiking", value) and type(self).primitive is SurrogateFunction.primitive:
            raise invalid(self, "spiking", "True (there is no primitive)", value)
        self._spiking = value

    def forward(self, x: Tensor) -> Tensor:
        return SpikeWithSurrogate.apply(x, self) if self.spiking else self.primitive(x)

    def spikes(self, x: Tensor) -> Tensor:
        """Value of the spiking forward pass."""
        return heaviside(x)

    def derivative(self, x: Tensor) -> Tensor:
        """What stands for Θ'(x) in the backward pass."""
        raise NotImplementedError(f"{type(self).__name__} must define derivative(x).")

    def primitive(self, x: Tensor) -> Tensor:
        """The function whose derivative is `derivative`."""
        raise NotImplementedError(f"{type(self).__name__} has no primitive(x).")

    def set_spiking_mode(self, spiking: bool) -> None:
        """Choose between spikes with a surrogate gradient, and the primitive with its own."""
        self.spiking = spiking

    # --- the same as functions of numbers ----------------------------------------------------------------------------

    @classmethod
    def spiking_function(cls, x: Tensor, *parameters: Any, **named: Any) -> Tensor:
        """Spikes of x with the surrogate gradient; parameters as the constructor takes them."""
        return SpikeWithSurrogate.apply(x, cls(*parameters, **named))

    @classmethod
    def primitive_function(cls, x: Tensor, *parameters: Any, **named: Any) -> Tensor:
        """The primitive of x; parameters as the constructor takes them."""
        return cls(*parameters, **named).primitive(x)

    @classmethod
    def backward(cls, grad_output: Tensor, x: Tensor, *parameters: Any, **named: Any) -> Tensor:
        """The gradient of x for that of the spikes; parameters as the constructor takes them."""
        return grad_output * cls(*parameters, **named).derivative(x)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in settings_of(self).items())


class AlphaSurrogate(SurrogateFunction):
    """Surrogate with one parameter.

    Args:
        alpha: > 0; the larger, the steeper at the threshold.
    """

    def __init__(self, alpha: float = 1.0, spiking: bool = True) -> None:
        super().__init__(spiking)
        self.alpha = real(self, "alpha", alpha, above=0)
