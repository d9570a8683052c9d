"""States left over from an earlier batch: how to tell that their graph is gone, and an error that says what to do.

A state carries the graph of the steps before. If reset() is forgotten, the next backward runs into the graph of the
last one, whose tensors are freed, and torch speaks of a "backward through the graph a second time". Whether that will
happen can be seen when the next batch comes in; looking costs something, so it is done only after a backward.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from snntrain.error import UsageError

_MOST_NODES = 256  # of a graph are looked at: freed tensors are found close to the state
_backwards = 0
_saved_names: dict[type, tuple[str, ...]] = {}


def note_backward() -> None:
    """Count a backward pass; the backward of every spike calls it."""
    global _backwards
    if not torch.compiler.is_compiling():
        _backwards += 1


def backwards() -> int:
    """The number of backward passes through spikes so far."""
    return _backwards


def graph_is_freed(state: Tensor) -> bool:
    """Whether a backward through the graph of this state would find tensors that the last backward freed."""
    if torch._C._current_graph_task_id() != -1:
        return False  # checkpointing repeats a forward inside backward, with the graph that is being used up
    waiting, seen = [state.grad_fn], {state.grad_fn}
    while waiting and len(seen) < _MOST_NODES:
        node = waiting.pop(0)
        try:
            for name in _saved(node):
                getattr(node, name)
        except RuntimeError as error:
            if "already been freed" in str(error):
                return True
        following = {source for source, _ in node.next_functions if source is not None} - seen
        waiting += following
        seen |= following
    return False


def _saved(node: Any) -> tuple[str, ...]:
    names = _saved_names.get(type(node))
    if names is None:
        names = tuple(name for name in dir(node) if name.startswith("_saved_") or name == "saved_tensors")
        _saved_names[type(node)] = names
    return names


class ThroughFreedGraph(torch.autograd.Function):
    """The state unchanged; a backward pass through it raises the given error instead of torch's."""

    @staticmethod
    def forward(ctx: Any, state: Tensor, error: Exception) -> Tensor:
        ctx.error = error
        return state.view_as(state)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> NoReturn:
        raise ctx.error


class LeftoverStateError(UsageError, RuntimeError):
    """Raised for a module that keeps a state from one batch to the next and has no reset()."""


@contextlib.contextmanager
def naming_what_was_not_reset(net: nn.Module) -> Iterator[None]:
    """Replace torch's error by one that names the module of a reset net that kept a state nevertheless."""
    try:
        yield
    except RuntimeError as error:
        if not any(text in str(error) for text in ("already been freed", "Inference tensors cannot be saved")):
            raise
        kept = next(_kept_states(net), "a module of the network")
        raise LeftoverStateError(
            f"{kept} keeps a state from one batch to the next. Give the module a method reset() that forgets it; the "
            "framework calls it before each batch."
        ) from error


def _kept_states(net: nn.Module) -> Iterator[str]:
    """Where modules hold, as plain attributes, tensors that have a graph or come from inference mode."""
    for path, module in net.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and (value.grad_fn is not None or value.is_inference()):
                yield f"{path or 'the network'} ({type(module).__name__}.{name})"
