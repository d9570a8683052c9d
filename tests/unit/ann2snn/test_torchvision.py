"""Nets as they are found, with random weights: they convert, and more steps bring them nearer to the net."""

import pytest
import torch
from small_conversion import convert_by_maximum, error, in_evaluation, settled
from watched_nets import fingerprint

from snntrain.ann2snn.graph import ConversionError, prepare

X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name, neurons",
    [
        ("resnet18", 17),
        pytest.param("vgg11_bn", 10, marks=pytest.mark.slow),
        ("mobilenet_v2", 35),
        ("squeezenet1_1", 26),
    ],
)
def test_a_net_of_torchvision_converts_and_runs(name, neurons):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    net = settled(getattr(models, name)(weights=None), X)
    before, wanted = fingerprint(net), in_evaluation(net, X)
    snn = convert_by_maximum(net, X)
    assert fingerprint(net) == before and len(snn.neurons) == neurons
    few, more = (error(snn.predict(X, T), wanted) for T in (8, 64))
    assert more < few / 2 and more < 0.2


@pytest.mark.parametrize(
    "name, node",
    [("efficientnet_b0", r"features\.0\.2 \(SiLU\)"), ("regnet_y_400mf", "Sigmoid")],
)
def test_a_net_of_torchvision_is_refused_by_name(name, node):
    models = pytest.importorskip("torchvision.models")
    with pytest.raises(ConversionError, match=node):
        prepare(getattr(models, name)(weights=None), X)
