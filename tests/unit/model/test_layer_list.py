"""Nested entries of a model: what they build, where their parameters live, errors that name the place in the YAML."""

import copy
from typing import Any

import pytest
import torch
from refused import message_of
from torch import nn

from snntrain import functional
from snntrain.layer import ElementWiseRecurrentContainer, LinearRecurrentContainer
from snntrain.model import LayerError, build
from snntrain.model.layer_list import leaves, parse
from snntrain.neuron import OTTTLIFNode

SHAPE = (3, 8, 6)
IF = {"name": "IFNode", "v_threshold": 0.2, "backend": "torch"}


def conv(channels: Any, **more: Any) -> dict[str, Any]:
    return {"name": "Conv2d", "out_channels": channels, "kernel_size": 3, "padding": 1, "bias": False, **more}


def refusal(layers: Any, shape: tuple[int, ...] = SHAPE, **more: Any) -> str:
    return message_of(LayerError, build, layers, shape, IF, **more)


# --- what they build -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("join", "expected"),
    [
        ("add", lambda body, x: body + x),
        ("and", lambda body, x: body * x),
        ("iand", lambda body, x: (1 - body) * x),
        ("concat", lambda body, x: torch.cat([body, x], 2)),
    ],
)
def test_a_residual_entry_joins_its_two_paths(join, expected):
    net = build([{"residual": [conv(3), "neuron"], "join": join}], SHAPE, IF)
    x = (torch.rand(2, 4, *SHAPE) > 0.5).float()
    with torch.no_grad():
        y = net(x)
        functional.reset_net(net)
        body = net.layers[0].residual(x)
    assert torch.equal(y, expected(body, x)) and body.any()
    assert net.output_shapes == ((6 if join == "concat" else 3, 8, 6),)


def test_keys_follow_the_places_in_the_list():
    layers = [
        {"residual": [conv(4), "BatchNorm2d"], "shortcut": [conv(4, kernel_size=1, padding=0)]},
        {"branch": [[conv(2)], [conv(3), "neuron"]], "join": "concat"},
        {"repeat": [conv(5), "neuron"], "times": 2},
    ]
    net = build(layers, SHAPE, IF)
    assert [key for key in net.state_dict() if key.endswith("weight")] == [
        "layers.0.residual.0.weight",
        "layers.0.residual.1.weight",
        "layers.0.shortcut.0.weight",
        "layers.1.branch.0.0.weight",
        "layers.1.branch.1.0.weight",
        "layers.2.0.weight",
        "layers.2.2.weight",
    ]
    assert net.output_shapes == ((4, 8, 6), (5, 8, 6), (5, 8, 6))
    assert net.layers[2][2].in_channels == 5  # the second round's input is the first one's output
    assert net.layers[2][0] is not net.layers[2][2]


def test_a_block_is_used_like_a_layer_with_its_words_filled_in():
    blocks = {
        "conv": [{**conv("$channels"), "stride": "$stride"}, "neuron"],
        "pair": [{"name": "conv", "channels": "$channels", "stride": 2}, {"name": "conv", "channels": 4, "stride": 1}],
    }
    before = copy.deepcopy(blocks)
    net = build([{"name": "pair", "channels": 6}, "Flatten"], SHAPE, IF, blocks=blocks)
    assert blocks == before
    first, second = net.layers[0][0][0], net.layers[0][1][0]
    assert (first.out_channels, first.stride, second.in_channels, second.out_channels) == (6, (2, 2), 6, 4)
    assert net.output_shapes == ((4, 4, 3), (48,))


@pytest.mark.parametrize(("size", "kernel"), [(6, 5), (5, 5), (4, 1)])
def test_min_size_chooses_by_the_smallest_side_that_arrives(size, kernel):
    entry = {"min_size": 5, "layers": [conv(2, kernel_size=5)], "otherwise": [conv(2, kernel_size=1)]}
    net = build([entry], (3, 8, size))
    assert net.layers[0][0].kernel_size == (kernel, kernel)


def test_min_size_without_an_alternative_leaves_a_small_input_alone():
    entry = {"min_size": 2, "layers": [{"name": "MaxPool2d", "kernel_size": 2}]}
    net = build([entry] * 4, SHAPE)
    assert net.output_shapes == ((3, 4, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1))


@pytest.mark.parametrize("feedback", ["add", "concat", [{"name": "Linear", "out_features": 4}]])
def test_a_recurrent_entry_chooses_the_backend_of_its_container(feedback):
    entry = {"recurrent": ["neuron"], "feedback": feedback}
    assert [build([entry | more], (4,), IF).layers[0].backend for more in ({}, {"backend": "torch"})] == [
        "auto",
        "torch",
    ]


