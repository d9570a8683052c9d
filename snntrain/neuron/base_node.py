"""BaseNode: charge → fire → reset, on top of which a neuron writes only its own equations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.arguments import backend as known_backend
from snntrain.arguments import flag, real, surrogate
from snntrain.base import MemoryModule
from snntrain.functional import steps_of
from snntrain.kernel.backend import plan_for, reason_against, run_node
from snntrain.kernel.plan import Plan
from snntrain.leftover import note_backward
from snntrain.neuron.linear_form import LinearForm
from snntrain.surrogate import Sigmoid


def stores_sequence(state: str) -> property:
    """A switch: whether mode 'm' keeps a state of every step, in the attribute `<state>_seq`."""

    def is_on(self: "BaseNode") -> bool:
        return state in self._stored

    def switch(self: "BaseNode", value: bool) -> None:
        if flag(self, f"store_{state}_seq", value):
            self._stored = (*self._stored, state) if state not in self._stored else self._stored
            self.__dict__.setdefault(f"{state}_seq", None)
        else:
            self._stored = tuple(name for name in self._stored if name != state)
            setattr(self, f"{state}_seq", None)

    return property(is_on, switch)


class HardReset(torch.autograd.Function):
    """v' = r where s = 1, h where s = 0; s·r + (1 − s)·h in between, where s may be that (not binary).

    The value is a select: the product would give 0·inf = NaN where s = 1 and h overflows. The gradient is the
    product's: dv'/dh = 1 − s, dv'/ds = r − h.
    """

    @staticmethod
    def forward(h: Tensor, s: Tensor, v_reset: float, binary: bool) -> Tensor:
        if binary:
            return torch.where(s > 0, v_reset, h)
        return torch.where(s == 1, v_reset, s * v_reset + (1.0 - s) * h)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float, bool], output: Tensor) -> None:
        h, s, ctx.v_reset, _ = inputs
        ctx.save_for_backward(h, s)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        note_backward()
        h, s = ctx.saved_tensors
        grad_s = grad * (ctx.v_reset - h) if ctx.needs_input_grad[1] else None
        return grad * (1.0 - s), grad_s, None, None


class BaseNode(MemoryModule):
    """Spiking neuron with a membrane potential v.

    A neuron is written in one of two ways. As pure functions: `charge(x, v, *parameters)`, or `step(x, *states,
    *parameters)` if charge → fire → reset does not describe it; kernels can be generated from these. Or, as in older
    code, by overriding the hooks `neuronal_charge(x)`, `neuronal_fire()`, `neuronal_reset(s)`,
    `single_step_forward(x)`, which read and write self.v.

    Args:
        v_threshold: a spike is fired where the charged potential reaches it (equality fires); finite.
        v_reset: potential after a spike (hard reset) and before the first step; None: v_threshold is subtracted
            instead (soft reset) and v starts at 0.
        surrogate_function: module or function with Θ as value and a surrogate as gradient; None: a fresh Sigmoid(4.0).
        detach_reset: keep the gradient of the spike out of the reset.
        step_mode: 's', x is [N, *], or 'm', x is [T, N, *].
        backend: 'auto', 'torch' or 'fused'.
        store_v_seq: in mode 'm' keep the potentials after reset in `v_seq` [T, N, *], in the state dtype.

    Shapes: spikes have the shape and dtype of x.
    Raises: ValueError naming the argument, the range and the value received; StateMismatchError if x does not fit the
    state.
    Source: Gerstner & Kistler, Spiking Neuron Models, 2002, ch. 4; Neftci et al., IEEE SPM 2019 (surrogate gradients).
    """

    #: Whether the output is spikes (which firing rates count) and not an analog value.
    is_spiking = True

    #: States that `step` takes and returns, in this order.
    state_names: tuple[str, ...] = ("v",)

    #: Methods that the loop calls beside `step`; a subclass that replaces one cannot be fused.
    hooks: tuple[str, ...] = (
        "single_step_forward",
        "multi_step_forward",
        "neuronal_charge",
        "neuronal_fire",
        "neuronal_reset",
    )

    _author_of_step: type
    _stored: tuple[str, ...] = ()
    store_v_seq = stores_sequence("v")

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
            surrogate_function = Sigmoid(4.0)  # a fresh one: a shared default would couple all neurons
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

    def step(self, x: Tensor, v: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """One time step: (x, *states, *parameters) → (output, *new states)."""
        h = self.charge(x, v, *parameters)
        s = self.fire(h)
        return s, self.reset_potential(h, s, *parameters)

    def step_parameters(self, dtype: torch.dtype) -> tuple[float | Tensor, ...]:
        """Scalars that `charge` and `step` take after the states: constants to divide by, and learnable values.

        Args:
            dtype: the state dtype, in which learnable values are to be computed.

        They reach the step as 0-d tensors of the state dtype on x's device. For divisors that is essential: CUDA
        turns a division by a Python number into a multiplication by its reciprocal, which flips spikes at the
        threshold.
        """
        return ()

    def linear_form(self) -> LinearForm | None:
        """The same as a linear recurrence, for quantization and export; None: the dynamics are something else."""
        return None

    # --- the same as hooks that work on self.v -----------------------------------------------------------------------

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "step" in vars(cls):
            cls._author_of_step = cls

    def overrides_hooks(self, *hooks: str) -> bool:
        """Whether one of these hooks (all, if none is named) was replaced by a class below the one that wrote `step`.

        Hooks that come with a step say the same as it does.
        """
        author = self._author_of_step
        return any(getattr(type(self), hook) is not getattr(author, hook) for hook in hooks or self.hooks)

    def neuronal_charge(self, x: Tensor) -> None:
        """Write the charged potential h to self.v."""
        self.v = self.charge(x, self.v, *self.parameters_for(x))

    def neuronal_fire(self) -> Tensor:
        """Spikes of the charged potential self.v."""
        return self.fire(self.v)

    def neuronal_reset(self, s: Tensor) -> None:
        """Write the potential after reset to self.v."""
        self.v = self.reset_potential(self.v, s, *self.parameters_for(s))

    def v_float_to_tensor(self, x: Tensor) -> None:
        """Give the potential the shape of the one-step input x, if it is still the number that it starts from."""
        if isinstance(self.v, float):
            self.v = torch.full_like(x, self.v, requires_grad=False)

    @staticmethod
    def jit_hard_reset(v: Tensor, spike: Tensor, v_reset: float) -> Tensor:
        """v_reset where spike is 1, v where it is 0."""
        return HardReset.apply(v, spike, v_reset, False)

    @staticmethod
    def jit_soft_reset(v: Tensor, spike: Tensor, v_threshold: float) -> Tensor:
        """v less v_threshold where spike is 1."""
        return v - spike * v_threshold

    apply_hard_reset, apply_soft_reset = jit_hard_reset, jit_soft_reset

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
        if self._steps_by_hooks():
            self.neuronal_charge(x)
            s = self.neuronal_fire()
            self.neuronal_reset(s)
            return s
        return self._step_on_states(x, self.parameters_for(x))

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        stored: dict[str, list[Tensor]] = {name: [] for name in self._stored}
        by_hooks = self.overrides_hooks("single_step_forward") or self._steps_by_hooks()
        parameters = () if by_hooks else self.parameters_for(x_seq)
        for x in steps_of(x_seq):
            outputs.append(self.single_step_forward(x) if by_hooks else self._step_on_states(x, parameters))
            for name, values in stored.items():
                values.append(getattr(self, name))
        for name, values in stored.items():
            setattr(self, f"{name}_seq", torch.stack(values))
        return torch.stack(outputs)

    def _steps_by_hooks(self) -> bool:
        return self.overrides_hooks(*(hook for hook in self.hooks if hook.startswith("neuronal_")))

    def _step_on_states(self, x: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        out, *states = self.step(x, *(getattr(self, name) for name in self.state_names), *parameters)
        for name, value in zip(self.state_names, states, strict=True):
            setattr(self, name, value)
        return out

    def follows_input(self, name: str) -> bool:
        """True of the states of `step`; hooks, and states that a subclass adds, may do otherwise."""
        return name in self.state_names and not self.overrides_hooks()

    def parameters_for(self, x: Tensor) -> tuple[Tensor, ...]:
        """step_parameters as tensors of x's dtype, on its device."""
        return tuple(
            value if isinstance(value, Tensor) else torch.full((), value, dtype=x.dtype, device=x.device)
            for value in self.step_parameters(x.dtype)
        )

    # --- settings ----------------------------------------------------------------------------------------------------

    @property
    def supported_backends(self) -> tuple[str, ...]:
        """Backends that serve this neuron; a device or dtype may still rule 'fused' out for one call."""
        return ("torch",) if reason_against(self) else ("torch", "fused")

    @property
    def backend(self) -> str:
        return self._backend

    @backend.setter
    def backend(self, value: str) -> None:
        value = known_backend(self, value)
        reason = reason_against(self) if value == "fused" else None
        if reason:
            raise self._not_fused(reason)
        self._backend = value

    def _not_fused(self, reason: str) -> ValueError:
        return ValueError(
            f"{self._title()}: backend 'fused' cannot serve this neuron: {reason}. Use 'auto' or 'torch'."
        )

    @property
    def stored_states(self) -> tuple[str, ...]:
        """States whose `<state>_seq` mode 'm' keeps."""
        return self._stored

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

    def settings(self) -> dict[str, Any]:
        """Constructor arguments and their present values, for printing."""
        common = ("v_threshold", "v_reset", "detach_reset", "step_mode", "backend", "store_v_seq")
        return {name: getattr(self, name) for name in common}

    def extra_repr(self) -> str:
        settings = self.settings()
        if not isinstance(self.surrogate_function, nn.Module):  # a module is printed as a child
            settings["surrogate_function"] = self.surrogate_function
        return ", ".join(f"{name}={value}" for name, value in settings.items())


BaseNode._author_of_step = BaseNode  # __init_subclass__ does not see the class it stands in
