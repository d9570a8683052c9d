"""Three nets twice, from our neurons and from snnTorch's, with what NeuroBench's own harness finds for snnTorch's.

All weights, decays and thresholds are sums of a few powers of two, so that both compute the same bits everywhere. No
potential is ever exactly at the threshold, where ours fires and snnTorch's does not.

    python tests/peers/neurobench_cases.py     # writes neurobench_golden.json beside it; needs neurobench and snntorch
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snntrain import layer
from snntrain.neuron import FloatCubaLIFNode, IFNode, LIFNode

GOLDEN = Path(__file__).with_name("neurobench_golden.json")
SAMPLES, BATCH, STEPS = 10, 4, 6  # the last batch is smaller
THRESHOLD = 1 + 2**-12


@dataclass(frozen=True)
class Case:
    """One net.

    Attributes:
        shape: of a sample at one step.
        layers: those with weights, by their classes and arguments; each is followed by neurons.
        neuron: ours, by class and arguments.
        twin: snnTorch's, by the name of its class and its arguments.
        values: what enters: 'spikes'; 'gray values', the same in each step.
    """

    shape: tuple[int, ...]
    layers: tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...]
    neuron: tuple[type, dict[str, Any]]
    twin: tuple[str, dict[str, Any]]
    values: str


_LIF = (LIFNode, {"tau": 2.0, "decay_input": False, "v_reset": 0.0})
CASES = {
    "if_mlp": Case(
        (12,),
        (("Linear", (12, 9), {}), ("Linear", (9, 5), {})),
        (IFNode, {"v_reset": None}),
        ("Leaky", {"beta": 1.0, "reset_mechanism": "subtract", "reset_delay": False}),
        "gray values",
    ),
    "lif_conv": Case(
        (2, 6, 6),
        (
            ("Conv2d", (2, 4, 3), {"padding": 1, "stride": 2, "bias": False}),
            ("Conv2d", (4, 6, 3), {"padding": 1, "bias": True}),
            ("Linear", (54, 5), {}),
        ),
        _LIF,
        ("Leaky", {"beta": 0.5, "reset_mechanism": "zero", "reset_delay": False}),
        "spikes",
    ),
    "cuba_mlp": Case(
        (12,),
        (("Linear", (12, 9), {"bias": False}), ("Linear", (9, 7), {"bias": False}), ("Linear", (7, 5), {})),
        (FloatCubaLIFNode, {"current_decay": 0.5, "voltage_decay": 0.0, "v_reset": None}),
        ("Synaptic", {"alpha": 0.5, "beta": 1.0, "reset_mechanism": "subtract"}),
        "spikes",
    ),
}


def inputs(case: Case) -> Tensor:
    """[SAMPLES, STEPS, *shape], as NeuroBench wants it."""
    source = torch.Generator().manual_seed(11)
    if case.values == "spikes":
        return torch.randint(0, 3, (SAMPLES, STEPS, *case.shape), generator=source).eq(0).float()
    gray = torch.randint(0, 5, (SAMPLES, 1, *case.shape), generator=source) / 8
    return gray.expand(SAMPLES, STEPS, *case.shape)


def batches(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """(x [N, STEPS, *], label [N])."""
    x = inputs(case)
    for start in range(0, SAMPLES, BATCH):
        part = x[start : start + BATCH]
        yield part, torch.zeros(len(part), dtype=torch.int64)


def batches_of_steps(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """(x [STEPS, N, *], label [N])."""
    return ((x.transpose(0, 1), label) for x, label in batches(case))


def _with_weights(module: nn.Module, seed: int) -> nn.Module:
    """Multiples of 1/16, a third of them 0."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = torch.randint(-5, 8, parameter.shape, generator=source) / 16
            parameter.copy_(drawn * torch.randint(0, 3, parameter.shape, generator=source).ne(0))
    return module


def ours(case: Case) -> nn.Sequential:
    """The net of our layers, [T, N, *] → [T, N, K]."""
    kind, settings = case.neuron
    parts: list[nn.Module] = []
    for seed, (name, sizes, more) in enumerate(case.layers):
        if name == "Linear" and len(case.shape) > 1:
            parts.append(layer.Flatten(step_mode="m"))
        parts.append(_with_weights(getattr(layer, name)(*sizes, **more, step_mode="m"), seed))
        parts.append(kind(v_threshold=THRESHOLD, step_mode="m", backend="torch", **settings))
    return nn.Sequential(*parts).eval()


def twin(case: Case) -> nn.Module:
    """snnTorch's, [N, *] → (spikes [N, K], potentials) in one step; needs snntorch."""
    import snntorch

    name, settings = case.twin
    parts: list[nn.Module] = []
    for seed, (kind, sizes, more) in enumerate(case.layers):
        if kind == "Linear" and len(case.shape) > 1:
            parts.append(nn.Flatten())
        parts.append(_with_weights(getattr(nn, kind)(*sizes, **more), seed))
        is_last = seed == len(case.layers) - 1
        neuron = getattr(snntorch, name)(threshold=THRESHOLD, init_hidden=True, output=is_last, **settings)
        parts.append(neuron)
    return _FirstAndLast(*parts).eval()


class _FirstAndLast(nn.Sequential):
    """NeuroBench takes (spikes, potentials); snnTorch's Synaptic returns its current in between."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = super().forward(x)
        return out[0], out[-1]


def harness(case: Case) -> dict[str, Any]:
    """What NeuroBench's own harness finds for snnTorch's net, under our names; needs neurobench."""
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, NeuronOperations, SynapticOperations
    from neurobench.models import SNNTorchModel
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(inputs(case), torch.zeros(SAMPLES, dtype=torch.int64))
    net = twin(case)
    static = [Footprint, ConnectionSparsity, ParameterCount]
    workload = [ActivationSparsity, SynapticOperations, MembraneUpdates, NeuronOperations]
    found = Benchmark(
        SNNTorchModel(net), DataLoader(data, batch_size=BATCH), [], [lambda spikes: spikes.sum(1)], [static, workload]
    ).run(quiet=True)
    synaptic, neurons = found["SynapticOperations"], found["NeuronOperations"]
    return {
        # snnTorch keeps its neurons' constants in buffers, ours have none: only the parameters are the same.
        "footprint": 4 * found["ParameterCount"],
        "connection_sparsity": found["ConnectionSparsity"],
        "activation_sparsity": found["ActivationSparsity"],
        "effective_macs": synaptic["Effective_MACs"],
        "effective_acs": synaptic["Effective_ACs"],
        "dense": synaptic["Dense"],
        "membrane_updates": found["MembraneUpdates"],
        "neuron_ops": neurons["Effective Neuron Ops"],
        "dense_neuron_ops": neurons["Neuron Dense Ops"],
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: harness(case) for name, case in CASES.items()}, indent=2) + "\n")
    sys.stdout.write(GOLDEN.read_text())