def test_the_output_of_a_step_is_fed_back_in_three_ways():
    dense = {"name": "Linear", "out_features": 4}
    added = build([{"recurrent": ["neuron"], "feedback": "add"}], (4,), IF).layers[0]
    joined = build([{"recurrent": [dense, "neuron"], "feedback": "concat"}], (5,), IF).layers[0]
    weighted = build([{"recurrent": ["neuron"], "feedback": [{**dense, "bias": False}]}], (4,), IF).layers[0]
    assert type(added) is type(weighted) is ElementWiseRecurrentContainer
    assert type(joined) is LinearRecurrentContainer and joined.rc.weight.shape == (5, 9)
    x = torch.rand(6, 2, 4)
    back = next(module for module in weighted.modules() if isinstance(module, nn.Linear))
    v, y, expected = torch.zeros(2, 4), torch.zeros(2, 4), []
    for step in x:  # Cramer et al. 2022: i[t] = x[t] + V·s[t−1], integrate and fire
        v = v + step + y @ back.weight.T
        y = (v >= 0.2).float()
        v = v * (1 - y)
        expected.append(y)
    assert torch.equal(weighted(x), torch.stack(expected))
    assert added(x).shape == (6, 2, 4) and joined(torch.rand(6, 2, 5)).shape == (6, 2, 4)


def test_an_entry_or_the_model_says_how_parameters_start():
    layers = [
        conv(4),
        conv(4, init={"name": "normal", "std": 3.0}),
        {"name": "Linear", "out_features": 2, "init": {"weight": "zeros", "bias": 0.5}},
    ]
    torch.manual_seed(0)
    net = build(layers, SHAPE, init={"Conv2d": {"name": "constant", "val": 0.25}})
    assert net.layers[0].weight.eq(0.25).all()
    assert float(net.layers[1].weight.detach().std()) == pytest.approx(3.0, rel=0.2)
    assert net.layers[2].weight.eq(0).all() and net.layers[2].bias.eq(0.5).all()


def test_norm_stands_for_the_chosen_one_and_ignores_what_only_others_have():
    layers = [conv(4), {"name": "norm", "alpha": 0.5, "eps": 0.1}]
    plain = build(layers, SHAPE).layers[1]
    assert type(plain).__name__ == "BatchNorm2d" and plain.eps == 0.1
    chosen = {"name": "ThresholdDependentBatchNorm2d", "alpha": 1, "v_th": 0.5}
    assert build(layers, SHAPE, norm=chosen).layers[1].weight.eq(0.25).all()
    assert "alhpa is not an argument of BatchNorm2d" in refusal([conv(4), {"name": "norm", "alhpa": 0.5}])


def test_layers_that_need_T_get_it():
    layers = [{"name": "TemporalEffectiveBatchNorm2d"}, {"name": "TemporalWiseAttention", "reduction": 2}]
    net = build(layers, SHAPE, T=4)
    assert (net.layers[0].T, net.layers[1].T) == (4, 4)
    assert "TemporalEffectiveBatchNorm2d needs the argument T" in refusal(layers)


def test_lists_of_online_neurons_pass_their_pairs_on():
    layers = [conv(4), "neuron", {"residual": [conv(4), "neuron"]}, "Flatten", {"name": "Linear", "out_features": 2}]
    net = build(layers, SHAPE, "OTTTLIFNode", step_mode="s")
    seen = []
    for module in net.modules():
        if isinstance(module, OTTTLIFNode):
            module.register_forward_hook(lambda module, inputs, output: seen.append(type(output)))
    y = net(torch.rand(3, *SHAPE))
    y.sum().backward()
    assert seen == [list, list] and y.shape == (3, 2)
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert "nothing can be fed back" in refusal_online([{"recurrent": ["neuron"], "feedback": "add"}])


def refusal_online(layers: Any) -> str:
    return message_of(LayerError, build, layers, SHAPE, "OTTTLIFNode", step_mode="s")


