"""Layers of a prepared net: integers in, integer weights, integers out, on float tensors that can be trained."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain.base import StepModule, autocast_off
from snntrain.functional import repeat, repeated_step
from snntrain.layer.fold import FoldedLayer
from snntrain.quantize.arithmetic import EXACT, ROUND, nearest_power_of_two, power_of_two_above, straight_through
from snntrain.quantize.current import Current, along_channels, common_fractional_bits
from snntrain.quantize.error import QuantizationError
from snntrain.quantize.params import QuantParams
from snntrain.quantize.range_setting import gaussian_clip

BIAS_BITS = 24  # of a bias in the step of the accumulator, unless quant_params.bias says otherwise


class _IntegerWeights(torch.autograd.Function):
    """clip(R(w/s)), with the gradients of s·clip(R(w/s)) in steps of s: identity through R, 0 outside the clamp.

    The gradient of s is that of LSQ (Esser et al., ICLR 2020): q − w/s inside the clamp, q outside, by 1/√(Q·numel).
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, step: Tensor, params: QuantParams) -> Tensor:
        a = w / step
        q = ROUND[params.roundtype](a)
        # In the strides of w, which tell a convolution its layout: sums and products lose those of a single channel.
        clipped = torch.empty_like(w).copy_(q.clamp(params.smallest, params.largest))
        ctx.save_for_backward(a, step, clipped, q == clipped)
        ctx.largest = params.largest
        return clipped

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, step, q, inside = ctx.saved_tensors
        g = grad / step
        g_step = None
        if ctx.needs_input_grad[1]:
            each = g * (q - a * inside)
            total = each.sum() if step.numel() == 1 else each.flatten(1).sum(1)
            g_step = total.view(step.shape) / (ctx.largest * q.numel() / step.numel()) ** 0.5
        return g * inside, g_step, None


@contextlib.contextmanager
def exact_products(x: Tensor) -> Iterator[None]:
    """Products of float32 tensors without TF32, which would cut integers of more than 11 bits."""
    with autocast_off(x.device), contextlib.ExitStack() as stack:
        if x.is_cuda:
            stack.enter_context(torch.backends.cudnn.flags(allow_tf32=False, deterministic=True))
            before = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = False
            stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", before)
        yield


class IntegerLayer:
    """Mixin of the layers with weights in a prepared net.

    y = Σ W·x + b with integers W = clip(R(weight/s)), b = R(bias/s'), s' the step of the current that y belongs to,
    s = s'/input_step. weight and bias are the float parameters that are trained.

    Attributes:
        w_params, bias_params: QuantParams of their kinds.
        input_step: what 1 stands for in x.
        input_largest: the largest integer, in absolute value, that x holds.
    """

    weight: Tensor
    bias: Tensor | None
    input_step: Tensor

    def set_up(self, quant_params: QuantParams, input_largest: int, reads_input: bool, input_divisor: int) -> None:
        """Set up what the constructor of torch's layer does not know.

        Args:
            reads_input: x comes from the net's input, not from neurons.
            input_divisor: so many of its steps are worth one.
        """
        self.w_params, self.bias_params = quant_params.kind("w"), quant_params.kind("bias")
        self.bias_bits = self.bias_params.bits if quant_params.bias and "bits" in quant_params.bias else BIAS_BITS
        self.input_largest, self.reads_input, self.input_divisor = input_largest, reads_input, input_divisor
        self.register_buffer("input_step", torch.tensor(torch.nan))

    def count_in(self, current: Current) -> None:
        """Set the current that y belongs to."""
        self.__dict__["current"] = current  # not a submodule: the neuron behind this layer holds it

    def integer_weight(self) -> Tensor:
        """W, as float."""
        step = (self.current.value() / self.input_step).view(-1, *[1] * (self.weight.dim() - 1))
        return _IntegerWeights.apply(self.weight.float(), step, self.w_params)

    def integer_bias(self) -> Tensor | None:
        """b, as float."""
        if self.bias is None:
            return None
        b = straight_through(ROUND[self.bias_params.roundtype], self.bias.float() / self.current.value().detach())
        half = 2.0 ** (self.bias_bits - 1)
        return b.clamp(1 - half, half - 1)

    def own_step(self) -> Tensor:
        """The step that the weights by themselves ask for, [rows] or [1], in the units of the current."""
        weight = self.weight.detach().float()
        rows = weight.flatten(1) if self.w_params.granularity == "channel" else weight.reshape(1, -1)
        return step_of_rows(rows, self.w_params) * self.input_step

    @torch.no_grad()
    def largest_sum(self) -> int:
        """The largest |Σ W·x + b| that any input can give."""
        total = self.integer_weight().abs().flatten(1).sum(1, dtype=torch.float64) * self.input_largest
        if self.bias is not None:
            total = total + self.integer_bias().abs()
        return int(total.max()) if total.numel() else 0

    def check_exact(self, name: str, largest: int) -> None:
        """Raises: QuantizationError if float32 does not hold all integers up to the largest that may occur."""
        if largest >= EXACT:
            raise QuantizationError(
                f"{name} ({type(self).__name__})",
                f"sums of up to {largest:,} may occur, and must stay below 2^24 = {EXACT:,} to be exact (fan-in "
                f"{self.weight[0].numel():,}, inputs up to {self.input_largest:,})",
                f"Give its weights (now {self.w_params.bits} bits) or the input fewer bits "
                "(callbacks.qat.quant.w.bits, callbacks.qat.quant.input.bits).",
            )

    @property
    def bits(self) -> int:
        """Bits of the weights."""
        return self.w_params.bits

    weights_bits = bits

    @property
    def fractional_bits(self) -> int | None:
        """Fractional bits of the weights; None if their steps are not one power of two."""
        return common_fractional_bits(self.current.value() / self.input_step)

    weights_q = fractional_bits


