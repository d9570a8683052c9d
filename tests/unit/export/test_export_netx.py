"""plan and export: what comes out computes what went in, or is refused by name."""

import json
import re

import numpy as np
import pytest
import torch
from exportable_nets import random_case, spikes_of
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.error import DamagedFile
from snntrain.export import Exported, ExportError, emulate, export, plan
from snntrain.export.plan import CAVEAT
from snntrain.lava_exchange import BatchNorm2d, BlockContainer, CubaLIFNode, SumPool2d
from snntrain.quantize import observe, prepare, preset, to_integer


def sequence(*parts: nn.Module) -> nn.Sequential:
    net = nn.Sequential(*parts).eval()
    functional.set_step_mode(net, "m")
    return net


def spikes(*shape: int, seed: int = 0, rate: float = 0.4) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def fingerprint(net: nn.Module) -> dict:
    return {name: value.clone() for name, value in net.state_dict().items()}


# --- equal spikes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 200), marks=pytest.mark.slow)], ids=["60", "to 200"]
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
    for step in range(40):
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
    assert scale_of(neuron.CubaLIFNode(0.5, 0.5, 1.1)) == (8.0, 9, False)
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


def test_scales_that_do_not_fit_are_refused():
    net = sequence(layer.Linear(2, 2), neuron.IFNode())
    net[0].weight.data = torch.tensor([[0.5, -1.0], [0.25, 2.0]])
    x = spikes(3, 1, 2)
    assert "even integers from -256 to 254, got -128 to 256" in plan(net, x, scale=128).problems[0]
    for scale, text in ((0, "must be a finite number > 0"), ({"0": -1.0}, r"scale\['0'\]"), (True, "finite number")):
        with pytest.raises(ValueError, match=text):
            plan(net, x, scale=scale)
    with pytest.raises(ValueError, match="patterns that match one of 0, got 'fc'"):
        plan(net, x, scale={"fc": 64.0, "0": 32.0})


# --- refusals --------------------------------------------------------------------------------------------------------

