"""Which recurrent containers run as one function over the sequence, and that call."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from snntrain.functional import repeated_step
from snntrain.hooks import hooked, show
from snntrain.kernel import recurrent
from snntrain.kernel.backend import is_traced, plan_for
from snntrain.kernel.plan import Plan
from snntrain.layer.linear import Linear
from snntrain.layer.sequential import Sequential
from snntrain.neuron.base_node import BaseNode


@dataclass(frozen=True)
class Parts:
    """What a container that can be fused is made of.

    Attributes:
        kind: how the output is fed back, see kernel.recurrent.Wiring.
        feedback: the weights of that; None for add.
        inner: the weights between the current and the neuron, if there are any.
        neuron: the neuron.
    """

    kind: str
    feedback: nn.Linear | None
    inner: nn.Linear | None
    neuron: BaseNode

    @property
    def weights(self) -> list[Tensor]:
        """The weights and biases that there are."""
        layers = [layer for layer in (self.feedback, self.inner) if layer is not None]
        return [w for layer in layers for w in (layer.weight, layer.bias) if w is not None]

    @property
    def wiring(self) -> recurrent.Wiring:
        """The form of the products."""
        inner = self.inner
        return recurrent.Wiring(
            self.kind,
            bias=self.feedback is not None and self.feedback.bias is not None,
            inner=inner is not None,
            inner_bias=inner is not None and inner.bias is not None,
        )


def parts_of(kind: str, feedback: nn.Module | None, sub_module: nn.Module) -> Parts | str:
    """The parts of a container, or why no call of it can be fused."""
    inside = list(_chain(sub_module))
    if not inside or len(inside) > 2 or not isinstance(inside[-1], BaseNode) or not all(map(_is_linear, inside[:-1])):
        return f"its sub_module must be a neuron, or a Linear and a neuron, and is {_names(inside)}"
    neuron = inside[-1]
    if type(neuron).forward is not BaseNode.forward or "forward" in vars(neuron):
        return f"{type(neuron).__name__} has a forward of its own"
    if neuron.branches > 1:
        return f"{type(neuron).__name__} has several inputs in each step"
    if reason := neuron.reason_against_fusion():
        return f"{type(neuron).__name__}: {reason}"
    if feedback is not None:
        layers = list(_chain(feedback))
        if len(layers) != 1 or not _is_linear(layers[0]):
            return f"its feedback must be a Linear, and is {_names(layers)}"
        feedback = layers[0]
    return Parts(kind, feedback, inside[0] if len(inside) == 2 else None, neuron)


def _chain(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that a module calls one after the other: itself, or those of containers inside each other."""
    if type(module) in (nn.Sequential, Sequential) and "forward" not in vars(module):
        for child in module:
            yield from _chain(child)
    else:
        yield module


def _is_linear(module: nn.Module) -> bool:
    return type(module) in (nn.Linear, Linear) and "forward" not in vars(module)


def _names(modules: list[nn.Module]) -> str:
    return ", ".join(type(module).__name__ for module in modules) or "empty"


def fits(parts: Parts, x: torch.Size, y: torch.Size) -> bool:
    """Whether the sizes of the parts fit the shapes of a step and of the output; if not, the loop raises errors."""
    currents = x[-1]
    if parts.kind != "concat" and x != y:
        return False
    if parts.kind == "sum" and parts.feedback.weight.shape != (currents, y[-1]):
        return False
    return currents == y[-1] if parts.inner is None else parts.inner.weight.shape == (y[-1], currents)


def plan_of_call(container: nn.Module, parts: Parts, x: Tensor) -> Plan | str:
    """The plan that serves a call with the sequence x, or why there is none; y is materialized."""
    neuron, y, step = parts.neuron, container.y, x[0]
    if neuron.backend == "torch":
        return "its neuron has backend 'torch'"
    if is_traced(x):
        return "the call is being traced, compiled or transformed"
    if _has_any_global_hook() or any(hooked(m) or (m._forward_hooks and m is not neuron) for m in _inside(container)):
        return "a module in it has hooks, which see single steps"
    if torch.is_autocast_enabled(x.device.type):
        return "autocast is on, and products in another dtype than that of the states stay with the loop"
    if (parts.weights and step.dim() < 2) or not step.is_contiguous() or not y.is_contiguous():
        return f"a step must be contiguous and have a batch dim, got shape {list(step.shape)}, strides {step.stride()}"
    for tensor in (y, *parts.weights):
        if tensor.dtype != x.dtype or tensor.device != x.device:
            return f"x is {x.dtype} on {x.device}, and a weight or a state {tensor.dtype} on {tensor.device}"
    plan = plan_for(neuron, y)
    if isinstance(plan, str):
        return f"{type(neuron).__name__}: {plan}"
    if plan.dtype != x.dtype:
        return f"products in {x.dtype} stay with the loop"
    if 2 in plan.dims:
        per_step = [value for value in neuron.parameter_tensors(y) if value.dim() == 2]
        if neuron.step_counter is None or any(len(value) < len(x) for value in per_step):
            return f"{type(neuron).__name__} has parameters for fewer steps"  # of which the loop's error tells more
    return plan


def _inside(container: nn.Module) -> Iterator[nn.Module]:
    return (module for module in container.modules() if module is not container)


def run(container: nn.Module, parts: Parts, plan: Plan, x: Tensor) -> Tensor:
    """A fused call: reads and writes the states of the container and its neuron as the loop does."""
    neuron, y, repeated = parts.neuron, container.y, repeated_step(x)
    neuron.check_input(y)
    states = [_checked(neuron, name, y) for name in neuron.state_names]
    parameters = [value[: x.shape[0]] if value.dim() == 2 else value for value in neuron.parameter_tensors(y)]
    neuron.note_call(y)
    sequence, repeats = (x, None) if repeated is None else (repeated, x.shape[0])
    given = (sequence, y, states, parts.weights, parameters, repeats)
    out, container.y, after = recurrent.run(plan, parts.wiring, *given, sparse=container.fuse == "fast")
    for name, value in zip(neuron.state_names, after, strict=True):
        setattr(neuron, name, value)
    neuron.count_steps(x.shape[0])
    show(neuron, out)
    return out


def _checked(node: BaseNode, name: str, x: Tensor) -> Tensor | float:
    value = getattr(node, name)
    return node.checked_state(name, value, x) if isinstance(value, Tensor) else value
