"""Layers that know nothing of time: how one of torch's, or the user's own for a step [N, *], gets the step modes."""

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from snntrain.base import StepModule, map_tensors
from snntrain.functional import repeat, repeated_step, seq_to_ann_forward
from snntrain.hooks import carries_state, step_mode_of

_STEP_BY_STEP = (
    "register a function that returns snntrain.layer.MultiStepContainer(…) around it, which calls it step by step"
)
_WHOLE_SEQUENCES = "say step_mode = 'm' in its class if it takes whole sequences [T, N, *]"
_REMEDY = f"Either {_STEP_BY_STEP}, or {_WHOLE_SEQUENCES}."


class PerStep(StepModule):
    """Mixin that `per_step` puts in front of the class of a layer for one step: in 'm' it runs once on [T·N, *].

    Shapes: x [N, *] ('s') or [T, N, *] ('m').
    """

    #: By whether any of its modules is in training: whether one run is enough for a sequence that repeats one step.
    runs_once: dict[bool, bool]

    def forward(self, x: Tensor) -> Any:
        if self.step_mode == "s":
            return super().forward(x)
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self.check_sequence(x, leading=2)
        step = repeated_step(x) if self.runs_once[any(module.training for module in self.modules())] else None
        if step is None:
            return seq_to_ann_forward(x, super().forward)
        return map_tensors(lambda y: repeat(y, x.shape[0]), super().forward(step))

    def extra_repr(self) -> str:
        return ", ".join(filter(None, [super().extra_repr(), f"step_mode={self.step_mode}"]))

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time, so pickle would not find it under its name.
        _, _, *more = super().__reduce_ex__(protocol)
        return _empty, (plain_class(self),), *more


def per_step(layer: nn.Module, step_shape: Sequence[int]) -> nn.Module:
    """Give the step modes to a layer that has none; a layer with step modes, or with parts that have some, stays.

    Its class becomes a subclass of its own, so that its keys in a state_dict stay. Lazy parameters get their sizes.

    Args:
        layer: takes [N, *step_shape]; its output for a sample must depend on this sample alone, save that batch
            normalizations of torch's inside are allowed. Their statistics are those of a whole sequence, over T and N,
            as in snntrain's own.
        step_shape: of one sample at one step.

    Returns: the layer.
    Raises: ValueError, with the remedy, for a layer that keeps a state from call to call, for one that mixes samples,
    and for one that cannot be served.
    """
    if isinstance(layer, StepModule) or any(step_mode_of(module) is not None for module in layer.modules()):
        return layer
    name = type(layer).__name__
    _refuse_by_kind(layer, name)
    if any(is_lazy(tensor) for tensor in (*layer.parameters(), *layer.buffers())):
        with torch.no_grad():
            layer.eval()(torch.zeros(3, *step_shape))
        layer.train()
    try:
        runs_once = {training: _check_behavior(layer, name, step_shape, training) for training in (False, True)}
    except _CannotRun:  # The caller runs it next, and its error names the place.
        runs_once = {False: False, True: False}
    layer.__class__ = _with_step_modes(type(layer))
    layer.runs_once = runs_once
    return layer


def with_step_modes_of(layer: nn.Module, replacement: nn.Module) -> nn.Module:
    """What takes the place of a layer, with the step modes that `per_step` gave to that, if it did."""
    if isinstance(layer, PerStep):
        replacement.__class__ = _with_step_modes(type(replacement))
        replacement.runs_once, replacement.step_mode = layer.runs_once, layer.step_mode
    return replacement


def plain_class(layer: PerStep) -> type[nn.Module]:
    """The class that a layer had before `per_step`."""
    return type(layer).__mro__[len(PerStep.__mro__)]


def sequences_reach(layer: nn.Module) -> str:
    """What to know of a layer that failed on a sequence, as a sentence; '' for one that was made for sequences."""
    if isinstance(layer, PerStep) and not type(layer).__module__.startswith("torch."):
        return f" {type(layer).__name__} has no step_mode, so it gets steps [N, *]; {_WHOLE_SEQUENCES}."
    if step_mode_of(layer) is not None:
        return ""
    parts = [(path, part) for path, part in layer.named_modules() if step_mode_of(part) is not None]
    if not parts:
        return ""
    path, part = parts[0]
    return (
        f" {type(layer).__name__} holds {path} ({type(part).__name__}), which has step modes, so it gets whole "
        "sequences [T, N, *]: inside, use the layers of snntrain.layer, which take them, in the place of torch's."
    )


