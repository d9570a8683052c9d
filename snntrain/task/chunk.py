"""A long sequence in chunks: less memory for the activations that backward needs."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from itertools import count

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snntrain import functional
from snntrain.base import MemoryModule, map_tensors
from snntrain.hooks import carries_state, method_of, whole_sequence_module
from snntrain.layer.padding import Padding, padded, padding

GRADIENTS = ("exact", "truncated")


def refuse_unknown_states(owner: str, net: nn.Module, gradient: str) -> None:
    """Refuse modules whose states cannot be handled between chunks: those that do not register them.

    The exact gradient needs to save and restore them, the truncated one to detach them.

    Raises: ValueError naming the first one.
    """
    for path, module in _with_unknown_states(net):
        if gradient == "truncated" and method_of(module, "detach") is not None:
            continue
        remedy = "base it on MemoryModule and register_memory"
        if gradient == "truncated":
            remedy += ", or give it a method detach()"
        raise ValueError(
            f"{owner}: chunk_gradient={gradient} cannot carry the state of {path or 'the network'} "
            f"({type(module).__name__}) from one chunk to the next. Set chunk to null, or {remedy}."
        )


def _with_unknown_states(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of the modules whose states are not registered, so that they cannot be restored."""
    for path, module in net.named_modules():
        if not isinstance(module, MemoryModule) and carries_state(module):
            yield path, module


def refuse_whole_sequence(owner: str, net: nn.Module) -> None:
    """Raises: ValueError naming the first module that must see the whole sequence at once."""
    if (found := whole_sequence_module(net)) is not None:
        path, module = found
        raise ValueError(
            f"{owner}: chunk cuts the sequence, but {path or 'the network'} ({type(module).__name__}) needs all of "
            "it at once. Set chunk to null or choose another layer."
        )


def run_in_chunks(net: nn.Module, x_seq: Tensor, chunk: int, gradient: str = "exact") -> Tensor:
    """Run a network on a sequence, chunk after chunk, with the states carried from each to the next.

    Args:
        net: in step mode 'm', reset, without modules that need the whole sequence.
        x_seq: [T, N, *].
        chunk: time steps of a chunk, ≥ 1; the last one may be shorter.
        gradient: 'exact': the gradient of the whole sequence. 'truncated': the states are detached between chunks, so
            that no gradient goes back further than one chunk.

    The inputs and the states between chunks are kept; backward runs each chunk a second time, so that the activations
    of one chunk exist at a time. Only truncated chunks of a compiled net, whose second run would not be compiled, or of
    one with states that cannot be restored, run once and keep their activations until backward.

    Without gradients both are the same, and give what the whole sequence gives. In training BatchNorm takes the
    statistics of one chunk and updates the running ones once per chunk, and layers that draw at each call draw for each
    chunk. Of padded sequences a chunk's modules are told which of its steps are real, see snntrain.layer.padding.

    Returns: outputs [T, N, *]. The states, and those of every step where a neuron stores them, are those of the whole.
    Source: Chen et al., arXiv 1604.06174 (exact); Williams & Peng, Neural Computation 2(4), 1990 (truncated).
    """
    step, T = functional.repeated_step(x_seq), x_seq.shape[0]
    if chunk >= T:
        return net(x_seq)
    runs_twice = torch.is_grad_enabled() and (gradient == "exact" or _can_repeat(net))
    outputs: list[Tensor] = []
    stored: list[list[Tensor]] = []
    now = padding()
    for first in range(0, T, chunk):
        length = min(chunk, T - first)
        if gradient == "truncated":
            functional.detach_net(net)
        part, repeats = (x_seq[first : first + length], None) if step is None else (step, length)
        lengths = None if now is None else _lengths_in(now, first, length)
        outputs.append((_run_twice if runs_twice else _run)(net, part, repeats, lengths))
        stored.append([getattr(module, name) for module, name in _sequences(net)])
    for (module, name), parts in zip(_sequences(net), zip(*stored, strict=True), strict=True):
        setattr(module, name, torch.cat(parts))
    return torch.cat(outputs)


def _lengths_in(now: Padding, first: int, length: int) -> Tensor:
    """How many of a chunk's steps are real, for each sample: int64 [N], 0 where its sequence has ended."""
    return (now.lengths - first).clamp(0, length)


def _can_repeat(net: nn.Module) -> bool:
    """Whether backward can run truncated chunks a second time."""
    return net._compiled_call_impl is None and next(_with_unknown_states(net), None) is None


def _run(net: nn.Module, part: Tensor, repeats: int | None, lengths: Tensor | None) -> Tensor:
    with padded(lengths, len(part) if repeats is None else repeats):
        return net(part if repeats is None else functional.repeat(part, repeats))


def _run_twice(net: nn.Module, part: Tensor, repeats: int | None, lengths: Tensor | None) -> Tensor:
    """As _run, but backward first runs it again from the states that the net has now."""
    states, earlier_calls = _States(net), count()

    def run(part: Tensor) -> Tensor:  # given the part, not closing over it: its device tells which generator to keep
        with _again(net) if next(earlier_calls) else nullcontext():
            states.put_back()
            return _run(net, part, repeats, lengths)

    return checkpoint(run, part, use_reentrant=False)


_is_repeated: ContextVar[bool] = ContextVar("is_repeated", default=False)


def is_repeated() -> bool:
    """Whether the net is running steps a second time, which nobody who counts its spikes may count again.

    Chunks and checkpointing run them again in backward, or earlier where somebody asks for a tensor that the graph of a
    chunk saved.
    """
    return _is_repeated.get() or torch._C._current_graph_task_id() != -1


@contextmanager
def _again(net: nn.Module) -> Iterator[None]:
    token = _is_repeated.set(True)
    try:
        with _leaving_no_trace(net):
            yield
    finally:
        _is_repeated.reset(token)


class _States:
    """A copy of the references to a network's states, graph included."""

    def __init__(self, net: nn.Module) -> None:
        memories = [
            (module, name, value)
            for _, module in functional.stateful_modules(net)
            for name, value in module.named_memories()
        ]
        sequences = [(module, name, getattr(module, name)) for module, name in _sequences(net)]
        # Lists are copied on the way in and out: a queue may be changed in place.
        self.values = [(module, name, map_tensors(_same, value)) for module, name, value in memories + sequences]

    def put_back(self) -> None:
        for module, name, value in self.values:
            setattr(module, name, map_tensors(_same, value))


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _sequences(net: nn.Module) -> list[tuple[nn.Module, str]]:
    """(neuron, attribute) of every sequence of states that a neuron stores."""
    return [
        (module, f"{state}_seq")
        for _, module in functional.stateful_modules(net)
        for state in getattr(module, "stored_states", ())
    ]


@contextmanager
def _leaving_no_trace(net: nn.Module) -> Iterator[None]:
    """Restore the states, which are those after the last chunk, and buffers such as running statistics, on leaving."""
    states = _States(net)
    buffers = [(module, module._buffers) for module in net.modules() if module._buffers]
    for module, kept in buffers:
        module._buffers = {name: None if buffer is None else buffer.clone() for name, buffer in kept.items()}
    try:
        yield
    finally:
        states.put_back()
        for module, kept in buffers:
            module._buffers = kept
