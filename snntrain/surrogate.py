"""Surrogate gradients: Θ as value, the derivative of a smoother function as gradient.

Each class defines two formulas: `derivative(x)`, used in place of Θ'(x), and `primitive(x)`, whose derivative it is.
Both are pure torch functions of x, the potential minus the threshold, and of Python numbers: kernels are generated from
them. The branches of a `torch.where` clamp their argument, because the gradient of the branch that is not taken is
multiplied by 0, and 0·inf is NaN.

Every constructor takes `spiking` last and raises ValueError for a value outside the range given under Args.
"""

import math
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from snntrain.arguments import integer, invalid, real
from snntrain.registry import register
from snntrain.surrogate_function import AlphaSurrogate, SurrogateFunction, heaviside


@register("surrogate")
class PiecewiseQuadratic(AlphaSurrogate):
    """Triangle of height alpha, zero beyond ±1/alpha. Source: Esser et al., PNAS 2016; Bellec et al., NeurIPS 2018."""

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha * (1.0 - self.alpha * x.abs()).clamp(min=0.0)

    def primitive(self, x: Tensor) -> Tensor:
        z = (self.alpha * x).clamp(-1.0, 1.0)
        return z - 0.5 * z * z.abs() + 0.5


@register("surrogate")
class PiecewiseExp(AlphaSurrogate):
    """Exponential decay of rate alpha to both sides. Source: Shrestha & Orchard (SLAYER), NeurIPS 2018."""

    def derivative(self, x: Tensor) -> Tensor:
        return 0.5 * self.alpha * torch.exp(-self.alpha * x.abs())

    def primitive(self, x: Tensor) -> Tensor:
        below = 0.5 * torch.exp(self.alpha * x.clamp(max=0.0))
        above = 1.0 - 0.5 * torch.exp(-self.alpha * x.clamp(min=0.0))
        return torch.where(x < 0, below, above)


@register("surrogate")
class Sigmoid(AlphaSurrogate):
    """Derivative of the logistic function of alpha·x. Source: Wu et al. (STBP), Frontiers in Neuroscience 2018."""

    def __init__(self, alpha: float = 4.0, spiking: bool = True) -> None:
        super().__init__(alpha, spiking)

    def derivative(self, x: Tensor) -> Tensor:
        tail = torch.sigmoid(-self.alpha * x.abs())  # the smaller of σ and 1 − σ, so that 1 − tail keeps it
        return self.alpha * tail * (1.0 - tail)

    def primitive(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.alpha * x)


@register("surrogate")
class SoftSign(AlphaSurrogate):
    """Derivative of the softsign of alpha·x. Source: Neftci et al., IEEE Signal Processing Magazine 2019."""

    def __init__(self, alpha: float = 2.0, spiking: bool = True) -> None:
        super().__init__(alpha, spiking)

    def derivative(self, x: Tensor) -> Tensor:
        z = 1.0 + self.alpha * x.abs()
        return 0.5 * self.alpha / (z * z)

    def primitive(self, x: Tensor) -> Tensor:
        z = self.alpha * x
        return 0.5 * (z / (1.0 + z.abs()) + 1.0)


@register("surrogate")
class SuperSpike(AlphaSurrogate):
    """Fast sigmoid of height alpha and fixed width. Source: Zenke & Ganguli, Neural Comp. 2018, arXiv 1705.11146."""

    def derivative(self, x: Tensor) -> Tensor:
        z = 1.0 + x.abs()
        return self.alpha / (z * z)

    def primitive(self, x: Tensor) -> Tensor:
        return self.alpha * (x / (1.0 + x.abs())) + 0.5


@register("surrogate")
class ATan(AlphaSurrogate):
    """Derivative of the arctangent of π/2·alpha·x. Source: Fang et al. (PLIF), ICCV 2021, arXiv 2007.05785."""

    def __init__(self, alpha: float = 2.0, spiking: bool = True) -> None:
        super().__init__(alpha, spiking)

    def derivative(self, x: Tensor) -> Tensor:
        z = 0.5 * math.pi * self.alpha * x
        return 0.5 * self.alpha / (1.0 + z * z)

    def primitive(self, x: Tensor) -> Tensor:
        return torch.atan(0.5 * math.pi * self.alpha * x) / math.pi + 0.5


@register("surrogate")
class NonzeroSignLogAbs(AlphaSurrogate):
    """Height alpha with a tail 1/abs(x), which never vanishes; primitive unbounded. Source: SpikingJelly, no paper."""

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / (1.0 + self.alpha * x.abs())

    def primitive(self, x: Tensor) -> Tensor:
        below = -torch.log1p(-self.alpha * x.clamp(max=0.0))
        above = torch.log1p(self.alpha * x.clamp(min=0.0))
        return torch.where(x < 0, below, above)


