"""Synaptic operations and multiply-accumulates of a test, counted spike by spike and without hooks."""

import math
from typing import Any

import pytest
import torch
from small_training import TWO, Patches, small_task, trainer
from torch import Tensor, nn

from snntrain import functional, layer
from snntrain.callback import SpikeStatistics, SynapticOperations
from snntrain.neuron import IFNode

SHAPE = (1, 4, 4)
NEURON = {"name": "IFNode", "v_threshold": 0.4, "backend": "torch"}
PIXELS = 124 - 100  # test pictures


def measured(tmp_path, task, data=None, **settings) -> tuple[dict[str, float], dict[str, Any] | None]:
    callback = SynapticOperations(SHAPE)
    run = trainer(tmp_path, callback, **settings)
    run.test(task, datamodule=data or Patches(), verbose=False)
    return {name: float(value) for name, value in run.callback_metrics.items()}, callback.result


def per_layer(result: dict[str, Any], kind: str) -> dict[str, float]:
    return {layer["path"]: layer[kind] for layer in result["layers"]}


def pictures() -> Tensor:
    data = Patches()
    data.prepare_data()
    data.setup()
    x, *_ = data.splits["test"].__getitems__(range(PIXELS))
    return x


CONV = {"name": "Conv2d", "out_channels": 6, "kernel_size": 2, "stride": 2, "bias": False}  # each value reaches 6
LINEAR = {"name": "Linear", "out_features": 5, "bias": False}
POOL = {"name": "AvgPool2d", "kernel_size": 2}
FIRES = {"name": "neuron", "v_threshold": 0.1}


# layers; path of the one that is looked at; (what enters it → spikes in it); weights that a spike reaches
ENTERING = {
    "block of a linear layer": (["Flatten", FIRES, {"lava_block": [LINEAR, "neuron"]}], 2, lambda x: x, 5),
    "block of a convolution": ([FIRES, {"lava_block": [CONV, "neuron"]}, "Flatten"], 1, lambda x: x, 6),
    "averages in blocks": ([FIRES, POOL, {"lava_block": [CONV, "neuron"]}], 2, lambda x: 4 * x, 6),
    "averages": ([FIRES, POOL, CONV], 2, lambda x: 4 * x, 6),
    "averages of averages, flattened": (
        [FIRES, *[POOL] * 2, "Flatten", LINEAR],
        4,
        lambda x: 16 * x,
        5,
    ),
    "averages of odd windows": (
        [FIRES, {"name": "AvgPool2d", "kernel_size": 3, "stride": 1}, CONV],
        2,
        lambda x: (9 * x).round(),
        6,
    ),
    "adaptive averages": ([FIRES, {"name": "AdaptiveAvgPool2d", "output_size": 2}, CONV], 2, lambda x: 4 * x, 6),
    "votes": (["Flatten", FIRES, {"name": "VotingLayer", "voting_size": 4}, LINEAR], 3, lambda x: 4 * x, 5),
    "standardized weights": (["Flatten", FIRES, {"name": "WSLinear", "out_features": 5}], 2, lambda x: x, 5),
}


def looked_at(task, place: int) -> Tensor:
    """What enters a layer in a test."""
    functional.reset_net(task.net)
    x = task.encoder(pictures(), task.T)
    with torch.no_grad():
        for layer in task.net.layers[:place]:
            x = layer(x)
    functional.reset_net(task.net)
    return x


@pytest.mark.parametrize(("layers", "place", "spikes", "reached"), ENTERING.values(), ids=ENTERING)
def test_what_enters_decides_whether_weights_are_added_or_multiplied(tmp_path, layers, place, spikes, reached):
    end = [] if layers[-1] == "Flatten" or "Flatten" in layers else ["Flatten"]
    task = small_task(layers=[*layers, *end, {"name": "Linear", "out_features": 3}], neuron=NEURON)
    _, result = measured(tmp_path, task)
    entering = spikes(looked_at(task, place))
    assert entering.sum() > 0 and torch.equal(entering, entering.round())
    spiking = int(entering.sum())
    assert per_layer(result, "sops")[f"layers.{place}"] == pytest.approx(spiking * reached / PIXELS)
    assert per_layer(result, "macs")[f"layers.{place}"] == 0


