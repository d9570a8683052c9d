"""The same neurons in snntrain and in other libraries, for benchmarks."""

import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snntrain import functional, neuron, surrogate
from snntrain.registry import did_you_mean

# snnTorch and norse are driven as in benchmarks/libraries, where each has an environment of its own.
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

ATAN = {"name": "ATan", "alpha": 2.0}
RECT = {"name": "Rect", "alpha": 1.0}
DETACH = {"detach_reset": True}  # as conf/neuron/*.yaml trains

_PROVIDERS = ("cuda", "triton", "torch")


@dataclass(frozen=True)
class Case:
    """One neuron, and the one in SpikingJelly that comes closest.

    Attributes:
        name: class in snntrain.neuron.
        arguments: of that class; the surrogate is added, and T where the constructor takes it.
        peer: class in spikingjelly.activation_based.neuron; None: there is none that takes [T, N, features].
        peer_arguments: of that class.
        surrogate: name and arguments, the same in both libraries; None: the neuron has its own.
        peer_mode: step mode of the peer; 's': a loop calls it step by step.
        kernel: SpikingJelly's name of its CUDA kernels for this neuron; None: it has only plain torch.
        same: the equations are equal; otherwise only the kind of work is.
        pointwise: each neuron depends on its own past only; others cannot be fused over time.
        light: one state and a handful of operations per step, so that memory traffic alone sets the limit.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    peer: str | None = None
    peer_arguments: Mapping[str, Any] = field(default_factory=dict)
    surrogate: Mapping[str, Any] | None = field(default_factory=lambda: ATAN)
    peer_mode: str = "m"
    kernel: str | None = None
    same: bool = True
    pointwise: bool = True
    light: bool = False


def _twin(name: str, arguments: Mapping[str, Any], **more: Any) -> Case:
    """A neuron that has the same name and arguments in both libraries."""
    return Case(name, arguments, name, arguments, **more)


CASES = {
    case.name: case
    for case in (
        _twin("IFNode", DETACH, kernel="if", light=True),
        _twin("LIFNode", {"tau": 2.0, **DETACH}, kernel="lif", light=True),
        _twin("ParametricLIFNode", {"init_tau": 2.0, **DETACH}, kernel="plif", light=True),
        _twin("QIFNode", DETACH, kernel="qif"),
        _twin("EIFNode", DETACH, kernel="eif"),
        _twin("IzhikevichNode", {"a": 0.1, "b": 0.1, **DETACH}, kernel="izhikevich"),
        # In mode 'm' SpikingJelly's inherits LIFNode's kernels and puts out spikes instead of the activation.
        _twin("LIAFNode", {"act": torch.relu, "threshold_related": True, **DETACH}, peer_mode="s"),
        _twin("KLIFNode", {"scale_reset": False, **DETACH}),
        Case(
            "FloatCubaLIFNode",
            {"current_decay": 0.5, "voltage_decay": 0.25},
            "CUBALIFNode",  # its decays are the share that is kept; it has no detach_reset
            {"c_decay": 0.5, "v_decay": 0.75, "v_threshold": 1.0},
        ),
        _twin("ComplementaryLIFNode", {"tau": 2.0}, surrogate=RECT, kernel="clif"),
        _twin("ILIFNode", DETACH, surrogate={"name": "MultiLevelSpikeCount", "max_spike_count": 4}, kernel="ilif"),
        _twin("TernaryLIFNode", {"tau": 2.0, "decay_input": True, "v_threshold": 1.0, **DETACH}),
        Case("RAFNode", {}, "RAFNode", {}, same=False),  # SpikingJelly: exact rotation, no refractory state
        Case("ATIFNode", surrogate=None),
        Case("NonSpikingIFNode", surrogate=None),
        Case("NonSpikingLIFNode", surrogate=None),
        Case("GatedLIFNode"),  # SpikingJelly's takes pictures [T, N, C, H, W] only
        _twin("PSN", {}, pointwise=False),
        _twin("MaskedPSN", {"k": 2}, pointwise=False),
        _twin("SlidingPSN", {"k": 2}, pointwise=False),
    )
}


def with_tau(case: Case, tau: float | None) -> Case:
    """A case with another time constant, where its constructors take one; None: as it is."""
    if tau is None or "tau" not in case.arguments:
        return case
    own, theirs = ({**arguments, "tau": tau} for arguments in (case.arguments, case.peer_arguments))
    return replace(case, arguments=own, peer_arguments=theirs)


#: Measured unless --neurons says otherwise.
DEFAULT = tuple(case.name for case in CASES.values() if case.pointwise)


@dataclass
class Contender:
    """One way to run a sequence.

    Attributes:
        run: x_seq [T, N, *] → outputs of the same shape, from the reset state.
        node: the module behind it, whose parameters get gradients beside the input.
        prepare: called before each use, outside of the measured time.
    """

    run: Callable[[Tensor], Tensor]
    node: nn.Module = field(default_factory=nn.Identity)
    prepare: Callable[[], None] = lambda: None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The neuron's own parameters."""
        return list(self.node.parameters())

    def train(self, x: Tensor, g: Tensor) -> tuple[Tensor | None, ...]:
        """Forward and backward: the gradients of the input and of the parameters."""
        return torch.autograd.grad(self.run(x), [x, *self.parameters], g, allow_unused=True)

    @torch.no_grad()
    def infer(self, x: Tensor) -> Tensor:
        """Forward alone."""
        return self.run(x)

    def kept_bytes(self, x: Tensor) -> int:
        """Memory that forward keeps for backward, beyond the input itself: each storage once."""
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor  # stays alive in the graph, so that no address is given out twice

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            y = self.run(x)
        kept.pop(x.untyped_storage().data_ptr(), None)
        del y
        return sum(kept.values())