def test_leaves_come_in_the_order_of_the_file_with_their_paths():
    layers = ["Flatten", {"residual": ["neuron", {"repeat": ["norm"], "times": 2}], "shortcut": ["neuron"]}]
    assert [(layer.path, layer.name) for layer in leaves(parse(layers))] == [
        ("model.layers[0]", "Flatten"),
        ("model.layers[1].residual[0]", "neuron"),
        ("model.layers[1].residual[1].repeat[0]", "norm"),
        ("model.layers[1].shortcut[0]", "neuron"),
    ]


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (
            [{"residual": ["neuron", conv(3, kernel_size=9, padding=0)]}],
            ["model.layers[0].residual[1] {name: Conv2d", "cannot take an input of shape [T, N, 3, 8, 6]"],
        ),
        (
            [{"residual": [conv(4)]}],
            ["model.layers[0] {residual: …}", "[1, 2, 4, 8, 6]", "[1, 2, 3, 8, 6]"],
        ),
        (
            [{"residual": ["neuron"], "join": "ad"}],
            ["model.layers[0]", "join must be one of 'add', 'and', 'iand', 'concat', got 'ad'"],
        ),
        ([{"residual": ["neuron"], "shortcu": []}], ["model.layers[0].shortcu", "Did you mean shortcut?"]),
        ([{"residual": "neuron"}], ["model.layers[0].residual", "a list of layers"]),
        ([{"repeat": ["neuron"]}], ["model.layers[0]: a repeat entry needs times"]),
        ([{"repeat": ["neuron"], "times": 0}], ["model.layers[0]: repeat: times must be an integer ≥ 1, got 0"]),
        ([{"branch": [["neuron"], ["nueron"]]}], ["model.layers[0].branch[1][0] nueron", "'nueron'"]),
        ([{"recurrent": ["neuron"], "feedback": "ad"}], ["model.layers[0]", "'add', 'concat'"]),
        (
            [{"recurrent": ["Flatten"], "feedback": "add", "backend": "fused"}],
            [
                "model.layers[0] {recurrent: …}",
                "its sub_module must be a neuron, or a Linear and a neuron, and is Flatten",
            ],
        ),
        ([{"recurrent": ["PSN"], "feedback": "add"}], ["model.layers[0].recurrent[0] PSN"]),
        ([{"name": "small", "size": 3}], ["model.layers[0].size is not an argument of the block small", "channels"]),
        (["small"], ["model.layers[0]: the block small needs channels"]),
        (
            ["neuron", {"name": "small", "channels": 0}],
            ["model.layers[1].small[0] {name: Conv2d, out_channels: 0"],
        ),
        (["endless"], ["does a block contain itself?"]),
        ([conv(3, init={"weigth": 0})], ["model.layers[0]", "has no parameter weigth", "Did you mean weight?"]),
        ([conv(3, init="kaiming_norml")], ["Did you mean kaiming_normal?"]),
        ([conv(3, init={"name": "normal", "sdt": 1})], ["sdt is not an argument of init normal"]),
        ([conv(3, init=[1])], ["init: weight must be a number"]),
        ([conv(3, init={"name": "orthogonal", "gain": True})], ["init orthogonal: gain must be a number, got True"]),
        ([{"name": "WSConv2d", "out_channels": 4, "kernel_size": 3, "in_channels": 5}], ["model.layers[0]"]),
    ],
    ids=str,
)
def test_an_error_names_the_place_inside_the_entries(layers, said):
    blocks = {"small": [conv("$channels")], "endless": ["endless"]}
    message = refusal(layers, blocks=blocks)
    for text in said:
        assert text in message
    assert "\n" not in message


def test_what_does_not_fit_in_channels_rank_or_T_is_named_with_both_shapes():
    said = refusal([conv(8), conv(4, in_channels=3)])
    assert "model.layers[1]" in said and "[T, N, 8, 8, 6]" in said and "3" in said
    said = refusal(["Flatten", conv(4, in_channels=3)])
    assert "model.layers[1]" in said and "[T, N, 144]" in said and "[T, N, C, H, W]" in said
    net = build([{"name": "TemporalEffectiveBatchNorm2d"}], SHAPE, T=4)
    with pytest.raises(ValueError, match=r"layers\.0 .*T = 4.*\[3, 2, 3, 8, 6\]"):
        net(torch.rand(3, 2, *SHAPE))


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({"Conv2d": ["neuron"]}, "model.blocks.Conv2d: the name is taken"),
        ({"neuron": ["Flatten"]}, "model.blocks.neuron: the name is taken"),
        ({"mine": "Flatten"}, "model.blocks.mine"),
        (["Flatten"], "model.blocks must be a mapping"),
    ],
)
def test_wrong_blocks_are_named(blocks, said):
    assert said in refusal(["Flatten"], blocks=blocks)


def test_an_initializer_for_a_layer_that_is_not_there_is_named():
    assert "model.init.Conv3d: the model has no such layer" in refusal([conv(3)], init={"Conv3d": 0})