@register("surrogate")
class Erf(AlphaSurrogate):
    """Gaussian of width 1/(√2·alpha). Source: Esser et al., NeurIPS 2015; STBP 2018; Yin et al. (SRNN), ICONS 2020."""

    def __init__(self, alpha: float = 2.0, spiking: bool = True) -> None:
        super().__init__(alpha, spiking)

    def derivative(self, x: Tensor) -> Tensor:
        z = self.alpha * x
        return self.alpha / math.sqrt(math.pi) * torch.exp(-z * z)

    def primitive(self, x: Tensor) -> Tensor:
        return 0.5 * torch.erfc(-self.alpha * x)


@register("surrogate")
class PiecewiseLeakyReLU(SurrogateFunction):
    """Rectangle of area 1 with a constant leak outside. Source: STBP 2018; Huh & Sejnowski, NeurIPS 2018.

    Args:
        w: half-width of the rectangle, > 0.
        c: gradient outside it, finite.
    """

    def __init__(self, w: float = 1.0, c: float = 0.01, spiking: bool = True) -> None:
        super().__init__(spiking)
        self.w = real(self, "w", w, above=0)
        self.c = real(self, "c", c)

    def derivative(self, x: Tensor) -> Tensor:
        inside = (x.abs() < self.w).to(x.dtype)
        return inside * (0.5 / self.w) + (1.0 - inside) * self.c

    def primitive(self, x: Tensor) -> Tensor:
        outside = torch.where(x < 0, self.c * (x + self.w), self.c * (x - self.w) + 1.0)
        return torch.where(x.abs() < self.w, 0.5 / self.w * x + 0.5, outside)


@register("surrogate")
class SquarewaveFourierSeries(SurrogateFunction):
    """First terms of the Fourier series of a square wave that rises at the threshold. Source: SpikingJelly, no paper.

    Args:
        n: number of terms plus one, an integer ≥ 2.
        T_period: period of the wave, > 0.
    """

    def __init__(self, n: int = 2, T_period: float = 8.0, spiking: bool = True) -> None:
        super().__init__(spiking)
        self.n = integer(self, "n", n, at_least=2)
        self.T_period = real(self, "T_period", T_period, above=0)

    def derivative(self, x: Tensor) -> Tensor:
        turns = x / self.T_period
        phase = 2.0 * math.pi * (turns - turns.round())  # whole turns off first: float32 keeps its digits at large x
        return 4.0 / self.T_period * sum(torch.cos(k * phase) for k in range(1, 2 * self.n - 2, 2))

    def primitive(self, x: Tensor) -> Tensor:
        turns = x / self.T_period
        phase = 2.0 * math.pi * (turns - turns.round())
        return 2.0 / math.pi * sum(torch.sin(k * phase) / k for k in range(1, 2 * self.n - 2, 2)) + 0.5


@register("surrogate")
class S2NN(SurrogateFunction):
    """Logistic below the threshold, logarithmic above. Source: Suetake et al., Neural Networks 2023, arXiv 2201.10879.

    Args:
        alpha: steepness below the threshold, > 0.
        beta: gradient at the threshold and scale of the decay above it, > 0.
    """

    def __init__(self, alpha: float = 4.0, beta: float = 1.0, spiking: bool = True) -> None:
        super().__init__(spiking)
        self.alpha = real(self, "alpha", alpha, above=0)
        self.beta = real(self, "beta", beta, above=0)

    def derivative(self, x: Tensor) -> Tensor:
        tail = torch.sigmoid(self.alpha * x)
        return torch.where(x < 0, self.alpha * tail * (1.0 - tail), self.beta / (x.clamp(min=0.0) + 1.0))

    def primitive(self, x: Tensor) -> Tensor:
        above = self.beta * torch.log1p(x.clamp(min=0.0)) + 0.5
        return torch.where(x < 0, torch.sigmoid(self.alpha * x), above)


@register("surrogate")
class QPseudoSpike(SurrogateFunction):
    """Peak of height 1 with a tail of chosen order. Source: Herranz-Celotti & Rouat, arXiv 2202.00282.

    Args:
        alpha: order of the tail abs(x)^−alpha, > 1.
    """

    def __init__(self, alpha: float = 2.0, spiking: bool = True) -> None:
        super().__init__(spiking)
        self.alpha = real(self, "alpha", alpha, above=1)

    def derivative(self, x: Tensor) -> Tensor:
        # Not (1 + z)^−alpha: a large power magnifies the rounding of 1 + z.
        return torch.exp(-self.alpha * torch.log1p(2.0 / (self.alpha - 1.0) * x.abs()))

    def primitive(self, x: Tensor) -> Tensor:
        order, scale = 1.0 - self.alpha, 2.0 / (self.alpha - 1.0)
        below = 0.5 * torch.exp(order * torch.log1p(-scale * x.clamp(max=0.0)))
        above = 1.0 - 0.5 * torch.exp(order * torch.log1p(scale * x.clamp(min=0.0)))
        return torch.where(x < 0, below, above)


