"""Parameters with a value for each channel or step: their shapes in a step, and the inputs that fit them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import integer


def of_step(parameters: Sequence[Tensor], t: int, x: Tensor) -> tuple[Tensor, ...]:
    """Parameters 0-d, [C] or [T, C] in shapes that broadcast with x [N, C, *], the input of step t."""
    return tuple(_of_step(value, t, x) if value.dim() else value for value in parameters)


def _of_step(value: Tensor, t: int, x: Tensor) -> Tensor:
    value = value[t] if value.dim() == 2 else value
    return value.view(()) if value.numel() == 1 else value.view(-1, *[1] * (x.dim() - 2))


def checked_parameter(node: Any, value: float | Tensor, x: Tensor) -> Tensor:
    """A parameter of a BaseNode as a tensor that fits a step x.

    Raises: ValueError for a size that is neither 1 nor the number of channels.
    """
    if not isinstance(value, Tensor):
        return torch.full((), value, dtype=x.dtype, device=x.device)
    if value.dim():
        channels = x.shape[1] // node.branches if x.dim() > 1 else None
        if value.dim() > 2 or value.shape[-1] not in (1, channels):
            raise ValueError(
                f"{node._title()}: step_parameters returns values of shape {list(value.shape)}; for an input "
                f"{list(x.shape)} of one step they must be one number or have one value for each channel, dimension 1"
                + (f", which has {channels}." if channels is not None else ".")
            )
    return value


def channel_count(node: Any, name: str, value: int | None) -> int | None:
    """The argument `name` of a neuron: its number of channels, or None where one value is for all of them."""
    return None if value is None else integer(node, name, value, at_least=1)


def check_channels(node: Any, name: str, channels: int | None, x: Tensor) -> None:
    """Check that the input x of a neuron with parameters per channel has these channels.

    Args:
        node: the neuron.
        name: its argument that says how many.
        channels: how many; None: one value is for all, any input will do.
        x: [N, channels, *] in step mode 's', [T, N, channels, *] in 'm'; times the branches of the neuron.

    Raises: ValueError.
    """
    shape = list(x.shape[node.step_mode == "m" :])
    if channels is None and node.branches > 1 and (len(shape) < 2 or shape[1] % node.branches):
        raise ValueError(
            f"{node._title()}: branches is {node.branches}, so that the input of one step must be [N, C, *] with a "
            f"multiple of {node.branches} channels, got shape {shape}."
        )
    if channels is not None and (len(shape) < 2 or shape[1] != channels * node.branches):
        wanted = channels * node.branches
        of_branches = "" if node.branches == 1 else f" and branches is {node.branches}"
        raise ValueError(
            f"{node._title()}: {name} is {channels}{of_branches}, so that the input of one step must be "
            f"[N, {wanted}, *], got shape {shape}."
        )


def check_number_of_steps(node: Any, T: int, x: Tensor) -> None:
    """Check that a neuron with parameters for each of T steps can take x after those that it has taken.

    Raises: ValueError.
    """
    taken, more = getattr(node, node.step_counter), len(x) if node.step_mode == "m" else 1
    if taken + more > T:
        raise ValueError(
            f"{node._title()}: T is {T}, but {taken} steps were run since the last reset() and {more} more are to "
            "follow. Call functional.reset_net(model) before each batch, or raise T."
        )