@pytest.mark.parametrize("batch_size", [7, 32])
def test_each_spike_costs_one_accumulation_for_each_neuron_that_it_reaches(tmp_path, batch_size):
    task = small_task(layers=TWO, neuron=NEURON)
    _, result = measured(tmp_path, task, Patches(batch_size=batch_size))
    with torch.no_grad():
        functional.reset_net(task.net)
        x = task.encoder(pictures(), task.T)
        reached = {}
        for index, layer in enumerate(task.net.layers):
            if index in (3, 5):
                reached[f"layers.{index}"] = sum(layer.out_features for spike in x.flatten().tolist() if spike)
            x = layer(x)
    assert all(reached.values())
    # The first layer sees the picture's gray values, and the same ones in each step: it runs once.
    assert per_layer(result, "macs") == {"layers.1": 16 * 12, "layers.3": 0, "layers.5": 0}
    assert per_layer(result, "sops") == {"layers.1": 0, **{path: n / PIXELS for path, n in reached.items()}}
    assert (result["samples"], result["T"]) == (PIXELS, 3)


def test_metrics_are_totals_and_the_energy_follows_from_them(tmp_path):
    metrics, result = measured(tmp_path, small_task(layers=TWO, neuron=NEURON))
    sops, macs = (sum(per_layer(result, kind).values()) for kind in ("sops", "macs"))
    assert metrics["test/sops"] == pytest.approx(sops) and metrics["test/macs"] == macs == 192
    assert metrics["test/energy_uJ"] == pytest.approx((4.6 * macs + 0.9 * sops) * 1e-12 * 1e6)
    assert metrics["test/energy_ann_uJ"] == pytest.approx(4.6e-6 * (16 * 12 + 12 * 7 + 7 * 3))
    assert {name: result[name] for name in ("pj_per_mac", "pj_per_sop")} == {"pj_per_mac": 4.6, "pj_per_sop": 0.9}
    assert "ISSCC 2014" in result["source"]


def test_spikes_of_an_encoder_are_spikes_and_changing_values_are_computed_in_each_step(tmp_path):
    layers = [*TWO[:2], {"name": "neuron", "v_threshold": 1e9}, {"name": "Linear", "out_features": 3}]
    _, result = measured(tmp_path, small_task(layers=layers, neuron=NEURON, poisson=True, T=5))
    drawn = 5 * pictures().sum() / PIXELS  # expected spikes of a picture
    assert per_layer(result, "macs") == {"layers.1": 0, "layers.3": 0}
    assert per_layer(result, "sops")["layers.1"] == pytest.approx(12 * float(drawn), rel=0.2)
    assert per_layer(result, "sops")["layers.3"] == 0  # nothing fires: nothing is computed
    # An analog neuron in between: values, other ones in each of the five steps.
    analog = {"name": "NonSpikingIFNode"}
    layers = [*TWO[:2], "neuron", {"name": "Linear", "out_features": 9}, *TWO[4:]]
    task = small_task(layers=layers, neuron=NEURON, T=5)
    task.net.layers[2] = small_task(layers=[*TWO[:2], "neuron", TWO[-1]], neuron=analog).net.layers[2]
    _, result = measured(tmp_path, task)
    assert per_layer(result, "macs") == {"layers.1": 192, "layers.3": 5 * 12 * 9, "layers.5": 0}


def test_spikes_of_a_picture_that_repeats_arrive_in_each_step(tmp_path):
    class BlackAndWhite(nn.Module):
        def forward(self, x: Tensor, T: int) -> Tensor:
            return functional.repeat((x > 0.5).float(), T)

    task = small_task(layers=TWO, neuron=NEURON, T=5)
    task.encoder = BlackAndWhite()
    _, result = measured(tmp_path, task)
    white = int((pictures() > 0.5).sum())
    assert per_layer(result, "sops")["layers.1"] == pytest.approx(5 * 12 * white / PIXELS)


def test_a_product_inside_a_neuron_counts_in_each_step_and_not_for_the_ann(tmp_path):
    layers = ["Flatten", {"name": "neuron"}, {"name": "Linear", "out_features": 3}]
    metrics, result = measured(tmp_path, small_task(layers=layers, neuron={"name": "PSN", "T": 3}))
    assert per_layer(result, "macs") == {"layers.1": 3 * 3 * 16, "layers.2": 0}  # a 3 × 3 matrix for each neuron
    assert metrics["test/energy_ann_uJ"] == pytest.approx(4.6e-6 * 16 * 3)


