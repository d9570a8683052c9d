"""prepare: what has no integer form, and which settings are refused."""

import operator

import pytest
import torch
from exportable_nets import sequence
from prepared_nets import pictures, prepared, small_net
from random_nets import in_integers
from torch import Tensor, nn

from snntrain import create_model, layer, neuron
from snntrain.ann2snn import convert
from snntrain.quantize import (
    PRESETS,
    QuantizationError,
    observe,
    prepare,
    preset,
)


class _Several(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


IF = neuron.IFNode
SHARED = layer.Linear(4, 4)


@pytest.mark.parametrize(
    "net, text",
    [
        (sequence(layer.Linear(4, 4), layer.Linear(4, 2)), "1 (Linear) cannot be quantized: it follows another layer"),
        (sequence(layer.Linear(4, 4), neuron.FloatCubaLIFNode()), "its current has a memory of its own"),
        (sequence(layer.Linear(4, 4), IF(v_threshold=0.0)), "its threshold is not above 0"),
        (sequence(layer.Linear(4, 4), nn.GELU(), IF()), "1 (GELU) cannot be quantized: it is not known in integers"),
        (sequence(SHARED, IF(), SHARED, IF()), "0 (Linear) cannot be quantized: it is used in several places"),
        (sequence(IF(), layer.BatchNorm2d(3), IF()), "1 (ChannelAffine) cannot be quantized: no convolution"),
        (sequence(layer.Conv2d(1, 2, 3, padding_mode="reflect"), IF()), "padding_mode is 'reflect'"),
        (sequence(layer.Conv2d(1, 2, (3, 4), padding="same"), IF()), "padding is 'same', which for this kernel"),
        (
            sequence(layer.ConvTranspose2d(1, 2, 3), IF()),
            "0 (ConvTranspose2d) cannot be quantized: it spreads an input",
        ),
        (
            sequence(layer.Linear(4, 4), layer.LinearRecurrentContainer(IF(), 4, 4), layer.Linear(4, 2)),
            "1 (LinearRecurrentContainer) cannot be quantized: it feeds its output back",
        ),
        (
            sequence(layer.Linear(4, 4), layer.ElementWiseRecurrentContainer(IF(), operator.add), layer.Linear(4, 2)),
            "1 (ElementWiseRecurrentContainer) cannot be quantized: it feeds its output back",
        ),
        (
            sequence(layer.Linear(4, 4), layer.Residual(sequence(IF(), layer.Linear(4, 4))), layer.Linear(4, 2)),
            "2 (Linear) cannot be quantized: it reads a sum of currents, as the shortcuts of MS-ResNet do",
        ),
        (sequence(layer.Conv3d(1, 2, 3), IF()), "0 (Conv3d) cannot be quantized"),
        (sequence(layer.Conv2d(1, 2, 3), IF(), layer.AdaptiveAvgPool2d(1)), "Give prepare an example"),
        (sequence(layer.Conv2d(1, 2, 3), IF(), layer.MaxPool2d(2, ceil_mode=True)), "return_indices or ceil_mode"),
        (sequence(layer.Conv2d(1, 2, 3), IF(), layer.MaxPool2d(2, dilation=2)), "it has a dilation"),
        (
            sequence(layer.Conv2d(1, 2, 3), IF(), layer.AvgPool2d(3, 1, 1, count_include_pad=False)),
            "it averages over fewer values at the border",
        ),
        (sequence(layer.Linear(4, 4), layer.VotingLayer(2)), "what it averages does not count in one step"),
        (sequence(layer.Flatten()), "the output of the net is its input"),
        (_Several(), "the net returns several values"),
        (
            sequence(layer.Conv2d(1, 2, 1), IF(), layer.Residual(layer.AvgPool2d(3, 1, 1))),
            "its two sides count in different steps",
        ),
        (sequence(layer.Linear(4, 4), layer.Residual(nn.Identity(), None, "and")), "it is no product of spikes"),
        (sequence(layer.Linear(4, 4), neuron.PSN(T=2)), "PSN"),
    ],
)
def test_what_has_no_integer_form_is_refused_by_name(net, text):
    with pytest.raises((QuantizationError, ValueError), match=text.replace("(", r"\(").replace(")", r"\)")):
        prepare(net, {"bits": 8})


def test_biases_that_differ_from_step_to_step_are_refused_by_name():
    ann = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    spiking = convert(ann, [torch.rand(16, 4)], T=4, calibration="step_bias")
    with pytest.raises(QuantizationError, match=r"its bias differs from step to step.*calibration=bias"):
        prepare(spiking, preset("int8"))


@pytest.mark.slow
def test_ms_resnet_is_refused_where_its_shortcut_reads_currents():
    net = create_model("ms_resnet18", (3, 8, 8), 10, "IFNode")
    with pytest.raises(QuantizationError, match=r"shortcut\.0 \(Conv2d\) .* it reads a sum of currents"):
        prepare(net, preset("int8"), torch.rand(2, 1, 3, 8, 8))


@pytest.mark.parametrize(
    "quant, text",
    [
        ({"bitss": 8}, "'bitss' is not a key. Did you mean bits"),
        ({"mode": "qualia"}, "mode must be 'integer'; 'qualia' is for single layers"),
        ({"w": {"bits": 17}}, "layers.0: w.bits must be at most 16"),
        ({"w": {"quant_enable": False}}, "layers.0: w.quant_enable must be True"),
        ({"quantype": "fake", "is_asymmetric": True}, "w.is_asymmetric must be False"),
        ({"v": {"bits": 32}}, "v.bits must be at most 24"),
        ({"layers": {"conv*": {"bits": 4}}}, "'conv*' matches no layer. The net has: layers.0,"),
        ({"layers": {"layers.0": {"bitss": 4}}}, "'bitss' is not a key"),
        ({"layers": {"layers.0": 4}}, "layers must be a mapping"),
        ({"target": "tpu"}, "target must be one of 'generic', 'loihi'"),
        ("int8", "the value must be a mapping such as"),
    ],
)
def test_wrong_settings_are_refused_before_any_data(quant, text):
    with pytest.raises(ValueError, match=text.replace("*", r"\*").replace(".", r"\.")):
        prepare(small_net(), quant)


def test_soft_reset_has_no_form_on_loihi():
    with pytest.raises(QuantizationError, match="Loihi resets to a value"):
        prepare(small_net(v_reset=None), preset("loihi"))


def test_too_large_a_fan_in_is_refused_with_the_layers_name():
    net = sequence(layer.Linear(3000, 2, bias=False), IF())
    with torch.no_grad():
        net[0].weight.fill_(1.0)
    quantized = prepare(net, {"bits": 8, "w": {"bits": 12}, "v": {"bits": 12}})
    with pytest.raises(
        QuantizationError, match=r"quantize: 0 \(IntegerLinear\) cannot be quantized: sums of up to .* fewer bits"
    ):
        observe(quantized, [torch.rand(2, 3000)])


def test_presets_can_be_looked_up_and_changed():
    assert {"int8", "w4v8", "w4v4", "w2v4", "loihi", "mcu"} <= set(PRESETS)
    preset("int8")["bits"] = 3
    assert preset("int8")["bits"] == 8
    with pytest.raises(ValueError, match=r"'int9' is not a preset\. Did you mean int8"):
        preset("int9")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_equal_in_integers(name):
    net, x = small_net(), pictures(5, 3)
    quantized = prepared(net, preset(name), x)
    different, integers = in_integers(quantized, x)
    assert not different
    fired = [spikes.float().mean().item() for spikes in integers.run(x, record=True).spikes.values()]
    assert sum(rate > 0.001 for rate in fired) >= 2, fired
