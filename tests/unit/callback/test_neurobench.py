"""The metrics of NeuroBench beside the numbers of its own harness, and by hand."""

import json

import neurobench_cases as cases
import pytest
import torch
from neurobench_runs import Runs, of_case, results_of
from small_training import small_task, trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snntrain import layer
from snntrain.callback import EnergyModels, NeuroBench, SynapticOperations
from snntrain.callback.connections import fan_out
from snntrain.callback.neurobench import METRICS
from snntrain.model.energy import Neurons, Weights, against_ann, with_memory
from snntrain.neuron import FloatCubaLIFNode, IFNode, LIFNode, ParametricLIFNode

LINEAR = {"name": "Linear", "out_features": 3, "bias": False}
CUBA = {"name": "CubaLIFNode", "current_decay": 0.5, "voltage_decay": 0.5, "backend": "torch"}
GOLDEN = json.loads(cases.GOLDEN.read_text())
ROUNDED = {"activation_sparsity": 1e-12}


@pytest.mark.parametrize("in_steps", [False, True], ids=["all steps at once", "step by step"])
@pytest.mark.parametrize("name", cases.CASES)
def test_the_metrics_are_those_of_neurobenchs_harness(tmp_path, name, in_steps):
    """Golden numbers of neurobench 2.3.0, written by tests/peers/neurobench_cases.py."""
    metrics, result = of_case(tmp_path, cases.CASES[name], in_steps=in_steps)
    assert set(GOLDEN[name]) == set(METRICS) and not result["undefined"]
    for metric, expected in GOLDEN[name].items():
        assert result[metric] == pytest.approx(expected, rel=ROUNDED.get(metric, 0), abs=0), metric
        assert metrics[f"test/neurobench/{metric}"] == pytest.approx(expected, rel=1e-6), metric
    assert (result["samples"], result["membrane_samples"]) == (cases.SAMPLES, cases.SAMPLES)


def spikes(samples: int, steps: int, *shape: int) -> Tensor:
    return torch.randint(0, 2, (samples, steps, *shape), generator=torch.Generator().manual_seed(1)).float()


def by_hand(conv: nn.Module, x: Tensor) -> int:
    """Products of two numbers that are not 0, in a convolution of ones."""
    mask = (conv.weight != 0).double()
    return int(conv._conv_forward((x != 0).double(), mask, None).sum())


@pytest.mark.parametrize(
    "conv",
    [
        layer.Conv2d(2, 4, 3, padding=1),
        layer.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2),
        layer.Conv2d(2, 4, 3, padding=1, padding_mode="circular"),
        layer.Conv1d(2, 4, 3, padding="same"),
        layer.Conv3d(2, 4, 2),
    ],
    ids=["padded", "strided, in groups", "circular", "same", "3d"],
)
def test_a_value_takes_part_in_the_products_that_it_reaches(conv):
    with torch.no_grad():
        conv.weight[conv.weight.abs() < 0.05] = 0
    shape = (2, *[5] * (conv.weight.dim() - 2))
    x = spikes(3, 1, *shape)[:, 0]
    reached = fan_out(conv, shape, effective=True)
    assert (x.double() * reached).sum() == by_hand(conv, x)
    assert (
        fan_out(conv, shape, effective=False).sum()
        == conv._conv_forward(torch.ones(1, *shape), torch.ones_like(conv.weight), None).sum()
    )


def test_one_value_makes_the_step_of_its_batch_multiply(tmp_path):
    """NeuroBench decides for all samples of a step at once."""
    net = nn.Sequential(layer.Linear(3, 2, bias=False, step_mode="m"), IFNode(step_mode="m", backend="torch"))
    x = torch.tensor([[[1.0, 0, -1], [0, 1, 0]], [[1, 1, 1], [0.5, 0, 0]]])  # [N = 2, T = 2, 3]
    labels = torch.zeros(2, dtype=torch.int64)
    _, result = results_of(tmp_path, net, (3,), [(x, labels)])
    assert (result["effective_acs"], result["effective_macs"]) == (5 * 2 / 2, 2 * 2 / 2)
    assert result["dense"] == 2 * 6
    _, apart = results_of(tmp_path, net, (3,), [(x[:1], labels[:1]), (x[1:], labels[1:])])
    assert (apart["effective_acs"], apart["effective_macs"]) == (6 * 2 / 2, 1 * 2 / 2)