PICTURES = spikes(4, 2, 2, 8, 8)
CONV = (lambda: layer.Conv2d(2, 3, 3)), neuron.IFNode
REFUSALS = {
    "max pooling": (
        lambda: [layer.MaxPool2d(2)],
        "no maximum. Use AvgPool2d, or callbacks.lava.max_pool=neurons",
    ),
    "transposed": (lambda: [layer.ConvTranspose2d(3, 2, 3)], "there is no transposed convolution"),
    "upsampling": (lambda: [layer.Upsample(scale_factor=2)], "there is no upsampling"),
    "residual": (
        lambda: [layer.Residual(nn.Identity(), nn.Identity())],
        "add (add) cannot be exported: layers must follow",
    ),
    "concatenation": (
        lambda: [layer.Branches([nn.Conv2d(3, 3, 1), nn.Identity()], "concat")],
        "goes to several layers",
    ),
    "attention": (
        lambda: [layer.TemporalWiseAttention(4, reduction=2)],
        "step by step, and this net cannot: set_step_mode: at 2",
    ),
    "group norm": (lambda: [layer.GroupNorm(1, 3)], "no convolution or linear layer comes just before it"),
    "activation": (lambda: [nn.ReLU()], "there is no such layer"),
    "unknown neuron": (lambda: [neuron.QIFNode()], "its dynamics are not those of Loihi's CUBA neuron"),
    "way out": (
        lambda: [neuron.KLIFNode()],
        "Train with neuron=cuba_lif (lava_exchange.CubaLIFNode) or neuron=if",
    ),
    "learned threshold": (lambda: [neuron.ATIFNode()], "it subtracts the threshold (soft reset)"),
    "soft reset": (lambda: [neuron.IFNode(v_reset=None)], "it subtracts the threshold (soft reset)"),
    "v_reset": (lambda: [neuron.IFNode(v_reset=-0.5)], "it resets to -0.5, and Loihi to 0"),
    "norm in the neuron": (lambda: [CubaLIFNode(0.5, 0.5, norm=nn.Identity())], "its norm acts on the current"),
    "two layers": (lambda: [layer.Conv2d(3, 3, 1), layer.Conv2d(3, 3, 1)], "no neurons lie between it and 2"),
    "linear on pictures": (lambda: [layer.Linear(6, 3)], "it reads a step of shape [3, 6, 6]. Put Flatten before"),
    "partial flatten": (lambda: [layer.Flatten(2)], "it does not flatten all but the batch"),
    "padding mode": (lambda: [layer.Conv2d(3, 3, 3, padding=1, padding_mode="circular")], "padding_mode is 'circular'"),
    "even same": (lambda: [layer.Conv2d(3, 3, 2, padding="same")], "padding 'same' pads its two sides differently"),
    "ceil_mode": (lambda: [layer.AvgPool2d(2, ceil_mode=True)], "it has ceil_mode"),
    "border": (lambda: [layer.AvgPool2d(2, padding=1, count_include_pad=False)], "it has count_include_pad = False"),
    "divisor": (lambda: [layer.AvgPool2d(2, divisor_override=3)], "it has a divisor_override"),
    "windows": (lambda: [layer.AvgPool2d(3, 2), layer.Conv2d(3, 3, 3, padding=1)], "windows that overlap"),
    "adaptive": (lambda: [layer.AdaptiveAvgPool2d(4)], "[6, 6] is no multiple of [4, 4]"),
    "pool of numbers": (
        lambda: [layer.Flatten(), layer.AvgPool2d(2)],
        "does not take a step [2, 2, 8, 8] of the example",
    ),
    "last convolution": (lambda: [layer.Conv2d(3, 3, 3)], "no neurons come after it. End the net with neurons"),
    "lava norm": (lambda: [BatchNorm2d(3)], "a netx file has no place for its scale"),
    "bias that leaks": (lambda: [layer.Conv2d(3, 3, 1), CubaLIFNode(0.5, 0.5)], "a bias needs i_decay 4096"),
    "loop of layers": (
        lambda: [layer.ElementWiseRecurrentContainer(nn.Sequential(nn.Conv2d(3, 3, 1), neuron.IFNode()), torch.add)],
        "Keep a neuron alone in the loop",
    ),
    "recurrent pictures": (
        lambda: [layer.ElementWiseRecurrentContainer(neuron.IFNode(), torch.add)],
        "feedback must be one matrix of weights between the neurons of a dense layer",
    ),
    "product": (
        lambda: [layer.Flatten(), layer.ElementWiseRecurrentContainer(neuron.IFNode(), torch.mul)],
        "feedback must be one matrix",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_netx_has_not_is_refused_by_name_and_no_file_appears(tmp_path, name):
    make, text = REFUSALS[name]
    net = sequence(*(part() for part in CONV), *make())
    before = fingerprint(net)
    with pytest.raises(ExportError) as error:
        export(net, tmp_path / "net.h5", PICTURES)
    assert text in str(error.value) and str(error.value).startswith("export: ")
    assert not list(tmp_path.iterdir())
    assert before.keys() == net.state_dict().keys()


def test_other_nets_that_cannot_be_are_refused(tmp_path):
    x = spikes(3, 2, 4)
    cases = [
        (sequence(layer.Linear(4, 2)), "the net has no neurons"),
        (sequence(layer.Flatten()), "the net has no neurons"),
        (sequence(neuron.IFNode(0.0)), "the threshold must be from 0 to 131071, got -1"),
    ]
    bad = sequence(layer.Linear(4, 2), neuron.IFNode())
    bad[0].weight.data[0, 0] = torch.nan
    cases.append((bad, "its weights hold NaN or infinite values"))
    zero = sequence(layer.Linear(4, 2), neuron.IFNode())
    zero[0].weight.data.zero_()
    cases.append((zero, "all weights are 0, which Lava cannot load"))
    biased = sequence(
        *(layer.Linear(4, 4), neuron.IFNode(), layer.Linear(4, 4, bias=False)),
        layer.ElementWiseRecurrentContainer(neuron.IFNode(), torch.add),
    )
    cases.append((biased, "has a bias, which makes neurons spike before the first input arrives"))
    for net, text in cases:
        with pytest.raises(ExportError, match=re.escape(text)):
            export(net, tmp_path / "net.h5", x)
    assert not list(tmp_path.iterdir())


def test_neurons_that_are_used_twice_are_refused():
    """Their state goes from one place to the other; weights may be shared."""
    use, fc = neuron.IFNode(0.5), layer.Linear(4, 4)
    x = spikes(5, 2, 4)
    assert "1 (IFNode) cannot be exported: it is used in several" in plan(sequence(fc, use, fc, use), x).problems[0]
    fc.weight.data = torch.arange(-5.0, 11).view(4, 4) / 16
    fc.bias.data = torch.arange(4) / 16
    net = sequence(fc, neuron.IFNode(0.5), fc, neuron.IFNode(0.7))
    for ours, theirs in zip(emulate(plan(net, x).layers, x).spikes, spikes_of(net, x), strict=True):
        assert torch.equal(ours, theirs.bool()) and theirs.any()


def test_a_convolution_of_zeros_is_exported(tmp_path):
    conv = layer.Conv2d(1, 2, 3)
    conv.weight.data.zero_()
    conv.bias.data = torch.tensor([0.5, -0.5])
    net, x = sequence(conv, neuron.IFNode(1.0)), spikes(5, 1, 1, 4, 4)
    exported = export(net, tmp_path / "net.h5", x)
    assert torch.equal(exported.run(x).output, spikes_of(net, x)[0].bool())
    assert exported.run(x).output[:, 0, 0, 0, 0].tolist() == [False, True, False, True, False]


def test_inputs_that_are_no_integers_are_refused(tmp_path):
    net = sequence(layer.Linear(4, 2), neuron.IFNode())
    with pytest.raises(
        ExportError, match=r"values that are not integers.*quantize the net: callbacks\.qat\.quant=loihi"
    ):
        export(net, tmp_path / "net.h5", torch.rand(3, 2, 4))
    for example in (torch.zeros(3, 4), torch.zeros(3, 0, 4), torch.zeros(2, 2, 4, 4)):
        with pytest.raises(ExportError, match="example must be"):
            export(net, tmp_path / "net.h5", example)
    counts = export(net, tmp_path / "net.h5", torch.full((3, 2, 4), 5.0))
    assert (counts.input.lowest, counts.input.highest, counts.input.message_bits) == (0, 7, 3)
    signed = export(net, tmp_path / "net.h5", torch.full((3, 2, 4), -3.0))
    assert (signed.input.lowest, signed.input.highest, signed.input.message_bits) == (-4, 3, 3)
    binary = export(net, tmp_path / "net.h5", spikes(3, 2, 4))
    assert binary.input.message_bits == 0
    for x in (torch.full((3, 2, 4), 2.0), torch.full((3, 2, 4), 0.5)):
        with pytest.raises(ExportError, match="integers from 0 to 1, as the example did, got"):
            binary.logits(x)


def test_what_would_overflow_in_lava_is_refused(tmp_path):
    fc = layer.Linear(600, 1, bias=False)
    fc.weight.data.fill_(1.0)
    net, one = sequence(fc, neuron.IFNode(400.0)), torch.zeros(3, 1, 600)
    one[:, :, 0] = 1
    exported = export(net, tmp_path / "net.h5", one, scale=254.0)
    assert exported.headroom == {"0": 3 * 254 * 64 / 2**23}
    (tmp_path / "net.h5").unlink()
    with pytest.raises(
        ExportError,
        match=r"layer 1 \(0\) cannot be exported: it overflows: \|u\|.*got 0 to 9753600.*quant\.input\.bits",
    ):
        export(net, tmp_path / "net.h5", one, calibration=[one, torch.ones(1, 1, 600)], scale=254.0)
    assert not (tmp_path / "net.h5").exists()
    with pytest.raises(ExportError, match=r"overflows: \|u\|"):
        exported.run(torch.ones(1, 1, 600))


def driven(low: int, high: int, threshold: float) -> tuple[nn.Sequential, torch.Tensor]:
    """A neuron that 300 inputs push down in the first steps, and 300 others up afterwards, by 4.9 million each time."""
    fc = layer.Linear(600, 1, bias=False)
    fc.weight.data = torch.cat([-torch.ones(1, 300), torch.ones(1, 300)], 1)
    x = torch.zeros(low + high, 1, 600)
    x[:low, :, :300], x[low:, :, 300:] = 1, 1
    return sequence(fc, neuron.IFNode(threshold)), x


def test_potentials_that_are_clipped_without_changing_a_spike_are_exported(tmp_path):
    """Clipped at −8.4 million, or left at −9.8, it is the third step upwards that passes 3.3 million."""
    net, x = driven(low=2, high=3, threshold=200.0)
    exported = export(net, tmp_path / "net.h5", x, scale=254.0)
    assert exported.headroom == {"0": 2 * 300 * 254 * 64 / 2**23}
    assert exported.run(x).output.flatten().tolist() == [False] * 4 + [True] == net(x).bool().flatten().tolist()


def test_potentials_whose_clipping_changes_a_spike_are_refused(tmp_path):
    net, x = driven(low=3, high=2, threshold=1.0)  # from −8.4 million two steps are enough, from −14.6 they are not
    with pytest.raises(ExportError, match=r"clips potentials .*, got -13265407 to 1364993, and 1 spikes would change"):
        export(net, tmp_path / "net.h5", x, scale=254.0)


def test_a_quantized_net_saturates_as_its_file_does(tmp_path):
    net, x = driven(low=3, high=2, threshold=1.0)
    quantized = prepare(net, preset("loihi"))
    observe(quantized, [x])
    exported, integers = export(quantized, tmp_path / "net.h5", x), to_integer(quantized).run(x, record=True)
    assert exported.headroom["0"] > 1 and bool(exported.run(x).output.any())
    assert torch.equal(exported.run(x).output, next(iter(integers.spikes.values())).bool())


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
        after = case.net.state_dict()
        assert case.net.training and all(torch.equal(value, after[name]) for name, value in before.items())
        for name, value in functional.get_states(case.net).items():
            assert torch.equal(value, states[name]), name


def test_options_that_quantized_nets_have_no_use_for_are_refused():
    net = sequence(layer.Linear(4, 2), neuron.IFNode())
    prepared = prepare(net, preset("loihi"), spikes(3, 2, 4))
    observe(prepared, [spikes(3, 2, 4)])
    for option in ({"scale": 64.0}, {"append_neuron": neuron.IFNode()}):
        with pytest.raises(ExportError, match=f"{next(iter(option))} is for nets of floats"):
            plan(prepared, spikes(3, 2, 4), **option)
    with pytest.raises(ValueError, match="max_pool must be one of 'refuse', 'neurons', got 'drop'"):
        plan(net, spikes(3, 2, 4), max_pool="drop")


def test_the_plan_of_a_quantized_net_needs_no_ranges_but_its_export_does(tmp_path):
    x = spikes(3, 2, 4)
    prepared = prepare(sequence(layer.Linear(4, 3), neuron.LIFNode(), layer.Linear(3, 2)), preset("loihi"), x)
    assert not plan(prepared, x).problems and not prepared.is_observed
    with pytest.raises(ExportError, match=r"ranges of the quantized net are not known\. Call observe"):
        export(prepared, tmp_path / "net.h5", x)
    assert not list(tmp_path.iterdir())


def test_quantized_nets_that_are_not_for_loihi_are_refused():
    x = spikes(3, 2, 4)

    def problem(use, quant, *more):
        prepared = prepare(sequence(layer.Linear(4, 4), use, *more), quant, x)
        observe(prepared, [x])
        return plan(prepared, x).problems[0]

    loihi = preset("loihi")
    assert "its potential has 16 bits, and Lava's 24" in problem(neuron.IFNode(), {**loihi, "v": {"bits": 16}})
    assert "1/128 of a weight" in problem(neuron.IFNode(), {**loihi, "target": "generic"})
    assert "soft reset" in problem(neuron.IFNode(v_reset=None), preset("int8"))
    pooled = sequence(layer.Conv2d(2, 2, 3), layer.AvgPool2d(2), neuron.IFNode(0.1))
    nn.init.ones_(pooled[0].weight)  # four of them meet
    for bits, problems in ((8, 1), (5, 0)):
        prepared = prepare(pooled, {**loihi, "w": {"bits": bits}}, PICTURES)
        observe(prepared, [PICTURES])
        found = plan(prepared, PICTURES).problems
        assert len(found) == problems and all("give its weights fewer bits" in text for text in found)
    residual = layer.Residual(nn.Sequential(layer.Linear(4, 4), neuron.IFNode()), nn.Identity())
    functional.set_step_mode(residual, "m")
    assert "it has several inputs, or an earlier one" in problem(neuron.IFNode(), loihi, residual)
