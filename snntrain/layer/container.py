"""Containers that run their modules on a sequence, step by step or folded; the modules inside only ever see 's'."""

from collections import OrderedDict
from typing import Any

from torch import Tensor, fx, nn

from snntrain.arguments import flag
from snntrain.base import SequenceModule, StepModule
from snntrain.functional import detach_net, multi_step_forward, reset_net, seq_to_ann_forward
from snntrain.hooks import carries_state


class SingleStepChildren(StepModule):
    """Mixin of containers whose modules stay in step_mode 's' whatever the mode of the container is."""

    keeps_children_in_s = True

    def check_children(self, stateless: bool = False) -> None:
        """Check every module inside, at any depth.

        Args:
            stateless: refuse stateful modules too: folded, they would see T·N as one batch without time.

        Raises: ValueError naming the module.
        """
        for path, module in self.named_modules():
            if module is self:
                continue
            if getattr(module, "step_mode", "s") == "m":
                raise ValueError(
                    f"{self._title()}: {path} ({type(module).__name__}) is in step_mode 'm', but this container calls "
                    "its modules step by step; they must be in 's'."
                )
            if stateless and carries_state(module):
                raise ValueError(
                    f"{self._title()}: {path} ({type(module).__name__}) is stateful, but folded into the batch the "
                    "steps have no order; put it into MultiStepContainer or StepModeContainer(True, …)."
                )


class _SequentialContainer(SingleStepChildren, nn.Sequential):
    """Modules applied one after the other: to each step of a sequence in turn, or to all steps as one batch."""

    #: Whether a sequence is folded into the batch, which modules with a state must not see.
    folds = False

    def forward(self, x: Tensor) -> Any:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self.check_children(stateless=self.folds)
        run = super().forward
        if self.step_mode == "s":
            return run(x)
        self.check_sequence(x, leading=2 if self.folds else 1)
        return seq_to_ann_forward(x, run) if self.folds else multi_step_forward(x, run)

    def reset(self) -> None:
        """Reset every stateful module inside."""
        reset_net(self)

    def detach(self) -> None:
        """Detach every state inside from its graph."""
        detach_net(self)

    def extra_repr(self) -> str:
        return f"step_mode={self.step_mode}"


class _SequenceContainer(SequenceModule, _SequentialContainer):
    """A container that takes sequences only."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.check_children(stateless=self.folds)


class MultiStepContainer(_SequenceContainer):
    """Apply modules to each step of a sequence in turn; they may be stateful.

    y[t] = seq(x[t]), stacked.

    Args:
        modules: in step_mode 's'; or one OrderedDict of them, as in nn.Sequential.

    Shapes: x [T, N, *] → [T, *shape of one output]; step mode 'm' only. Lists and tuples of tensors are stacked each by
    itself.
    """


class SeqToANNContainer(_SequenceContainer):
    """Apply stateless modules once to a whole sequence, folded into the batch.

    y = seq(x.flatten(0, 1)).unflatten(0, (T, N))

    Args:
        modules: stateless, in step_mode 's'; or one OrderedDict of them, as in nn.Sequential.

    Shapes: x [T, N, *] → [T, N, *]; step mode 'm' only.
    """

    folds = True


class StepModeContainer(_SequentialContainer):
    """Give a step mode to modules that have none.

    's': y = seq(x). 'm': stateful modules run on each step in turn, stateless ones once on the folded sequence.

    Args:
        stateful: whether the modules carry state from step to step.
        modules: in step_mode 's', and without state unless stateful; or one OrderedDict of them, as in nn.Sequential.

    Shapes: x [N, *] ('s') or [T, N, *] ('m').
    """

    def __init__(self, stateful: bool, *modules: nn.Module, step_mode: str = "s") -> None:
        if modules and isinstance(modules[0], str):  # SpikingJelly 2 puts the step mode before the modules
            step_mode, *modules = modules
        super().__init__(*modules)
        self.stateful = flag(self, "stateful", stateful)
        self.step_mode = step_mode
        self.check_children(stateless=self.folds)

    @property
    def folds(self) -> bool:
        return not self.stateful

    def __getitem__(self, index: int | slice) -> nn.Module:
        if not isinstance(index, slice):
            return super().__getitem__(index)
        part = OrderedDict(list(self._modules.items())[index])
        return type(self)(self.stateful, part, step_mode=self.step_mode)

    def extra_repr(self) -> str:
        return f"stateful={self.stateful}, {super().extra_repr()}"
