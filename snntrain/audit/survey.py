"""One run through a net that tells of each module what numbers it gets and gives, and of neurons how they fire."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.audit.subject import Subject, is_neuron, parts_of
from snntrain.model.operands import whole_multiples
from snntrain.model.profile import first_tensor
from snntrain.randomness import seeded

_KEPT = 4  # samples whose inputs to neurons are kept


@dataclass
class Numbers:
    """What kind of numbers a tensor, or those of several calls, hold.

    Attributes:
        whole: all are whole.
        smallest, largest: magnitudes of those that are not 0; equal if all are ± one number, as spikes are.
        finite: none is NaN or infinite.
    """

    whole: bool = True
    smallest: float = float("inf")
    largest: float = 0.0
    finite: bool = True

    def add(self, x: Tensor, divisor: int = 1) -> None:
        """Take the numbers of a tensor in; averages of whole numbers over `divisor` of them count as whole."""
        size = x.detach().abs()
        self.finite &= bool(size.isfinite().all())
        broken = whole_multiples(x.detach(), divisor)[1]
        self.whole &= not bool(broken)
        if bool(size.any()):
            self.smallest = min(self.smallest, float(torch.where(size > 0, size, torch.inf).min()))
            self.largest = max(self.largest, float(size.max()))

    @property
    def kind(self) -> str:
        """'nothing' (all 0), 'spikes' (0 and ± one number), 'counts' (whole numbers) or 'values'."""
        if not self.largest:
            return "nothing"
        if self.smallest == self.largest:
            return "spikes"
        return "counts" if self.whole else "values"


@dataclass
class Module:
    """What was seen of one module.

    Attributes:
        place: how many modules had been called before it.
        calls: how often it was called.
        gets, gives: the numbers of its inputs and outputs.
        neurons: how often each neuron fired, [neurons] of one sample at one step; None: no layer of neurons.
        seen: steps times samples.
        inputs: of a layer of neurons, each call's, of a few samples.
        shape: of its first input.
    """

    place: int
    calls: int = 0
    gets: Numbers = field(default_factory=Numbers)
    gives: Numbers = field(default_factory=Numbers)
    neurons: Tensor | None = None
    seen: int = 0
    inputs: list[Tensor] = field(default_factory=list)
    shape: torch.Size = field(default_factory=torch.Size)


class Survey:
    """What all modules of a net do on all samples, in evaluation mode.

    Attributes:
        modules: path → what was seen, in the order of the first calls; modules that were not called are missing.
        neurons: path → layer of neurons: those that say so, and of other libraries those that turn values into spikes.
        y: outputs of the net.
        trained: whether the net has been trained.
    """

    def __init__(self, subject: Subject, divisors: dict[str, int] | None = None) -> None:
        self.modules: dict[str, Module] = {}
        self.trained, self._subject, self._divisors = subject.trained, subject, divisors or {}
        net = subject.fresh()
        self._all = dict(parts_of(net))
        with ExitStack() as stack:
            for path, module in self._all.items():
                stack.callback(module.register_forward_pre_hook(self._enter(path), with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(self._leave(path)).remove)
            stack.enter_context(torch.no_grad())
            stack.enter_context(seeded(0, subject.x.device))
            self.y = subject.outputs(net, subject.x)
        self.neurons = {path: self._all[path] for path, seen in self.modules.items() if self._is_layer(path, seen)}

    def _enter(self, path: str) -> Any:
        def see(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            seen = self.modules.setdefault(path, Module(place=len(self.modules)))
            x = first_tensor((inputs, named))
            seen.calls += 1
            if x is not None and x.is_floating_point():
                seen.gets.add(x, self._divisors.get(path, 1))
                seen.shape = seen.shape or x.shape
                if _may_be_layer(module):
                    seen.inputs.append(self._kept(x))

        return see

    def _leave(self, path: str) -> Any:
        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            seen, y = self.modules[path], first_tensor(output)
            if y is None or not y.is_floating_point():
                return
            seen.gives.add(y)
            if _may_be_layer(module):
                self._count(seen, y)

        return see

    def _kept(self, x: Tensor) -> Tensor:
        """Of a few samples, if the dim of samples is known."""
        T, N = self._subject.x.shape[:2]
        if x.shape[:2] == (T, N):
            return x[:, :_KEPT].clone()
        return x[:_KEPT].clone() if x.shape[:1] == (N,) else x.clone()

    def _count(self, seen: Module, y: Tensor) -> None:
        T, N = self._subject.x.shape[:2]
        leading = 2 if y.shape[:2] == (T, N) else 1
        if y.dim() < leading:
            return
        fired = (y != 0).flatten(0, leading - 1)
        count = fired.reshape(len(fired), -1).sum(0)
        if seen.neurons is None or seen.neurons.shape == count.shape:
            seen.neurons = count if seen.neurons is None else seen.neurons + count
            seen.seen += len(fired)

    def _is_layer(self, path: str, seen: Module) -> bool:
        module = self._all[path]
        if is_neuron(module):
            return True
        if isinstance(getattr(module, "is_spiking", None), bool) or not _may_be_layer(module):
            return False
        return seen.gives.kind == "spikes" and seen.gets.kind == "values"


def _may_be_layer(module: nn.Module) -> bool:
    """Whether a module could be a layer of neurons: it says so, or is no container and has no weights."""
    if is_neuron(module):
        return True
    inside = [child for child in module.modules() if child is not module]
    weights = any(parameter.dim() > 1 for parameter in module.parameters())
    return not weights and not any(list(child.parameters()) or list(child.children()) for child in inside)