def test_potentials_are_watched_in_every_nth_batch_and_left_as_they_were(tmp_path):
    case = cases.CASES["lif_conv"]
    net = cases.ours(case)
    _, result = results_of(tmp_path, net, case.shape, cases.batches(case), every=2)
    assert result["membrane_samples"] == 4 + 2  # of batches of 4, 4 and 2
    assert result["effective_acs"] == GOLDEN["lif_conv"]["effective_acs"]
    assert not any(module.store_v_seq or module._forward_hooks for module in net if isinstance(module, LIFNode))
    assert not any(module._forward_pre_hooks for module in net.modules())


class Doubles(nn.Linear):
    """Computes something else than its weights say."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class NoPotential(nn.Module):
    """Spikes without a potential."""

    is_spiking = True

    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).float()


@pytest.mark.parametrize(
    ("part", "undefined"),
    [
        (nn.ReLU(), {"neuron_ops", "dense_neuron_ops"}),
        (Doubles(3, 3), {"effective_macs", "effective_acs", "dense"}),
        (NoPotential(), {"membrane_updates", "neuron_ops", "dense_neuron_ops"}),
        (LIFNode(v_reset=0.25, step_mode="m", backend="torch"), {"neuron_ops", "dense_neuron_ops"}),
        (ParametricLIFNode(step_mode="m", backend="torch"), set()),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_neurobench_does_not_define_is_left_out_with_a_reason(tmp_path, part, undefined):
    net = nn.Sequential(layer.Linear(3, 3, step_mode="m"), IFNode(step_mode="m", backend="torch"), part)
    batch = spikes(4, 3, 3), torch.zeros(4, dtype=torch.int64)
    metrics, result = results_of(tmp_path, net, (3,), [batch])
    assert set(result["undefined"]) == undefined
    assert all(result[name] is None and "2 (" in result["undefined"][name] for name in undefined)
    assert {name for name in METRICS if f"test/neurobench/{name}" not in metrics} == undefined


def test_kinds_of_neurons_are_charged_as_snntorchs():
    """The table of neurobench 2.3: Leaky 4 either way, Synaptic 6 with soft and 8 with hard reset."""
    from snntrain.callback.membranes import operations_of_update

    assert operations_of_update(IFNode(v_reset=None)) == operations_of_update(LIFNode(v_reset=0.0)) == 4
    assert operations_of_update(FloatCubaLIFNode(0.5, 0.5, v_reset=None)) == 6
    assert operations_of_update(FloatCubaLIFNode(0.5, 0.5, v_reset=0.0)) == 8


def test_a_block_of_lava_has_no_effective_products_but_synaptic_operations(tmp_path):
    """It quantizes its weights itself, so NeuroBench, which hooks layers, would count nothing."""
    net = small_task(layers=["Flatten", {"lava_block": [LINEAR, "neuron"]}], neuron=CUBA).net
    batch = spikes(4, 3, 1, 4, 4), torch.zeros(4, dtype=torch.int64)
    metrics, result = results_of(tmp_path, net, (1, 4, 4), [batch])
    assert "layers.1 (BlockContainer)" in result["undefined"]["effective_acs"]
    assert metrics["test/sops"] == batch[0].sum() * 3 / 4 and metrics["test/macs"] == 0
    assert result["neuron_ops"] == 8 * result["membrane_updates"] and result["dense_neuron_ops"] == 8 * 3 * 3


def test_models_of_energy_are_given_what_was_counted(tmp_path):
    case = cases.CASES["lif_conv"]
    operations = SynapticOperations(case.shape)
    counted = NeuroBench(operations, membranes_every=1)
    energy = EnergyModels(counted)
    run = trainer(tmp_path, operations, counted, energy)
    run.test(Runs(cases.ours(case)), dataloaders=DataLoader(list(cases.batches(case)), batch_size=None), verbose=False)
    conv, *_, last = energy.result["layers"]
    entered = float(cases.inputs(case).sum()) / cases.SAMPLES
    assert (conv["inputs"], conv["outputs"], conv["weights"], conv["biases"], conv["runs"]) == (72, 36, 72, 0, 0)
    assert conv["spikes"] == pytest.approx(entered) and conv["shares_weights"] and not last["shares_weights"]
    assert [group["neurons"] for group in energy.result["neurons"]] == [36, 54, 5]
    assert all(group["leaks"] and group["steps"] == cases.STEPS for group in energy.result["neurons"])
    layers = [Weights(**layer) for layer in energy.result["layers"]]
    neurons = [Neurons(**group) for group in energy.result["neurons"]]
    metrics = run.callback_metrics
    assert metrics["test/energy_memory_uJ"] == pytest.approx(with_memory(layers, neurons), rel=1e-6)
    assert metrics["test/crossing_rate"] == pytest.approx(against_ann(layers, neurons, cases.STEPS).crossing, rel=1e-6)
    assert {model["name"] for model in energy.result["models"]} == {"arithmetic", "memory", "crossing"}
