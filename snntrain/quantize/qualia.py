"""Mode 'qualia': ranges, steps and neurons in the arithmetic of qualia-plugin-snn 2.6.0.

The order of its operations is kept to the last rounding, also where that makes training and evaluation fire differently
or lets hyper-parameters drift, so that its nets give the same numbers here. What would crash there does not:
1/tau that rounds to 0 stays as it is, and the neuron ATIF, which reads a threshold that does not exist, reads its own.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from snntrain.quantize.params import QuantParams
from snntrain.quantize.range_setting import extremes, step_of

Function = Callable[[Tensor], Tensor]

# --- ranges and steps ------------------------------------------------------------------------------------------------


def range_of(values: Tensor, params: QuantParams) -> tuple[Tensor, Tensor]:
    """The range of a tensor by range_setting, 0-d; the settings 'MSE_…' give one that is symmetric about 0."""
    if params.range_setting == "minmax":
        return extremes(values, params.is_asymmetric)
    search = _simulated_clip if params.range_setting == "MSE_simulation" else _gaussian_clip
    high = 2 * search(values, params.bits)
    return -high, high


def step_and_zero_point(low: Tensor, high: Tensor, params: QuantParams) -> tuple[Tensor, Tensor | None]:
    """Step, and with is_asymmetric the zero point, which is clipped to [low, high]."""
    step = step_of(low, high, params)
    if params.power_of_two and params.force_q is None:  # of the rounded logarithm: just below 2^k it is k already
        step = torch.exp2(torch.log2(high).floor() + 2 - params.bits)
    step = torch.where((high == 0) | (step == 0), 1.0, step)
    if not params.is_asymmetric:
        return step, None
    return step, (params.smallest - torch.round(low / step)).clamp(low, high)


def fractional_bits(high: Tensor, bits: int) -> int:
    """Fractional bits of fixed-point numbers up to `high`; before any was seen, bits − 1."""
    if not torch.isfinite(high):
        return bits - 1
    return bits - 2 - (int(torch.log2(high).floor()) if high > 0 else 0)


def learned_step(step: Tensor, factor: float, training: bool) -> Tensor:
    """The step of LSQ; in training its gradient is scaled by the factor, which costs it a rounding error."""
    if not training:
        return step
    scaled = factor * step
    return (step - scaled).detach() + scaled


def _simulated_clip(values: Tensor, bits: int) -> Tensor:
    """Of 1, 1.1 … 39.9 the bound α with the least square error of values clipped to it and rounded to steps."""
    bounds = torch.arange(1, 40, 0.1, device=values.device)
    errors = []
    for bound in bounds:
        step = 2 * bound / 2**bits
        errors.append(((values.clamp(-bound, bound) / step).round() * step - values).square().mean())
    return bounds[torch.stack(errors).argmin()]


def _gaussian_clip(values: Tensor, bits: int) -> Tensor:
    """Of 1, 1.01 … 79.99 the bound α with the least expected square error, if the values are N(0, σ²)."""
    bounds, sigma = torch.arange(1, 80, 0.01, device=values.device), values.std()
    # The reference has libm compute these two, number by number, which rounds better than torch's float32 kernels.
    outside = (1 - torch.erf((bounds / (sigma * math.sqrt(2))).double())).to(bounds)
    density = torch.exp((-0.5 * bounds**2 / sigma**2).double()).to(bounds)
    clipping = (sigma**2 + bounds**2) * outside - math.sqrt(2 / math.pi) * bounds * sigma * density
    return bounds[(clipping + bounds**2 / (3 * 2 ** (2 * bits))).argmin()]


# --- neurons ---------------------------------------------------------------------------------------------------------


class Quantizers(Protocol):
    """What the steps below need of a neuron: functions of tensors, Quantizers as a rule."""

    quantizer_input: Function
    quantizer_v: Callable[..., Any]
    quantizer_act: Function


@dataclass(frozen=True)
class Hyperparameters:
    """Hyper-parameters of a neuron, which are quantized together with its potential, again and again.

    Attributes:
        v_threshold: threshold.
        v_reset: potential after a spike; None: soft reset.
        tau: membrane time constant, quantized as 1/tau; None: no leak.
    """

    v_threshold: float
    v_reset: float | None = 0.0
    tau: float | None = None

    def tensor(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """v_threshold, 1/tau and v_reset, those that there are, [1 … 3]."""
        reciprocal = None if self.tau is None else 1 / self.tau
        values = [value for value in (self.v_threshold, reciprocal, self.v_reset) if value is not None]
        return torch.tensor(values, device=device, dtype=dtype)

    def replaced(self, values: Tensor) -> "Hyperparameters":
        """These with the values of such a tensor; 1/tau = 0 is left out, with a warning."""
        v_threshold, *others = values.tolist()
        tau = self.tau
        if tau is not None:
            reciprocal = others.pop(0)
            tau = 1 / reciprocal if reciprocal != 0 else _unrounded(tau)
        return Hyperparameters(v_threshold, others[0] if others else None, tau)


def _unrounded(tau: float) -> float:
    warnings.warn(
        f"1/tau = {1 / tau:.4g} rounds to 0 and is not quantized. Give the potential more bits (quant_params.v.bits), "
        "or use mode 'integer'.",
        RuntimeWarning,
        stacklevel=2,
    )
    return tau


def quantize_together(
    v: Tensor, hyperparameters: Hyperparameters, quantizer_v: Callable[..., Any]
) -> tuple[Tensor, Hyperparameters]:
    """Potential and hyper-parameters rounded by one quantizer, which sees one range."""
    v, values = quantizer_v(v, bias_tensor=hyperparameters.tensor(v.device, v.dtype))
    return v, hyperparameters.replaced(values)


def charge(x: Tensor, v: Tensor, p: Hyperparameters, decay_input: bool, training: bool) -> Tensor:
    """h = v + x of an IF neuron; of a LIF neuron with r = v_reset, or 0 for soft reset,

    h = v + (x − (v − r))/tau, or without decay_input h = v − (v − r)/tau + x.

    With r = 0 the latter is computed as h = v·(1 − 1/tau) + x, in evaluation with soft reset only.
    """
    if p.tau is None:
        return v + x
    if decay_input:
        return v + (x - (v if p.v_reset is None else v - p.v_reset)) / p.tau
    if p.v_reset is None or (training and p.v_reset == 0):
        return v * (1.0 - 1.0 / p.tau) + x
    return v - (v - p.v_reset) / p.tau + x


def neuron_step(
    x: Tensor,
    v: Tensor,
    p: Hyperparameters,
    quantizers: Quantizers,
    surrogate: Function,
    decay_input: bool = True,
    detach_reset: bool = False,
    training: bool = True,
) -> tuple[Tensor, Tensor, Hyperparameters]:
    """One step of an IF neuron (p.tau None) or a LIF neuron.

    In training Q_in(x) → Q_v → charge → Q_v → fire → reset → Q_act; in evaluation the second Q_v follows the reset.

    Args:
        x: input [N, *].
        v: potential before the step [N, *].
        p: hyper-parameters before the step.
        quantizers: has quantizer_input, quantizer_v and quantizer_act.
        surrogate: Θ with a surrogate gradient.
        decay_input: divide the input by tau too.
        detach_reset: keep the gradient of the spikes out of the reset.
        training: order of training.

    Returns: spikes, potential and hyper-parameters after the step.
    """
    x = quantizers.quantizer_input(x)
    v, p = quantize_together(v, p, quantizers.quantizer_v)
    v = charge(x, v, p, decay_input, training)
    if training:
        v, p = quantize_together(v, p, quantizers.quantizer_v)
    s = surrogate(v - p.v_threshold)
    s_d = s.detach() if detach_reset else s
    v = v - s_d * p.v_threshold if p.v_reset is None else (1.0 - s_d) * v + s_d * p.v_reset
    if not training:
        v, p = quantize_together(v, p, quantizers.quantizer_v)
    return quantizers.quantizer_act(s), v, p


def atif_step(
    x: Tensor, v: Tensor, theta: Tensor, quantizers: Quantizers, surrogate: Function
) -> tuple[Tensor, Tensor]:
    """One step of an IF neuron with a learnable threshold θ, which is the height of its spikes too.

    h = Q_v(Q_v(v) + Q_in(x)), z = Θ(Q_v(h − θ)), v' = Q_v((1 − z)·h + z·(h − θ)), output Q_act(z·Q_v(θ)).

    Args: x, v, quantizers, surrogate as in neuron_step; theta: threshold [1].
    Returns: output and potential after the step.
    """
    quantizer_v = quantizers.quantizer_v
    h = quantizer_v(quantizer_v(v) + quantizers.quantizer_input(x))
    z = surrogate(quantizer_v(h - theta))
    v = quantizer_v((1.0 - z) * h + z * (h - theta))
    return quantizers.quantizer_act(z * quantizer_v(theta)), v
