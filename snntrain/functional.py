"""Operations on whole models: reset, detach, step mode, backend, neuron state, folding time."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import BACKENDS, PEERS_BACKENDS, invalid
from snntrain.arguments import backend as known_backend
from snntrain.base import STEP_MODES, MemoryModule, StepModule, detached_copy, map_tensors, stack_steps
from snntrain.hooks import (
    call_each,
    keeps_children_in_s,
    modules_with_step_mode,
    supported_step_modes,
)

#: A module or function, or several to be called one after the other.
Modules = Callable[..., Any] | Sequence[Callable[..., Any]]


def stateful_modules(net: nn.Module) -> Iterator[tuple[str, MemoryModule]]:
    """(dotted path, module) of every module that registers its states, however deeply nested."""
    for path, module in net.named_modules():
        if isinstance(module, MemoryModule):
            yield path, module


def reset_net(net: nn.Module) -> None:
    """Call reset() of every module that has one, of this library or not. Call it before each new batch.

    Metrics of torchmetrics are left alone: their reset() ends an epoch, not a batch.
    """
    call_each(net, "reset")


def detach_net(net: nn.Module) -> None:
    """Call detach() of every module that has one (truncated backpropagation): states lose their graph only."""
    call_each(net, "detach")


def copy_net(net: nn.Module) -> nn.Module:
    """A copy with all states reset; the net and its states stay as they are."""
    copied = copy_with_states(net)
    reset_net(copied)
    return copied


def copy_with_states(net: nn.Module) -> nn.Module:
    """A copy whose states are those of the net, without their graphs.

    copy.deepcopy fails where a module keeps, as a plain attribute, a state that has a graph.
    """
    return copy.deepcopy(net, {id(tensor): detached_copy(tensor) for tensor in _with_graph(net)})


def _with_graph(net: nn.Module) -> Iterator[Tensor]:
    """Tensors inside the modules that have a graph, also in modules that torch does not know of."""
    waiting: list[Any] = [vars(module) for module in net.modules()]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            if value.grad_fn is not None:
                yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif isinstance(value, nn.Module):
            waiting.append(vars(value))


def set_step_mode(net: nn.Module, step_mode: str) -> None:
    """Switch every module that has a step_mode to 's' (one step) or 'm' (a sequence); states carry over.

    Children of a container that hands them single steps stay in 's'; a container that knows only 'm' stays in it.

    Raises: ValueError naming the path of a module that does not support the mode; then no module was switched.
    """
    if step_mode not in STEP_MODES:
        raise invalid("set_step_mode", "step_mode", "'s' (one step) or 'm' (a sequence)", step_mode)
    ours, others = [], []
    for path, module in modules_with_step_mode(net):
        if step_mode in supported_step_modes(module):
            (ours if isinstance(module, StepModule) else others).append((path, module))
        elif not keeps_children_in_s(module):
            raise _cannot_follow(path, _refusal(module, step_mode))
    switched: list[tuple[nn.Module, str]] = []
    for path, module in others:  # first: only calling their setters tells whether they refuse
        before = module.step_mode
        try:
            module.step_mode = step_mode
        except Exception as error:
            for earlier, mode in switched:
                earlier.step_mode = mode
            raise _cannot_follow(path, f"{type(module).__name__}: {error}") from error
        switched.append((module, before))
    for _, module in ours:
        module.step_mode = step_mode


def _refusal(module: nn.Module, step_mode: str) -> str:
    """Why a module does not take a step mode, in its own words if it has some."""
    if isinstance(module, StepModule):
        try:
            module.step_mode = step_mode
        except ValueError as error:
            return str(error)
    supported = " or ".join(map(repr, supported_step_modes(module)))
    return f"{type(module).__name__}: step_mode {step_mode!r} is not supported, it runs in {supported} only."


def _cannot_follow(path: str, reason: str) -> ValueError:
    return ValueError(f"set_step_mode: at {path}: {reason}" if path else reason)


def set_backend(net: nn.Module, backend: str, instance: type | tuple[type, ...] = nn.Module) -> None:
    """Choose the backend ('auto', 'torch' or 'fused') of every module that has one.

    Backends of SpikingJelly that generate kernels, 'cupy' and 'triton', are taken as 'auto', with one warning. A module
    of another library gets the backend if it supports it, and keeps its own where the choice is 'auto'.

    Args:
        instance: only modules of these classes.

    Raises: ValueError if a module cannot run on it.
    """
    asked, backend = backend, known_backend("set_backend", backend)
    for path, module in net.named_modules():
        if not isinstance(module, instance) or not isinstance(getattr(module, "backend", None), str):
            continue
        if isinstance(module, StepModule):
            module.backend = backend
            continue
        supported = getattr(module, "supported_backends", None)
        if supported is None:
            if module.backend in PEERS_BACKENDS or module.backend in BACKENDS:
                module.backend = backend
        elif asked in supported:
            module.backend = asked
        elif backend != "auto":
            raise ValueError(
                f"set_backend: at {path}: {type(module).__name__} supports the backends "
                f"{', '.join(map(repr, supported))}, not {asked!r}."
            )


def named_states(net: nn.Module) -> Iterator[tuple[str, Any]]:
    """(path.state, value) of every state in the net."""
    for path, module in stateful_modules(net):
        for name, value in module.named_memories():
            yield (f"{path}.{name}" if path else name), value


def get_states(net: nn.Module) -> dict[str, Any]:
    """All states as a flat dict of detached copies, for set_states."""
    return {name: detached_copy(value) for name, value in named_states(net)}


def set_states(net: nn.Module, states: Mapping[str, Any]) -> None:
    """Restore what get_states returned; a sequence continued from there gives bit-identical results.

    Raises: ValueError naming the states that are missing or that the model does not have.
    """
    known = {name for name, _ in named_states(net)}
    missing, extra = sorted(known - set(states)), sorted(set(states) - known)
    if missing or extra:
        raise ValueError(
            "set_states: the states do not fit this model"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; not in the model: {', '.join(extra)}" if extra else "")
            + ". Use what get_states returned for the same model."
        )
    for path, module in stateful_modules(net):
        for name, _ in list(module.named_memories()):
            setattr(module, name, detached_copy(states[f"{path}.{name}" if path else name]))


def real_steps(lengths: Tensor, T: int) -> Tensor:
    """Which steps of padded sequences are real: bool [T, N] for lengths [N], from 1 to T."""
    return torch.arange(T, device=lengths.device)[:, None] < lengths


def repeat(x: Tensor, T: int) -> Tensor:
    """The same step T times: x [N, *] → [T, N, *], a view whose time stride is 0.

    Layers and neurons recognize such a sequence (see repeated_step) and compute its step once.
    """
    if x.requires_grad and not torch.compiler.is_compiling() and x._is_view():
        x = x.clone()  # so that repeated_step finds this tensor as the base of the view, not what x is a view of
    return x.unsqueeze(0).expand(T, *x.shape)


def repeated_step(x_seq: Tensor) -> Tensor | None:
    """The step [N, *] of a sequence [T, N, *] whose T > 1 steps are the same memory, else None."""
    if x_seq.dim() == 0 or x_seq.shape[0] < 2 or x_seq.stride(0) != 0:
        return None
    step = x_seq[0]
    base = None if torch.compiler.is_compiling() else x_seq._base
    # Prefer the tensor that was expanded, whose gradient is that of one step: the gradient of x_seq[0] would be a whole
    # sequence, zeros but for one step. It must be the same memory, and on the way of the gradient if there is one.
    if (
        base is not None
        and (base.shape, base.stride(), base.data_ptr()) == (step.shape, step.stride(), step.data_ptr())
        and base.requires_grad == x_seq.requires_grad
        and not (x_seq.requires_grad and x_seq.is_leaf)
    ):
        return base
    return step


def steps_of(x_seq: Tensor) -> Sequence[Tensor]:
    """The steps of [T, N, *]; of a repeated step the step itself, whose gradients autograd adds up, last step first.

    That is the order of the fused kernels: both give the same sum.
    """
    step = repeated_step(x_seq)
    return x_seq.unbind(0) if step is None else [step] * x_seq.shape[0]


def seq_to_ann_forward(x_seq: Tensor | tuple[Tensor, ...], stateless_module: Modules) -> Any:
    """Run a stateless module once on a sequence by folding time into the batch.

    Args:
        x_seq: [T, N, *], or a tuple of such tensors with equal T and N.
        stateless_module: takes [T·N, *] tensors; may return a tensor or a tuple of tensors. Of a list or tuple of
            modules each gets the output of the one before.

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
    out = _one_after_the_other("seq_to_ann_forward", stateless_module)(*(x.flatten(0, 1) for x in inputs))
    return map_tensors(lambda y: y.unflatten(0, leading), out)


