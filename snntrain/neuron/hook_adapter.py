"""SpikingJelly's way to write a neuron: hooks that read and write self.v, derived here from the pure functions.

A subclass may override any of these hooks; its neuron then runs step by step through all of them. Neurons of this
library define `charge` or `step` only.
"""

from typing import Any

import torch
from torch import Tensor

from snntrain.neuron.reset import HardReset


class StepHooks:
    """Mixin of BaseNode: `neuronal_charge`, `neuronal_fire` and `neuronal_reset`, and what older neurons call."""

    #: Methods that the loop calls instead of `step`; a neuron that overrides one cannot be fused.
    hooks: tuple[str, ...] = (
        "single_step_forward",
        "multi_step_forward",
        "neuronal_charge",
        "neuronal_fire",
        "neuronal_reset",
    )

    _author_of_step: type

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "step" in vars(cls):
            cls._author_of_step = cls

    def overrides_hooks(self, *hooks: str) -> bool:
        """Whether one of these hooks (by default any) was overridden by a class below the one that defines `step`.

        Hooks defined together with a step agree with it.
        """
        author = self._author_of_step
        methods = [(getattr(type(self), hook), getattr(author, hook, None)) for hook in hooks or self.hooks]
        return any(method is not authors and method.__module__ != __name__ for method, authors in methods)

    def overrides_parts_of_a_step(self) -> bool:
        """Whether one of the hooks that run a part of a step was overridden."""
        return self.overrides_hooks(*(hook for hook in self.hooks if hook.startswith("neuronal_")))

    def step_by_hooks(self, x: Tensor) -> Tensor:
        """One time step of a neuron that overrides hooks."""
        self.charge_by_hooks(x)
        y = self.activation(self.v)
        s = self.neuronal_fire()
        self.neuronal_reset(s)
        return s if y is None else y

    def charge_by_hooks(self, x: Tensor) -> None:
        """The part of the step before the spikes."""
        self.neuronal_charge(x)

    def neuronal_charge(self, x: Tensor) -> None:
        """Write the charged potential h to self.v, and the other states as they are before the spikes."""
        self._write_states(self.charge_states(x, *self._read_states(), *self.parameters_for(x)))

    def neuronal_fire(self) -> Tensor:
        """Spikes of the charged potential self.v."""
        return self.fire(self.v)

    def neuronal_reset(self, s: Tensor) -> None:
        """Write the potential after the reset to self.v, and the other states as they are after the spikes s."""
        self._write_states(self.reset_states(s, *self._read_states(), *self.parameters_for(s)))

    def _read_states(self) -> list[Tensor]:
        for name in self.state_names:
            if name not in self._memories and not hasattr(self, name):
                raise AttributeError(
                    f"{type(self).__name__}: state_names has {name!r}, which is no state yet. Call "
                    f"self.register_memory({name!r}, 0.0) in __init__."
                )
        return [getattr(self, name) for name in self.state_names]

    def _write_states(self, values: tuple[Tensor, ...]) -> None:
        for name, value in zip(self.state_names, values, strict=True):
            setattr(self, name, value)

    def v_float_to_tensor(self, x: Tensor) -> None:
        """Give the potential the shape of the one-step input x, if it is still the number that it starts from."""
        _expand_number(self, "v", x)

    @staticmethod
    def jit_hard_reset(v: Tensor, spike: Tensor, v_reset: float) -> Tensor:
        """v_reset where spike is 1, v where it is 0."""
        return HardReset.apply(v, spike, v_reset, False)

    @staticmethod
    def jit_soft_reset(v: Tensor, spike: Tensor, v_threshold: float) -> Tensor:
        """v − v_threshold where spike is 1, v where it is 0."""
        return v - spike * v_threshold

    apply_hard_reset, apply_soft_reset = jit_hard_reset, jit_soft_reset


class AdaptationHooks(StepHooks):
    """Mixin of AdaptBaseNode: a further hook, `neuronal_adaptation`, between charge and fire."""

    hooks = (*StepHooks.hooks, "neuronal_adaptation")

    def charge_by_hooks(self, x: Tensor) -> None:
        self.neuronal_charge(x)
        self.neuronal_adaptation()

    def neuronal_charge(self, x: Tensor) -> None:
        """Write the charged potential h to self.v."""
        self.v = self.charge(x, self.v, self.w, *self.parameters_for(x))

    def neuronal_adaptation(self) -> None:
        """Write the adaptation current before its jump to self.w."""
        self.w = self.adaptation(self.v, self.w, *self.parameters_for(self.v))

    def w_float_to_tensor(self, x: Tensor) -> None:
        """Give the adaptation current the shape of the one-step input x, if it is still the number it starts from."""
        _expand_number(self, "w", x)

    @staticmethod
    def jit_hard_reset(
        v: Tensor, w: Tensor, spike_d: Tensor, v_reset: float, b: float, spike: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(v, w) after a hard reset of v by spike_d, and a jump b of w at each spike."""
        return StepHooks.jit_hard_reset(v, spike_d, v_reset), w + b * spike

    @staticmethod
    def jit_soft_reset(
        v: Tensor, w: Tensor, spike_d: Tensor, v_threshold: float, b: float, spike: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(v, w) after a soft reset of v by spike_d, and a jump b of w at each spike."""
        return StepHooks.jit_soft_reset(v, spike_d, v_threshold), w + b * spike

    apply_hard_reset, apply_soft_reset = jit_hard_reset, jit_soft_reset


def _expand_number(node: Any, state: str, x: Tensor) -> None:
    value = getattr(node, state)
    if isinstance(value, float):
        setattr(node, state, torch.full_like(x, value, requires_grad=False))