class Gives(nn.Module):
    """The same sequence of values for every sample, then a layer of four weights each."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.neuron = IFNode(step_mode="m", backend="torch")  # a spiking net
        self.weights = nn.Linear(2, 4)
        self.output = nn.Linear(4, 3)
        self.values = torch.tensor(values, dtype=torch.float32)

    def forward(self, x_seq: Tensor) -> Tensor:
        self.neuron(x_seq)
        x = self.values[:, None, None].expand(x_seq.shape[0], x_seq.shape[1], 2)
        return self.output(self.weights(x))


@pytest.mark.parametrize(
    ("values", "sops", "macs"),
    [
        ((1, 0, 1), 2 * 2 * 4, 0),
        ((2, 0, 1), 3 * 2 * 4, 0),  # a count of two is two spikes
        ((-1, 0, 1), 2 * 2 * 4, 0),
        ((0, 0, 0), 0, 0),
        ((1, 0.5, 1), 0, 3 * 2 * 4),
        ((math.nan, 0, 1), 0, 3 * 2 * 4),
    ],
)
def test_whole_numbers_are_spikes_and_anything_else_is_multiplied(tmp_path, values, sops, macs):
    task = small_task()
    task.net = Gives(*values)
    _, result = measured(tmp_path, task)
    assert (per_layer(result, "sops")["weights"], per_layer(result, "macs")["weights"]) == (sops, macs)
    assert per_layer(result, "macs")["output"] == 3 * 4 * 3


def test_the_ann_twin_does_multiply_accumulates_only(tmp_path):
    task = small_task(neuron="ReLU", T=1, layers=TWO)
    for parameter in task.net.layers[1].parameters():
        nn.init.constant_(parameter, -1.0)  # all zeros after the first ReLU, which are whole numbers
    metrics, _ = measured(tmp_path, task)
    assert (metrics["test/macs"], metrics["test/sops"]) == (16 * 12 + 12 * 7 + 7 * 3, 0)
    assert metrics["test/energy_uJ"] == metrics["test/energy_ann_uJ"]


class Steps(nn.Module):
    """A net in single steps, called once for each; or the same in a loop of its own."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        functional.set_step_mode(net, "s")

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.stack([self.net(x) for x in x_seq])


def test_a_net_that_is_called_step_by_step_counts_the_same(tmp_path):
    """Only the picture is multiplied in each step now: nobody says that it repeats."""
    _, whole = measured(tmp_path, small_task(layers=TWO, neuron=NEURON))
    task = small_task(layers=TWO, neuron=NEURON)
    task.net = Steps(task.net)
    _, looped = measured(tmp_path, task)
    task = small_task(layers=TWO, neuron=NEURON)
    functional.set_step_mode(task.net, "s")
    task.forward = lambda x: functional.multi_step_forward(task.encoder(x, task.T), reset(task.net))
    _, online = measured(tmp_path, task)
    for result, prefix in ((looped, "net."), (online, "")):
        assert per_layer(result, "sops") == {prefix + path: n for path, n in per_layer(whole, "sops").items()}
        assert per_layer(result, "macs")[f"{prefix}layers.1"] == 3 * per_layer(whole, "macs")["layers.1"]


def reset(net: nn.Module) -> nn.Module:
    functional.reset_net(net)
    return net


class ByHand(nn.Module):
    """Multiplies by the weight of a module inside it, which is never called; and the result by itself, if asked."""

    def __init__(self, squares: bool) -> None:
        super().__init__()
        self.inner, self.squares = nn.Linear(7, 5), squares

    def forward(self, x: Tensor) -> Tensor:
        y = x @ (2 * self.inner.weight).T
        return y @ (y.mT @ y) if self.squares else y


