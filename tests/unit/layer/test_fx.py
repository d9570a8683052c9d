"""torch.fx sees each layer and neuron as one node, in both step modes, alone or inside a net."""

import copy

import pytest
import torch
from torch import fx, nn

from snntrain import functional, layer, neuron

IMAGE, VECTOR = (2, 2, 4, 4), (2, 6)
MODULES = {
    "Conv2d": (lambda: layer.Conv2d(2, 3, 3), IMAGE),
    "ConvTranspose2d": (lambda: layer.ConvTranspose2d(2, 3, 3), IMAGE),
    "BatchNorm2d": (lambda: layer.BatchNorm2d(2), IMAGE),
    "BatchNormThroughTime2d": (lambda: layer.BatchNormThroughTime2d(3, 2), IMAGE),
    "GroupNorm": (lambda: layer.GroupNorm(1, 2), IMAGE),
    "AvgPool2d": (lambda: layer.AvgPool2d(2), IMAGE),
    "MaxPool2d": (lambda: layer.MaxPool2d(2), IMAGE),
    "Flatten": (lambda: layer.Flatten(), IMAGE),
    "Upsample": (lambda: layer.Upsample(scale_factor=2), IMAGE),
    "WSConv2d": (lambda: layer.WSConv2d(2, 3, 3), IMAGE),
    "NeuNorm": (lambda: layer.NeuNorm(2, 4, 4), IMAGE),
    "Linear": (lambda: layer.Linear(6, 2), VECTOR),
    "VotingLayer": (lambda: layer.VotingLayer(2), VECTOR),
    "Dropout": (lambda: layer.Dropout(), VECTOR),
    "SynapseFilter": (lambda: layer.SynapseFilter(), VECTOR),
    "Residual": (lambda: layer.Residual(nn.Linear(6, 6)), VECTOR),
    "StepModeContainer": (lambda: layer.StepModeContainer(True, nn.Linear(6, 6), neuron.IFNode()), VECTOR),
    "ElementWiseRecurrentContainer": (lambda: layer.ElementWiseRecurrentContainer(nn.Identity(), torch.add), VECTOR),
    "IFNode": (lambda: neuron.IFNode(), VECTOR),
    "LIFNode": (lambda: neuron.LIFNode(), VECTOR),
    "ParametricLIFNode": (lambda: neuron.ParametricLIFNode(backend="torch"), VECTOR),
    "NonSpikingLIFNode": (lambda: neuron.NonSpikingLIFNode(), VECTOR),
}


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("name", MODULES)
def test_a_traced_module_does_what_it_did(name, mode):
    make, shape = MODULES[name]
    for net in (make(), nn.Sequential(make())):
        functional.set_step_mode(net, mode)
        x = torch.rand(3, *shape) if mode == "m" else torch.rand(shape)
        reference, traced = copy.deepcopy(net), fx.symbolic_trace(net)
        calls = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
        assert [node.op for node in calls] == ["call_module"]
        for _ in range(2):  # the state goes on, and is reset, in the traced net too
            results = []
            for each in (reference, traced):
                functional.reset_net(each)
                torch.manual_seed(0)
                results.append(torch.stack([each(x), each(x)]))
            assert torch.equal(*results)
