"""plan and export: what comes out computes what went in, and can be read."""

import json
import re

import numpy as np
import pytest
import torch
from exportable_nets import PICTURES, random_case, sequence, spikes_of
from seeded_inputs import spikes
from torch import nn
from watched_nets import fingerprint

from snntrain import functional, layer, neuron
from snntrain.error import DamagedFile
from snntrain.export import Exported, ExportError, emulate, export, plan
from snntrain.export.plan import CAVEAT
from snntrain.lava_exchange import BlockContainer, CubaLIFNode, SumPool2d
from snntrain.quantize import observe, prepare, preset, to_integer

# --- equal spikes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seeds", [range(30), pytest.param(range(30, 200), marks=pytest.mark.slow)], ids=["30", "to 200"]
)
def test_random_nets_give_the_same_spikes_as_their_files(seeds):
    """Both emulators, every layer, every step; weights on the neurons' grid."""
    layers, fired = 0, 0.0
    for seed in seeds:
        case = random_case(seed)
        planned = plan(case.net, case.x)
        assert planned.is_exact, (seed, case.net, str(planned))
        expected = spikes_of(case.net, case.x)
        for runner in ("torch", "numpy"):
            run = emulate(planned.layers, case.x, runner)
            assert len(run.spikes) == len(expected)
            for ours, theirs in zip(run.spikes, expected, strict=True):
                wrong = int((np.asarray(ours) != theirs.bool().numpy()).sum())
                assert wrong == 0, (seed, runner, wrong, case.net, str(planned))
                layers, fired = layers + 1, fired + float(theirs.mean())
    assert layers > 4 * len(seeds) and 0.15 < fired / layers < 0.4  # the comparison is not one of silent nets


@pytest.mark.parametrize("seed", range(8))
def test_weights_off_the_grid_are_rounded_by_half_a_step_at_most(seed):
    """The file then equals an IF net with its rounded weights, for which nothing but their ratio to θ counts."""
    generator = torch.Generator().manual_seed(seed)
    conv, fc = layer.Conv2d(2, 4, 3, padding=1), layer.Linear(4 * 16, 5)
    for module in (conv, fc):
        for parameter in module.parameters():
            parameter.data.normal_(generator=generator)
    net = sequence(conv, neuron.IFNode(2.7), layer.AvgPool2d(2), layer.Flatten(), fc, neuron.IFNode(0.8))
    x = spikes(12, 3, 2, 8, 8, seed=seed)
    planned = plan(net, x)
    assert not planned.is_exact
    for index, threshold, module in ((1, 2.7, conv), (3, 0.8, fc)):
        written, rounding = planned.layers[index], planned.scales[index]
        assert max(written.weight.max() / 254, written.weight.min() / -256) > 0.99  # the range is used
        if index == 1:
            weight = torch.from_numpy(written.weight / rounding.scale)
            assert (weight - module.weight).abs().max() <= 1.001 / rounding.scale
            assert rounding.error <= 0.004
        assert abs((written.threshold + 1) / rounding.scale - threshold) < 1.001 / rounding.scale
    twin = sequence(
        *(layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(planned.layers[1].threshold + 1.0), layer.Flatten()),
        *(layer.Linear(256, 5), neuron.IFNode(planned.layers[3].threshold + 1.0)),
    )
    for module, written in ((twin[0], planned.layers[1]), (twin[3], planned.layers[3])):
        module.weight.data = torch.from_numpy(written.weight).float()
        module.bias.data = torch.from_numpy(written.bias).float()
    for ours, theirs in zip(emulate(planned.layers, x).spikes, spikes_of(twin, x), strict=True):
        assert torch.equal(ours, theirs.bool()) and theirs.any()


