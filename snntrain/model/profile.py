"""What each layer of a network gives, holds and computes."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from snntrain import functional, registry
from snntrain.arguments import integer
from snntrain.hooks import step_mode_of
from snntrain.model.builder import Net, probe_steps
from snntrain.model.operands import Operands
from snntrain.neuron import BaseNode

_Flops = tuple[int, ...]  # of all products, of products of activations
_HIDDEN = ("step_mode", "backend", "store_")  # what begins so says nothing about the model


def profile(net: nn.Module, sample_shape: Sequence[int], T: int = 1) -> list[dict[str, Any]]:
    """Run zeros through a network in evaluation mode and say what each of its layers did.

    A row stands for a module without modules inside, a neuron (with all that is inside it), or a module that computes
    or holds parameters beside the modules inside it; such a row counts only what is the module's own. Rows come in the
    order in which their modules are first called. The network, its buffers and states and the random numbers to come
    stay as they were.

    Args:
        net: takes [T, N, *sample_shape], or [N, *sample_shape] if its modules are in step mode 's'.
        sample_shape: shape of one sample at one step, e.g. (1, 28, 28).
        T: time steps of the probe, ≥ 1. Counts are means over them; only modules that mix time (a parallel neuron, say)
            depend on it. A module with an int attribute T fixes it.

    Returns: rows of
        path: dotted path in the net.
        name: class.
        output_shape: of one sample at one step; [] if the module was not called.
        parameters: numbers of values; one that several modules share counts where it comes first.
        macs: multiply-accumulates of matrix products and convolutions, of one sample at one step.
        fan_out: multiply-accumulates that one value of the module's input takes part in, on average.
        macs_of_activations: those of macs that multiply two activations with each other, instead of one by a weight.
        divisor: n if averages of n whole numbers enter the module, as behind AvgPool2d; else 1.
        neuron: the settings of a neuron, else ''.

    Raises: ValueError if the net cannot take such an input.
    """
    integer("profile", "T", T, at_least=1)
    parts = dict(_parts(net))
    probed = _probe(net, parts.values(), tuple(sample_shape), T)
    rows, counted, place = [], set(), 0
    for path, module in parts.items():
        is_neuron = _is_neuron(module)
        parameters = [p for p in module.parameters(recurse=is_neuron) if id(p) not in counted]
        counted |= {id(parameter) for parameter in parameters}
        seen = probed.get(module)
        place = place if seen is None else seen.place  # what was never called follows what stands before it
        if not (is_neuron or parameters or (seen and seen.macs) or _is_leaf(module)):
            continue
        row = {
            "path": path,
            "name": type(module).__name__,
            "output_shape": [] if seen is None else list(seen.output_shape),
            "parameters": sum(parameter.numel() for parameter in parameters),
            "macs": 0 if seen is None else round(seen.macs),
            "fan_out": seen.macs / seen.inputs if seen and seen.inputs else 0.0,
            "macs_of_activations": 0 if seen is None else round(seen.macs_of_activations),
            "divisor": 1 if seen is None else seen.divisor,
            "neuron": _settings(module) if is_neuron else "",
        }
        rows.append((place, row))
    return [row for _, row in sorted(rows, key=lambda item: item[0])]


def _parts(module: nn.Module, path: str = "", known: set[int] | None = None) -> Iterator[tuple[str, nn.Module]]:
    """(path, module), each module once, a container before what is in it; a neuron's inside is a setting of it."""
    known = set() if known is None else known
    if id(module) in known:
        return
    known.add(id(module))
    yield path, module
    if not _is_neuron(module):
        for name, child in module.named_children():
            yield from _parts(child, f"{path}.{name}" if path else name, known)


def _is_neuron(module: nn.Module) -> bool:
    return isinstance(module, (BaseNode, *registry.table("neuron").values()))


def _is_leaf(module: nn.Module) -> bool:
    return not list(module.children()) and not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))


def _settings(neuron: nn.Module) -> str:
    """What distinguishes one neuron from another, as name=value pairs."""
    if not hasattr(neuron, "settings"):
        return "" if isinstance(neuron, nn.ReLU) else neuron.extra_repr()
    shown = [
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in neuron.settings().items()
        if not name.startswith(_HIDDEN)
    ]
    surrogate = getattr(neuron, "surrogate_function", None)
    return ", ".join(shown + ([] if surrogate is None else [type(surrogate).__name__]))


# --- the probe -------------------------------------------------------------------------------------------------------


@dataclass
class _Seen:
    """A module's calls in the probe: which it was among all, then per sample and step."""

    place: int
    macs: float = 0.0
    macs_of_activations: float = 0.0
    inputs: float = 0.0
    divisor: int = 1
    output_shape: tuple[int, ...] = ()


def _probe(
    net: nn.Module, modules: Sequence[nn.Module], sample_shape: tuple[int, ...], T: int
) -> dict[nn.Module, _Seen]:
    """Raises: ValueError if no form of the input fits."""
    steps = probe_steps(net, T)
    samples = 3 if steps != 3 else 5  # not 1, which BatchNorm1d may refuse; not T, to tell the two dims apart
    forms = {"m": (steps, samples), "s": (samples,)}
    error: Exception | None = None
    for mode in step_modes(net):
        try:
            return _Probe(net, modules, forms[mode]).run(sample_shape)
        except Exception as reason:  # whatever a layer, perhaps the user's own, does to an input it cannot take
            error = error or reason
    wanted = ("T", "N", *sample_shape) if "m" in step_modes(net) else ("N", *sample_shape)
    shape = ", ".join(map(str, wanted))
    raise ValueError(f"{type(net).__name__} cannot take an input of shape [{shape}]: {error}") from error


