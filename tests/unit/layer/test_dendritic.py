"""DendriticLinear: which input reaches which branch, its weight in forward, training and export."""

import copy

import pytest
import torch
from torch.nn import functional as F

from snntrain.functional import set_step_mode
from snntrain.graph import working_copy
from snntrain.layer import DendriticLinear, Linear
from snntrain.model import LayerError, build
from snntrain.neuron import AdLIFNode, CELIFNode, DHLIFNode, SEAdLIFNode


@pytest.mark.parametrize("inputs, neurons, branches", [(12, 5, 4), (10, 3, 4), (3, 7, 1), (6, 2, 6)])
def test_each_input_reaches_one_branch_of_every_neuron_and_branches_get_equal_shares(inputs, neurons, branches):
    layer = DendriticLinear(inputs, neurons, branches)
    mask = layer.mask.unflatten(0, (branches, neurons))
    assert torch.equal(mask.sum(0), torch.ones(neurons, inputs)) and set(mask.unique().tolist()) <= {0.0, 1.0}
    shares = mask.sum(2)
    assert shares.min() >= inputs // branches and shares.max() <= -(-inputs // branches)


def test_neurons_are_connected_differently_and_alike_in_every_run():
    one, other = DendriticLinear(40, 8, seed=3), DendriticLinear(40, 8, seed=3)
    assert torch.equal(one.mask, other.mask) and not torch.equal(one.weight, other.weight)
    assert not torch.equal(one.mask, DendriticLinear(40, 8, seed=4).mask)
    assert len({tuple(row.tolist()) for row in one.mask[:8]}) == 8  # the first branches of the eight neurons
    assert list(one.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("bias", [True, False])
def test_the_output_holds_branch_after_branch_and_hidden_weights_get_no_gradient(bias):
    layer = DendriticLinear(6, 2, 3, bias=bias).double()
    x = torch.randn(4, 5, 6, dtype=torch.float64)
    set_step_mode(layer, "m")
    y = layer(x)
    for b in range(3):
        for neuron in range(2):
            row = b * 2 + neuron
            seen = layer.mask[row].bool()
            expected = x[..., seen] @ layer.weight[row, seen] + (layer.bias[row] if bias else 0.0)
            torch.testing.assert_close(y[..., row], expected)
    y.square().sum().backward()
    assert torch.equal(layer.weight.grad != 0, layer.mask.bool())


def test_a_prepared_copy_is_a_plain_layer_with_the_weight_that_counts():
    layer = DendriticLinear(8, 3, 2)
    x = torch.randn(5, 8)
    plain = working_copy(torch.nn.Sequential(copy.deepcopy(layer)))[0]
    assert type(plain) is Linear and not hasattr(plain, "mask")
    assert torch.equal(plain(x), layer(x)) and torch.equal(F.linear(x, plain.weight, plain.bias), layer(x))


def test_its_settings_are_shown_and_checked():
    assert repr(DendriticLinear(8, 3, 2)) == (
        "DendriticLinear(in_features=8, out_features=3, branches=2, bias=True, seed=0, step_mode=s)"
    )
    for arguments, text in (
        ({"branches": 9}, r"^DendriticLinear: branches must be an integer ≥ 1 and ≤ 8, got 9"),
        ({"out_features": 0}, r"^DendriticLinear: out_features must be an integer ≥ 1, got 0"),
        ({"seed": -1}, r"^DendriticLinear: seed must be an integer ≥ 0, got -1"),
    ):
        with pytest.raises(ValueError, match=text):
            DendriticLinear(**{"in_features": 8, "out_features": 3} | arguments)


# --- in a model ------------------------------------------------------------------------------------------------------

LAYERS = ["Flatten", {"name": "DendriticLinear", "out_features": 16, "branches": 4}, "neuron"]


def test_a_list_of_layers_makes_branches_and_their_neurons():
    net = build([*LAYERS, {"name": "Linear", "out_features": 3}], (1, 4, 4), {"name": "DHLIFNode", "branches": 4})
    dendrites, node, readout = net.layers[1:]
    assert isinstance(node, DHLIFNode) and node.tau_n.shape == (4, 16) and readout.in_features == 16
    assert net.output_shapes == ((16,), (64,), (16,), (3,))
    node.backend = "torch"
    x = torch.rand(5, 2, 1, 4, 4)
    y = net(x)
    y.square().sum().backward()
    assert y.shape == (5, 2, 3) and dendrites.weight.grad.abs().sum() > 0


def test_branches_that_cannot_share_the_channels_are_refused_at_their_place():
    with pytest.raises(
        LayerError, match=r"layers\[2\] neuron: 64 channels reach it, which its 3 branches cannot share"
    ):
        build(LAYERS, (1, 4, 4), {"name": "DHLIFNode", "branches": 3})


@pytest.mark.parametrize("kind", [AdLIFNode, SEAdLIFNode, CELIFNode])
def test_a_neuron_gets_parameters_for_the_channels_that_reach_it(kind):
    name = {"name": kind.__name__} | ({"T": 4} if kind is CELIFNode else {})
    layers = [{"name": "Conv2d", "out_channels": 6, "kernel_size": 3}, "neuron", "Flatten"]
    layers += [{"name": "Linear", "out_features": 5}, "neuron"]
    net = build(layers, (2, 5, 5), name)
    assert [layer.channels for layer in net.layers if isinstance(layer, kind)] == [6, 5]
    shared = build(layers, (2, 5, 5), {**name, "channels": None})
    assert [layer.channels for layer in shared.layers if isinstance(layer, kind)] == [None, None]