@pytest.mark.parametrize("quant", ["loihi", "coarse"])
@pytest.mark.parametrize("images", [False, True])
def test_quantized_nets_give_the_same_spikes_and_logits(tmp_path, quant, images):
    """IntegerNet records every spike; batch normalization, leaks, means, votes and images as input."""
    torch.manual_seed(0)
    net = sequence(
        *(layer.Conv2d(1, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), neuron.LIFNode(tau=1.7, v_threshold=0.3)),
        *(layer.AvgPool2d(2), layer.Conv2d(4, 6, 3, groups=2), neuron.IFNode(v_threshold=0.1)),
        *(layer.AvgPool2d(2), neuron.ParametricLIFNode(v_threshold=0.1, decay_input=False)),
        *(layer.MaxPool2d(2), layer.Flatten(), layer.Linear(6, 20), neuron.LIFNode(v_threshold=0.05)),
        *(layer.Linear(20, 6), neuron.IFNode(v_threshold=0.05), layer.VotingLayer(2)),
    )
    x = torch.rand(1, 5, 1, 14, 14).expand(9, -1, -1, -1, -1) if images else spikes(9, 5, 1, 14, 14)
    settings = preset("loihi") | {"input": {"bits": 5}} | ({"w": {"bits": 4}} if quant == "coarse" else {})
    prepared = prepare(net, settings, x)
    observe(prepared, [x])
    exported = export(prepared, tmp_path / "net.h5", x, max_pool="neurons")
    assert exported.is_exact
    recorded = to_integer(prepared).run(x, record=True)
    neurons = [exported.layers[index] for index in exported.run(x).layers]
    ours = [one for one, written in zip(exported.run(x).spikes, neurons, strict=True) if written.v_decay < 4096]
    assert len(ours) == len(recorded.spikes) == 5  # without the neurons that stand for a maximum
    for (name, theirs), one in zip(recorded.spikes.items(), ours, strict=True):
        assert torch.equal(one.int(), theirs), name
    assert sum(bool(one.any()) for one in ours) >= 3
    torch.testing.assert_close(exported.logits(x), recorded.logits, rtol=1e-6, atol=0)
    assert str(plan(to_integer(prepared), x, max_pool="neurons")) == str(plan(prepared, x, max_pool="neurons"))


def test_a_net_trained_with_blocks_keeps_its_accuracy_and_every_spike(tmp_path):
    """Real data, weights that training left between the steps of the grid."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    torch.manual_seed(0)
    x = (torch.from_numpy(images).float() / 16 > torch.rand(8, *images.shape)).float()
    labels = torch.from_numpy(labels)
    net = sequence(
        BlockContainer(layer.Linear(64, 64, bias=False), CubaLIFNode(0.4, 0.2, 1.0)),
        BlockContainer(layer.Linear(64, 10, bias=False), CubaLIFNode(0.4, 0.2, 1.0)),
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(30):
        batch = slice(step * 40 % 1500, step * 40 % 1500 + 40)
        functional.reset_net(net)
        loss = nn.functional.cross_entropy(net(x[:, batch]).mean(0), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    exported = export(net, tmp_path / "digits.h5", x[:, :100])
    expected = spikes_of(net, x[:, 1500:])
    run = exported.run(x[:, 1500:])
    for ours, theirs in zip(run.spikes, expected, strict=True):
        assert torch.equal(ours, theirs.bool())
    accuracy = (run.output.float().mean(0).argmax(1) == labels[1500:]).float().mean()
    assert exported.is_exact and accuracy > 0.5


# --- parts of nets ---------------------------------------------------------------------------------------------------


def test_batch_normalization_is_folded_away():
    torch.manual_seed(0)
    norm = layer.BatchNorm2d(4)
    norm.running_mean.uniform_(-1, 1), norm.running_var.uniform_(0.5, 2), norm.weight.data.uniform_(0.5, 2)
    conv = layer.Conv2d(2, 4, 3, bias=False)
    planned = plan(sequence(conv, norm, neuron.IFNode()), spikes(3, 1, 2, 6, 6))
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    scale, written = planned.scales[1].scale, planned.layers[1]
    weight = torch.from_numpy(written.weight / scale).float()
    assert (weight - conv.weight * factor.view(-1, 1, 1, 1)).abs().max() <= 1.001 / scale
    bias = torch.from_numpy(written.bias / scale).float()
    assert (bias - (norm.bias - factor * norm.running_mean)).abs().max() <= 0.501 / scale
    assert [row.becomes for row in planned.rows][:2] == ["layer 1", "folded into 0"]


def test_a_maximum_of_spikes_becomes_neurons_if_asked():
    torch.manual_seed(0)
    net = sequence(
        *(layer.Conv2d(1, 3, 3), neuron.IFNode(0.3), layer.MaxPool2d(3, 2, padding=1), layer.MaxPool2d(2)),
        *(layer.Flatten(), layer.Linear(12, 4), neuron.IFNode(0.2)),
    )
    x = spikes(10, 2, 1, 10, 10, rate=0.2)
    assert "2 (MaxPool2d) cannot be exported: netx has no maximum" in plan(net, x).problems[0]
    planned = plan(net, x, max_pool="neurons")
    run = emulate(planned.layers, x)
    maxima = net[2](run.spikes[0].float())
    assert torch.equal(run.spikes[1], maxima.bool()) and torch.equal(run.spikes[2], net[3](maxima).bool())
    assert 0 < maxima.mean() < 1
    first = sequence(layer.MaxPool2d(2), layer.Conv2d(1, 2, 3), neuron.IFNode())
    assert not plan(first, x, max_pool="neurons").problems
    for wrong in (sequence(layer.Conv2d(1, 2, 3), layer.MaxPool2d(2), neuron.IFNode()), first):
        assert "what it pools are no spikes" in plan(wrong, x + 1, max_pool="neurons").problems[0]


@pytest.mark.parametrize("feedback", ["linear", "add", "container"])
def test_recurrent_layers(feedback):
    """The three containers: with a matrix, with the neurons' own spikes, and with one matrix for both."""
    torch.manual_seed(1)
    use = CubaLIFNode(0.5, 0.3, 1.0)
    fc = layer.Linear(6, 6, bias=False)
    fc.weight.data = torch.randint(-60, 60, (6, 6)) * 2 / 64
    if feedback == "container":
        loop = layer.LinearRecurrentContainer(nn.Sequential(use), 6, 6, bias=False)
        loop.rc.weight.data = torch.randint(-60, 60, (6, 12)) * 2 / 64
        net = sequence(loop)
    else:
        back = layer.Linear(6, 6, bias=False)
        back.weight.data = torch.randint(-60, 60, (6, 6)) * 2 / 64
        join = layer.FeedbackSum(back) if feedback == "linear" else torch.add
        net = sequence(fc, layer.ElementWiseRecurrentContainer(use, join))
    x = spikes(20, 3, 6)
    planned = plan(net, x)
    assert [one.kind for one in planned.layers] == ["input", "dense_rec"] and planned.is_exact
    with torch.no_grad():
        assert torch.equal(emulate(planned.layers, x).output, net(x).bool())
    assert emulate(planned.layers, x).output.float().mean() > 0.1


