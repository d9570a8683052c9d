"""Operations on whole models: reset, detach, step mode, backend, saving and restoring neuron state, folding time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import refuse
from snntrain.base import STEP_MODES, MemoryModule, StepModule, detached_copy, map_tensors


def stateful_modules(model: nn.Module) -> Iterator[tuple[str, MemoryModule]]:
    """(dotted path, module) of every stateful module, however deeply nested."""
    for path, module in model.named_modules():
        if isinstance(module, MemoryModule):
            yield path, module


def reset_net(model: nn.Module) -> None:
    """Reset every stateful module of the model; call it before each new batch."""
    for _, module in stateful_modules(model):
        module.reset()


def detach_net(model: nn.Module) -> None:
    """Detach every state of the model from its graph, values kept: truncated backpropagation through time."""
    for _, module in stateful_modules(model):
        module.detach()


def set_step_mode(model: nn.Module, step_mode: str) -> None:
    """Switch every module that knows step modes to 's' (one step) or 'm' (a sequence); states carry over.

    Children of a container that hands them single steps stay in 's'; a container that knows only 'm' stays in it.

    Raises: ValueError naming the path of a module that does not support the mode; then no module was switched.
    """
    if step_mode not in STEP_MODES:
        raise refuse("set_step_mode", "step_mode", "'s' (one step) or 'm' (a sequence)", step_mode)
    switching = []
    for path, module in _modules_with_step_mode(model):
        if step_mode in module.supported_step_mode():
            switching.append(module)
        elif not module.keeps_children_in_s:
            try:
                module.step_mode = step_mode  # raises, in the module's own words
            except ValueError as error:
                raise ValueError(f"set_step_mode: at {path}: {error}" if path else str(error)) from None
    for module in switching:
        module.step_mode = step_mode


def _modules_with_step_mode(model: nn.Module) -> Iterator[tuple[str, StepModule]]:
    """(dotted path, module) of every module whose mode the model decides: none below a container that decides it."""
    waiting, seen = [("", model)], set()
    while waiting:
        path, module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if isinstance(module, StepModule):
            yield path, module
            if module.keeps_children_in_s:
                continue
        children = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
        waiting += reversed(children)


def set_backend(model: nn.Module, backend: str) -> None:
    """Choose the backend ('auto', 'torch' or 'fused') of every module that has one.

    Raises: ValueError if a module cannot run on it.
    """
    for module in model.modules():
        if isinstance(module, StepModule) and hasattr(module, "backend"):
            module.backend = backend


def named_states(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """(path.state, value) of every state in the model."""
    for path, module in stateful_modules(model):
        for name, value in module.named_memories():
            yield (f"{path}.{name}" if path else name), value


def get_states(model: nn.Module) -> dict[str, Any]:
    """All states as a flat dict of detached copies, to be handed to set_states later."""
    return {name: detached_copy(value) for name, value in named_states(model)}


def set_states(model: nn.Module, states: Mapping[str, Any]) -> None:
    """Restore what get_states returned; a sequence continued from there gives bit-identical results.

    Raises: ValueError naming the states that are missing or that the model does not have.
    """
    known = {name for name, _ in named_states(model)}
    missing, extra = sorted(known - set(states)), sorted(set(states) - known)
    if missing or extra:
        raise ValueError(
            "set_states: the states do not fit this model"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; not in the model: {', '.join(extra)}" if extra else "")
            + ". Use what get_states returned for the same model."
        )
    for path, module in stateful_modules(model):
        for name, _ in list(module.named_memories()):
            setattr(module, name, detached_copy(states[f"{path}.{name}" if path else name]))


def repeat(x: Tensor, T: int) -> Tensor:
    """The same step T times: x [N, *] → [T, N, *], a view that also remembers x.

    Layers and neurons that find the memory (see repeated_step) compute such a step once.
    """
    x_seq = x.unsqueeze(0).expand(T, *x.shape)
    x_seq.repeated_step = x
    return x_seq


def repeated_step(x_seq: Tensor) -> Tensor | None:
    """x of a sequence that repeat(x, T) made; None for every other one."""
    return getattr(x_seq, "repeated_step", None)


def steps_of(x_seq: Tensor) -> Sequence[Tensor]:
    """The steps of [T, N, *]; of a repeated step the step itself, whose gradients autograd adds up, last step first.

    That is the order of the fused kernels: both give the same sum.
    """
    step = repeated_step(x_seq)
    return x_seq.unbind(0) if step is None else [step] * x_seq.shape[0]


def seq_to_ann_forward(x_seq: Tensor | tuple[Tensor, ...], module: Callable[..., Any]) -> Any:
    """Run a stateless module once on a sequence by folding time into the batch.

    Args:
        x_seq: [T, N, *], or a tuple of such tensors with equal T and N.
        module: takes [T·N, *] tensors; may return a tensor or a tuple of tensors.

    Returns: what the module returns, each tensor split back to [T, N, *].
    Raises: ValueError if the leading (T, N) of several tensors differ.
    """
    inputs = x_seq if isinstance(x_seq, tuple) else (x_seq,)
    leading = inputs[0].shape[:2]
    if any(x.shape[:2] != leading for x in inputs):
        raise ValueError(
            "seq_to_ann_forward: all inputs must share their leading [T, N], got shapes "
            + ", ".join(str(list(x.shape)) for x in inputs)
        )
    out = module(*(x.flatten(0, 1) for x in inputs))
    return map_tensors(lambda y: y.unflatten(0, leading), out)


def multi_step_forward(x_seq: Tensor, module: Callable[[Tensor], Any]) -> Any:
    """Call module on each step of [T, N, *] and stack the outputs; of a list or tuple of tensors, each by itself.

    Raises: ValueError for a sequence of no steps.
    """
    if x_seq.shape[0] == 0:
        raise ValueError(f"multi_step_forward: a sequence needs T ≥ 1 steps, got shape {list(x_seq.shape)}.")
    return _stack([module(x) for x in steps_of(x_seq)])


def _stack(outputs: Sequence[Any]) -> Any:
    first = outputs[0]
    if isinstance(first, (list, tuple)):
        return type(first)(_stack(each) for each in zip(*outputs, strict=True))
    return torch.stack(outputs)
