"""From the output over time to one score per class or value.

Where sequences have several lengths, a readout gets `lengths` as well, int64 [N], and looks at no step beyond them. One
that does not take `lengths` is refused for such data.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.binding import bind_named
from snntrain.functional import real_steps
from snntrain.neuron import NonSpikingLIFNode
from snntrain.registry import register, table

READOUTS = table("readout")
"""Name → readout, those of plugins included."""


@register("readout")
def rate(y_seq: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over T: the firing rate if the outputs are spikes."""
    if lengths is None:
        return y_seq.mean(0)
    return y_seq.masked_fill(_padded(y_seq, lengths), 0).sum(0) / lengths.view(-1, *[1] * (y_seq.dim() - 2))


@register("readout")
def membrane(y_seq: Tensor, readout_tau: float = 2.0, lengths: Tensor | None = None) -> Tensor:
    """Potential at the last step of a leaky integrator that never fires: v' = v + (y − v)/readout_tau from v = 0."""
    if lengths is None:
        return NonSpikingLIFNode(readout_tau, decode="last-mem")(y_seq)
    return last(NonSpikingLIFNode(readout_tau)(y_seq), lengths)


@register("readout")
def last(y_seq: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The output of the last step."""
    if lengths is None:
        return y_seq[-1]
    return y_seq[lengths - 1, torch.arange(y_seq.shape[1], device=y_seq.device)]


@register("readout", "max")
def largest(y_seq: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The largest output over T."""
    return (y_seq if lengths is None else y_seq.masked_fill(_padded(y_seq, lengths), -torch.inf)).amax(0)


def after_each_step(read_out: Callable[..., Tensor]) -> Callable[[Tensor], Tensor] | None:
    """What a readout gives after t = 1, …, T steps: outputs [T, N, K] → scores [T, N, K], in one pass.

    None for a readout that is none of those above.
    """
    function = getattr(read_out, "func", read_out)
    if function is rate:
        return lambda y_seq: y_seq.cumsum(0) / torch.arange(1, len(y_seq) + 1, device=y_seq.device).view(-1, 1, 1)
    if function is membrane:
        return NonSpikingLIFNode(membrane_tau(read_out))
    return {last: lambda y_seq: y_seq, largest: lambda y_seq: y_seq.cummax(0).values}.get(function)


def membrane_tau(read_out: Callable[..., Tensor]) -> float | None:
    """The time constant of the readout `membrane`; None for another readout."""
    if getattr(read_out, "func", read_out) is not membrane:
        return None
    return getattr(read_out, "keywords", {}).get("readout_tau", 2.0)


def _padded(y_seq: Tensor, lengths: Tensor) -> Tensor:
    """Whether a step is beyond the end of its sequence: bool [T, N, 1, …] for outputs [T, N, *]."""
    beyond = ~real_steps(lengths, y_seq.shape[0])
    return beyond.view(*beyond.shape, *[1] * (y_seq.dim() - 2))


def takes_lengths(read_out: Callable[..., Tensor]) -> bool:
    """Whether a readout can be told the lengths of sequences."""
    call = read_out.forward if isinstance(read_out, nn.Module) else read_out
    return "lengths" in inspect.signature(call).parameters


def make_readout(
    setting: Any, offered: Mapping[str, Any] | None = None, path: str = "task.readout"
) -> Callable[[Tensor], Tensor]:
    """Make the function outputs [T, N, K] → scores [N, K] that a setting describes.

    A registered readout is a function of `y_seq`, or a class whose objects are called with it, and of `lengths` if it
    can read sequences of several lengths.

    Args:
        setting: a name, {name: …} with the readout's arguments, or the function itself.
        offered: arguments for readouts that take them and whose setting leaves them out.
        path: the setting's place, for errors.

    Raises: ValueError with the nearest name or argument.
    """
    return bind_named("readout", setting, path, ("y_seq", "lengths"), offered)


def read_out(y_seq: Tensor, readout: Any, tau: float = 2.0) -> Tensor:
    """Scores [N, K] of outputs [T, N, K]: spikes, or the currents of a last layer without neuron.

    Args:
        y_seq: the outputs.
        readout: as in make_readout.
        tau: time constant of the readout 'membrane' in time steps, > 1.

    Source: Eshraghian et al., Proc. IEEE 2023 (survey of readouts and losses).
    """
    return make_readout(readout, {"readout_tau": tau})(y_seq)
