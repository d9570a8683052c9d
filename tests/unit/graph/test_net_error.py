"""NetError: its text comes from its parts, whoever raises it."""

import pickle

import pytest
import torch
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.ann2snn import ConversionError, prepare
from snntrain.export import ExportError, export_nir, plan
from snntrain.graph import NetError
from snntrain.quantize import QuantizationError
from snntrain.quantize import prepare as quantize


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            ConversionError("0 (GELU)", "it bends", "Use ReLU."),
            "ann2snn: 0 (GELU) cannot be converted: it bends. Use ReLU.",
        ),
        (QuantizationError("", "it returns two values"), "quantize: it returns two values."),
        (ExportError("1 (X)", "it is unknown"), "export: 1 (X) cannot be exported: it is unknown."),
    ],
)
def test_the_text_is_made_of_the_parts(error, text):
    assert str(error) == text and str(pickle.loads(pickle.dumps(error))) == text
    assert isinstance(error, NetError) and isinstance(error, ValueError)


def test_an_error_of_another_package_is_raised_as_ones_own():
    with (
        pytest.raises(ExportError, match=r"^export: a \(B\) cannot be exported: c\. D\.$") as caught,
        ExportError.instead(),
    ):
        raise QuantizationError("a (B)", "c", "D.")
    assert isinstance(caught.value.__cause__, QuantizationError)
    own = ExportError("a", "b")
    with pytest.raises(ExportError) as kept, ExportError.instead():
        raise own
    assert kept.value is own


@pytest.mark.parametrize(
    ("act", "error", "beginning"),
    [
        (lambda net: prepare(net, torch.rand(2, 4)), ConversionError, "ann2snn: {} cannot be converted"),
        (lambda net: quantize(net, {"bits": 8}), QuantizationError, "quantize: {} cannot be quantized"),
        (lambda net: plan(net, torch.ones(2, 1, 4)), ExportError, "export: {} cannot be exported"),
    ],
)
def test_a_net_that_cannot_be_traced_is_refused_by_whoever_was_asked(act, error, beginning):
    net = nn.Sequential(Branching(), layer.Linear(4, 2))
    functional.set_step_mode(net, "m")
    with pytest.raises(error) as caught:
        act(net)
    text = str(caught.value)
    beginning = beginning.format("module 0 in the net (Branching)")
    assert text.startswith(f"{beginning}: its forward cannot be traced at test_net_error.py:")
    assert "`return x if x.sum() > 0 else -x`" in text and text.endswith("without it.")


def test_all_problems_of_a_net_are_lines_of_one_error():
    pytest.importorskip("nir")
    net = nn.Sequential(layer.Linear(4, 3), neuron.IFNode(v_reset=None), layer.Linear(3, 2), neuron.IFNode(v_reset=0.5))
    functional.set_step_mode(net, "m")
    with pytest.raises(ExportError) as caught:
        export_nir(net, torch.ones(2, 1, 4))
    assert [line.split(":")[1].strip() for line in str(caught.value).splitlines()] == [
        "1 (IFNode) cannot be exported",
        "3 (IFNode) cannot be exported",
    ]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