def _refuse_by_kind(layer: nn.Module, name: str) -> None:
    if isinstance(layer, (nn.RNNBase, nn.RNNCellBase)):
        raise ValueError(
            f"{name} keeps a state over a sequence of its own, not over the time steps of the net. Use the entry "
            "recurrent, or call it in a layer of your own that says step_mode = 'm', takes [T, N, *] and returns one "
            "tensor."
        )
    for path, module in layer.named_modules():
        if carries_state(module):
            place = f"{path} ({type(module).__name__}) in it" if path else "it"
            raise ValueError(
                f"{name} has no step_mode, and {place} can be reset, so it carries a state, and nothing tells whether "
                f"it takes one step or a sequence. {_REMEDY}"
            )
    if isinstance(layer, torch.jit.ScriptModule) or "forward" in vars(layer):
        raise ValueError(
            f"{name} has a forward that no class defines (scripted, compiled or set on the module), which cannot be "
            "given step modes. Register a function that returns snntrain.layer.SeqToANNContainer(…) around it."
        )
    ours = {own for base in PerStep.__mro__[:-1] for own in vars(base) if not own.startswith("__")}
    own = {key for base in type(layer).__mro__ if base not in nn.Module.__mro__ for key in (*vars(base), *vars(layer))}
    if taken := sorted((ours & own) - {"forward", "extra_repr"}):
        raise ValueError(f"{name} has {', '.join(taken)} already, names that step modes need. Rename it in its class.")


class _CannotRun(Exception):
    """Raised for a layer that fails on one step."""


@dataclass
class _Outcome:
    """What a layer does with one step.

    Attributes:
        first, again: outputs of two calls with the same input and the same random numbers.
        draws: whether a call draws random numbers.
        writes: whether a call changes a buffer.
    """

    first: Tensor
    again: Tensor
    draws: bool
    writes: bool


@torch.no_grad()
def _check_behavior(layer: nn.Module, name: str, step_shape: Sequence[int], training: bool) -> bool:
    """Refuse what a fold of time into the batch would change; whether one run is enough for steps that are the same.

    It is tried out on copies: what the code does is not seen otherwise.
    """
    device = next((parameter.device for parameter in layer.parameters()), torch.device("cpu"))
    if device.type == "meta":
        return False
    x = torch.rand(3, *step_shape, generator=torch.Generator().manual_seed(0), device="cpu").to(device)
    outcome = _outcome(layer, x, training)
    if outcome.first.shape[:1] != (3,):
        raise ValueError(
            f"{name} gives {list(outcome.first.shape)} for a step [N, *] = {list(x.shape)}: the first dim of its "
            f"output must be that of its input. {_REMEDY}"
        )
    is_same = _is_close(outcome.first, outcome.again)
    if not (is_same or training):
        raise ValueError(
            f"{name} gives another output when it is called again with the same input, so it keeps a state (or draws "
            f"from a generator that is not torch's). Give it a method reset(), which is called before every batch, and "
            f"{_STEP_BY_STEP}."
        )
    # The middle sample is left out: that is noticed by those before and after it.
    is_coupled = not outcome.draws and not _is_close(outcome.first[[0, 2]], _outcome(layer, x[[0, 2]], training).first)
    if is_coupled and not (training and _has_batch_norm(layer)):
        raise ValueError(
            f"{name} lets a sample's output depend on the other samples of the batch, and the steps are joined with "
            f"the batch, [T·N, *]. {_REMEDY}"
        )
    return is_same and not (is_coupled or outcome.draws or outcome.writes)


def _outcome(layer: nn.Module, x: Tensor, training: bool) -> _Outcome:
    tried = copy.deepcopy(layer).train(training)
    buffers = [buffer.clone() for buffer in tried.buffers()]
    outputs, draws = [], False
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            torch.manual_seed(0)
            before = torch.get_rng_state()
            try:
                y = tried(x.clone())
            except Exception as error:
                raise _CannotRun from error
            if not isinstance(y, Tensor):
                raise _CannotRun
            outputs.append(y)
            draws = draws or not torch.equal(before, torch.get_rng_state())
    writes = any(not torch.equal(old, new) for old, new in zip(buffers, tried.buffers(), strict=True))
    return _Outcome(*outputs, draws, writes)


def _is_close(a: Tensor, b: Tensor) -> bool:
    """Whether they are equal but for the rounding of products in batches of different size."""
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-5, equal_nan=True)


def _has_batch_norm(layer: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in layer.modules())


@functools.cache
def _with_step_modes(cls: type[nn.Module]) -> type[nn.Module]:
    names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(cls.__name__, (PerStep, cls), names)


def _empty(cls: type[nn.Module]) -> nn.Module:
    """A layer of this class with step modes, as pickle makes it before it fills it in."""
    made = _with_step_modes(cls)
    return made.__new__(made)