def multi_step_forward(x_seq: Tensor, single_step_module: Modules) -> Any:
    """Call a module on each step of [T, N, *] and stack the outputs; of a list or tuple of tensors, each by itself.

    Args:
        x_seq: [T, N, *].
        single_step_module: takes [N, *]. Of a list or tuple of modules each gets the output of the one before.

    Raises: ValueError for a sequence of no steps.
    """
    if x_seq.shape[0] == 0:
        raise ValueError(f"multi_step_forward: a sequence needs T ≥ 1 steps, got shape {list(x_seq.shape)}.")
    run = _one_after_the_other("multi_step_forward", single_step_module)
    return stack_steps([run(x) for x in steps_of(x_seq)])


def _one_after_the_other(owner: str, modules: Modules) -> Callable[..., Any]:
    if not isinstance(modules, (list, tuple, nn.ModuleList)):
        return modules
    if not modules:
        raise ValueError(f"{owner}: the list of modules is empty; give at least one.")

    def run(*inputs: Tensor) -> Any:
        first, *others = modules
        return functools.reduce(lambda y, module: module(y), others, first(*inputs))

    return run


@torch.no_grad()
def closed_loop(
    net: Callable[[Tensor], Tensor], x_seq: Tensor, steps: int, feed: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Tensor:
    """Let a net go on with a sequence by itself: each of its outputs becomes its next input.

        y[0] = the output at the last step of x_seq,  x[k] = feed(y[k − 1], x[k − 1]),  y[k] = the output for x[k]

    Args:
        net: in step mode 'm', reset, whose output at a step predicts its input at the next one.
        x_seq: what it is given, [T, N, *], T ≥ 1.
        steps: outputs that are wanted, ≥ 1.
        feed: (output [N, D], input before [N, *]) → next input [N, *]; None: the output itself.

    Returns: y [steps, N, D]. The states are those after the last of them.
    """
    if not isinstance(steps, int) or steps < 1:
        raise invalid("closed_loop", "steps", "an integer ≥ 1", steps)
    outputs, x = [net(x_seq)[-1]], x_seq[-1]
    for _ in range(steps - 1):
        x = outputs[-1] if feed is None else feed(outputs[-1], x)
        outputs.append(net(x.unsqueeze(0))[0])
    return torch.stack(outputs)
