"""How many membrane potentials change in the steps of a test."""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.layer.padding import padding
from snntrain.neuron import BaseNode
from snntrain.neuron.linear_form import NoLinearForm, linear_form_of

# NeuroBench's operations of one update, by snnTorch's classes: with soft reset, and with hard reset to 0.
_OPERATIONS = {"Leaky": (4, 4), "Synaptic": (6, 8)}


def operations_of_update(neuron: nn.Module) -> int | None:
    """What NeuroBench charges for an update of a neuron's potential; None where it charges nothing for its kind.

    Its table names four classes of snnTorch. A neuron that is the linear recurrence of Leaky (a potential that leaks or
    does not) or of Synaptic (a current, too) is charged as that; Lapicque and Alpha have no counterpart here.
    """
    try:
        form = linear_form_of(neuron)
    except NoLinearForm:
        return None
    if form is None or form.v_reset not in (None, 0.0):
        return None
    soft, hard = _OPERATIONS["Leaky" if form.current_decay == 1 else "Synaptic"]
    return soft if form.v_reset is None else hard


def has_membrane(module: nn.Module) -> bool:
    """Whether a module has a potential that can be watched step by step."""
    return isinstance(module, BaseNode) and "v" in module.state_names


class Membranes:
    """Updates of the potentials of one layer of neurons, in batches that are watched.

    NeuroBench counts each neuron in the first step of a batch, and later those whose potential after a step is not the
    one before.

    Args:
        neuron: one that has a membrane.

    Attributes:
        updates: so far.
        steps: (neuron, step) pairs so far.
    """

    def __init__(self, neuron: BaseNode) -> None:
        self.neuron = neuron
        self.updates: Tensor | float = 0.0
        self.steps = 0
        self._before: Tensor | None = None

    def watch(self, stack: contextlib.ExitStack) -> None:
        """Watch a batch, until the stack is closed."""
        neuron, stored = self.neuron, self.neuron.stored_states
        self._before = None
        if "v" not in stored:
            neuron.stored_states = (*stored, "v")
            stack.callback(setattr, neuron, "stored_states", stored)
        stack.callback(neuron.register_forward_hook(self._look).remove)

    @torch.no_grad()
    def _look(self, neuron: nn.Module, inputs: Any, output: Any) -> None:
        v = neuron.v_seq if neuron.step_mode == "m" else neuron.v[None]
        first = torch.ones_like(v[:1], dtype=torch.bool) if self._before is None else v[:1] != self._before
        changed, now = [first, v[1:] != v[:-1]], padding()
        self._before = v[-1:].clone()
        if now is not None:
            x = torch.cat(changed) if neuron.step_mode == "m" else first[0]
            changed = [x[now.of(self, x)]]
        self.updates = sum(torch.count_nonzero(part) for part in changed) + self.updates
        self.steps += sum(part.numel() for part in changed)
