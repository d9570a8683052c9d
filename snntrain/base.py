"""Step modes and neuron state: what every stateful or time-aware module of this library shares.

State is whatever a module carries from one time step to the next (v, w, trace, a queue …). It is kept out of
parameters and buffers, so it never reaches a state_dict; it is created at the first forward and dropped by reset().
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain import leftover
from snntrain.arguments import invalid
from snntrain.module_settings import path_in_running_model, settings_of

STEP_MODES = ("s", "m")


class StateMismatchError(RuntimeError):
    """A kept state does not fit the shape of the input: most often reset() was forgotten between two batches."""


class StepModule:
    """Mixin for modules that run one time step, 's' ([N, *]), or a whole sequence, 'm' ([T, N, *]).

    Attributes:
        step_mode: 's', x is [N, *], or 'm', x is [T, N, *]; a run sets it.
    """

    _step_mode = "s"

    #: Whether this is a container that hands its children single steps in both modes, so that they stay in 's';
    #: functional.set_step_mode does not enter it.
    keeps_children_in_s = False

    #: Why it supports one step mode only, as a clause for the error text; '' says just that.
    reason_for_step_mode = ""

    def supported_step_mode(self) -> tuple[str, ...]:
        """The step modes this module can be switched to."""
        return STEP_MODES

    @property
    def step_mode(self) -> str:
        return self._step_mode

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        if value not in STEP_MODES:
            raise invalid(self, "step_mode", "'s' (one step) or 'm' (a sequence)", value)
        if value not in self.supported_step_mode():
            supported = " or ".join(map(repr, self.supported_step_mode()))
            reason = self.reason_for_step_mode or f"it runs in {supported} only"
            raise ValueError(f"{type(self).__name__}: step_mode {value!r} is not supported, {reason}.")
        self._step_mode = value

    @property
    def itself(self) -> "StepModule":
        """This module: the name under which the graph calls it if torch.fx traces nothing but this module."""
        return self

    def fx_node(self, x: fx.Proxy, more: Any = (), options: Any = None) -> fx.Proxy:
        """A call of this module as one node of the graph that torch.fx is tracing: time and states stay inside.

        Args:
            more, options: further inputs. Where this module is all that is traced, torch.fx makes one placeholder each
                of *more and **options, which nothing is known of; they are left out.
        """
        inputs = (x,) if isinstance(more, fx.Proxy) else (x, *more)
        named = {} if options is None or isinstance(options, fx.Proxy) else options
        return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self) or "itself", inputs, named)

    def check_sequence(self, x: Tensor, leading: int = 1) -> None:
        """Raises: ValueError unless x has so many leading dims, of which the first is T ≥ 1 steps."""
        if x.dim() < leading or x.shape[0] == 0:
            raise ValueError(
                f"{self._title()}: step_mode 'm' needs a sequence [T, N, *] of T ≥ 1 steps, got shape {list(x.shape)}."
            )

    def _title(self) -> str:
        """Class, and place in the running model, for error texts."""
        path = path_in_running_model(self)
        return f"{path} ({type(self).__name__})" if path else type(self).__name__


class SequenceModule(StepModule):
    """Mixin for modules that run whole sequences only."""

    _step_mode = "m"

    def supported_step_mode(self) -> tuple[str, ...]:
        return ("m",)


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply function to a tensor, or to every tensor inside lists, tuples and dicts; other values pass unchanged."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(function, item) for item in value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    return value


def stack_steps(outputs: Sequence[Any]) -> Any:
    """The outputs of T steps as one: tensors stacked, each by itself in lists, tuples and dicts; others as a list."""
    first = outputs[0]
    if isinstance(first, Tensor):
        return torch.stack(list(outputs))
    if isinstance(first, (list, tuple)):
        return type(first)(stack_steps(each) for each in zip(*outputs, strict=True))
    if isinstance(first, dict):
        return {key: stack_steps([output[key] for output in outputs]) for key in first}
    return list(outputs)


def detached_copy(value: Any) -> Any:
    """A copy that shares neither storage nor autograd graph."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (list, tuple, dict)):
        return map_tensors(lambda tensor: tensor.detach().clone(), value)
    return copy.deepcopy(value)


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of state and arithmetic for an input of this dtype: never below float32."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def autocast_off(device: torch.device) -> contextlib.AbstractContextManager:
    """Switch autocast off on this device, at no cost where it is off already."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def _in_state_dtype(value: Tensor) -> Tensor:
    return value.to(state_dtype(value.dtype)) if value.is_floating_point() else value


def _each_step(value: Any, T: int) -> Sequence[Any]:
    return value.unbind(0) if isinstance(value, Tensor) else [value] * T


class MemoryModule(StepModule, nn.Module):
    """Base of every stateful module.

    Subclasses register their states and define `single_step_forward`; `multi_step_forward` loops over it. Inputs
    arrive there in the state dtype (float32 for half precision), outputs are cast back to the dtype of the input.
    """

    def __init__(self, step_mode: str = "s") -> None:
        super().__init__()
        self.__dict__["_memories"] = {}
        self.__dict__["_reset_values"] = {}
        self.step_mode = step_mode

    #: Of the last call since reset(): the shape of a step, and the number of backward passes before it.
    _last_call: tuple[torch.Size, int] | None = None

    # --- registration and attribute access ---------------------------------------------------------------------------

    def register_memory(self, name: str, value: Any) -> None:
        """Add a state.

        Args:
            name: attribute under which the state is read and written.
            value: reset value. A float becomes a tensor of one step's shape at the first forward; None, an int (a
                step index) or a list (a queue) stay as they are until the module replaces them.

        Raises: ValueError if the name is taken.
        """
        if hasattr(self, name):
            raise ValueError(f"{type(self).__name__}: the name {name!r} is taken, choose another one for this state.")
        self._memories[name] = value
        self.set_reset_value(name, value)

    def set_reset_value(self, name: str, value: Any) -> None:
        """Choose what reset() puts the state `name` back to; its present value stays."""
        if name not in self._memories:
            raise ValueError(f"{type(self).__name__}: there is no state {name!r}; call register_memory first.")
        self._reset_values[name] = copy.deepcopy(value)

    def __getattr__(self, name: str) -> Any:
        memories = self.__dict__.get("_memories")
        if memories is not None and name in memories:
            return memories[name]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        memories = self.__dict__.get("_memories")
        if memories is not None and name in memories:
            memories[name] = value
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._memories:
            del self._memories[name], self._reset_values[name]
        else:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._memories]

    def named_memories(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of this module's own states."""
        yield from self._memories.items()

    def memories(self) -> Iterator[Any]:
        """The values of this module's own states."""
        yield from self._memories.values()

    # --- the life of a state -----------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Put every state back to its reset value and drop its graph."""
        for name, value in self._reset_values.items():
            self._memories[name] = copy.deepcopy(value)
        self.__dict__.pop("_last_call", None)

    def detach(self) -> None:
        """Cut every state from its graph (truncated backpropagation through time); values stay."""
        for name, value in self._memories.items():
            self._memories[name] = map_tensors(Tensor.detach, value)

    def state_shape(self, name: str, x: Tensor) -> torch.Size:
        """Shape that the state `name` must have for a one-step input x; override where it is not x's own.

        Without an override a state may also take a shape of its own in a step, and keep it.
        """
        return x.shape

    def materialize(self, x: Tensor) -> None:
        """Turn scalar states into tensors that fit the one-step input x, and check those that are tensors already."""
        for name, value in self._memories.items():
            if isinstance(value, float):
                shape = self.state_shape(name, x)
                if shape == x.shape:
                    self._memories[name] = torch.full_like(x, value, requires_grad=False)
                else:
                    self._memories[name] = torch.full(shape, value, dtype=x.dtype, device=x.device)
            elif isinstance(value, Tensor):
                self._memories[name] = self.checked_state(name, value, x)
            elif isinstance(value, list):
                self._memories[name] = [
                    self.checked_state(name, item, x) if isinstance(item, Tensor) else item for item in value
                ]
        self.note_call(x)

    def note_call(self, x: Tensor) -> None:
        """Remember the shape of this step and the number of backward passes so far; the next call checks them."""
        if self._memories and not torch.compiler.is_compiling():
            self.__dict__["_last_call"] = (x.shape, leftover.backwards())

    def checked_state(self, name: str, value: Tensor, x: Tensor) -> Tensor:
        """The state `name` in the dtype of the one-step input x.

        Raises: StateMismatchError if its shape does not fit x, or if it was left over from inference mode; RuntimeError
        if it is on another device.
        """
        if value.shape != self.state_shape(name, x) and not self._keeps_its_shape(name, value, x):
            raise StateMismatchError(
                f"{self._title()}: state {name} has shape {list(value.shape)}, but the input of one step has shape "
                f"{list(x.shape)}. Was reset() forgotten between two batches? Call functional.reset_net(model) before "
                "each batch (a smaller last batch is the usual cause)."
            )
        if value.device != x.device:
            raise RuntimeError(
                f"{self._title()}: state {name} is on {value.device}, the input on {x.device}. "
                "Move the model with model.to(device) or call functional.reset_net(model)."
            )
        if not torch.compiler.is_compiling() and torch.is_grad_enabled():
            value = self._checked_graph(name, value, x)
        return value.to(x.dtype) if value.is_floating_point() and value.dtype != x.dtype else value

    def follows_input(self, name: str) -> bool:
        """Whether the state `name` always has the shape that state_shape says, as after the steps of this library."""
        overridden = type(self).state_shape is not MemoryModule.state_shape
        return overridden or self.single_step_forward.__module__.startswith("snntrain.")

    def _keeps_its_shape(self, name: str, value: Tensor, x: Tensor) -> bool:
        """Whether a state that is not of x's shape got its own in an earlier step of the same batch."""
        if self.follows_input(name):
            return False
        before = None if self._last_call is None else self._last_call[0]
        if before is None:
            return value.shape[:1] == x.shape[:1]
        is_per_sample = value.shape[:1] == before[:1]
        return x.shape == before or (value.shape != before and (not is_per_sample or x.shape[:1] == before[:1]))

    def _checked_graph(self, name: str, value: Tensor, x: Tensor) -> Tensor:
        """The state, through which a backward can pass, or which raises an error that explains why it cannot."""
        if value.grad_fn is not None:
            if self._last_call is None or self._last_call[1] == leftover.backwards():
                return value
            if not leftover.graph_is_freed(value):
                return value
            return leftover.ThroughFreedGraph.apply(
                value,
                StateMismatchError(
                    f"{self._title()}: state {name} was left over from an earlier batch, whose graph the last backward "
                    "used up. Call functional.reset_net(model) before each batch; to go on from the states, call "
                    "functional.detach_net(model)."
                ),
            )
        if (
            value.is_inference()
            and not torch.is_inference_mode_enabled()
            and (x.requires_grad or any(parameter.requires_grad for parameter in self.parameters()))
        ):
            raise StateMismatchError(
                f"{self._title()}: state {name} was left over from torch.inference_mode(), where no graph can start. "
                "Call functional.reset_net(model) before each batch; to go on from the states, use torch.no_grad() in "
                "the place of torch.inference_mode()."
            )
        return value

    # --- forward -----------------------------------------------------------------------------------------------------

    def check_input(self, x: Tensor) -> None:
        """Check the dtype and the number of steps of the input.

        Raises: ValueError for an input that is not floating point, and for a sequence without steps.
        """
        if not x.is_floating_point():
            raise ValueError(
                f"{self._title()}: the input has dtype {x.dtype}; cast spikes to a float dtype first, e.g. x.float()."
            )
        if self.step_mode == "m":
            self.check_sequence(x)

    def forward(self, x: Tensor, *more: Any, **options: Any) -> Any:
        """x and more are inputs of a step, or sequences of them in 'm'; options reach every step as they are.

        The states follow x.
        """
        if isinstance(x, fx.Proxy):
            return self.fx_node(x, more, options)
        self.check_input(x)
        with autocast_off(x.device):
            z = x.to(state_dtype(x.dtype))
            if more:
                self._check_same_length(x, more)
                more = tuple(map_tensors(_in_state_dtype, value) for value in more)
            self.materialize(z if self.step_mode == "s" else z[0])
            run = self.single_step_forward if self.step_mode == "s" else self.multi_step_forward
            out = run(z, *more, **options)
        return map_tensors(lambda tensor: tensor.to(x.dtype), out)

    def _check_same_length(self, x: Tensor, more: Sequence[Any]) -> None:
        """Raises: ValueError for sequences of different lengths."""
        lengths = [value.shape[:1] for value in (x, *more) if isinstance(value, Tensor)]
        if self.step_mode == "m" and len(set(lengths)) > 1:
            shapes = ", ".join(str(list(value.shape)) for value in (x, *more) if isinstance(value, Tensor))
            raise ValueError(f"{self._title()}: all inputs must be sequences of the same T steps, got shapes {shapes}.")

    def single_step_forward(self, x: Tensor, *more: Any, **options: Any) -> Any:
        """One time step; x is [N, *]."""
        raise NotImplementedError(f"{type(self).__name__} must define single_step_forward(x).")

    def multi_step_forward(self, x_seq: Tensor, *more: Any, **options: Any) -> Any:
        """A sequence [T, N, *], step by step; so are those of more that are tensors."""
        steps = zip(x_seq.unbind(0), *(_each_step(value, len(x_seq)) for value in more), strict=True)
        return stack_steps([self.single_step_forward(*inputs, **options) for inputs in steps])

    # --- copies, devices ---------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # deepcopy and pickle come through here: a tensor with a graph could not be copied, so copies hold detached
        # clones.
        state = dict(self.__dict__, _memories=detached_copy(self._memories))
        return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in state.items()}

    def _replicate_for_data_parallel(self) -> "MemoryModule":
        replica = super()._replicate_for_data_parallel()
        replica.__dict__["_memories"] = dict(self._memories)  # torch copies __dict__ only: each replica owns its states
        return replica

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "MemoryModule":
        def move(value: Tensor) -> Tensor:
            moved = fn(value)
            # model.half() must not lower a state below float32.
            return moved if moved.dtype == state_dtype(moved.dtype) else value.to(moved.device)

        for name, value in self._memories.items():
            self._memories[name] = map_tensors(move, value)
        return super()._apply(fn, recurse)

    def settings(self) -> dict[str, Any]:
        """Constructor arguments and their present values, for printing."""
        return settings_of(self)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings().items())