def step_modes(net: nn.Module) -> tuple[str, ...]:
    """What the input may be, the likeliest first: a sequence, 'm', or one step, 's'."""
    modes = {mode for module in net.modules() if (mode := step_mode_of(module)) is not None}
    if modes != {"s"}:
        return ("m",)
    # A model of the user's whose modules are all in 's' may loop over the sequence itself, or be trained online.
    return ("s",) if isinstance(net, Net) else ("m", "s")


class _Probe:
    """One forward on zeros, with hooks that share its operations out among the modules.

    torch's counter knows the operations so far; what it counts between entry and exit of a call, less what it counts in
    the calls inside, is the module's own.
    """

    def __init__(self, net: nn.Module, modules: Sequence[nn.Module], leading: tuple[int, ...]) -> None:
        self.net, self.modules, self.leading = net, modules, leading
        self.seen: dict[nn.Module, _Seen] = {}
        self.counter = FlopCounterMode(display=False)
        self.calls: list[list[_Flops]] = []  # under way: counts at the entry, of which in calls inside

    def run(self, sample_shape: tuple[int, ...]) -> dict[nn.Module, _Seen]:
        first = next((p for p in self.net.parameters() if p.is_floating_point()), torch.empty(0))
        x = torch.zeros(*self.leading, *sample_shape, dtype=first.dtype, device=first.device)
        cuda = [x.device] if x.device.type == "cuda" else []
        buffers = {name: buffer.clone() for name, buffer in self.net.named_buffers()}
        with contextlib.ExitStack() as stack:
            stack.enter_context(_undone(self.net))
            stack.enter_context(torch.random.fork_rng(cuda))
            stack.enter_context(_in_plain_operations())
            stack.enter_context(torch.no_grad())
            for module in self.modules:
                for handle in (
                    module.register_forward_pre_hook(self.enter, with_kwargs=True),
                    module.register_forward_hook(self.leave),
                ):
                    stack.callback(handle.remove)
            self.net.eval()
            functional.set_backend(self.net, "torch")  # no kernel has to be compiled for one look
            functional.reset_net(self.net)
            stack.enter_context(self.counter)
            self.operands = stack.enter_context(Operands(self.counter, x))
            torch.func.functional_call(self.net, buffers, (x,))
        return self.seen

    def enter(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen = self.seen.setdefault(module, _Seen(place=len(self.seen)))
        x = first_tensor((inputs, named))
        seen.inputs += 0 if x is None else x.numel() / self._sequence()
        seen.divisor = math.lcm(seen.divisor, self.operands.divisor(x))
        self.calls.append([self._flops(), (0, 0)])

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        start, inside = self.calls.pop()
        flops = tuple(now - before for now, before in zip(self._flops(), start, strict=True))
        if self.calls:
            self.calls[-1][1] = tuple(sum(each) for each in zip(self.calls[-1][1], flops, strict=True))
        seen, y = self.seen[module], first_tensor(output)
        # Weights with delays are multiplied once for each delay that there is, and all products but one are with zeros.
        products = getattr(module, "products_per_weight", 1)
        own, of_activations = (
            (whole - part) / 2 / self._sequence() / products  # a multiplication and an addition
            for whole, part in zip(flops, inside, strict=True)
        )
        seen.macs += own
        seen.macs_of_activations += of_activations
        seen.output_shape = () if y is None else self._of_one_sample(tuple(y.shape))

    def _flops(self) -> _Flops:
        return self.counter.get_total_flops(), self.operands.of_activations

    def _sequence(self) -> int:
        """Steps times samples."""
        return self.leading[0] * (self.leading[1] if len(self.leading) > 1 else 1)

    def _of_one_sample(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape without the dims of time and batch: [T, N, *], or inside a container [N, *] or [T·N, *]."""
        samples = self.leading[-1]
        is_step = len(self.leading) == 1 or shape[:1] in ((samples,), (self._sequence(),))
        is_sequence = shape[:2] == self.leading or (not is_step and shape[1:2] == (samples,))
        return shape[2:] if is_sequence else shape[1:]


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return next((tensor for item in items if (tensor := first_tensor(item)) is not None), None)


@contextlib.contextmanager
def _undone(net: nn.Module) -> Iterator[None]:
    """What the block does to attributes and states of the modules is undone at its end."""
    attributes = [(module, dict(vars(module))) for module in net.modules()]
    memories = [(module, list(module.named_memories())) for _, module in functional.stateful_modules(net)]
    try:
        yield
    finally:
        for module, saved in attributes:
            vars(module).clear()
            vars(module).update(saved)
        for module, values in memories:
            for name, value in values:
                setattr(module, name, value)


@contextlib.contextmanager
def _in_plain_operations() -> Iterator[None]:
    """Attention as matrix products instead of fused kernels, and no compiled code: the counter sees every product."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
