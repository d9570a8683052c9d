"""A neuron's dynamics as a linear recurrence with a threshold: all that quantization and export know of it."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

#: What a class may define to change the dynamics: below it, the linear form of a base class no longer holds.
_DYNAMICS = frozenset(
    (
        *("step", "step_parameters", "charge", "charge_states", "current", "activation"),
        *("fire", "reset_potential", "reset_states"),
        *("neuronal_charge", "neuronal_fire", "neuronal_reset", "neuronal_adaptation"),
        *("single_step_forward", "multi_step_forward", "forward", "run"),
    )
)


class NoLinearForm(ValueError):
    """Raised by `linear_form` where the arguments of a neuron leave it without one.

    Args:
        reason: a clause without a full stop.
        remedy: whole sentences.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearForm:
    """A spiking neuron as a linear recurrence with a threshold.

    i' = (1 − current_decay)·i + x + bias
    h  = rest + (1 − voltage_decay)·(v − rest) + gain·i'
    s  = Θ(h − threshold),  v' = v_reset where s = 1, else h; with v_reset None: v' = h − threshold·s
    output height·s

    A neuron that returns one from `linear_form()` can be quantized where its arithmetic allows, and exported to netx
    and NIR; nothing else has to know its class. netx and NIR want v_reset = 0 and have no height, v_start or bias;
    quantization (callbacks.qat) puts a height and a bias into the weights, so that netx takes them after it.

    Attributes:
        threshold: [1] or [C], float64.
        v_reset: potential after a spike (hard reset); None: soft reset.
        current_decay, voltage_decay: parts of current and potential lost per step, in [0, 1].
        gain: what the current is multiplied by, > 0.
        rest: where the leak pulls to.
        height: of a spike, [1] or [C]; None: 1.
        v_start: potential at the start, [1], [C] or [C, *]; None: rest.
        bias: added to the input in each step, [1] or [C]; None: nothing.
        fires_at_threshold: also where h equals the threshold; False: only above it.
        scale: for neurons that compute in Loihi's integers, how many of them make 1; None: floats.
    """

    threshold: Tensor
    v_reset: float | None = 0.0
    current_decay: float = 1.0
    voltage_decay: float = 0.0
    gain: float = 1.0
    rest: float = 0.0
    height: Tensor | None = None
    v_start: Tensor | None = None
    bias: Tensor | None = None
    fires_at_threshold: bool = True
    scale: int | None = None

    @classmethod
    def of(cls, neuron: Any, **own: Any) -> Self:
        """The form of a BaseNode: threshold, v_reset and rest are the neuron's; `own` says what is different."""
        common = {"v_reset": neuron.v_reset, "rest": neuron.rest}
        return cls(threshold=values_of(neuron.v_threshold), **common | own)

    @property
    def only_sums(self) -> bool:
        """Whether potentials are sums of the inputs, because nothing leaks (or all of it does)."""
        return {self.current_decay, self.voltage_decay} <= {0.0, 1.0}


def values_of(value: float | Tensor) -> Tensor:
    """A number or tensor as one dimension of float64."""
    return torch.as_tensor(value, dtype=torch.float64).detach().reshape(-1)


def linear_form_of(neuron: nn.Module) -> LinearForm | None:
    """The linear form of a neuron, or None.

    A subclass that changes the dynamics and states no form of its own has none, whatever its base class states.

    Raises: NoLinearForm where the neuron says why it has none.
    """
    order = type(neuron).__mro__
    author = next((place for place, cls in enumerate(order) if "linear_form" in vars(cls)), None)
    if author is None or any(not _DYNAMICS.isdisjoint(vars(cls)) for cls in order[:author]):
        return None
    with torch.no_grad():
        return neuron.linear_form()
