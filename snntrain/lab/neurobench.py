"""Run NeuroBench's own harness on a net of ours: what the metrics `test/neurobench/…` of a run can be compared with."""

import copy
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snntrain import functional
from snntrain.callback.membranes import has_membrane, operations_of_update
from snntrain.callback.neurobench import is_activation
from snntrain.error import UsageError
from snntrain.hooks import step_mode_of, supported_step_modes
from snntrain.neuron.linear_form import linear_form_of
from snntrain.randomness import derived_seed

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


def harness_of_run(place: str | Path, *, trust: bool = False) -> dict[str, float | None]:
    """NeuroBench's harness on the best weights of a run and its whole test set.

    Args:
        place: the run folder, or a checkpoint.
        trust: see `snntrain.load`.

    Returns: name as in snntrain.callback.neurobench.METRICS → value; None for what NeuroBench has no answer to.
    Raises: UsageError where neurobench is not installed, and for nets or data that it cannot be given.
    """
    check_installed()
    from snntrain.run.trained import load

    run = load(place, trust=trust)
    task, data = run.task, run.data
    if hasattr(data, "splits") and getattr(data.splits["test"], "lengths", None) is not None:
        raise UsageError(f"NeuroBench: {place} was tested on sequences of several lengths, which it does not know.")
    if not hasattr(task, "encoded"):
        raise UsageError(
            f"NeuroBench: {type(task).__name__} has no method encoded. Call snntrain.lab.neurobench.harness."
        )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        torch.manual_seed(derived_seed(run.settings["seed"], "test", 0))
        for batch in data.test_dataloader():
            batch = [part.to(task.device) for part in batch]
            yield task.encoded(batch[0], task.encoding_seeds("test", batch)), batch[1]

    return harness(run.net, batches, samples=len(data.splits["test"]))


@torch.no_grad()
def harness(net: nn.Module, batches: Batches, *, samples: int) -> dict[str, float | None]:
    """NeuroBench's harness on a net, run step by step.

    Args:
        net: takes [N, *] in step mode 's'; it is copied.
        batches: called once, gives (x [T, N, *], target [N]).
        samples: in all batches.

    Returns, Raises: as harness_of_run.
    """
    check_installed()
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, NeuronOperations, SynapticOperations

    stepped, charged = _stepped(net)
    workload = [ActivationSparsity, SynapticOperations, MembraneUpdates, *([NeuronOperations] if charged else [])]
    benchmark = Benchmark(
        _model(stepped), _Loader(batches, samples), [], [], [[Footprint, ConnectionSparsity], workload]
    )
    found = benchmark.run(quiet=True)
    products, neurons = found["SynapticOperations"], found.get("NeuronOperations", {})
    return {
        "footprint": found["Footprint"],
        "connection_sparsity": found["ConnectionSparsity"],
        "activation_sparsity": found["ActivationSparsity"],
        "effective_macs": products["Effective_MACs"],
        "effective_acs": products["Effective_ACs"],
        "dense": products["Dense"],
        "membrane_updates": found["MembraneUpdates"],
        "neuron_ops": neurons.get("Effective Neuron Ops"),
        "dense_neuron_ops": neurons.get("Neuron Dense Ops"),
    }


def check_installed() -> None:
    """Raises: UsageError saying what to install."""
    missing = [name for name in ("neurobench", "snntorch") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"NeuroBench's harness needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'snntrain[neurobench]'."
        )


class _Loader:
    """What the harness takes for a data loader: batches [N, T, *] with targets, and the number of samples."""

    def __init__(self, batches: Batches, samples: int) -> None:
        self.batches, self.dataset, self.samples = batches, range(samples), samples

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x_seq, target in self.batches():
            yield x_seq.transpose(0, 1), target


def _model(net: nn.Module) -> Any:
    """The net as a model of NeuroBench."""
    from neurobench.models import NeuroBenchModel

    class Stepped(NeuroBenchModel):
        def __init__(self) -> None:
            super().__init__()
            kinds = {type(module) for module in net.modules() if is_activation(module)}
            for kind in {*kinds, *_stand_ins()}:
                self.add_activation_module(kind)

        def __call__(self, x: Tensor) -> Tensor:
            functional.reset_net(net)
            return torch.stack([net(x[:, step].contiguous()) for step in range(x.shape[1])], 1)

        def __net__(self) -> nn.Module:
            return net

    return Stepped()


def _stepped(net: nn.Module) -> tuple[nn.Module, bool]:
    """A copy in single steps whose neurons NeuroBench knows, and whether it charges operations for all of them.

    Raises: UsageError for a layer that takes whole sequences only.
    """
    for path, module in net.named_modules():
        if step_mode_of(module) is not None and "s" not in supported_step_modes(module):
            raise UsageError(
                f"NeuroBench: {path or 'the net'} ({type(module).__name__}) takes whole sequences only, and "
                "its harness runs a net step by step."
            )
    stepped = copy.deepcopy(net).eval()
    functional.reset_net(stepped)
    functional.set_step_mode(stepped, "s")
    functional.set_backend(stepped, "torch")
    return stepped, all(_stand_in(parent, name, child) for parent, name, child in list(_activations(stepped)))


def _activations(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for name, child in module.named_children():
        if is_activation(child):
            yield module, name, child
        else:
            yield from _activations(child)


def _stand_in(parent: nn.Module, name: str, neuron: nn.Module) -> bool:
    """Put what snnTorch calls it in the place of a neuron; False where NeuroBench has no operations for its kind."""
    if not has_membrane(neuron):
        return False
    charged = operations_of_update(neuron) is not None
    leaky, synaptic, other = _stand_ins()
    form = linear_form_of(neuron) if charged else None
    kind = other if form is None else leaky if form.current_decay == 1 else synaptic
    parent._modules[name] = kind(neuron)
    return charged


def _stand_ins() -> tuple[type[nn.Module], ...]:
    """Classes with the names by which the harness looks up operations, around a neuron of ours."""
    from snntorch import SpikingNeuron

    class StandIn(SpikingNeuron):
        init_hidden, output = True, False

        def __init__(self, neuron: nn.Module) -> None:
            nn.Module.__init__(self)  # not snnTorch's, whose buffers would count as memory of the net
            self.neuron = neuron
            self._reset_mechanism = "subtract" if neuron.v_reset is None else "zero"

        @property
        def mem(self) -> Any:
            v = self.neuron.v
            return v.clone() if isinstance(v, Tensor) else v

        def forward(self, x: Tensor) -> Tensor:
            return self.neuron(x)

    if not _KINDS:
        _KINDS.extend(type(name, (StandIn,), {}) for name in ("Leaky", "Synaptic", "Neuron"))
    return tuple(_KINDS)


_KINDS: list[type[nn.Module]] = []
