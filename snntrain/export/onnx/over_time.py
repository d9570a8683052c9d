"""A module that carries a state as one `scan` over time, so that an exported graph does not grow with T."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from snntrain.base import MemoryModule
from snntrain.functional import reset_net, set_step_mode, stateful_modules
from snntrain.hooks import carries_state

State = tuple[MemoryModule, str]


class OverTime(nn.Module):
    """Run a module with states on a sequence [T, N, *] as a scan, whose body is one step of it.

    For torch.export only: the body is traced, with the states as what is carried from step to step.

    Args:
        unit: a neuron, a recurrent container, a synapse filter … whose states are all tensors once it has run a step;
            in eval mode.
    """

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        set_step_mode(unit, "s")
        self.unit = unit

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # a container may read the settings of its neuron
            return getattr(super().__getattr__("unit"), name)

    def forward(self, x_seq: Tensor) -> Tensor:
        from torch._higher_order_ops.scan import scan_op  # takes long to import, and only exports need it

        reset_net(self.unit)
        start = {state: getattr(*state) for state in _states(self.unit)}
        self.unit(x_seq[0])  # what shapes and dtypes the states have
        init = [_as_tensor(value, getattr(*state)) for state, value in start.items()]
        fixed = dict(self.unit.named_parameters()) | dict(self.unit.named_buffers())

        def step(*inputs: Tensor) -> tuple[Tensor, ...]:
            carried, (x, *values) = inputs[: len(start)], inputs[len(start) :]
            for (module, name), value in zip(start, carried, strict=True):
                setattr(module, name, value)
            y = functional_call(self.unit, dict(zip(fixed, values, strict=True)), (x,))
            # scan refuses outputs that share memory with each other or with inputs
            return tuple(each.clone() for each in (*(getattr(*state) for state in start), y))

        *_, y_seq = scan_op(step, init, [x_seq], tuple(fixed.values()))
        return y_seq


def _states(unit: nn.Module) -> list[State]:
    return [(module, name) for _, module in stateful_modules(unit) for name, _ in module.named_memories()]


def _as_tensor(start: float | Tensor, like: Tensor) -> Tensor:
    return start.clone() if isinstance(start, Tensor) else torch.full_like(like, start)


def can_scan(unit: nn.Module) -> bool:
    """Whether all that a module carries from step to step is registered, and is a number or a tensor.

    Not so of a queue of spikes or of a counter of steps that chooses parameters: torch.export unrolls their loops.
    """
    if any(carries_state(module) and not isinstance(module, MemoryModule) for module in unit.modules()):
        return False
    values: list[Any] = [value for _, module in stateful_modules(unit) for value in module.memories()]
    return "s" in unit.supported_step_mode() and all(isinstance(value, (float, Tensor)) for value in values)