def test_a_last_layer_without_neurons_is_left_to_the_host(tmp_path):
    torch.manual_seed(0)
    net = sequence(layer.Conv2d(1, 2, 3), neuron.IFNode(0.5), layer.AvgPool2d(2), layer.Flatten(), layer.Linear(18, 5))
    x = spikes(7, 3, 1, 8, 8)
    exported = export(net, tmp_path / "net.h5", x)
    assert [one.kind for one in exported.layers] == ["input", "conv"]
    with np.load(tmp_path / "net.readout.npz") as parts:
        assert parts["weight"].dtype == np.int32 and np.abs(parts["weight"]).max() == 2**15 - 1
        assert parts["weight"].shape == (5, 2 * 36) and parts["bias"].dtype == np.int64
    after = sequence(*net[2:])
    expected = after(exported.run(x).output.float())
    assert (exported.logits(x) - expected).abs().max() < 1e-4 * expected.abs().max()
    appended = export(net, tmp_path / "net.h5", x, append_neuron=neuron.IFNode(0.4))
    assert [one.kind for one in appended.layers] == ["input", "conv", "flatten", "dense"]
    assert appended.readout is None and not (tmp_path / "net.readout.npz").exists()
    assert set(appended.logits(x).unique().tolist()) == {0.0, 1.0}


def test_votes_at_the_end_are_left_to_the_host(tmp_path):
    net = sequence(layer.Linear(4, 6), neuron.IFNode(0.2), layer.VotingLayer(3))
    x = spikes(5, 2, 4)
    exported = export(net, tmp_path / "net.h5", x)
    votes = exported.run(x).output.float().unflatten(-1, (2, 3)).mean(-1)
    torch.testing.assert_close(exported.logits(x), votes, rtol=1e-6, atol=1e-6)


def test_pooling_at_the_end_is_left_to_the_host(tmp_path):
    net = sequence(layer.Conv2d(1, 3, 3), neuron.IFNode(0.2), layer.AdaptiveAvgPool2d(1), layer.Flatten())
    x = spikes(5, 2, 1, 6, 6)
    exported = export(net, tmp_path / "net.h5", x)
    torch.testing.assert_close(exported.logits(x), exported.run(x).output.float().mean((3, 4)), rtol=1e-4, atol=1e-4)


