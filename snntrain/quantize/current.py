"""The step in which the currents that meet in one place are counted."""

import torch
from torch import Tensor, nn

from snntrain.quantize.arithmetic import nearest_power_of_two, straight_through

_SMALLEST = 1e-12  # of steps


class Current(nn.Module):
    """Step of a current: its value is step·(an integer), for each channel or for all.

    All layers whose outputs are added share it, and so does the neuron that takes the sum: up to a power of two its
    potential has the same step. With a grid the step divides it a whole number of times: the threshold then is an
    integer without any rounding.

    Args:
        size: steps: one for each channel, or 1 for all.
        learnable: steps are trained; the parameter is their binary logarithm, so that optimizers change them by parts.
        power_of_two: they are powers of two.

    Attributes:
        fixed_step: [size], NaN until it is set; None if learnable.
        log2_step: the same as a parameter; None unless learnable.
        floor: [size], the smallest step that leaves the threshold its place in the potential.
        grid: [size], what the step divides a whole number of times; NaN for nothing.

    Source: Esser et al., ICLR 2020, arXiv 1902.08153 (LSQ).
    """

    fixed_step: Tensor | None
    floor: Tensor
    grid: Tensor

    def __init__(self, size: int = 1, learnable: bool = False, power_of_two: bool = False) -> None:
        super().__init__()
        self.size, self.learnable, self.power_of_two = size, learnable, power_of_two
        unknown = torch.full((size,), torch.nan)
        self.register_parameter("log2_step", nn.Parameter(unknown) if learnable else None)
        self.register_buffer("fixed_step", None if learnable else unknown)
        self.register_buffer("floor", torch.full((size,), _SMALLEST))
        self.register_buffer("grid", torch.full((size,), torch.nan))

    @torch.no_grad()
    def settle(self, step: Tensor, floor: Tensor | None = None, grid: Tensor | None = None) -> None:
        """Set floor and grid, and the step: the one nearest to the given one, [size] or [1], that they allow."""
        self.floor.copy_(_SMALLEST if floor is None else floor)
        self.grid.copy_(torch.nan if grid is None else grid)
        step = self._allowed(step.to(self.floor).expand_as(self.floor))
        if self.learnable:
            self.log2_step.copy_(torch.log2(step))
        else:
            self.fixed_step.copy_(step)

    def value(self) -> Tensor:
        """The step, [size]; with a gradient to the parameter if it is learned."""
        return straight_through(self._allowed, torch.exp2(self.log2_step)) if self.learnable else self.fixed_step

    def _allowed(self, step: Tensor) -> Tensor:
        step = torch.maximum(step, self.floor)
        if self.power_of_two:
            nearest = nearest_power_of_two(step)
            return torch.where(nearest < self.floor, 2 * nearest, nearest)
        most = torch.floor(self.grid / self.floor + 1e-3)
        times = torch.minimum(torch.floor(self.grid / step + 0.5), most).clamp(min=1)
        return torch.where(self.grid.isnan(), step, self.grid / times)

    def extra_repr(self) -> str:
        return f"{self.size} steps" + ", learned" * self.learnable + ", powers of two" * self.power_of_two


def along_channels(value: Tensor, x: Tensor) -> Tensor:
    """A value in the shape in which it meets one step x [N, C, *].

    Args:
        value: [1]; [C]; [C'] where x holds C' channels one after the other, flattened; or of a sample's shape [C, *].

    Raises: ValueError naming both shapes if they do not fit.
    """
    if value.numel() == 1:
        return value.reshape([1] * x.dim())
    if value.dim() > 1 and value.shape == x.shape[1:]:
        return value.unsqueeze(0)
    channels = x.shape[1] if x.dim() > 1 else 0
    if value.dim() == 1 and channels and channels % value.numel() == 0:
        repeated = value if channels == value.numel() else value.repeat_interleave(channels // value.numel())
        return repeated.view(1, -1, *[1] * (x.dim() - 2))
    raise ValueError(
        f"quantize: a value of shape {list(value.shape)} fits neither the channels (dim 1) nor a sample of a step of "
        f"shape {list(x.shape)}."
    )


def common_fractional_bits(steps: Tensor) -> int | None:
    """f if all steps are 2^−f; None if they are not."""
    mantissa, exponent = torch.frexp(steps.detach().flatten()[0])
    return int(1 - exponent) if mantissa == 0.5 and bool((steps == steps.flatten()[0]).all()) else None
