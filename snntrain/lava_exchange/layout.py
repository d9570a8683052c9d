"""Time first, as here, or last, as in lava-dl."""

import torch
from torch import Tensor, nn

from snntrain.arguments import invalid


def TNX_to_NXT(x_seq: Tensor) -> Tensor:
    """[T, N, *] → [N, *, T], as a view."""
    return x_seq.movedim(0, -1)


def NXT_to_TNX(x_seq: Tensor) -> Tensor:
    """[N, *, T] → [T, N, *], as a view."""
    return x_seq.movedim(-1, 0)


def lava_neuron_forward(lava_neuron: nn.Module, x_seq: Tensor, v: Tensor | float) -> tuple[Tensor, Tensor]:
    """Run a neuron of lava-dl on a sequence in our layout.

    Args:
        lava_neuron: e.g. slayer.neuron.cuba.Neuron. Its current goes on from where it is; unless its persistent_state
            is set, both states are afterwards what they were.
        x_seq: [T, N, *].
        v: potential before the first step, [N, *] or a number.

    Returns: spikes [T, N, *], and the potential after the last step, [N, *].
    Raises: ValueError if v has another shape.
    """
    step = x_seq[0]
    v = v if isinstance(v, Tensor) else torch.full_like(step, v)
    if v.shape != step.shape:
        raise invalid("lava_neuron_forward", "v", f"a number or of one step's shape {list(step.shape)}", list(v.shape))
    flat = x_seq.dim() == 2  # lava-dl wants a dim between batch and time
    x, v = (x_seq.unsqueeze(2), v.unsqueeze(1)) if flat else (x_seq, v)
    kept = lava_neuron.persistent_state, lava_neuron.current_state, lava_neuron.voltage_state
    try:
        # Only with it the last state is kept.
        lava_neuron.persistent_state, lava_neuron.voltage_state = True, v
        if lava_neuron.current_state.shape != v.shape:
            lava_neuron.current_state = torch.zeros_like(v)
        spikes = NXT_to_TNX(lava_neuron(TNX_to_NXT(x).contiguous()))
        v = lava_neuron.voltage_state
    finally:
        lava_neuron.persistent_state = kept[0]
        if not kept[0]:
            lava_neuron.current_state, lava_neuron.voltage_state = kept[1:]
    return (spikes.squeeze(2), v.squeeze(1)) if flat else (spikes, v)