def find(text: str) -> Case:
    """The case of a name such as LIFNode, LIF or lif."""
    short = {name.removesuffix("Node").lower(): name for name in CASES}
    short |= {"plif": "ParametricLIFNode", "clif": "ComplementaryLIFNode"}
    key = text.removesuffix("Node").lower()
    if key not in short:
        suggestion = did_you_mean(text, CASES)
        raise ValueError(f"{text!r} is not a neuron of this benchmark.{suggestion} Known: {', '.join(CASES)}")
    return CASES[short[key]]


# --- snntrain --------------------------------------------------------------------------------------------------------


def ours(case: Case, backend: str, T: int, device: str = "cpu") -> Contender:
    """The neuron in snntrain. Raises: ValueError if the neuron refuses the backend."""
    target = getattr(neuron, case.name)
    arguments = _with_T(target, case.arguments, T)
    if case.surrogate:
        arguments["surrogate_function"] = _build(surrogate, case.surrogate)
    if "backend" in inspect.signature(target).parameters:
        arguments["backend"] = backend
    elif backend != "torch":
        raise ValueError(f"{case.name} has no backends to choose from")
    node = target(**arguments).to(device)
    functional.set_step_mode(node, "m")

    def run(x_seq: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(x_seq)

    return Contender(run, node)


def floor() -> Contender:
    """The least work a layer can do: read the input, write the output, and the same for the gradient."""
    return Contender(lambda x_seq: x_seq * 1.0)


# --- SpikingJelly ----------------------------------------------------------------------------------------------------


def spikingjelly_module(name: str) -> Any:
    """spikingjelly.activation_based.<name>."""
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # on a CPU it warns once per kernel
    return importlib.import_module(f"spikingjelly.activation_based.{name}")


def spikingjelly_neuron(
    name: str, arguments: Mapping[str, Any], surrogate_function: Mapping[str, Any] | None
) -> nn.Module:
    """A neuron of SpikingJelly."""
    arguments = dict(arguments)
    if surrogate_function:
        arguments["surrogate_function"] = _build(spikingjelly_module("surrogate"), surrogate_function)
    return getattr(spikingjelly_module("neuron"), name)(**arguments)


def spikingjelly(case: Case, T: int, device: str = "cpu", provider: str | None = None) -> Contender:
    """The neuron in SpikingJelly.

    Args:
        provider: its implementation on CUDA, one of `providers`; None: it has only one.

    Raises: ValueError if it has none; ImportError if it is not installed.
    """
    if case.peer is None:
        raise ValueError("SpikingJelly has no such neuron for [T, N, features]")
    library, target = spikingjelly_module("functional"), getattr(spikingjelly_module("neuron"), case.peer)
    node = spikingjelly_neuron(case.peer, _with_T(target, case.peer_arguments, T), case.surrogate).to(device)
    library.set_step_mode(node, case.peer_mode)

    def run(x_seq: Tensor) -> Tensor:
        library.reset_net(node)
        if case.peer_mode == "m":
            return node(x_seq)
        return torch.stack([node(x) for x in x_seq.unbind(0)])

    if provider is None:
        return Contender(run, node)
    return Contender(run, node, prepare=lambda: _use_provider(case, provider))


def providers(case: Case) -> Iterator[tuple[str, str | None]]:
    """SpikingJelly's implementations on CUDA as (name, the reason why it cannot be used, or None)."""
    library = spikingjelly_module("functional")
    for name in _PROVIDERS:
        try:
            _use_provider(case, name)
            library.neuron_implementation(case.kernel, torch.device("cuda"))
            yield name, None
        except (RuntimeError, ImportError) as error:
            yield name, str(error)


def _use_provider(case: Case, provider: str) -> None:
    # SpikingJelly's public switch is an environment variable that is read once per process
    # (SJ_LIF_CUDA_IMPLEMENTATION, …), so that two implementations could not be measured in turns.
    # These are the attributes that the variable sets in version 2.0.0.
    package = {"if": "if_"}.get(case.kernel, case.kernel)
    selection = importlib.import_module(f"spikingjelly._ops.{package}")._selection
    if selection._requested != provider:
        selection._requested = provider
        selection._selections.clear()
        selection._compiled_selections.clear()


# --- snnTorch, norse -------------------------------------------------------------------------------------------------


def snntorch(device: str = "cpu") -> Contender:
    """snnTorch's LIF neuron of the same time constant; the input is not scaled, the reset comes one step later."""
    return Contender(importlib.import_module("libraries.contenders.snntorch").Leaky().to(device))


def norse(device: str = "cpu") -> Contender:
    """norse's LIF neuron without synaptic current, the same equations as LIFNode(tau=2); SuperSpike surrogate."""
    library = importlib.import_module("libraries.contenders.norse")
    return Contender(library.StepByStep(library.cell(device).to(device)))


# --- shared ----------------------------------------------------------------------------------------------------------


def _build(module: Any, description: Mapping[str, Any]) -> Any:
    arguments = dict(description)
    return getattr(module, arguments.pop("name"))(**arguments)


def _with_T(target: Callable[..., Any], arguments: Mapping[str, Any], T: int) -> dict[str, Any]:
    return {**arguments, "T": T} if "T" in inspect.signature(target).parameters else dict(arguments)


def agreement(one: Contender, other: Contender, T: int, device: str = "cpu") -> float:
    """Share of equal outputs (up to the rounding of float32) on a small random input, with the same parameters."""
    weights = one.node.state_dict()
    if weights.keys() == other.node.state_dict().keys():
        other.node.load_state_dict(weights)
    x_seq = torch.rand(T, 8, 64, generator=torch.Generator().manual_seed(0)).mul(2).to(device)
    outputs = []
    for contender in (one, other):
        contender.prepare()
        with torch.no_grad():
            outputs.append(contender.run(x_seq))
    return torch.isclose(*outputs, rtol=1e-4, atol=1e-5).float().mean().item()
