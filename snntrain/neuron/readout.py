"""Neurons that integrate and never fire: the membrane potential is the output."""

import torch
from torch import Tensor

from snntrain.arguments import invalid, real
from snntrain.base import MemoryModule
from snntrain.registry import register

DECODES = ("last-mem", "max-mem", "mean-mem", "max-abs-mem")


def decoded(v_seq: Tensor, decode: str | None) -> Tensor:
    """Reduce the potentials v_seq [T, N, *] of a sequence over time: [N, *], or all of them if decode is None."""
    if decode is None:
        return v_seq
    if decode == "last-mem":
        return v_seq[-1]
    if decode == "mean-mem":
        return v_seq.mean(0)
    highest = v_seq.amax(0)
    if decode == "max-mem":
        return highest
    lowest = v_seq.amin(0)
    return torch.where(highest.abs() > lowest.abs(), highest, lowest)


class NonSpikingNode(MemoryModule):
    """Base of the readout neurons: charge is the whole step.

    It is not a BaseNode: callbacks that count spikes, and converters of spiking layers, must pass it over.

    Args:
        decode: what mode 'm' returns: None: the potentials of all steps; 'last-mem', 'max-mem', 'mean-mem': the last,
            highest, mean potential over T; 'max-abs-mem': the one farthest from 0, with its sign (the negative one if
            two are equally far). '_' may be written for '-'. Mode 's' returns the potential after the step.
        step_mode: 's', x is [N, *], or 'm', x is [T, N, *].

    Shapes: 's': [N, *]; 'm': [T, N, *], or [N, *] with decode.
    """

    state_names = ("v",)

    def __init__(self, decode: str | None = None, step_mode: str = "m") -> None:
        super().__init__(step_mode)
        name = decode.replace("_", "-") if isinstance(decode, str) else decode
        if name is not None and name not in DECODES:
            raise invalid(self, "decode", "None or one of " + ", ".join(map(repr, DECODES)), decode)
        self.decode = name
        self.register_memory("v", 0.0)

    def charge(self, x: Tensor, v: Tensor, *parameters: Tensor) -> Tensor:
        """Potential v' after the input x arrived."""
        raise NotImplementedError(f"{type(self).__name__} must define charge(x, v).")

    def step(self, x: Tensor, v: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """One time step, as BaseNode.step: (x, *states, *parameters) → (output, *new states)."""
        v_new = self.charge(x, v, *parameters)
        return v_new, v_new

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        """Scalars that `charge` takes after v, as BaseNode.step_parameters."""
        return ()

    def single_step_forward(self, x: Tensor) -> Tensor:
        return self._potentials(x[None])[0]  # a copy: the caller may change it in place, the state must not follow

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        return decoded(self._potentials(x_seq), self.decode)

    def _potentials(self, x_seq: Tensor) -> Tensor:
        like = {"dtype": x_seq.dtype, "device": x_seq.device}
        parameters = [torch.full((), value, **like) for value in self.step_parameters(x_seq.dtype)]
        potentials = []
        for x in x_seq.unbind(0):
            # Behind a view the gradients of one step are added up first: all step modes round alike.
            v, self.v = self.step(x, self.v.view_as(self.v), *parameters)
            potentials.append(v)
        return torch.stack(potentials)


@register("neuron")
class NonSpikingIFNode(NonSpikingNode):
    """Integrator that never fires.

    Charge: v' = v + x.

    Args, Shapes: as in NonSpikingNode.
    Source: Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4, without its threshold.
    """

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x


@register("neuron")
class NonSpikingLIFNode(NonSpikingNode):
    """Leaky integrator that never fires.

    Charge: v' = v + (x − v)/tau.

    Args:
        tau: membrane time constant in time steps, > 1.
        Others as in NonSpikingNode.

    Shapes: as in NonSpikingNode.
    Source: Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4, without its threshold.
    """

    def __init__(self, tau: float = 2.0, decode: str | None = None, step_mode: str = "m") -> None:
        super().__init__(decode, step_mode)
        self.tau = real(self, "tau", tau, above=1)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        return (self.tau,)

    def charge(self, x: Tensor, v: Tensor, tau: Tensor) -> Tensor:
        return v + (x - v) / tau