def test_neurons_without_weights_before_them():
    """Neurons on neurons, and on pooled spikes, also behind Flatten."""
    torch.manual_seed(0)
    x = spikes(12, 2, 2, 6, 6)
    for net in (
        sequence(neuron.IFNode(2.0), layer.AvgPool2d(3), neuron.IFNode(0.5), neuron.IFNode(2.0)),
        sequence(neuron.IFNode(2.0), layer.AvgPool2d(2), layer.Flatten(), neuron.IFNode(0.5), neuron.IFNode(2.0)),
        sequence(layer.Flatten(), neuron.IFNode(2.0), layer.Linear(72, 3), neuron.IFNode(0.1)),
    ):
        planned = plan(net, x)
        for ours, theirs in zip(emulate(planned.layers, x).spikes, spikes_of(net, x), strict=True):
            assert torch.equal(ours.flatten(2), theirs.bool().flatten(2)) and theirs.any()


def test_sums_and_means_before_neurons_that_leak():
    """A mean of weights on the grid may lie between its steps, which the plan says; a sum never does."""
    conv = layer.Conv2d(1, 1, 1, bias=False)
    conv.weight.data.fill_(10 / 64)
    x = spikes(5, 1, 1, 4, 4)
    assert plan(sequence(SumPool2d(2), conv, CubaLIFNode(0.5, 0.5)), x).is_exact
    assert not plan(sequence(layer.AvgPool2d(2), conv, CubaLIFNode(0.5, 0.5)), x).is_exact
    conv.weight.data.fill_(16 / 64)
    assert plan(sequence(layer.AvgPool2d(2), conv, CubaLIFNode(0.5, 0.5)), x).is_exact


# --- scales ----------------------------------------------------------------------------------------------------------


def test_the_scale_is_the_neurons_the_grids_or_what_fits():
    fc = layer.Linear(2, 2, bias=False)
    fc.weight.data = torch.tensor([[0.5, -1.0], [0.25, 2.0]])
    x = spikes(3, 1, 2)

    def scale_of(use, **options):
        planned = plan(sequence(fc, use), x, **options)
        return planned.scales[1].scale, planned.layers[1].threshold, planned.is_exact

    assert scale_of(neuron.IFNode(1.0)) == (8.0, 7, True)
    assert scale_of(neuron.IFNode(1.1)) == (8.0, 8, True)  # v ≥ 8.8 and v > 8 are the same for integers
    assert scale_of(CubaLIFNode(0.5, 0.5, 1.1, scale=32)) == (32.0, 35, True)
    assert scale_of(neuron.FloatCubaLIFNode(0.5, 0.5, 1.1)) == (8.0, 9, False)
    assert scale_of(neuron.IFNode(1.0), scale=120.0) == (120.0, 119, True)
    assert scale_of(neuron.IFNode(1.0), scale={"0": 16}) == (16.0, 15, True)
    fc.weight.data[0, 0] = 0.3
    assert scale_of(neuron.IFNode(1.0)) == (127.0, 126, False)
    assert scale_of(CubaLIFNode(0.5, 0.5, 1.0)) == (127.0, 127, False)
    fc.weight.data *= 1e-5
    assert scale_of(neuron.IFNode(1.0)) == (131071.0, 131070, False)  # a threshold has 17 bits


def test_weights_that_lava_would_misread_get_another_scale():
    fc = layer.Linear(2, 1, bias=False)
    fc.weight.data = torch.tensor([[-1.0, -0.5]])
    planned = plan(sequence(fc, neuron.IFNode(1.0)), spikes(3, 1, 2))
    assert planned.layers[1].weight.tolist() == [[-254, -128]] and not planned.problems


# --- files and texts -------------------------------------------------------------------------------------------------


