"""Convolutions and poolings with windows of any form are equal in integers."""

import pytest
import torch
from exportable_nets import sequence
from prepared_nets import INT16, pictures
from random_nets import in_integers

from snntrain import layer
from snntrain.neuron import LIFNode
from snntrain.quantize import observe, prepare, preset

NETS = {
    "padding same": lambda: (
        layer.Conv2d(1, 4, 3, padding="same"),
        LIFNode(v_threshold=0.2),
        layer.Conv2d(4, 4, (5, 2), padding="same", dilation=(1, 2), groups=2),
    ),
    "padding valid": lambda: (layer.Conv2d(1, 4, (2, 3), padding="valid", stride=2),),
    "non-square": lambda: (
        layer.Conv2d(1, 4, (1, 5), stride=(2, 1), padding=(0, 2)),
        LIFNode(v_threshold=0.2),
        layer.MaxPool2d((2, 1), (1, 1)),
        layer.Conv2d(4, 4, (3, 1), padding=(1, 0), dilation=(2, 1)),
        LIFNode(v_threshold=0.2),
        layer.AvgPool2d((1, 3), (1, 3)),
        layer.Conv2d(4, 3, (2, 4)),
    ),
}


@pytest.mark.parametrize("case", NETS)
def test_it_is_equal_in_integers_and_near_the_float_net(case):
    torch.manual_seed(0)
    net = sequence(*NETS[case](), LIFNode(v_threshold=0.1))
    x = pictures(4, 3)
    quantized = prepare(net, INT16, x).eval()
    observe(quantized, [x])
    different, integers = in_integers(quantized, x)
    assert not different
    assert all(spikes.float().mean() > 0.02 for spikes in integers.run(x, record=True).spikes.values())
    with torch.no_grad():
        expected = net(x)
    assert integers(x).shape == expected.shape
    assert (integers(x) - expected).abs().mean() < 0.01


def test_same_is_what_torch_pads():
    torch.manual_seed(0)
    named, numbered = (layer.Conv2d(1, 2, (3, 5), padding=padding, dilation=2) for padding in ("same", (2, 4)))
    numbered.load_state_dict(named.state_dict())
    x = pictures(3, 2)
    nets = [sequence(conv, LIFNode(v_threshold=0.2)) for conv in (named, numbered)]
    outputs = []
    for net in nets:
        quantized = prepare(net, preset("int8"), x)
        observe(quantized, [x])
        outputs.append(quantized.eval()(x))
    assert torch.equal(*outputs)
