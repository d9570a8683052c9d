"""Quantizer: rounds tensors to what a few bits hold."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.base import state_dtype
from snntrain.quantize import qualia, range_setting
from snntrain.quantize.arithmetic import ROUND, nearest_power_of_two, quantized, straight_through
from snntrain.quantize.params import QuantParams


class Quantizer(nn.Module):
    """Round a tensor to integers times a step.

    The integers are q = clip(R(x/s), −2^(b−1), 2^(b−1) − 1), the output is s·q; with a zero point z the output is
    s·(clip(R(x/s) + z) − z). R is `roundtype`, b is `bits`. The gradient is 1, and 0 where q was clipped.

    The step s follows from a range, see range_setting.step_of: from the largest range seen in training; of weights and
    biases, whose old values no longer count, from that of the tensor at hand. Before any range was seen, that of the
    tensor at hand serves. With LSQ the step is a parameter: it starts at 2·mean|x|/√Q of the first tensor,
    Q = 2^(b−1) − 1, and its gradient is divided by √(Q·numel); x/s is clipped before it is rounded; for 'fxp' the
    nearest power of two is used.

    Mode 'qualia' computes as qualia-plugin-snn 2.6.0 does: ranges of weights do not shrink, the settings 'MSE_…' know
    no range below 2, the zero point is clipped to the range instead of the integers, and LSQ takes any step and rounds
    ties to even, whatever quantype and roundtype say. Only the range before training, which is missing there, is ours.

    Args:
        quant_params: mapping or QuantParams, see there.
        kind: of the tensors: 'act', 'v', 'input', 'w' or 'bias', whose own keys in quant_params then hold.

    Shapes: a tensor of any shape, and optionally a second one, of any other, that shares the step; floating point.
    Source: Novac et al., Sensors 2021, 10.3390/s21092984 (Qualia); Esser et al., ICLR 2020, arXiv 1902.08153 (LSQ).
    """

    range_min: Tensor
    range_max: Tensor
    step: Tensor
    zero_point: Tensor | None
    frozen: Tensor

    def __init__(self, quant_params: Mapping[str, Any] | QuantParams, kind: str | None = None) -> None:
        super().__init__()
        params = QuantParams.of(quant_params)
        self.params = params if kind is None else params.kind(kind)
        self.kind = kind
        self.register_buffer("range_min", torch.tensor(math.inf))
        self.register_buffer("range_max", torch.tensor(-math.inf))
        self.register_buffer("zero_point", torch.zeros(()) if self.params.is_asymmetric else None)
        self.register_buffer("frozen", torch.tensor(False))
        if self.params.LSQ:
            self.step = nn.Parameter(torch.zeros(()))  # 0 until the first tensor; here already for the optimizer
        else:
            self.register_buffer("step", torch.ones(()))

    def forward(self, w: Tensor, bias_tensor: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """w quantized; with a second tensor, which counts for the range too, both of them."""
        if not self.params.quant_enable:
            return w if bias_tensor is None else (w, bias_tensor)
        values = w if bias_tensor is None else torch.cat([w.flatten(), bias_tensor.flatten()])
        values = values.detach().to(state_dtype(w.dtype))
        quantize = self._learned_rule(values, w.numel()) if self.params.LSQ else self._rule_of_range(values)
        return quantize(w) if bias_tensor is None else (quantize(w), quantize(bias_tensor))

    def freeze(self, frozen: bool = True) -> None:
        """Keep range and step, which must be known, as they are from now on, in training too; False: let them go."""
        if frozen and self.params.quant_enable and not self._is_step_known():
            raise RuntimeError("Quantizer.freeze: no range was seen yet; run data through the net in train() first.")
        self.frozen.fill_(frozen)

    @property
    def bits(self) -> int:
        """Bits of the integers."""
        return self.params.bits

    @property
    def fractional_bits(self) -> int | None:
        """f of a fixed-point step 2^−f; None where nothing is quantized, or the step is free or not known yet."""
        params = self.params
        if not params.quant_enable or not params.power_of_two:
            return None
        if params.force_q is not None:
            return params.force_q
        if params.mode == "qualia":
            return qualia.fractional_bits(self.range_max, params.bits)
        return -round(math.log2(self.step.abs().item())) if self._is_step_known() else None

    def _is_step_known(self) -> bool:
        return bool(self.step != 0 if self.params.LSQ else self.range_max > -math.inf)

    def extra_repr(self) -> str:
        defaults = QuantParams().as_dict()
        shown = {name: value for name, value in self.params.as_dict().items() if value != defaults[name]}
        kind = {} if self.kind is None else {"kind": self.kind}
        return ", ".join(f"{name}={value}" for name, value in ({"bits": self.bits} | shown | kind).items())

    # --- a step that follows from a range ----------------------------------------------------------------------------

    def _rule_of_range(self, values: Tensor) -> Callable[[Tensor], Tensor]:
        step, zero_point = self._look(values)
        return functools.partial(quantized, step=step, zero_point=zero_point, params=self.params)

    @torch.inference_mode(False)  # buffers made in it could not take part in training later
    @torch.no_grad()
    def _look(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Step and zero point for a tensor with these values, which may widen the range."""
        follows = self.kind in ("w", "bias") and self.params.mode == "integer"
        seen, keeps = bool(self.range_max > -math.inf), (self.training or follows) and not self.frozen
        if seen and not keeps:
            return self.step, self.zero_point
        rules = qualia if self.params.mode == "qualia" else range_setting
        low, high = rules.range_of(values, self.params)
        if seen and not follows:
            low, high = torch.minimum(self.range_min, low), torch.maximum(self.range_max, high)
        step, zero_point = rules.step_and_zero_point(low, high, self.params)
        if keeps:
            self.range_min, self.range_max = low, high
            if not self.params.LSQ:
                self.step, self.zero_point = step, zero_point
        return step, zero_point

    # --- a learned step ----------------------------------------------------------------------------------------------

    def _learned_rule(self, values: Tensor, numel: int) -> Callable[[Tensor], Tensor]:
        params = self.params
        self._start(values)
        step = self.step.detach() if self.frozen else self.step
        factor = (1.0 / torch.tensor(params.largest * numel) ** 0.5).item()
        if params.mode == "integer":
            step, rounding = _LearnedStep.apply(step, factor, params.power_of_two), ROUND[params.roundtype]
        else:
            self._look(values)  # for fractional_bits, which there do not know of the learned step
            step, rounding = qualia.learned_step(step, factor, self.training), torch.round
        return functools.partial(self._clipped_and_rounded, step=step, rounding=rounding)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _start(self, values: Tensor) -> None:
        """Give a learned step that is not known yet its first value."""
        if self.step == 0:
            first = values.abs().mean() * 2 / self.params.largest**0.5
            self.step.copy_(torch.where(first == 0, 1.0, first))

    def _clipped_and_rounded(self, x: Tensor, step: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
        a = (x.to(state_dtype(x.dtype)) / step).clamp(self.params.smallest, self.params.largest)
        return (straight_through(rounding, a) * step).to(x.dtype)


class _LearnedStep(torch.autograd.Function):
    """|s|, or the power of two nearest to it; its gradient is a constant times sign s."""

    @staticmethod
    def forward(s: Tensor, factor: float, power_of_two: bool) -> Tensor:
        return nearest_power_of_two(s.abs()) if power_of_two else s.abs()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, bool], output: Tensor) -> None:
        s, ctx.factor, _ = inputs
        ctx.save_for_backward(s)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (s,) = ctx.saved_tensors
        return grad * ctx.factor * s.sign(), None, None