@pytest.mark.parametrize("squares", [False, True])
def test_a_weight_inside_a_module_that_is_not_called_is_a_weight(tmp_path, squares):
    task = small_task(layers=TWO, neuron=NEURON)
    task.net.layers[5] = nn.Sequential(ByHand(squares), layer.Linear(5, 3, step_mode="m"))
    _, result = measured(tmp_path, task)
    spikes = looked_at(task, 5).sum()
    assert per_layer(result, "sops")["layers.5.0"] == pytest.approx(float(spikes) * 5 / PIXELS)
    batch = 3 if squares else 0  # of the probe: two products of [3, 5] and [5, 5] for each of three steps
    assert per_layer(result, "macs")["layers.5.0"] == pytest.approx(3 * 2 * 5 * 5 if batch else 0)


def test_what_is_averaged_must_be_spikes_and_windows_of_one_size(tmp_path):
    """Grey values in 16 steps are no spikes, though 16 of them are whole."""
    task = small_task(layers=[{"name": "AvgPool2d", "kernel_size": 4}, CONV | {"kernel_size": 1}, "Flatten", TWO[-1]])
    task.net.layers.append(small_task(layers=TWO, neuron=NEURON).net.layers[2])
    task.encoder.forward = lambda x, T: functional.repeat((x * 16).round() / 16, T)
    _, result = measured(tmp_path, task)
    assert per_layer(result, "macs")["layers.1"] == 6
    rest = {"name": "AvgPool2d", "kernel_size": 3, "stride": 3, "ceil_mode": True}
    _, result = measured(tmp_path, small_task(layers=[FIRES, rest, CONV, "Flatten", TWO[-1]], neuron=NEURON))
    assert per_layer(result, "macs")["layers.2"] == 3 * 4 * 6


def test_products_of_activations_are_multiply_accumulates(tmp_path):
    class Squares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.unsqueeze(-2) @ x.unsqueeze(-1)).squeeze(-1)

    task = small_task(layers=TWO, neuron=NEURON)
    task.net.layers.append(IFNode(step_mode="m", backend="torch"))
    task.net.layers.append(Squares())
    task.net.layers.append(nn.Linear(1, 3))
    _, result = measured(tmp_path, task)
    assert per_layer(result, "macs")["layers.7"] == 3 * 3 and per_layer(result, "sops")["layers.7"] == 0


def test_no_hook_is_left_nothing_is_changed_and_other_callbacks_see_their_own(tmp_path):
    task = small_task(layers=TWO, neuron=NEURON)
    run = trainer(tmp_path, SpikeStatistics())
    alone = run.test(task, datamodule=Patches(), verbose=False)[0]
    callback = SynapticOperations(SHAPE)
    run = trainer(tmp_path, SpikeStatistics(), callback)
    both, again = (run.test(task, datamodule=Patches(), verbose=False)[0] for _ in range(2))
    assert both == again and {name: both[name] for name in alone} == alone
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in task.net.modules())


def test_a_compiled_net_is_counted_too(tmp_path):
    """Its compiled code was made without the hooks and would not call them."""
    _, plain = measured(tmp_path, small_task(layers=TWO, neuron=NEURON))
    task = small_task(layers=TWO, neuron=NEURON)
    task.net.compile(backend="eager")
    with torch.inference_mode():
        task(pictures())
    assert measured(tmp_path, task)[1] == plain
    compiled = []
    torch.compile(lambda x: x + 1, backend=lambda graph, inputs: compiled.append(graph) or graph)(torch.ones(1))
    assert compiled  # afterward what is to be compiled is compiled again


def test_hooks_go_when_the_test_breaks_off(tmp_path):
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] > 5:  # the probe is smaller
                raise RuntimeError("broken off")
            return x

    task = small_task(layers=TWO, neuron=NEURON)
    task.net.layers.append(Breaks())
    with pytest.raises(RuntimeError, match="broken off"):
        measured(tmp_path, task)
    assert not any(module._forward_pre_hooks for module in task.net.modules())


def test_a_test_without_batches_gives_nothing(tmp_path):
    metrics, result = measured(tmp_path, small_task(layers=TWO, neuron=NEURON), limit_test_batches=0)
    assert not [name for name in metrics if "ops" in name or "energy" in name] and result is None
    callback, task = SynapticOperations(SHAPE), small_task(layers=TWO, neuron=NEURON)
    callback.on_test_start(None, task)
    callback.on_test_epoch_end(None, task)
    assert callback.result is None