def step_of_rows(rows: Tensor, params: QuantParams) -> Tensor:
    """For each row of weights [R, n] the step with which `bits` bits cover it, by range_setting; NaN for zeros only.

    With LSQ it is the start of training: 2·mean|w|/√Q instead of minmax.
    """
    largest = rows.abs().amax(1)
    if params.force_q is not None:
        return torch.full_like(largest, 2.0**-params.force_q)
    by_range = params.range_setting == "minmax"
    if by_range and params.LSQ:
        step = 2.0 * rows.abs().mean(1) / params.largest**0.5
    elif by_range:
        step = largest / params.largest
    elif params.range_setting == "MSE_analysis":
        step = gaussian_clip(params.bits) * rows.square().mean(1).sqrt() / params.largest
        step = torch.minimum(step, largest / params.largest)
    else:
        step = _least_error(rows, largest / params.largest, params)
    step = torch.where(largest > 0, step, torch.nan)
    if not params.power_of_two:
        return step
    return power_of_two_above(step) if by_range and not params.LSQ else nearest_power_of_two(step)


def _least_error(rows: Tensor, step: Tensor, params: QuantParams) -> Tensor:
    """The part of a step that rounds and clips rows with the least mean square error."""
    parts = torch.linspace(0.2, 1.0, 41, dtype=rows.dtype, device=rows.device)
    errors = []
    for part in parts:
        s = (part * step).clamp(min=1e-12).unsqueeze(1)
        q = ROUND[params.roundtype](rows / s).clamp(params.smallest, params.largest) * s
        errors.append((q - rows).square().mean(1))
    return parts[torch.stack(errors).argmin(0)] * step


class IntegerLinear(IntegerLayer, StepModule, nn.Linear):
    """Linear of a prepared net: [T, N, in] → [T, N, out] ('m')."""

    _step_mode = "m"

    def forward(self, x: Tensor) -> Tensor:
        step = repeated_step(x) if self.step_mode == "m" else None
        z = x if step is None else step
        if z.dim() != (3 if step is None and self.step_mode == "m" else 2):
            raise ValueError(f"{self._title()}: the input must be [T, N, F] ([N, F] in 's'), got {list(x.shape)}.")
        with exact_products(z):
            y = F.linear(z.float(), self.integer_weight(), self.integer_bias())
        return y if step is None else repeat(y, x.shape[0])


class IntegerScale(IntegerLayer, StepModule, nn.Module):
    """One weight for each channel: [T, N, C, *] → the same ('m'). It turns spikes into a current.

    Args:
        weight: [C].
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._step_mode = "m"
        self.weight = nn.Parameter(weight.detach().clone().view(-1, 1))
        self.bias: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        step = x[0]
        y = x.float() * along_channels(self.integer_weight().flatten(), step).unsqueeze(0)
        return y if self.bias is None else y + along_channels(self.integer_bias(), step).unsqueeze(0)


class _IntegerConvolution(IntegerLayer, FoldedLayer):
    """What torch's convolutions need to compute in integers."""

    _step_mode = "m"

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        with exact_products(input):
            y = super()._conv_forward(input.float(), self.integer_weight(), self.integer_bias())
        # cuDNN may choose an algorithm whose intermediate results are no integers.
        return straight_through(torch.round, y) if y.is_cuda else y


