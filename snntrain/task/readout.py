"""From the output over time to one score per class."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from snntrain.binding import bind_named
from snntrain.neuron import NonSpikingLIFNode
from snntrain.registry import register, table

READOUTS = table("readout")
"""Name → readout, those of plugins included."""


@register("readout")
def rate(y_seq: Tensor) -> Tensor:
    """Mean over T: the firing rate if the outputs are spikes."""
    return y_seq.mean(0)


@register("readout")
def membrane(y_seq: Tensor, readout_tau: float = 2.0) -> Tensor:
    """Potential at the last step of a leaky integrator that never fires: v' = v + (y − v)/readout_tau from v = 0."""
    return NonSpikingLIFNode(readout_tau, decode="last-mem")(y_seq)


@register("readout")
def last(y_seq: Tensor) -> Tensor:
    """The output of the last step."""
    return y_seq[-1]


@register("readout", "max")
def largest(y_seq: Tensor) -> Tensor:
    """The largest output over T."""
    return y_seq.amax(0)


def make_readout(
    setting: Any, offered: Mapping[str, Any] | None = None, path: str = "task.readout"
) -> Callable[[Tensor], Tensor]:
    """Make the function outputs [T, N, K] → scores [N, K] that a setting describes.

    A registered readout is a function of `y_seq`, or a class whose objects are called with it.

    Args:
        setting: a name, {name: …} with the readout's arguments, or the function itself.
        offered: arguments for readouts that take them and whose setting leaves them out.
        path: the setting's place, for errors.

    Raises: ValueError with the nearest name or argument.
    """
    return bind_named("readout", setting, path, ("y_seq",), offered)


def read_out(y_seq: Tensor, readout: Any, tau: float = 2.0) -> Tensor:
    """Scores [N, K] of outputs [T, N, K]: spikes, or the currents of a last layer without neuron.

    Args:
        y_seq: the outputs.
        readout: as in make_readout.
        tau: time constant of the readout 'membrane' in time steps, > 1.

    Source: Eshraghian et al., Proc. IEEE 2023 (survey of readouts and losses).
    """
    return make_readout(readout, {"readout_tau": tau})(y_seq)
