"""Find reset(), detach(), step_mode and backend of any module by their names, and watch what layers return.

By name and not by a base class, so that snntrain.functional also serves modules of other libraries, and of plugins that
carry a state of their own.
"""

import contextlib
import inspect
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.base import STEP_MODES, MemoryModule

_SCRIPTED = torch.jit.ScriptModule

# SpikingJelly's containers, which hand their children single steps in both modes, as ours with keeps_children_in_s do.
_PEERS_CONTAINERS = {
    "StepModeContainer",
    "MultiStepContainer",
    "SeqToANNContainer",
    "TLastMultiStepContainer",
    "TLastSeqToANNContainer",
    "ElementWiseRecurrentContainer",
    "LinearRecurrentContainer",
}


def method_of(module: nn.Module, name: str) -> Callable[[], Any] | None:
    """The method that a module has under this name; None if it is something else, or belongs to a metric.

    The metrics of torchmetrics are modules with a reset() that forgets the results of an epoch, which is not a state.
    A method that cannot be called without arguments is left alone with a warning.
    """
    if isinstance(module, MemoryModule):
        return getattr(module, name)
    if isinstance(module, _SCRIPTED):  # its methods stand in no Python class
        found = getattr(module, name, None)
    else:  # not getattr(module, name): torch's own search through parameters, buffers and children is slow
        found = getattr(type(module), name, None) or vars(module).get(name)
    if not callable(found) or isinstance(found, (nn.Module, type)) or _is_metric(module):
        return None
    method = getattr(module, name)
    if _needs_arguments(method):
        warnings.warn(
            f"{type(module).__name__}.{name} needs arguments, so it is not called when a network's states are "
            f"{'reset' if name == 'reset' else name + 'ed'}. Give its arguments defaults.",
            stacklevel=4,
        )
        return None
    return method


def _is_metric(module: nn.Module) -> bool:
    return any(cls.__module__.partition(".")[0] == "torchmetrics" for cls in type(module).__mro__)


def _needs_arguments(method: Callable[..., Any]) -> bool:
    function = getattr(method, "__func__", None)
    if isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        if code.co_argcount == 1 and not code.co_kwonlyargcount:
            return False  # of self alone: seen at once, where a signature takes as long as ten such methods
    try:
        inspect.signature(method).bind()
    except TypeError:
        return True
    except ValueError:  # a builtin without a signature
        return False
    return False


class _Calls(threading.local):
    """What is under way in this thread.

    Attributes:
        running: (module, method) of the methods being called.
        passes: for each call of call_each under way, the modules that are done with.
    """

    def __init__(self) -> None:
        self.running: set[tuple[int, str]] = set()
        self.passes: dict[str, list[set[int]]] = {}


_calls = _Calls()


def call_each(net: nn.Module, name: str) -> None:
    """Call the method of this name of every module that has it, each once.

    A module's own method may call that of its children, or of itself. Modules called that way are not called again, so
    that what the method does to a child afterward stays.
    """
    passes, running = _calls.passes.setdefault(name, []), _calls.running
    done: set[int] = set()
    passes.append(done)
    try:
        for module in net.modules():
            # Most modules have no such method, and a network is reset at every batch: see that first, and fast.
            if not hasattr(type(module), name) and name not in vars(module) and not isinstance(module, _SCRIPTED):
                continue
            key = (id(module), name)
            if id(module) in done or key in running:
                continue
            method = method_of(module, name)
            if method is None:
                continue
            running.add(key)
            try:
                method()
            finally:
                running.discard(key)
            done.add(id(module))
    finally:
        passes.pop()
        if passes:
            passes[-1].update(done)


def carries_state(module: nn.Module) -> bool:
    """Whether a module carries a state from step to step: anything that can be reset, except plain containers."""
    if isinstance(module, MemoryModule):
        return True
    return not keeps_children_in_s(module) and method_of(module, "reset") is not None


def step_mode_of(module: nn.Module) -> str | None:
    """The step mode 's' or 'm' of a module, None if it has none."""
    mode = getattr(module, "step_mode", None)
    return mode if isinstance(mode, str) and mode in STEP_MODES else None


