"""The copy of a net that is audited, and how it is run so that two runs can be compared module by module."""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from snntrain import functional
from snntrain.arguments import invalid
from snntrain.audit.trace import Difference, Recorder, Trace
from snntrain.error import one_line
from snntrain.hooks import watching
from snntrain.model.profile import first_tensor, step_modes
from snntrain.randomness import seeded

# Numbers of samples that runs are compared on, the first that there are enough for. They are unusual sizes of other
# dims, by which the dim of samples is recognized inside the net.
_FEW = (7, 5, 4, 3, 2)
_GAINS = (1.0, 10.0, 100.0)
# What the values of another input are multiplied with. Where it would raise or lower a potential a little, no spike may
# be another one.
_BOLDNESS = (1.0, 30.0, -30.0)


class Subject:
    """What the checks of a net look at: copies of it, and samples.

    Every run is that of a fresh copy, so that whatever one leaves behind changes no other. Neurons run on backend
    'torch', which gives the bits of the kernels, so that none has to be compiled for a look.

    Args:
        net: [T, N, *] → [T, N, K], or [N, K]; in step mode 'm', or made of modules in 's' that take a step at a time.
        x: [T, N, *] of N ≥ 2 samples, floating point.
        trained: whether the net has been trained.

    Attributes:
        origin: a copy that is never run, its states reset.
        few: a few of the samples, amplified if only then all layers fire, [T, n, *].
        T: steps.
        has_steps: whether outputs have steps, [T, N, *], or are those of whole samples, [N, *].

    Raises: ValueError for another x, and for a net that cannot be copied or cannot take it.
    """

    def __init__(self, net: nn.Module, x: Tensor, *, trained: bool = False) -> None:
        if not isinstance(net, nn.Module):
            raise invalid("audit", "net", "a torch.nn.Module", net)
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2 or len(x) < 1 or x.shape[1] < 2:
            shown = f"{x.dtype} of shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"audit: x must be a floating-point tensor [T, N, *] of N ≥ 2 samples, got {shown}.")
        self.origin, self.trained = _copied(net), trained
        # A step that is repeated as a view would be computed once, with other roundings than steps that differ.
        self.x = x.detach().clone(memory_format=torch.contiguous_format)
        self.T = len(x)
        self.is_stepwise = step_modes(self.origin)[0] == "s"
        count = next(number for number in _FEW if number <= x.shape[1] and (number != self.T or number == 2))
        self.few = self.x[:, :count].contiguous()
        with torch.no_grad(), seeded(0, x.device):
            try:
                self.has_steps = self._shape_of_outputs(self.few)
            except ValueError:  # it may know batches of one size only
                self.few, self.has_steps = self.x, self._shape_of_outputs(self.x)
            self.few = self.few * self._gain()

    def fresh(self) -> nn.Module:
        """A copy of the net with which nothing has happened yet, in evaluation mode; it shares the parameters."""
        shared = {id(parameter): parameter for parameter in self.origin.parameters()}
        return copy.deepcopy(self.origin, shared).eval()

    def _shape_of_outputs(self, x: Tensor) -> bool:
        y = self.outputs(self.fresh(), x)
        if y.shape[:2] == x.shape[:2]:
            return True
        if y.shape[:1] == x.shape[1:2]:
            return False
        raise ValueError(
            f"audit: the net must return [T, N, *] or [N, *], but for x of shape {list(x.shape)} it returns "
            f"{list(y.shape)}. Give it a step mode 'm', in which it takes and returns whole sequences."
        )

    def outputs(self, net: nn.Module, x: Tensor) -> Tensor:
        """The first tensor that a copy of the net returns for x, from reset states."""
        functional.reset_net(net)
        try:
            out = functional.multi_step_forward(x, net) if self.is_stepwise else net(x)
        except Exception as error:  # any net of anybody may raise anything
            raise ValueError(f"audit: the net fails on an input of shape {list(x.shape)}: {one_line(error)}") from error
        y = first_tensor(out)
        if y is None:
            raise ValueError(f"audit: the net must return a tensor, got {type(out).__name__}.")
        return y

    def _gain(self) -> float:
        """The smallest factor of the input at which most layers fire: a layer that is silent would hide its faults."""
        best, most = 1.0, -1
        for gain in _GAINS:
            firing, layers = self._firing(self.few * gain)
            if firing > most:
                best, most = gain, firing
            if firing == layers:
                break
        return best

    def _firing(self, x: Tensor) -> tuple[int, int]:
        """How many layers fire, of how many; -2 where outputs are not finite."""
        fired: set[str] = set()
        net = self.fresh()
        layers = {path: layer for path, layer in net.named_modules() if is_neuron(layer)}

        def see(path: str, layer: nn.Module, output: Any) -> None:
            y = first_tensor(output)
            if y is not None and bool(y.any()):
                fired.add(path)

        with watching(layers, see):
            y = self.outputs(net, x)
        return len(fired) if bool(y.isfinite().all()) else -2, len(layers)

    @property
    def probes(self) -> list[int]:
        """Places of the samples of `few` whose course is compared; the others are their mates."""
        last = self.few.shape[1] - 1
        return [last] if last == 1 else [0, last]

    def with_others(self, compare: Callable[[Tensor], Difference | None]) -> Difference | None:
        """The first difference that other inputs make, from likely to bold ones.

        Args:
            compare: another input, of the shape of `few` → a difference.
        """
        for factor in _BOLDNESS:
            try:
                found = compare(self.shuffled(self.few) * factor)
            except ValueError:  # it takes no such values
                continue
            if found is not None:
                return found
        return None

    def shuffled(self, x: Tensor) -> Tensor:
        """Another input of the same shape and distribution: the values of x in random order."""
        order = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(1)).to(x.device)
        mixed = x.flatten()[order].view_as(x)
        return mixed if not torch.equal(mixed, x) else x + 1

    @cached_property
    def base(self) -> Trace:
        """The run of `few`, with which others are compared."""
        return self.trace(self.few)

    @torch.no_grad()
    def trace(self, x: Tensor, *, seed: int = 0, net: nn.Module | None = None) -> Trace:
        """Run a copy of the net on x [T, n, *] in evaluation mode and keep what each module returned for the probes.

        Args:
            net: the copy; None: a fresh one.
        """
        net = self.fresh() if net is None else net
        recorder = Recorder(self.T, x.shape[1], self.probes)
        with ExitStack() as stack:
            for path, module in parts_of(net):
                stack.callback(module.register_forward_hook(recorder.hook(path)).remove)
            stack.enter_context(seeded(seed, x.device))
            y = self.outputs(net, x).clone()
        return Trace(y, self.has_steps, recorder.parts())


def parts_of(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of all modules inside a net that can be watched, but for those that neurons are made of."""
    inside: set[nn.Module] = set()
    for path, module in net.named_modules():
        if module in inside or isinstance(module, torch.jit.ScriptModule):
            continue
        if is_neuron(module):
            inside.update(module.modules())
        if path:
            yield path, module


def is_neuron(module: nn.Module) -> bool:
    """Whether a module says that it is a layer of spiking neurons, as those of several libraries do."""
    known = getattr(module, "is_spiking", None)
    if isinstance(known, bool):
        return known
    return any(callable(getattr(module, name, None)) for name in ("surrogate_function", "spike_grad", "spike_fn"))


def _copied(net: nn.Module) -> nn.Module:
    try:
        copied = functional.copy_with_states(net)
    except Exception as error:
        raise ValueError(f"audit: a copy of the net is audited, but it cannot be copied: {one_line(error)}") from error
    copied.zero_grad(set_to_none=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a check says which reset() cannot be called
        functional.reset_net(copied)
        functional.set_backend(copied, "torch")
    return copied