@register("surrogate")
class LeakyKReLU(SurrogateFunction):
    """Derivative of a leaky ReLU with two free slopes. Source: SpikingJelly, no paper.

    Args:
        leak: gradient below the threshold, finite.
        k: gradient at and above the threshold, finite.
    """

    def __init__(self, leak: float = 0.0, k: float = 1.0, spiking: bool = True) -> None:
        super().__init__(spiking)
        self.leak = real(self, "leak", leak)
        self.k = real(self, "k", k)

    def derivative(self, x: Tensor) -> Tensor:
        above = heaviside(x)
        return above * self.k + (1.0 - above) * self.leak

    def primitive(self, x: Tensor) -> Tensor:
        return self.derivative(x) * x


@register("surrogate")
class FakeNumericalGradient(AlphaSurrogate):
    """Secant slope 1/abs(x), at most alpha; there is no primitive. Source: SpikingJelly, no paper."""

    def __init__(self, alpha: float = 0.3, spiking: bool = True) -> None:
        super().__init__(alpha, spiking)

    def derivative(self, x: Tensor) -> Tensor:
        return x.abs().clamp(min=1.0 / self.alpha).reciprocal()


@register("surrogate")
class LogTailedReLU(SurrogateFunction):
    """Derivative of a ReLU that turns into a logarithm beyond 1. Source: Cai et al., CVPR 2017, arXiv 1702.00953.

    Args:
        alpha: gradient below the threshold, finite.
    """

    def __init__(self, alpha: float = 0.0, spiking: bool = True) -> None:
        super().__init__(spiking)
        self.alpha = real(self, "alpha", alpha)

    def derivative(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x.clamp(min=1.0).reciprocal(), self.alpha)

    def primitive(self, x: Tensor) -> Tensor:
        return torch.where(x > 1, torch.log(x.clamp(min=1.0)) + 1.0, torch.where(x > 0, x, self.alpha * x))


@register("surrogate")
class Rect(AlphaSurrogate):
    """Rectangle of height alpha and area 1. Source: Wu et al. (STBP), Frontiers in Neuroscience 2018."""

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha * (x.abs() < 0.5 / self.alpha).to(x.dtype)

    def primitive(self, x: Tensor) -> Tensor:
        # A clamp, but with gradient 0 on the bounds themselves.
        return nn.functional.hardtanh(self.alpha * x + 0.5, 0.0, 1.0)


@register("surrogate")
class MultiLevelSpikeCount(SurrogateFunction):
    """Integer spike count; NaN stays NaN. Source: Luo et al. (I-LIF), ECCV 2024, arXiv 2407.20708.

    Args:
        max_spike_count: largest count, an integer ≥ 1; halves are rounded to the even count.
        grad_window: (low, high), low ≤ high: gradient 1 there, bounds included; None: (0, max_spike_count).
    """

    def __init__(self, max_spike_count: int, grad_window: Sequence[float] | None = None, spiking: bool = True) -> None:
        super().__init__(spiking)
        self.max_spike_count = integer(self, "max_spike_count", max_spike_count, at_least=1)
        window = (0, max_spike_count) if grad_window is None else grad_window
        if not isinstance(window, Sequence) or len(window) != 2:
            raise invalid(self, "grad_window", "a pair (low, high) or None", window)
        low = real(self, "grad_window[0]", window[0])
        self.grad_window = (low, real(self, "grad_window[1]", window[1], at_least=low))

    def spikes(self, x: Tensor) -> Tensor:
        return x.clamp(0.0, self.max_spike_count).round()

    def derivative(self, x: Tensor) -> Tensor:
        low, high = self.grad_window
        return ((x >= low) & (x <= high)).to(x.dtype)

    def primitive(self, x: Tensor) -> Tensor:
        return x.clamp(0.0, self.max_spike_count)


# --- SpikingJelly's functions: sigmoid.apply(x, alpha) ---------------------------------------------------------------


def _function(surrogate: type[SurrogateFunction]) -> SimpleNamespace:
    """A surrogate in the form of an autograd function: `apply(x, *parameters)`, with those of its constructor."""
    return SimpleNamespace(surrogate=surrogate, apply=surrogate.spiking_function)


piecewise_quadratic = _function(PiecewiseQuadratic)
piecewise_exp = _function(PiecewiseExp)
sigmoid = _function(Sigmoid)
soft_sign = _function(SoftSign)
super_spike = _function(SuperSpike)
atan = _function(ATan)
nonzero_sign_log_abs = _function(NonzeroSignLogAbs)
erf = _function(Erf)
piecewise_leaky_relu = _function(PiecewiseLeakyReLU)
squarewave_fourier_series = _function(SquarewaveFourierSeries)
s2nn = _function(S2NN)
q_pseudo_spike = _function(QPseudoSpike)
leaky_k_relu = _function(LeakyKReLU)
fake_numerical_gradient = _function(FakeNumericalGradient)
log_tailed_relu = _function(LogTailedReLU)
rect = _function(Rect)