def supported_step_modes(module: nn.Module) -> tuple[str, ...]:
    """The step modes that a module with one can be switched to."""
    supported = method_of(module, "supported_step_mode")
    return STEP_MODES if supported is None else tuple(supported())


def keeps_children_in_s(module: nn.Module) -> bool:
    """Whether a module decides the step mode of those in it, see StepModule."""
    if getattr(module, "keeps_children_in_s", False) is True:
        return True
    kind = type(module)
    return kind.__module__.partition(".")[0] == "spikingjelly" and kind.__name__ in _PEERS_CONTAINERS


def modules_with_step_mode(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(dotted path, module) of every module whose mode the net decides: none below a container that decides it."""
    waiting, seen = [("", net)], set()
    while waiting:
        path, module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if step_mode_of(module) is not None:
            yield path, module
        if keeps_children_in_s(module):
            continue
        children = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
        waiting += reversed(children)


def whole_sequence_module(net: nn.Module) -> tuple[str, nn.Module] | None:
    """(path, module) of the first module that must see the whole sequence at once; None if there is none."""
    for path, module in net.named_modules():
        if step_mode_of(module) is None:
            continue
        only_sequences = "s" not in supported_step_modes(module) and not keeps_children_in_s(module)
        if only_sequences or isinstance(getattr(module, "T", None), int):
            return path, module
    return None


def spiking_layers(net: nn.Module) -> dict[str, nn.Module]:
    """Path → neuron layer, in the order of the network."""
    return {path: module for path, module in net.named_modules() if getattr(module, "is_spiking", False)}


class _Look:
    """A forward hook that shows what a layer returns, and does nothing else."""

    def __init__(
        self,
        path: str,
        see: Callable[[str, nn.Module, Any], None],
        at_once: bool,
        count: Callable[[str, Tensor, int], None] | None,
    ) -> None:
        self.path, self.see, self.at_once, self.count = path, see, at_once, count

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        self.see(self.path, layer, output)


@contextlib.contextmanager
def watching(
    layers: Mapping[str, nn.Module],
    see: Callable[[str, nn.Module, Any], None],
    at_once: bool = False,
    count: Callable[[str, Tensor, int], None] | None = None,
) -> Iterator[None]:
    """Show what layers return inside the block, as see(path, layer, output) each time that one is called.

    Args:
        layers: path → layer.
        see: the function.
        at_once: of a layer that a container calls step by step, also take all steps in one call, [T, N, *]. Its states
            are then those after the last one, and a recurrent container stays fused.
        count: called in the place of see, as count(path, nonzero, size), by a kernel that hands the outputs on pooled
            and therefore can only count them; None: a watched neuron is not fused with its pooling.
    """
    handles = [layer.register_forward_hook(_Look(path, see, at_once, count)) for path, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooked(module: nn.Module) -> bool:
    """Whether a module has hooks that each call of it must run: others than those that see all steps at once."""
    hooks = [hook for kind in _HOOKS for hook in getattr(module, kind).values()]
    return not all(isinstance(hook, _Look) and hook.at_once for hook in hooks)


def only_shown(module: nn.Module) -> bool:
    """Whether a module has no hooks, or only those that look at what it returns in the block of `watching`."""
    return all(isinstance(hook, _Look) for kind in _HOOKS for hook in getattr(module, kind).values())


def wants_counts_only(module: nn.Module) -> bool:
    """Whether a module has no hooks, or only those that take the number of outputs that are not zero."""
    hooks = [hook for kind in _HOOKS for hook in getattr(module, kind).values()]
    return all(isinstance(hook, _Look) and hook.count is not None for hook in hooks)


def show_count(module: nn.Module, nonzero: Tensor, size: int) -> None:
    """Tell those that watch a module which `wants_counts_only` how many of its outputs are not zero."""
    for hook in tuple(module._forward_hooks.values()):
        hook.count(hook.path, nonzero, size)


def show(module: nn.Module, output: Any) -> None:
    """Show the outputs of all steps to those that watch a module which is not `hooked`, or `only_shown`."""
    for hook in tuple(module._forward_hooks.values()):
        hook(module, (), output)
