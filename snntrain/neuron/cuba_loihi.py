"""Loihi's current-based LIF neuron, trained with the integers that the chip computes with."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import integer, invalid, real
from snntrain.neuron.cuba import CurrentBasedNode
from snntrain.neuron.cuba_arithmetic import (
    DECAY_BITS,
    STATE_BITS,
    LeakyIntegratorStep,
    is_power_of_two,
    quantize_8b,
    step_quantize,
)
from snntrain.neuron.linear_form import LinearForm, NoLinearForm
from snntrain.registry import register

LARGEST_THRESHOLD = 2**17 - 1  # what the chip can hold, in steps of the weights
_LEAST = 1e-30  # a surrogate fires at 0, and not at −1e-30


def alias(state: str) -> property:
    """lava-dl's name of a state."""
    return property(lambda node: getattr(node, state), lambda node, value: setattr(node, state, value))


@register("neuron")
class CubaLIFNode(CurrentBasedNode, positional=True):
    """Current-based LIF neuron with Loihi's integer dynamics; FloatCubaLIFNode has the same ones in floating point.

    In integers, with u = current·64·scale, v = potential·64·scale, and trunc toward 0:

        u' = trunc(u·(4096 − iDecay)/4096) + 64·scale·x
        h  = trunc(v·(4096 − vDecay)/4096) + u'
        s  = h > 64·vThMant,   v' = 0 where s, else h

    with iDecay = round(4096·current_decay), vDecay = round(4096·voltage_decay), vThMant = ⌊scale·v_threshold⌋. At the
    threshold it does not fire. Gradients are those without rounding and truncation.

    Inputs are exact where weights are multiples of 1/scale, as quantize_8b makes them; what else comes in is truncated
    to multiples of 1/(64·scale) (rounded, if scale is not a power of two). The chip's limits to 24 bits of u and v are
    not imitated.

    Args:
        v_threshold: ≥ 0, and with scale at most 131071/scale.
        v_reset: 0, the only one that the chip knows.
        scale: weights are counted in steps of 1/scale; an integer ≥ 1.
        norm: applied in every step to the current that reaches the potential, e.g. lava_exchange.BatchNorm2d; its
            pre_hook_fx becomes quantize_8bit. Backend 'torch' then.

    Attributes:
        current_state, voltage_state: the states i and v, in units of v_threshold.

    Source: Davies et al. (Loihi), IEEE Micro 2018; Shrestha & Orchard (SLAYER), NeurIPS 2018.
    """

    def __init__(
        self,
        current_decay: float,
        voltage_decay: float,
        v_threshold: float = 1.0,
        v_reset: float = 0.0,
        scale: int = 64,
        requires_grad: bool = False,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        norm: nn.Module | None = None,
        **common: Any,
    ) -> None:
        super().__init__(
            current_decay,
            voltage_decay,
            v_threshold,
            v_reset,
            requires_grad,
            surrogate_function=surrogate_function,
            **common,
        )
        if self.v_reset != 0:
            raise invalid(self, "v_reset", "0 (the chip has no other reset)", v_reset)
        self._scale = integer(self, "scale", scale, at_least=1)
        real(self, "v_threshold", v_threshold, at_least=0, at_most=LARGEST_THRESHOLD / self._scale)
        self.norm: nn.Module | None = None
        if norm is not None:
            self.attach_norm(norm)

    def attach_norm(self, norm: nn.Module) -> None:
        """Apply norm to the current in every step.

        Raises: ValueError if it is no module, or if there is one already.
        """
        if self.norm is not None or not isinstance(norm, nn.Module):
            expected = "a module such as lava_exchange.BatchNorm2d, once"
            raise invalid(self, "norm", expected, norm)
        if hasattr(norm, "pre_hook_fx"):
            norm.pre_hook_fx = functools.partial(quantize_8b, scale=self.scale)
        self.norm = norm

    # --- the dynamics ------------------------------------------------------------------------------------------------

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        """iDecay and vDecay."""
        decays = self.current_decay, self.voltage_decay
        if self.requires_grad:
            return tuple(step_quantize(decay.to(dtype).clamp(0.0, 1.0) * self.p_scale) for decay in decays)
        return tuple(float(round(decay * self.p_scale)) for decay in decays)

    def current(self, x: Tensor, i: Tensor, current_decay: Tensor, *parameters: Tensor) -> Tensor:
        return LeakyIntegratorStep.apply(x, current_decay, i, self.s_scale)

    def charge(self, i: Tensor, v: Tensor, current_decay: Tensor, voltage_decay: Tensor) -> Tensor:
        i = i if self.norm is None else self.norm(i)
        return LeakyIntegratorStep.apply(i, voltage_decay, v, self.s_scale)

    def fire(self, h: Tensor) -> Tensor:
        """Spikes of the potentials above the threshold."""
        # Where floats are exact the least margin does; elsewhere one that no rounding of h reaches.
        margin = _LEAST if is_power_of_two(self.scale) else 0.5 / self.s_scale
        return self.surrogate_function(h - self.threshold_mantissa / self.scale - margin)

    def reason_against_fusion(self) -> str | None:
        return super().reason_against_fusion() if getattr(self, "norm", None) is None else "its norm mixes neurons"

    # --- parameters of the chip --------------------------------------------------------------------------------------

    @property
    def scale(self) -> int:
        """Integers per unit of a weight."""
        return self._scale

    @property
    def s_scale(self) -> int:
        """Integers per unit of a state."""
        return self._scale * 2**STATE_BITS

    @property
    def p_scale(self) -> int:
        """Integers per unit of a decay."""
        return 2**DECAY_BITS

    @property
    def threshold_mantissa(self) -> int:
        """vThMant: the threshold in steps of the weights."""
        return int(self.v_threshold * self.scale)

    def chip_parameters(self) -> dict[str, int]:
        """iDecay, vDecay and vThMant, by these names, as a netx file holds them."""
        i_decay, v_decay = (int(decay) for decay in self.step_parameters(torch.float32))
        return {"iDecay": i_decay, "vDecay": v_decay, "vThMant": self.threshold_mantissa}

    def linear_form(self) -> LinearForm | None:
        if self.norm is not None:
            reason = "its norm acts on the current in every step, and exported files have no place for it"
            raise NoLinearForm(reason, "Put a BatchNorm2d before the neuron, which is folded.")
        chip = self.chip_parameters()
        return LinearForm(
            threshold=torch.tensor([chip["vThMant"] / self.scale], dtype=torch.float64),
            current_decay=chip["iDecay"] / self.p_scale,
            voltage_decay=chip["vDecay"] / self.p_scale,
            fires_at_threshold=False,
            scale=self.scale,
        )

    def quantize_8bit(self, x: Tensor, descale: bool = False) -> Tensor:
        """Weights on the grid of this neuron: quantize_8b with its scale."""
        return quantize_8b(x, self.scale, descale)

    # --- states and settings -----------------------------------------------------------------------------------------

    current_state = alias("i")
    voltage_state = alias("v")
