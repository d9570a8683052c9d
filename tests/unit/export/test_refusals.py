"""plan and export: what cannot be exported is refused by name, and no file appears."""

import re

import pytest
import torch
from exportable_nets import PICTURES, sequence, spikes_of
from seeded_inputs import spikes
from torch import nn
from watched_nets import fingerprint

from snntrain import functional, layer, neuron
from snntrain.export import ExportError, emulate, export, plan
from snntrain.lava_exchange import BatchNorm2d, CubaLIFNode
from snntrain.layer.per_step import per_step
from snntrain.quantize import observe, prepare, preset, to_integer

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
    "a layer that knows no time": (
        lambda: [per_step(nn.GELU(), (3, 6, 6))],
        "(GELU) cannot be exported: there is no such",
    ),
    "unknown neuron": (
        lambda: [neuron.KLIFNode()],
        "Train with neuron=cuba_lif (CubaLIFNode) or neuron=if",
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
    assert fingerprint(net) == before


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


def test_options_that_quantized_nets_have_no_use_for_are_refused():
    net = sequence(layer.Linear(4, 2), neuron.IFNode())
    prepared = prepare(net, preset("loihi"), spikes(3, 2, 4))
    observe(prepared, [spikes(3, 2, 4)])
    for option in ({"scale": 64.0}, {"append_neuron": neuron.IFNode()}):
        with pytest.raises(ExportError, match=f"{next(iter(option))} is for nets of floats"):
            plan(prepared, spikes(3, 2, 4), **option)
    with pytest.raises(ValueError, match="max_pool must be one of 'refuse', 'neurons', got 'drop'"):
        plan(net, spikes(3, 2, 4), max_pool="drop")


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
