"""What conversion refuses, by name and place; what it makes is compared in tests/peers/test_lava_dl.py."""

import sys

import pytest
from torch import nn

from snntrain import lava_exchange, layer
from snntrain.lava_exchange import CubaLIFNode, SumPool2d
from snntrain.neuron import IFNode, LIFNode, QIFNode

FC = nn.Linear(4, 2, bias=False)
CONV = nn.Conv2d(1, 2, 3, bias=False)
WINDOWS = [
    (nn.AvgPool2d(3, 2), r"stride must be \(3, 3\) for lava-dl.*, got 2"),
    (nn.AvgPool2d(2, padding=1), r"padding must be \(0, 0\) for lava-dl.*, got 1"),
    (nn.AvgPool2d(2, ceil_mode=True), "ceil_mode must be False for lava-dl.*, got True"),
    (nn.AvgPool2d(2, divisor_override=3), "divisor_override must be None for lava-dl.*, got 3"),
    (SumPool2d(2, dilation=2), r"dilation must be \(1, 1\) for lava-dl.*, got \(2, 2\)"),
]


@pytest.mark.parametrize(
    "convert, source, text",
    [
        ("linear_to_lava_synapse_dense", nn.Linear(4, 2), "Linear: it has a bias"),
        ("linear_to_lava_synapse_dense", CONV, "Conv2d is not a layer of the kind Linear"),
        ("linear_to_lava_synapse_dense", layer.WSLinear(4, 2, bias=False), "WSLinear is not a layer of the kind"),
        ("conv2d_to_lava_synapse_conv", nn.Conv2d(1, 2, 3), "Conv2d: it has a bias"),
        ("conv2d_to_lava_synapse_conv", nn.Conv1d(1, 2, 3, bias=False), "Conv1d is not a layer of the kind Conv2d"),
        ("avgpool2d_to_lava_synapse_pool", nn.MaxPool2d(2), "MaxPool2d is not a layer of the kind AvgPool2d"),
        *(("avgpool2d_to_lava_synapse_pool", pool, f"{type(pool).__name__}: {text}") for pool, text in WINDOWS),
    ],
)
def test_a_synapse_refuses_what_lava_dl_has_not(convert, source, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        getattr(lava_exchange, convert)(source)


@pytest.mark.parametrize(
    "convert, source, neuron, error, text",
    [
        ("to_lava_block_dense", nn.Linear(4, 2), IFNode(), ValueError, "Linear: it has a bias"),
        ("to_lava_block_dense", FC, IFNode(v_reset=None), ValueError, "IFNode: v_reset is None"),
        ("to_lava_block_dense", FC, QIFNode(v_reset=0.0), NotImplementedError, "QIFNode: lava-dl's CUBA neuron"),
        (
            "to_lava_block_conv",
            CONV,
            LIFNode(2.0),
            ValueError,
            r"LIFNode: inputs are multiplied by 0\.5",
        ),
        ("to_lava_block_pool", nn.AvgPool2d(2, 1), IFNode(), ValueError, "AvgPool2d: stride must be"),
        (
            "to_lava_block_pool",
            SumPool2d(2),
            CubaLIFNode(1.0, 0.0, scale=37),
            ValueError,
            "CubaLIFNode: scale is 37",
        ),
    ],
)
def test_a_block_refuses_what_lava_dl_has_not(convert, source, neuron, error, text):
    with pytest.raises(error, match=f"^{text}"):
        getattr(lava_exchange, convert)(source, neuron)


@pytest.mark.parametrize(
    "net, error, text",
    [
        ([FC], ValueError, "0: Linear must be followed by a spiking neuron, not by nothing."),
        ([CONV, nn.ReLU()], ValueError, "0: Conv2d must be followed by a spiking neuron, not by ReLU."),
        ([nn.AvgPool2d(2), CONV], ValueError, "0: AvgPool2d must be followed by a spiking neuron, not by Conv2d."),
        (nn.Sequential(nn.MaxPool2d(2)), NotImplementedError, "0: lava-dl has no block for MaxPool2d. Use AvgPool2d"),
        ([nn.Sequential(nn.BatchNorm2d(2))], NotImplementedError, "0: lava-dl has no block for BatchNorm2d. Fold it"),
        ([nn.Dropout()], NotImplementedError, "0: lava-dl has no block for Dropout. Leave it out"),
        ([nn.Flatten(2)], ValueError, "0: Flatten: start_dim must be 1 for lava-dl, got 2."),
        ([nn.Linear(4, 2), IFNode()], ValueError, "0: Linear: it has a bias"),
        ([FC, IFNode(v_reset=0.5)], ValueError, "0: IFNode: v_reset is 0.5"),
    ],
)
def test_a_net_is_refused_by_the_place_of_the_layer(net, error, text):
    with pytest.raises(error, match=f"^to_lava_blocks: layer {text}"):
        lava_exchange.to_lava_blocks(net)


def test_without_lava_dl_an_error_says_how_to_install_it(monkeypatch):
    monkeypatch.delenv("SNNTRAIN_LAVA", raising=False)
    for name in [name for name in sys.modules if name == "lava" or name.startswith("lava.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lava", None)
    with pytest.raises(ImportError, match=r"python scripts/install_lava\.py FOLDER, and set SNNTRAIN_LAVA=FOLDER"):
        lava_exchange.to_lava_block_dense(FC, IFNode())


@pytest.mark.parametrize(
    "call",
    [
        lambda: lava_exchange.conv2d_to_lava_synapse_conv(conv2d_nn=nn.Conv2d(1, 1, 1)),
        lambda: lava_exchange.to_lava_block_conv(conv2d_nn=nn.Conv2d(1, 1, 1), sj_ms_neuron=IFNode()),
        lambda: lava_exchange.to_lava_block_dense(fc=nn.Linear(1, 1), sj_ms_neuron=IFNode()),
        lambda: lava_exchange.avgpool2d_to_lava_synapse_pool(pool2d_nn=nn.AvgPool2d(2, padding=1)),
        lambda: lava_exchange.to_lava_block_pool(pool2d_nn=nn.AvgPool2d(2, padding=1), sj_ms_neuron=IFNode()),
        lambda: lava_exchange.to_lava_block_flatten(flatten_nn=nn.Flatten(0)),
    ],
)
def test_spikingjellys_keywords_reach_the_checks(call):
    with pytest.raises(ValueError, match=r"it has a bias|padding must be|start_dim must be"):
        call()


def test_a_container_takes_its_neuron_as_neu():
    block = lava_exchange.BlockContainer(nn.Linear(2, 2, bias=False), neu=IFNode())
    assert isinstance(block.neuron, lava_exchange.CubaLIFNode)
    with pytest.raises(TypeError, match="neu and neuron are one argument"):
        lava_exchange.BlockContainer(nn.Linear(2, 2, bias=False), neu=IFNode(), neuron=IFNode())
