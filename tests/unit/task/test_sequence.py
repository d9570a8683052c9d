"""A class or values at every step: padded steps take no part in anything, and a padded batch equals its sequences."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import SGD, trainer
from torch import nn
from torch.nn import functional as F

from snntrain import functional
from snntrain.callback import SpikeStatistics, SynapticOperations
from snntrain.callback.spike_statistics import watching
from snntrain.data import NoisySine, Parity
from snntrain.encoding import FramesEncoder
from snntrain.layer.padding import padded
from snntrain.model import build
from snntrain.task import SequencePrediction

T, F_IN = 6, 2
LAYERS = [{"name": "Linear", "out_features": 5}, "BatchNorm1d", "neuron"]


def task(outputs: dict | None = None, layers: list | None = None, **more) -> SequencePrediction:
    """Weights and running statistics on a grid of 2⁻⁸, on which sums are exact."""
    outputs = outputs or {"num_classes": 2}
    torch.manual_seed(0)
    last = {"name": "Linear", "out_features": next(iter(outputs.values()))}
    neuron = {"name": "LIFNode", "v_threshold": 0.25, "backend": "torch"}
    made = SequencePrediction(
        build([*(layers or LAYERS), last], (F_IN,), neuron), FramesEncoder(), T, SGD, **outputs, **more
    )
    with torch.no_grad():
        for tensor in made.net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_((tensor * 256).round() / 256)
    return made


def batch(lengths: list[int], seed: int) -> tuple[torch.Tensor, ...]:
    source = torch.Generator().manual_seed(seed)
    x = torch.randint(-256, 257, (len(lengths), T, F_IN), generator=source) / 256
    target = torch.randint(2, (len(lengths), T), generator=source)
    for sample, length in enumerate(lengths):
        x[sample, length:], target[sample, length:] = 0, 0
    return x, target, torch.arange(len(lengths)), torch.tensor(lengths)


LENGTHS = st.lists(st.integers(1, T), min_size=1, max_size=5)


@settings(deadline=None, max_examples=30)
@given(LENGTHS, st.integers(0, 1000))
def test_a_padded_batch_equals_its_sequences(lengths, seed):
    module = task().eval()
    x, target, _, many = whole = batch(lengths, seed)
    y_seq = module.outputs("val", x, whole).detach()
    losses, right = [], []
    for sample, length in enumerate(lengths):
        functional.reset_net(module.net)
        alone = module.net(x[sample : sample + 1, :length].transpose(0, 1)).detach()
        torch.testing.assert_close(y_seq[:length, sample], alone[:, 0], rtol=0, atol=1e-6)
        losses.append(F.cross_entropy(alone[:, 0], target[sample, :length], reduction="sum"))
        right.append((alone[:, 0].argmax(1) == target[sample, :length]).sum())
    with padded(many, T):
        loss = module.compute_loss(y_seq, target)
        scores, labels = module.measurable(module.scores(y_seq), target)
    assert loss.item() == pytest.approx(float(sum(losses)) / sum(lengths), rel=1e-5)
    assert int((scores.argmax(1) == labels).sum()) == int(sum(right)) and len(labels) == sum(lengths)


@settings(deadline=None, max_examples=20)
@given(LENGTHS, st.integers(0, 1000))
def test_without_normalization_it_equals_them_to_the_last_bit(lengths, seed):
    module = task(layers=[{"name": "Linear", "out_features": 5}, "neuron"]).eval()
    x, _, _, _ = whole = batch(lengths, seed)
    y_seq = module.outputs("val", x, whole)
    for sample, length in enumerate(lengths):
        functional.reset_net(module.net)
        assert torch.equal(y_seq[:length, sample], module.net(x[sample : sample + 1, :length].transpose(0, 1))[:, 0])


@settings(deadline=None, max_examples=20)
@given(LENGTHS.filter(lambda lengths: sum(lengths) > 1), st.integers(0, 1000))
def test_padded_steps_stay_out_of_running_statistics(lengths, seed):
    module = task().train()
    x, _, _, many = whole = batch(lengths, seed)
    mask = torch.arange(T) < many[:, None]
    reference = nn.BatchNorm1d(5)
    reference(module.net.layers[0](x.transpose(0, 1))[mask.T].detach())
    module.outputs("train", x, whole)
    torch.testing.assert_close(module.net.layers[1].running_mean, reference.running_mean)
    torch.testing.assert_close(module.net.layers[1].running_var, reference.running_var)


def test_what_stands_in_padded_steps_reaches_neither_loss_nor_gradients():
    lengths = [2, 6, 4]
    x, target, index, many = batch(lengths, 3)
    beyond = torch.arange(T) >= many[:, None]
    found = []
    for fill in (0.0, 9.0):
        module, x = task().train(), x.clone()
        x[beyond], target[beyond] = fill, int(fill > 0)
        module.log = lambda *arguments, **more: None
        loss = module.training_step((x, target, index, many), 0)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in module.net.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_rates_and_operations_are_those_of_the_real_steps(tmp_path):
    data = Parity(2, (2,), steps=T, shortest=1, samples=40, test_samples=20, batch_size=7)
    module = task(layers=[{"name": "Linear", "out_features": 5}, "neuron"])
    operations = SynapticOperations((F_IN,))
    run = trainer(tmp_path, SpikeStatistics(), operations)
    run.test(module, datamodule=data, verbose=False)
    fired = steps = right = 0
    spikes: list[torch.Tensor] = []
    for x, target, _, lengths in data.test_dataloader():
        for sample, length in enumerate(lengths.tolist()):
            functional.reset_net(module.net)
            spikes.clear()
            with watching({"": module.net.layers[1]}, lambda path, layer, y: spikes.append(y)), torch.no_grad():
                y = module.net(x[sample : sample + 1, :length].transpose(0, 1))
            fired += int(spikes[0].sum())
            steps += length
            right += int((y[:, 0].argmax(1) == target[sample, :length]).sum())
    assert float(run.callback_metrics["test/firing_rate"]) == pytest.approx(fired / (5 * steps))
    assert float(run.callback_metrics["test/acc"]) == pytest.approx(right / steps)
    # One-hot inputs and spikes: each real step reaches 5 neurons once, and each spike the two outputs.
    assert operations.result["sops"] * 20 == pytest.approx(5 * steps + 2 * fired) and operations.result["macs"] == 0


def test_values_are_learned_and_measured_over_all_real_steps(tmp_path):
    data = NoisySine(
        num_targets=1, sample_shape=(1,), steps=T, shortest=3, samples=200, test_samples=30, batch_size=16, noise=0.0
    )
    layers = [{"name": "Linear", "out_features": 5}, "neuron"]
    module = SequencePrediction(
        build([*layers, {"name": "Linear", "out_features": 1}], (1,), {"name": "LIFNode", "backend": "torch"}),
        FramesEncoder(),
        T,
        SGD,
        num_targets=1,
        metrics=["mae"],
    )
    before = copy.deepcopy(module)
    run = trainer(tmp_path, max_epochs=3)
    run.fit(module, datamodule=data)
    rmse = float(run.test(module, datamodule=data, verbose=False)[0]["test/rmse"])
    assert rmse < float(run.test(before, datamodule=data, verbose=False)[0]["test/rmse"])
    squares = count = 0.0
    for x, target, index, lengths in data.test_dataloader():
        y_seq = module.outputs("test", x, (x, target, index, lengths)).detach()
        mask = torch.arange(T)[:, None] < lengths
        squares += float((y_seq[mask] - target.transpose(0, 1)[mask]).square().sum())
        count += int(lengths.sum())
    run.test(module, datamodule=data, verbose=False)
    assert float(run.callback_metrics["test/rmse"]) == pytest.approx((squares / count) ** 0.5, rel=1e-4)
    assert float(run.callback_metrics["test/loss"]) == pytest.approx(squares / count, rel=1e-4)


def test_what_looks_at_all_steps_at_once_is_refused_by_name():
    neuron = {"name": "PSN", "T": T}
    net = build([{"name": "Linear", "out_features": 5}, "neuron", {"name": "Linear", "out_features": 2}], (2,), neuron)
    module = SequencePrediction(net, FramesEncoder(), T, SGD, num_classes=2)
    with pytest.raises(ValueError, match=r"several lengths, but layers\.1 \(PSN\) looks at all steps"):
        module.training_step(batch([2, 3], 0), 0)