def test_the_plan_can_be_read():
    net = sequence(
        *(layer.Conv2d(2, 3, 3, bias=False), layer.BatchNorm2d(3), neuron.IFNode(), layer.AvgPool2d(2)),
        *(layer.Flatten(), layer.Dropout(0.5), layer.Linear(27, 5), neuron.QIFNode(), layer.Linear(5, 2)),
    )
    planned = plan(net, PICTURES)
    lines = str(planned).splitlines()
    assert lines[0].split() == ["layer", "kind", "becomes"] and lines[-1] == CAVEAT
    assert [line.split()[:2] for line in lines[1:10]] == [[str(i), type(part).__name__] for i, part in enumerate(net)]
    assert "✗ export: 7 (QIFNode) cannot be exported" in lines[8]
    assert [row.becomes for row in planned.rows[3:6]] == ["", "flatten", "nothing, in evaluation"]
    assert len(planned.problems) == 1
    net[7] = neuron.IFNode(step_mode="m")
    becomes = [row.becomes for row in plan(net, PICTURES).rows]
    assert becomes[0] == "layer 1" and becomes[1] == "folded into 0" and becomes[3] == "folded into layer 3"
    assert becomes[2].startswith("layer 1: conv 3×3 → 3×6×6, scale ") and "no leak, weights rounded by" in becomes[2]
    assert becomes[6] == "layer 3" and becomes[7].startswith("layer 3: dense → 5")
    assert becomes[8].startswith("the readout")


def test_every_problem_of_a_net_is_named():
    net = sequence(
        *(layer.Conv2d(2, 3, 3), neuron.QIFNode(), layer.MaxPool2d(2)),
        *(layer.Conv2d(3, 3, 3, padding_mode="reflect", padding=1), neuron.IFNode(v_reset=None)),
    )
    problems = plan(net, PICTURES).problems
    assert [re.search(r"export: (\d)", text).group(1) for text in problems] == ["1", "2", "3", "4"]
    assert not plan(net, PICTURES).is_exact


def test_files_beside_the_netx_file_say_how_it_is_used(tmp_path):
    torch.manual_seed(0)
    net = sequence(layer.Linear(4, 8), neuron.IFNode(0.3), layer.Linear(8, 3))
    x = spikes(6, 2, 4)
    exported = export(net, tmp_path / "deep" / "net.h5", x)
    assert sorted(file.name for file in (tmp_path / "deep").iterdir()) == ["net.h5", "net.json", "net.readout.npz"]
    about = json.loads((tmp_path / "deep" / "net.json").read_text())
    assert about["message_bits"] == 0 and about["note"] == CAVEAT and about["layers"]["1"]["name"] == "0"
    again = Exported.load(tmp_path / "deep" / "net.h5")
    assert torch.equal(again.logits(x), exported.logits(x)) and again.headroom == exported.headroom
    assert again.input == exported.input and [one.name for one in again.layers] == ["", "0"]
    (tmp_path / "deep" / "net.json").write_text("{}")
    with pytest.raises(DamagedFile, match=r"net\.json is damaged"):
        Exported.load(tmp_path / "deep" / "net.h5")
    (tmp_path / "deep" / "net.json").unlink()
    with pytest.raises(ExportError, match=r"net\.json is missing beside .*net\.h5"):
        Exported.load(tmp_path / "deep" / "net.h5")
    (tmp_path / "deep" / "net.json").write_text(json.dumps(about))
    (tmp_path / "deep" / "net.readout.npz").write_bytes(b"PK\3\4 cut")
    with pytest.raises(DamagedFile, match=r"net\.readout\.npz is damaged"):
        Exported.load(tmp_path / "deep" / "net.h5")
    for suffix in (".json", ".npz"):
        with pytest.raises(ExportError, match=f"path must not end in {suffix}"):
            export(net, tmp_path / f"net{suffix}", x)


def test_the_net_stays_as_it_is(tmp_path):
    """Also in training mode, in step mode 's', and with states of a run."""
    for seed in (3, 5, 8, 13):
        case = random_case(seed)
        case.net.train()
        case.net(case.x)
        before, states = fingerprint(case.net), functional.get_states(case.net)
        export(case.net, tmp_path / "net.h5", case.x)
        assert fingerprint(case.net) == before
        for name, value in functional.get_states(case.net).items():
            assert torch.equal(value, states[name]), name


def test_the_plan_of_a_quantized_net_needs_no_ranges_but_its_export_does(tmp_path):
    x = spikes(3, 2, 4)
    prepared = prepare(sequence(layer.Linear(4, 3), neuron.LIFNode(), layer.Linear(3, 2)), preset("loihi"), x)
    assert not plan(prepared, x).problems and not prepared.is_observed
    with pytest.raises(ExportError, match=r"ranges of the quantized net are not known\. Call observe"):
        export(prepared, tmp_path / "net.h5", x)
    assert not list(tmp_path.iterdir())
