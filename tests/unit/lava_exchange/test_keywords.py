"""The names that SpikingJelly's lava_exchange has for its arguments."""

import pytest
from torch import nn

from snntrain import lava_exchange as lava
from snntrain.neuron import IFNode


@pytest.mark.parametrize(
    "call",
    [
        lambda: lava.conv2d_to_lava_synapse_conv(conv2d_nn=nn.Conv2d(1, 1, 1)),
        lambda: lava.to_lava_block_conv(conv2d_nn=nn.Conv2d(1, 1, 1), sj_ms_neuron=IFNode()),
        lambda: lava.to_lava_block_dense(fc=nn.Linear(1, 1), sj_ms_neuron=IFNode()),
        lambda: lava.avgpool2d_to_lava_synapse_pool(pool2d_nn=nn.AvgPool2d(2, padding=1)),
        lambda: lava.to_lava_block_pool(pool2d_nn=nn.AvgPool2d(2, padding=1), sj_ms_neuron=IFNode()),
        lambda: lava.to_lava_block_flatten(flatten_nn=nn.Flatten(0)),
    ],
)
def test_its_keywords_reach_the_checks(call):
    with pytest.raises(ValueError, match=r"it has a bias|padding must be|start_dim must be"):
        call()


def test_a_container_takes_its_neuron_as_neu():
    block = lava.BlockContainer(nn.Linear(2, 2, bias=False), neu=IFNode())
    assert isinstance(block.neuron, lava.CubaLIFNode)
    with pytest.raises(TypeError, match="neu and neuron are one argument"):
        lava.BlockContainer(nn.Linear(2, 2, bias=False), neu=IFNode(), neuron=IFNode())