class IntegerConv1d(_IntegerConvolution, nn.Conv1d):
    """Conv1d of a prepared net: [T, N, C, L] ('m')."""

    step_shapes = ("N, C, L",)


class IntegerConv2d(_IntegerConvolution, nn.Conv2d):
    """Conv2d of a prepared net: [T, N, C, H, W] ('m')."""

    step_shapes = ("N, C, H, W",)


class InputQuantizer(StepModule, nn.Module):
    """The input of a prepared net as integers: clip(R(x/step), lowest, highest).

    The range is observed: of inputs that are never negative all `bits` bits are used without a sign, and inputs that
    are integers and fit (spikes, counts of events) keep the step 1.

    Args:
        params: QuantParams of the kind 'input'.
    """

    per_step: Tensor
    limits: Tensor
    observed: Tensor

    def __init__(self, params: QuantParams) -> None:
        super().__init__()
        self.params = params
        self._step_mode = "m"
        self.register_buffer("per_step", torch.tensor(torch.nan))  # 1/step: a product rounds alike everywhere
        self.register_buffer("limits", torch.zeros(2))
        self.register_buffer("observed", torch.tensor([0.0, 0.0, 1.0]))  # smallest, largest, whether all were integers

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Widen the observed range by that of x."""
        if not torch.isfinite(x).all():
            raise ValueError("observe: the input holds NaN or infinite values.")
        low, high, whole = self.observed
        integers = bool(whole) and bool((x == x.round()).all())
        self.observed.copy_(torch.stack([torch.minimum(low, x.min()), torch.maximum(high, x.max()), whole * integers]))

    @torch.no_grad()
    def settle(self) -> None:
        """Choose step and limits for what was observed."""
        low, high, whole = self.observed.tolist()
        bits = self.params.bits
        smallest, largest = (0, 2**bits - 1) if low >= 0 else (self.params.smallest, self.params.largest)
        reach = max(high, -low)
        step = reach / largest if reach > 0 else 1.0
        if whole and step <= 1.0:
            step = 1.0
        elif self.params.force_q is not None:
            step = 2.0**-self.params.force_q
        elif self.params.power_of_two:
            step = float(power_of_two_above(torch.tensor(step)))
        self.per_step.fill_(1.0 / step)
        self.limits.copy_(torch.tensor([smallest, largest]))

    @property
    def step(self) -> Tensor:
        return 1.0 / self.per_step

    @property
    def largest(self) -> int:
        """The largest integer that may come out, before the range is known."""
        return 2**self.params.bits - 1

    def forward(self, x: Tensor) -> Tensor:
        step = repeated_step(x)
        return self.quantized(x) if step is None else repeat(self.quantized(step), x.shape[0])

    def quantized(self, x: Tensor) -> Tensor:
        """The integers, as float."""
        q = straight_through(ROUND[self.params.roundtype], x.float() * self.per_step)
        return q.clamp(self.limits[0], self.limits[1])


class Readout(StepModule, nn.Module):
    """From integers to values at the end of a prepared net: y = x·scale.

    The scale is the step of a current, or else `scale`.

    Args:
        divisor: the scale is divided by it.
        scale: [1] or [C]; None: 1.
    """

    scale: Tensor

    def __init__(self, divisor: int = 1, scale: Tensor | None = None) -> None:
        super().__init__()
        self._step_mode = "m"
        self.current: Current | None = None
        self.divisor = divisor
        self.register_buffer("scale", torch.ones(1) if scale is None else scale.detach().clone().reshape(-1))

    def attach(self, current: Current, divisor: int) -> None:
        """Take integers in the step of a current."""
        self.current, self.divisor = current, divisor

    def factor(self) -> Tensor:
        """What the integers are multiplied by, [1] or [C]."""
        return (self.scale if self.current is None else self.current.value()) / self.divisor

    def forward(self, x: Tensor) -> Tensor:
        # Detached: the gradient of a learned step is that of the weights in values, see _IntegerWeights.
        return x * along_channels(self.factor().detach(), x[0]).unsqueeze(0)
