"""Containers that feed the output of the last step back to the input."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.arguments import flag, integer, invalid
from snntrain.base import MemoryModule
from snntrain.functional import detach_net, reset_net, steps_of
from snntrain.kernel import Plan
from snntrain.kernel.device_status import note_call
from snntrain.layer.container import SingleStepChildren
from snntrain.layer.fuse import ChoosesFuse
from snntrain.layer.recurrent_fusion import Parts, fits, parts_of, plan_of_call, run
from snntrain.neuron.base_node import ChoosesBackend


class _RecurrentContainer(ChoosesFuse, ChoosesBackend, SingleStepChildren, MemoryModule):
    """A module with a loop around it: y[t] = sub_module(i[t]), where i[t] is made from x[t] and y[t−1]; y[−1] = 0.

    The state y keeps its gradient until detach(). Unlike a neuron's potential it sums nothing up, so it has the dtype
    that sub_module gives, and autocast reaches the modules inside.

    In step mode 'm' a neuron, or a Linear and a neuron, run fused as sub_module: see snntrain.kernel.recurrent.
    """

    def __init__(self, sub_module: nn.Module, step_mode: str) -> None:
        super().__init__(step_mode)
        if not isinstance(sub_module, nn.Module):
            raise invalid(self, "sub_module", "a module (torch.nn.Module)", sub_module)
        self.sub_module = sub_module
        self.register_memory("y", 0.0)

    def parts(self) -> Parts | str:
        """What a fused call computes with, or why there is none."""
        raise NotImplementedError(f"{type(self).__name__} must define parts().")

    def reason_against_fusion(self) -> str | None:
        for name in ("forward", "single_step_forward", "current", "state_shape"):
            if getattr(type(self), name).__module__ not in (__name__, MemoryModule.__module__) or name in vars(self):
                return f"{type(self).__name__} replaces {name}, which only the loop calls"
        parts = self.parts()
        return parts if isinstance(parts, str) else None

    def _not_fused(self, reason: str) -> ValueError:
        return ValueError(
            f"{self._title()}: backend 'fused' cannot serve this container: {reason}. Use 'auto' or 'torch'."
        )

    def current(self, x: Tensor) -> Tensor:
        """Input i[t] of sub_module."""
        raise NotImplementedError(f"{type(self).__name__} must define current(x).")

    def wrong_output(self) -> str:
        """What to change if the output of one step has not the shape of y, for the error text."""
        raise NotImplementedError(f"{type(self).__name__} must define wrong_output().")

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self.check_children()
        self.check_input(x)
        if self.step_mode == "s":
            self.materialize(x)
            return self.single_step_forward(x)
        self.materialize(x[0])
        fused = self._fused(x)
        return torch.stack([self.single_step_forward(step) for step in steps_of(x)]) if fused is None else fused

    def _fused(self, x: Tensor) -> Tensor | None:
        """The outputs of a fused call; None if the loop is to run."""
        if self._backend == "torch" or torch.compiler.is_compiling():
            return None
        plan: Plan | str | None = self.reason_against_fusion()
        if plan is None:
            parts = self.parts()
            if not fits(parts, x.shape[1:], self.y.shape):
                return None
            plan = plan_of_call(self, parts, x)
            note_call(self, plan if isinstance(plan, str) else None)
            if isinstance(plan, Plan):
                return run(self, parts, plan, x)
        else:
            note_call(self, plan)
        if self._backend == "fused":
            raise self._not_fused(plan)
        return None

    def single_step_forward(self, x: Tensor) -> Tensor:
        y = self.sub_module(self.current(x))
        wanted = self.state_shape("y", x)
        if not isinstance(y, Tensor) or y.shape != wanted:
            got = f"shape {list(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise ValueError(
                f"{self._title()}: sub_module must return a tensor of shape {list(wanted)} for one step of shape "
                f"{list(x.shape)}, got {got}; {self.wrong_output()}"
            )
        self.y = y
        return y

    def reset(self) -> None:
        """Clear y and reset every stateful module inside."""
        super().reset()
        for child in self.children():
            reset_net(child)

    def detach(self) -> None:
        """Cut y and every state inside from their graphs."""
        super().detach()
        for child in self.children():
            detach_net(child)


class ElementWiseRecurrentContainer(_RecurrentContainer):
    """A module whose input is joined with its own last output, element by element.

    i[t] = f(x[t], y[t−1]),  y[t] = sub_module(i[t]),  y[−1] = 0

    Args:
        sub_module: gives an output of its input's shape; stays in step_mode 's'.
        element_wise_function: f(x, y), a function or a module such as FeedbackSum.
        step_mode: 's', x is [N, *], or 'm', x is [T, N, *].
        backend: of a sequence: 'torch': a loop; 'fused': kernels; 'auto': these where they can serve.

    Shapes: y as x.
    """

    def __init__(
        self,
        sub_module: nn.Module,
        element_wise_function: Callable[[Tensor, Tensor], Tensor],
        step_mode: str = "s",
        backend: str = "auto",
    ) -> None:
        super().__init__(sub_module, step_mode)
        if isinstance(element_wise_function, type) or not callable(element_wise_function):
            raise invalid(self, "element_wise_function", "a function f(x, y), or a module", element_wise_function)
        self.element_wise_function = element_wise_function
        self.backend = backend
        self.check_children()

    def parts(self) -> Parts | str:
        function = self.element_wise_function
        if function in (operator.add, torch.add):
            return parts_of("add", None, self.sub_module)
        if type(function) is FeedbackSum and "forward" not in vars(function):
            return parts_of("sum", function.feedback, self.sub_module)
        return "its element_wise_function must be operator.add, or FeedbackSum of a Linear"

    def current(self, x: Tensor) -> Tensor:
        return self.element_wise_function(x, self.y)

    def wrong_output(self) -> str:
        return "its output must have the shape of the container's input."


class LinearRecurrentContainer(_RecurrentContainer):
    """A module whose input is a linear map of the container's input and of its own last output.

    i[t] = rc([x[t], y[t−1]]),  y[t] = sub_module(i[t]),  y[−1] = 0, joined on the last dim;
    rc is a learnable Linear(in_features + out_features → in_features).

    Args:
        sub_module: maps in_features to out_features on the last dim; stays in step_mode 's'.
        in_features, out_features: sizes of x and y, ≥ 1.
        bias: whether rc has a bias.
        step_mode: 's' or 'm'.
        backend: of a sequence: 'torch': a loop; 'fused': kernels; 'auto': these where they can serve.

    Shapes: [N, *, in] → [N, *, out] ('s'); [T, N, *, in] → [T, N, *, out] ('m').
    """

    def __init__(
        self,
        sub_module: nn.Module,
        in_features: int,
        out_features: int,
        bias: bool = True,
        step_mode: str = "s",
        backend: str = "auto",
    ) -> None:
        super().__init__(sub_module, step_mode)
        self.in_features = integer(self, "in_features", in_features, at_least=1)
        self.out_features = integer(self, "out_features", out_features, at_least=1)
        inputs = self.in_features + self.out_features
        self.rc = nn.Linear(inputs, self.in_features, bias=flag(self, "bias", bias))
        self.backend = backend
        self.check_children()

    def parts(self) -> Parts | str:
        return parts_of("concat", self.rc, self.sub_module)

    def check_input(self, x: Tensor) -> None:
        """Raises: ValueError also for a last dim that is not in_features."""
        super().check_input(x)
        dims = 1 if self.step_mode == "s" else 2
        if x.dim() < dims or x.shape[-1] != self.in_features:
            raise ValueError(
                f"{self._title()}: the last dim of the input must be in_features = {self.in_features}, got shape "
                f"{list(x.shape)}."
            )

    def state_shape(self, name: str, x: Tensor) -> torch.Size:
        return torch.Size((*x.shape[:-1], self.out_features)) if name == "y" else super().state_shape(name, x)

    def current(self, x: Tensor) -> Tensor:
        return self.rc(torch.cat((x, self.y), dim=-1))

    def wrong_output(self) -> str:
        return f"its output must have out_features = {self.out_features} on the last dim."


class FeedbackSum(nn.Module):
    """The recurrent connection of a textbook layer: f(x, y) = x + feedback(y), for ElementWiseRecurrentContainer.

    With a bias-free Linear V as feedback: i[t] = x[t] + V·y[t−1].

    Args:
        feedback: module from y's shape to x's, stays in step_mode 's'.

    Shapes: x and y [N, *]; output as x.
    Source: Cramer et al., IEEE TNNLS 2022, arXiv 1910.07407.
    """

    def __init__(self, feedback: nn.Module) -> None:
        super().__init__()
        if not isinstance(feedback, nn.Module):
            raise invalid(self, "feedback", "a module (torch.nn.Module)", feedback)
        self.feedback = feedback

    def forward(self, x: Tensor, y: Tensor) -> Any:
        fed_back = self.feedback(y)
        if fed_back.shape != x.shape:
            raise ValueError(
                f"FeedbackSum: feedback must return the shape of the input, {list(x.shape)}, got "
                f"{list(fed_back.shape)}."
            )
        return x + fed_back
