"""Quadratic and exponential integrate-and-fire neurons: the charge is not linear in the potential."""

import warnings
from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import real
from snntrain.neuron.base_node import BaseNode
from snntrain.registry import register

#: Largest exponent that EIFNode uses: float32 overflows beyond exp(88).
LARGEST_EXPONENT = 80.0


def warn_of_runaway(node: BaseNode) -> None:
    """One UserWarning if nothing bounds the potential of a node whose charge grows faster than the potential."""
    if node.v_reset is None:
        warnings.warn(
            f"{type(node).__name__}: with v_reset=None a strong input can drive the potential to infinity.",
            UserWarning,
            stacklevel=4,
        )


def require_reset_below(node: BaseNode, v_rest: float) -> None:
    """Refuse a reset value that is above the rest or not below the threshold."""
    if node.v_reset is not None:
        real(node, "v_threshold", node.v_threshold, above=node.v_reset, alternative=" (v_reset)")
        real(node, "v_rest", v_rest, at_least=node.v_reset, alternative=" (v_reset)")


@register("neuron")
class QIFNode(BaseNode, positional=True):
    """Quadratic integrate-and-fire neuron.

    Charge: h = v + (x + a0·(v − v_rest)·(v − v_c))/tau; above v_c the potential runs away upwards on its own.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_c: critical potential, finite.
        a0: sharpness of the quadratic, > 0.
        v_rest: resting potential, ≥ v_reset.
        v_reset: as in BaseNode, < v_threshold; the potential starts here, not at v_rest.

    Warns if v_reset is None.
    Source: Ermentrout, Neural Computation 1996; Gerstner et al., Neuronal Dynamics, 2014, ch. 5.
    """

    def __init__(
        self,
        tau: float = 2.0,
        v_c: float = 0.8,
        a0: float = 1.0,
        v_threshold: float = 1.0,
        v_rest: float = 0.0,
        v_reset: float | None = -0.1,
        **common: Any,
    ) -> None:
        super().__init__(v_threshold=v_threshold, v_reset=v_reset, **common)
        self.tau = real(self, "tau", tau, above=1)
        self.v_c = real(self, "v_c", v_c)
        self.a0 = real(self, "a0", a0, above=0)
        self.v_rest = real(self, "v_rest", v_rest)
        require_reset_below(self, v_rest)
        warn_of_runaway(self)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return (self.tau,)

    def charge(self, x: Tensor, v: Tensor, tau: Tensor) -> Tensor:
        return v + (x + self.a0 * (v - self.v_rest) * (v - self.v_c)) / tau


@register("neuron")
class EIFNode(BaseNode, positional=True):
    """Exponential integrate-and-fire neuron; for delta_T → 0 a LIF neuron with a resting potential.

    Charge: h = v + (x + v_rest − v + delta_T·e)/tau, e = exp((v − theta_rh)/delta_T).

    The exponent is held at 80 at most, where its gradient is 0, so that e cannot overflow.

    Args:
        tau: membrane time constant in time steps, > 1.
        delta_T: sharpness of the spike's onset, > 0.
        theta_rh: rheobase threshold, where the onset begins, finite.
        v_rest: resting potential, ≥ v_reset.
        v_reset: as in BaseNode, < v_threshold; the potential starts here, not at v_rest.

    Warns if v_reset is None.
    Source: Fourcaud-Trocmé et al., J. Neuroscience 2003.
    """

    def __init__(
        self,
        tau: float = 2.0,
        delta_T: float = 1.0,
        theta_rh: float = 0.8,
        v_threshold: float = 1.0,
        v_rest: float = 0.0,
        v_reset: float | None = -0.1,
        **common: Any,
    ) -> None:
        super().__init__(v_threshold=v_threshold, v_reset=v_reset, **common)
        self.tau = real(self, "tau", tau, above=1)
        self.delta_T = real(self, "delta_T", delta_T, above=0)
        self.theta_rh = real(self, "theta_rh", theta_rh)
        self.v_rest = real(self, "v_rest", v_rest)
        require_reset_below(self, v_rest)
        warn_of_runaway(self)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return self.tau, self.delta_T

    def charge(self, x: Tensor, v: Tensor, tau: Tensor, delta_T: Tensor) -> Tensor:
        e = torch.exp(((v - self.theta_rh) / delta_T).clamp(max=LARGEST_EXPONENT))
        return v + (x + self.v_rest - v + delta_T * e) / tau
