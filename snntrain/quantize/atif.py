"""Quantized integrate-and-fire neuron with a learnable threshold."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import real
from snntrain.neuron.linear_form import LinearForm, values_of
from snntrain.quantize import qualia
from snntrain.quantize.arithmetic import ROUND, straight_through
from snntrain.quantize.node import QuantizedNode
from snntrain.quantize.params import QuantParams
from snntrain.registry import register
from snntrain.surrogate import Sigmoid

_SMALLEST = 1e-3  # of thresholds, as in ATIFNode


_FIXED = ("rate", "gain", "v_reset", "detach_reset", "surrogate_function")


@register("neuron")
class QuantizedATIF(QuantizedNode, positional=True, without=_FIXED):
    """Quantized integrate-and-fire neuron with a learnable threshold, one per layer, which is the height of its spikes.

    h = fit(u + I),  z = Θ(h − θ),  u = h − z·θ,  output z·θ·v_step, in the integers of QuantizedNode.

    θ is v_threshold/v_step rounded, v_threshold [1] a parameter that starts at a random value between
    vth_init_l·v_threshold and vth_init_h·v_threshold. The step of the potential stays: it is chosen for the largest of
    these values.

    Args:
        quant_params: mapping or QuantParams, see there.
        v_threshold: scale of the initial threshold, > 0.
        vth_init_l, vth_init_h: 0 < vth_init_l ≤ vth_init_h.
        alpha: steepness of the Sigmoid surrogate, > 0.
        device: where the threshold is.
        step_mode, backend, store_v_seq: as in BaseNode.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); output of the same shape, 0 or the threshold.
    Source: Castagnetti et al., Frontiers in Neuroscience 2023, 10.3389/fnins.2023.1154241.
    """

    state_names = ("v",)

    def __init__(
        self,
        quant_params: Mapping[str, Any] | QuantParams,
        v_threshold: float = 1.0,
        vth_init_l: float = 0.8,
        vth_init_h: float = 1.0,
        alpha: float = 1.0,
        device: str = "cpu",
        **common: Any,
    ) -> None:
        v_threshold = real(self, "v_threshold", v_threshold, above=0)
        low = real(self, "vth_init_l", vth_init_l, above=0) * v_threshold
        high = real(self, "vth_init_h", vth_init_h, at_least=vth_init_l) * v_threshold
        surrogate = Sigmoid(real(self, "alpha", alpha, above=0))
        super().__init__(quant_params, v_threshold=high, v_reset=None, surrogate_function=surrogate, **common)
        self.vth_init_l, self.vth_init_h = vth_init_l, vth_init_h
        self.v_threshold = nn.Parameter(torch.empty(1).uniform_(low, high))
        self.to(device)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return self.v_step, self._integer_threshold(self.v_threshold.to(dtype)).reshape(())

    def _integer_threshold(self, threshold: Tensor) -> Tensor:
        theta = straight_through(ROUND["nearest"], threshold.clamp(min=_SMALLEST) / self.v_step)
        return theta.clamp(1, self.v_params.largest)

    def threshold(self) -> Tensor:
        return self._integer_threshold(self.v_threshold).detach()

    def step(self, x: Tensor, v: Tensor, v_step: Tensor, theta: Tensor) -> tuple[Tensor, ...]:
        total = self.sum_of(x, v, v_step)
        h = self.fit(total)
        z = self.surrogate_function(((total if self.overflow == "saturate" else h) - theta) * v_step)
        return z * theta * v_step, h - z * theta

    def linear_form(self) -> LinearForm | None:
        theta = values_of(self.v_threshold).clamp(min=_SMALLEST)
        return LinearForm(threshold=theta, v_reset=None, height=theta)

    def single_step_forward(self, x: Tensor) -> Tensor:
        return self.ifsrl_fn(x)

    def ifsrl_fn(self, x: Tensor) -> Tensor:
        """One step: integrate, fire, soft reset, with the learnable threshold; x [N, *] → z·θ."""
        if self.mode == "integer":
            return self._step_on_states(x, self.parameters_for(x))
        theta = self.v_threshold.clamp(min=_SMALLEST)
        y, self.v = qualia.atif_step(x, self.v, theta, self, self.surrogate_function)
        return y

    def get_coeffs(self) -> Tensor:
        """The threshold as it is used, [1]."""
        if self.mode == "qualia":
            return self.quantizer_v(self.v_threshold)
        return self._integer_threshold(self.v_threshold) * self.v_step

    @torch.no_grad()
    def set_coeffs(self, v_threshold: Tensor) -> None:
        """Set the threshold to the quantized form of another one, [1]."""
        if self.mode == "qualia":
            self.v_threshold.copy_(self.quantizer_v(v_threshold))
        else:
            self.v_threshold.copy_(self._integer_threshold(v_threshold) * self.v_step)

    def hyperparameters(self) -> qualia.Hyperparameters:
        return qualia.Hyperparameters(self.v_threshold.item(), None, None)

    def _keep(self, values: qualia.Hyperparameters) -> None:
        """The threshold is a parameter and stays as it is."""

    def settings(self) -> dict[str, Any]:
        own = {"vth_init_l": self.vth_init_l, "vth_init_h": self.vth_init_h}
        settings = {**super().settings(), "v_threshold": self.v_threshold.item(), **own}
        return {name: value for name, value in settings.items() if name not in ("v_reset", "detach_reset")}
