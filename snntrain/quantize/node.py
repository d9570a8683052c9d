"""Quantized neurons: integrate-and-fire with and without a leak."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import flag, invalid, real
from snntrain.base import MemoryModule
from snntrain.neuron.base_node import BaseNode, HardReset
from snntrain.neuron.linear_form import LinearForm
from snntrain.quantize import qualia
from snntrain.quantize.arithmetic import (
    EXACT,
    MOST_V_BITS,
    Leak,
    fitted,
    leak_of,
    multiples,
    power_of_two_above,
    rounded,
    shifted,
)
from snntrain.quantize.current import Current, along_channels, common_fractional_bits
from snntrain.quantize.params import QuantParams
from snntrain.quantize.quantizer import Quantizer
from snntrain.registry import register


class QuantizedNode(BaseNode):
    """Base of the quantized neurons.

    In mode 'integer' the potential is the integer u = (v − v_reset)/v_step, as float. It starts at 0, where hard reset
    goes to as well:

    u' = leak(u),  h = fit(u' + I),  s = Θ(h − θ),  u = h − θ·s (soft reset) or h·(1 − s) (hard reset).

    fit saturates or wraps at v.bits bits. θ is an integer, v_step so large that θ is at most 1/margin of the largest
    potential (as large with hard reset and saturation). The current I is the input rounded to multiples of v_step; in a
    prepared net it is an integer in the step of a Current, shifted. Training and evaluation are the same, and
    hyper-parameters stay as they are.

    In mode 'qualia' potential and hyper-parameters are rounded by one quantizer, as in qualia-plugin-snn 2.6.0.

    Args:
        quant_params: see QuantParams; kind 'v' is the potential.
        rate: the part of the potential that is lost in one step; None: nothing.
        gain: the input is divided by it; potential and threshold are held gain times as large instead.
        Others as in BaseNode.

    Attributes:
        v: u in mode 'integer', the potential in mode 'qualia'.
        leak: a Leak, or None.
        current: the Current that the input counts in, or None.
        divisor: so many of its steps are worth one.
        shift: the potential's step is 2^shift steps of the current.
        theta_value: (v_threshold − v_reset)·gain, [1], or [C] in a net that ann2snn made.
        threshold_grid: above 1, integer thresholds are multiples of it, plus 1.
        v_start: what v − v_reset starts from, in the units of the input, or None for 0.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); output of the same shape.
    """

    state_names = ("v", "theta")

    theta_value: Tensor
    v_start: Tensor | None

    def __init__(
        self,
        quant_params: Mapping[str, Any] | QuantParams,
        rate: float | None = None,
        gain: float = 1.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        step_mode: str = "s",
        backend: str = "torch",
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        store_v_seq: bool = False,
    ) -> None:
        params = QuantParams.of(quant_params)
        self.mode, self.overflow = params.mode, params.overflow
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        self.quant_params, self.v_params = params.as_dict(), params.kind("v")
        height = self.v_threshold - (0.0 if self.v_reset is None else self.v_reset)
        if self.mode == "qualia":
            if backend == "fused":
                raise self._not_fused("in mode 'qualia' only the loop serves")
            for kind in ("input", "v", "act"):
                setattr(self, f"quantizer_{kind}", Quantizer(params, kind))
            return
        self._check_params()
        if height <= 0:
            raise invalid(self, "v_threshold", f"> {-height + self.v_threshold:g} (the potential at rest)", v_threshold)
        self.leak: Leak | None = None if rate is None else leak_of(rate, params.leak, self.v_params.roundtype)
        self.surrogate_scale = height
        self.register_buffer("theta_value", torch.tensor([gain * height]))
        self.register_buffer("v_start", None)
        self.current: Current | None = None
        self.shift, self.divisor, self.threshold_grid = 0, 1, 1
        step = self.theta_value / self.largest_threshold
        self.v_step = float(power_of_two_above(step) if self.v_params.power_of_two else step)
        if "theta" in self.state_names:
            self.register_memory("theta", 0.0)

    def _check_params(self) -> None:
        if self.v_params.bits > MOST_V_BITS:
            raise invalid(self, "v.bits", f"at most {MOST_V_BITS} in mode 'integer'", self.v_params.bits)
        for name, expected in (("quant_enable", True), ("is_asymmetric", False), ("force_q", None)):
            if getattr(self.v_params, name) != expected:
                raise invalid(self, f"v.{name}", f"{expected} in mode 'integer'", getattr(self.v_params, name))

    @property
    def rest(self) -> float:
        return 0.0 if self.mode == "integer" else super().rest

    # --- integers and what they are worth ----------------------------------------------------------------------------

    def attach(self, current: Current, divisor: int = 1) -> None:
        """Take integers in the step of a current from now on; `divisor` of its steps are worth one."""
        self.current, self.divisor = current, divisor

    def start_at(self, v: Tensor) -> None:
        """Start from this v − v_reset after each reset, in the units of the current: [1], [C] or [C, *]."""
        self.register_buffer("v_start", v.detach().clone())

    @property
    def rounding(self) -> str:
        """How the input is rounded to steps of the potential."""
        return self.v_params.roundtype

    @property
    def largest_threshold(self) -> int:
        """The largest integer threshold that leaves the margin.

        Hard reset forgets what is above the threshold: there nothing is lost if potentials saturate at it.
        """
        if self.v_reset is not None and self.overflow == "saturate":
            return self.v_params.largest
        return max(1, int(self.v_params.largest / self.v_params.margin))

    def potential_step(self) -> Tensor:
        """What a step of the potential is worth in the units of the input, [1] or [C]."""
        if self.current is None:
            return torch.full_like(self.theta_value, self.v_step)
        return self.current.value().detach() * (2.0**self.shift / self.divisor)

    def threshold(self) -> Tensor:
        """The integer threshold, [1] or [C]."""
        step, grid, largest = self.potential_step(), self.threshold_grid, self.v_params.largest
        if grid > 1:
            return grid * multiples(self.theta_value - step, grid * step, largest // grid) + 1
        return multiples(self.theta_value, step, largest)

    def start(self) -> Tensor:
        """The integers that u starts from, in the shape of v_start."""
        step = self.potential_step()
        if self.v_start.dim() > 1:
            step = along_channels(step, self.v_start.unsqueeze(0))[0]
        return rounded(self.v_start / step, "nearest").clamp(self.v_params.smallest, self.v_params.largest)

    def room_for_rounding(self) -> int:
        """How far sums of inputs must stay below 2^24."""
        half = 2 ** max(self.shift - 1, 0)
        return half + (2**self.bits if self.overflow == "wrap" else 0)

    # --- dynamics ----------------------------------------------------------------------------------------------------

    def charge(self, x: Tensor, v: Tensor, *parameters: Tensor) -> Tensor:
        return self.fit(self.sum_of(x, v, *parameters))

    def fit(self, h: Tensor) -> Tensor:
        """h in the bits of the potential."""
        return fitted(h, self.v_params.bits, self.overflow)

    def sum_of(self, x: Tensor, v: Tensor, *parameters: Tensor) -> Tensor:
        """What is left of the potential and the input, before it is made to fit."""
        u = v if self.leak is None else self.leak(v)
        return u + self.incoming(x, *parameters)

    def incoming(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """The input in steps of the potential."""
        if self.current is not None:
            return shifted(x, self.shift, self.rounding)
        return rounded((x / parameters[0]).clamp(-EXACT / 4, EXACT / 4), self.rounding)

    def fire(self, h: Tensor, theta: Tensor | None = None) -> Tensor:
        theta = self.theta if theta is None else theta
        return self.surrogate_function((h - theta) * (self.surrogate_scale / theta))

    def reset_potential(self, h: Tensor, s: Tensor, theta: Tensor | None = None) -> Tensor:
        s_d = s.detach() if self.detach_reset else s
        if self.v_reset is not None:
            return HardReset.apply(h, s_d, 0.0, True)
        return h - s_d * (self.theta if theta is None else theta)

    def step(self, x: Tensor, v: Tensor, theta: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        theta = theta.detach()
        total = self.sum_of(x, v, *parameters)
        if self.overflow == "wrap":
            h = self.fit(total)
            s = self.fire(h, theta)
            return s, self.reset_potential(h, s, theta), theta
        # Saturated or not, a potential is on the same side of the threshold. The gradients of spikes are taken before:
        # they must reach neurons that saturate.
        s = self.fire(total, theta)
        if self.v_reset is None:
            return s, self.reset_potential(self.fit(total), s, theta), theta
        return s, self.fit(self.reset_potential(total, s)), theta

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return () if self.current is not None else (self.v_step,)

    def linear_form(self) -> LinearForm | None:
        tau = self.hyperparameters().tau
        decay = 0.0 if tau is None else 1.0 / tau
        gain = decay if decay and self.decay_input else 1.0
        return LinearForm.of(self, voltage_decay=decay, gain=gain, rest=self.v_reset or 0.0)

    def forward(self, x: Tensor) -> Any:
        if self.mode == "qualia":
            return MemoryModule.forward(self, x)
        self.check_input(x)
        self._make_ready(x if self.step_mode == "s" else x[0])
        return super().forward(x)

    def single_step_forward(self, x: Tensor) -> Tensor:
        if self.mode == "qualia":
            return self._qualia_step(x)
        self._make_ready(x)
        return super().single_step_forward(x)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        if self.mode != "qualia":
            return super().multi_step_forward(x_seq)
        outputs, potentials = [], []
        for x in x_seq.unbind(0):
            outputs.append(self.single_step_forward(x))
            potentials.append(self.v)
        if self.store_v_seq:
            self.v_seq = torch.stack(potentials)
        return torch.stack(outputs)

    def _make_ready(self, x: Tensor) -> None:
        """Give the states the shape of the one-step input x, where a reset has emptied them."""
        if isinstance(self.v, float) and self.v_start is not None:
            self.v = along_channels(self.start().to(x.dtype), x).expand(x.shape).clone()
        if "theta" in self.state_names:
            self.theta = along_channels(self.threshold().to(x.dtype), x).expand(x.shape)

    # --- mode 'qualia' -----------------------------------------------------------------------------------------------

    def hyperparameters(self) -> qualia.Hyperparameters:
        """Threshold, reset and time constant as they are now; in mode 'qualia' they drift."""
        return qualia.Hyperparameters(self.v_threshold, self.v_reset, getattr(self, "tau", None))

    def _keep(self, values: qualia.Hyperparameters) -> None:
        self.v_threshold, self.v_reset = values.v_threshold, values.v_reset
        if values.tau is not None:
            self.tau = values.tau

    def neuronal_charge(self, x: Tensor) -> None:
        if self.mode == "integer":
            self._make_ready(x)
            super().neuronal_charge(x)
        else:
            decay_input = getattr(self, "decay_input", True)
            self.v = qualia.charge(x, self.v, self.hyperparameters(), decay_input, self.training)

    def _qualia_step(self, x: Tensor) -> Tensor:
        s, self.v, values = qualia.neuron_step(
            x,
            self.v,
            self.hyperparameters(),
            self,
            self.surrogate_function,
            getattr(self, "decay_input", True),
            self.detach_reset,
            self.training,
        )
        self._keep(values)
        return s

    def get_hyperparams_tensor(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """v_threshold, for neurons with a leak 1/tau, and v_reset if it is not None: [1 … 3]."""
        return self.hyperparameters().tensor(device, dtype)

    def quantize_v_and_hyperparams(self) -> None:
        """Round the potential to what it can hold, in mode 'qualia' with the hyper-parameters, which are overwritten.

        In mode 'integer' they are not: threshold and leak are integers of their own.
        """
        if self.mode == "integer":
            self.v = self.fit(rounded(torch.as_tensor(self.v), self.v_params.roundtype))
            return
        self.v, values = qualia.quantize_together(torch.as_tensor(self.v), self.hyperparameters(), self.quantizer_v)
        self._keep(values)

    # --- what is saved and shown -------------------------------------------------------------------------------------

    @property
    def bits(self) -> int:
        """Bits of potential and threshold."""
        return self.v_params.bits

    @property
    def fractional_bits(self) -> int | None:
        """Fractional bits of potential and threshold; None if their steps are not one power of two."""
        return (
            self.quantizer_v.fractional_bits if self.mode == "qualia" else common_fractional_bits(self.potential_step())
        )

    weights_bits, weights_q = bits, fractional_bits

    def get_extra_state(self) -> dict[str, Any]:
        if self.mode == "qualia":
            return dict(vars(self.hyperparameters()))
        leak = None if self.leak is None else dict(vars(self.leak))
        return {"shift": self.shift, "divisor": self.divisor, "v_step": self.v_step, "leak": leak}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if self.mode == "qualia":
            self._keep(qualia.Hyperparameters(**state))
            return
        self.shift, self.divisor, self.v_step = int(state["shift"]), int(state["divisor"]), float(state["v_step"])
        self.leak = None if state["leak"] is None else Leak(**state["leak"])

    def settings(self) -> dict[str, Any]:
        return {"mode": self.mode, "bits": self.bits, **super().settings()}


@register("neuron")
class QuantizedIFNode(QuantizedNode, positional=True, without=("rate", "gain")):
    """Quantized integrate-and-fire neuron.

    Charge: v + x, in the arithmetic of QuantizedNode.

    Args:
        quant_params: mapping or QuantParams, see there.
        Others as in BaseNode.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Source: Novac et al., Sensors 2021, 10.3390/s21092984 (mode 'qualia').
    """

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)


@register("neuron")
class QuantizedLIFNode(QuantizedNode, positional=True, without=("rate", "gain")):
    """Quantized leaky integrate-and-fire neuron.

    Charge: v + (x − (v − v_reset))/tau, or without decay_input v − (v − v_reset)/tau + x, in the arithmetic of
    QuantizedNode.

    Args:
        quant_params: mapping or QuantParams, see there; its `leak` is how 1/tau is applied.
        tau: membrane time constant in time steps, > 1.
        decay_input: divide the input by tau as well.
        Others as in BaseNode.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes of the same shape.
    Source: Novac et al., Sensors 2021, 10.3390/s21092984 (mode 'qualia').
    """

    def __init__(
        self,
        quant_params: Mapping[str, Any] | QuantParams,
        tau: float = 2.0,
        decay_input: bool = True,
        **common: Any,
    ) -> None:
        self.tau = real(self, "tau", tau, above=1)
        self.decay_input = flag(self, "decay_input", decay_input)
        gain = self.tau if self.decay_input else 1.0
        super().__init__(quant_params, rate=1.0 / self.tau, gain=gain, **common)

    def settings(self) -> dict[str, Any]:
        return {"tau": self.tau, "decay_input": self.decay_input, **super().settings()}
