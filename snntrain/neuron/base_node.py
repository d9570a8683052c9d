"""BaseNode: charge → fire → reset, on top of which a neuron writes only its own equations."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from snntrain.arguments import backend as known_backend
from snntrain.arguments import flag, real, surrogate
from snntrain.base import MemoryModule
from snntrain.functional import steps_of
from snntrain.kernel.backend import plan_for, reason_against, run_node
from snntrain.kernel.plan import Plan
from snntrain.neuron.channels import checked_parameter, of_step
from snntrain.neuron.hook_adapter import StepHooks
from snntrain.neuron.linear_form import LinearForm
from snntrain.neuron.reset import HardReset
from snntrain.signature import merge_signature
from snntrain.surrogate import Sigmoid


def stores_sequence(state: str) -> property:
    """A switch: whether mode 'm' keeps a state of every step, in the attribute `<state>_seq`."""

    def is_on(self: "BaseNode") -> bool:
        return state in self._stored

    def switch(self: "BaseNode", value: bool) -> None:
        is_on = flag(self, f"store_{state}_seq", value)
        self.stored_states = [*(name for name in self._stored if name != state), *([state] if is_on else [])]
        if not is_on:
            setattr(self, f"{state}_seq", None)  # also where it was never on

    return property(is_on, switch)


class ChoosesBackend:
    """Mixin of the neurons: the backend that they run on."""

    def reason_against_fusion(self) -> str | None:
        """Why no call of this neuron can be fused, whatever its input; None if there is no such reason."""
        return reason_against(self)

    @property
    def supported_backends(self) -> tuple[str, ...]:
        """Backends that serve this neuron; a device or dtype may still rule 'fused' out for one call."""
        return ("torch",) if self.reason_against_fusion() else ("torch", "fused")

    @property
    def backend(self) -> str:
        return self._backend

    @backend.setter
    def backend(self, value: str) -> None:
        value = known_backend(self, value)
        reason = self.reason_against_fusion() if value == "fused" else None
        if reason:
            raise self._not_fused(reason)
        self._backend = value

    def _not_fused(self, reason: str) -> ValueError:
        return ValueError(
            f"{self._title()}: backend 'fused' cannot serve this neuron: {reason}. Use 'auto' or 'torch'."
        )


class BaseNode(StepHooks, ChoosesBackend, MemoryModule):
    """Spiking neuron with a membrane potential v.

    A neuron defines a pure function: `charge(x, v, *parameters)`, or `step(x, *states, *parameters)` where charge →
    fire → reset does not describe it; kernels are generated from these. States are named in `state_names` and
    registered with `register_memory`; parameters come from `step_parameters`. The function neither reads nor writes a
    state through self, and chooses between values with torch.where, not with if. A constructor states its own arguments
    and takes those of its base class as **common. Neurons written for SpikingJelly, which override `neuronal_charge(x)`
    and the like (snntrain.neuron.hook_adapter), run as well.

    Every constructor of a neuron raises ValueError for a bad value, naming the argument, the range and the value. Every
    call raises ValueError for an input of the wrong dtype or rank, and StateMismatchError if the input does not fit
    the states.

    Args:
        v_threshold: a spike is fired where the charged potential reaches it (equality fires); finite.
        v_reset: potential after a spike (hard reset) and before the first step; None: v_threshold is subtracted
            instead (soft reset) and v starts at 0.
        surrogate_function: module or function with Θ as value and a surrogate as gradient; None: a new Sigmoid(4.0).
        detach_reset: keep the gradient of the spike out of the reset.
        step_mode: 's', x is [N, *], or 'm', x is [T, N, *].
        backend: 'auto', 'torch' or 'fused'.
        store_v_seq: in mode 'm' keep the potentials after reset in `v_seq` [T, N, *], in the state dtype. All states
            of a neuron: see `stored_states`.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'); spikes have its shape and dtype.
    Source: Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4; Neftci et al., IEEE SPM 2019 (surrogate gradients).
    """

    #: Whether the output is spikes (which firing rates count) and not an analog value.
    is_spiking = True

    #: States that `step` takes and returns, in this order.
    state_names: tuple[str, ...] = ("v",)

    #: Inputs that every neuron has in a step: x is [N, branches·C, *], all channels of the first branch before those of
    #: the second, and states and output are [N, C, *]. With more than one, `step` takes (*x, *states, *parameters).
    branches: int = 1

    #: The state that counts the steps since reset(), in a neuron whose parameters differ from step to step.
    step_counter: str | None = None

    _stored: tuple[str, ...] = ()
    store_v_seq = stores_sequence("v")

    def __init_subclass__(cls, *, positional: bool = False, without: tuple[str, ...] = (), **more: Any) -> None:
        """Complete the signature of a constructor that takes **common, see snntrain.signature.merge_signature."""
        super().__init_subclass__(**more)
        constructor = vars(cls).get("__init__")
        if constructor is not None and "common" in inspect.signature(constructor).parameters:
            merge_signature(cls, positional=positional, without=without)

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        detach_reset: bool = False,
        step_mode: str = "s",
        backend: str = "auto",
        store_v_seq: bool = False,
    ) -> None:
        super().__init__(step_mode)
        self.v_threshold = real(self, "v_threshold", v_threshold)
        self.v_reset = None if v_reset is None else real(self, "v_reset", v_reset, alternative=" or None")
        if surrogate_function is None:
            surrogate_function = Sigmoid(4.0)  # a new one: neurons must not share the steepness that one of them sets
        self.surrogate_function = surrogate(self, surrogate_function)
        self.detach_reset = flag(self, "detach_reset", detach_reset)
        self.backend = backend
        self.store_v_seq = store_v_seq
        self.register_memory("v", self.rest)

    # --- the dynamics, as pure functions -----------------------------------------------------------------------------

    @property
    def rest(self) -> float:
        """Where the leak pulls to and where v starts: v_reset, or 0 with soft reset."""
        return 0.0 if self.v_reset is None else self.v_reset

    def charge(self, x: Tensor, v: Tensor, *parameters: Tensor) -> Tensor:
        """Potential h after the input x arrived, before fire and reset."""
        raise NotImplementedError(f"{type(self).__name__} must define charge(x, v) or neuronal_charge(x).")

    def fire(self, h: Tensor) -> Tensor:
        """Spikes Θ(h − v_threshold)."""
        return self.surrogate_function(h - self.v_threshold)

    def reset_potential(self, h: Tensor, s: Tensor, *parameters: Tensor) -> Tensor:
        """Potential v' after the reset by the spikes s."""
        s_d = s.detach() if self.detach_reset else s
        if self.v_reset is None:
            return h - s_d * self.v_threshold
        # A user's own function promises nothing about s.
        binary = getattr(self.surrogate_function, "spiking", False)
        return HardReset.apply(h, s_d, self.v_reset, binary)

    def charge_states(self, x: Tensor, v: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """States before the spikes, the charged potential first; takes what `step` takes."""
        states, parameters = self._split(others)
        return self.charge(x, v, *parameters), *states

    def reset_states(self, s: Tensor, h: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """States after the spikes s, from those before them and the parameters of the step."""
        states, parameters = self._split(others)
        return self.reset_potential(h, s, *parameters), *states

    def _split(self, others: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Of what follows the potential: (states, parameters)."""
        states = len(self.state_names) - 1
        return others[:states], others[states:]

    def activation(self, h: Tensor) -> Tensor | None:
        """An analog output that takes the place of the spikes; None if the neuron passes on its spikes."""
        return None

    def step(self, x: Tensor, *states_and_parameters: Tensor) -> tuple[Tensor, ...]:
        """One time step, charge → fire → reset: (x, *states, *parameters) → (output, *new states)."""
        h, *others = self.charge_states(x, *states_and_parameters)
        parameters = states_and_parameters[1 + len(others) :]
        y = self.activation(h)
        s = self.fire(h)
        return s if y is None else y, *self.reset_states(s, h, *others, *parameters)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        """Values that `charge` and `step` take after the states: constants to divide by, and learnable values.

        Args:
            dtype: the state dtype, in which learnable values are to be computed.

        Each is a number or a 0-d tensor; [C], one value for each channel of a step [N, C, *]; or [T, C], whose rows are
        for the steps from the present one on, in a neuron with a `step_counter`. C may be 1.

        Numbers reach the step as 0-d tensors of the state dtype on x's device, and values of channels in a shape that
        broadcasts with x. For divisors that is essential: CUDA turns a division by a Python number into a
        multiplication by its reciprocal, which flips spikes at the threshold.
        """
        return ()

    def linear_form(self) -> LinearForm | None:
        """The dynamics as a linear recurrence, for quantization and export; None if they are not one."""
        return None

    # --- forward -----------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, *more: Any, **options: Any) -> Any:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x, more, options)
        if self._backend != "torch" and not (more or options):
            self.check_input(x)
            plan = plan_for(self, x)
            if isinstance(plan, Plan):
                return run_node(self, plan, x)
            if self._backend == "fused":
                raise self._not_fused(plan)
        return super().forward(x, *more, **options)

    def single_step_forward(self, x: Tensor) -> Tensor:
        if self.overrides_parts_of_a_step():
            return self.step_by_hooks(x)
        out = self._step_on_states(x, self.parameters_for(x))
        self.count_steps(1)
        return out

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        stored: dict[str, list[Tensor]] = {name: [] for name in self._stored}
        by_hooks = self.overrides_hooks("single_step_forward") or self.overrides_parts_of_a_step()
        parameters = () if by_hooks else self.parameter_tensors(x_seq[0])
        for t, x in enumerate(steps_of(x_seq)):
            outputs.append(
                self.single_step_forward(x) if by_hooks else self._step_on_states(x, of_step(parameters, t, x))
            )
            for name, values in stored.items():
                values.append(getattr(self, name))
        for name, values in stored.items():
            setattr(self, f"{name}_seq", torch.stack(values))
        if not by_hooks:
            self.count_steps(len(outputs))
        return torch.stack(outputs)

    def _step_on_states(self, x: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        inputs = (x,) if self.branches == 1 else x.unflatten(1, (self.branches, -1)).unbind(1)
        out, *states = self.step(*inputs, *self._read_states(), *parameters)
        if len(states) != len(self.state_names):
            raise ValueError(
                f"{self._title()}: step must return a tuple, the output and the new "
                f"{', '.join(self.state_names)}; it returned {1 + len(states)} values."
            )
        self._write_states(states)
        return out

    def follows_input(self, name: str) -> bool:
        """True of the states of `step`; hooks, and states that a subclass adds, may do otherwise."""
        return name in self.state_names and not self.overrides_hooks()

    def neurons_of(self, x: Tensor) -> torch.Size:
        """The shape of the neurons that the input x of one step is for."""
        if self.branches == 1:
            return x.shape
        return torch.Size((x.shape[0], x.shape[1] // self.branches, *x.shape[2:]))

    def state_shape(self, name: str, x: Tensor) -> torch.Size:
        return self.neurons_of(x)

    def parameter_tensors(self, x: Tensor) -> list[Tensor]:
        """step_parameters as tensors that fit a step x, of its dtype and on its device.

        Raises: ValueError for one whose size is neither 1 nor the number of channels.
        """
        return [checked_parameter(self, value, x) for value in self.step_parameters(x.dtype)]

    def parameters_for(self, x: Tensor) -> tuple[Tensor, ...]:
        """The parameters of the present step in shapes that broadcast with its input x."""
        return of_step(self.parameter_tensors(x), 0, x)

    def count_steps(self, steps: int) -> None:
        """Note that so many steps more were run since reset(), in a neuron to which this makes a difference."""
        if self.step_counter is not None:
            setattr(self, self.step_counter, getattr(self, self.step_counter) + steps)

    # --- settings ----------------------------------------------------------------------------------------------------

    @property
    def stored_states(self) -> tuple[str, ...]:
        """States whose `<state>_seq` mode 'm' keeps: `node.stored_states = ("v", "w")` keeps `v_seq` and `w_seq`."""
        return self._stored

    @stored_states.setter
    def stored_states(self, names: Iterable[str]) -> None:
        wanted = tuple(dict.fromkeys(names))
        if unknown := [name for name in wanted if name not in self.state_names]:
            raise ValueError(
                f"{type(self).__name__}: stored_states are some of {', '.join(self.state_names)}, the states of this "
                f"neuron, got {', '.join(map(repr, unknown))}."
            )
        for name in set(self._stored) - set(wanted):
            setattr(self, f"{name}_seq", None)
        for name in wanted:
            self.__dict__.setdefault(f"{name}_seq", None)
        self._stored = wanted

    @property
    def step_mode(self) -> str:
        return self._step_mode  # not super().step_mode, which torch.compile cannot follow

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        MemoryModule.step_mode.fset(self, value)
        if value == "s":
            self._map_sequences(lambda sequence: None)

    def reset(self) -> None:
        super().reset()
        self._map_sequences(lambda sequence: None)

    def detach(self) -> None:
        super().detach()
        self._map_sequences(Tensor.detach)

    def _map_sequences(self, function: Callable[[Tensor], Tensor | None]) -> None:
        for name in (f"{state}_seq" for state in self._stored):
            if getattr(self, name) is not None:
                setattr(self, name, function(getattr(self, name)))
