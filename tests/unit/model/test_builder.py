"""A list of layers → a network: inferred sizes, shapes, errors that name the layer, and nothing shared or disturbed."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snntrain import functional, registry, surrogate
from snntrain.base import MemoryModule
from snntrain.lava_exchange import BlockContainer
from snntrain.model import LayerError, Net, build, inferred_arguments
from snntrain.model.choice import build_neuron
from snntrain.neuron import IFNode, LIFNode, ParametricLIFNode, ReLU
from snntrain.neuron.cuba_loihi import CubaLIFNode

SHAPE = (3, 12, 10)


def refusal(layers: list[Any], shape: tuple[int, ...] = SHAPE, neuron: Any = "LIFNode") -> str:
    with pytest.raises(LayerError) as error:
        build(layers, shape, neuron)
    assert isinstance(error.value, ValueError)
    return str(error.value)


def conv(channels: int, **more: Any) -> dict[str, Any]:
    return {"name": "Conv2d", "out_channels": channels, "kernel_size": 3, **more}


# --- inference -------------------------------------------------------------------------------------------------------


def test_input_sizes_follow_from_the_sample_shape():
    layers = [conv(8, padding=1), "BatchNorm2d", {"name": "GroupNorm", "num_groups": 2}, "neuron"]
    layers += [{"name": "MaxPool2d", "kernel_size": 2}, "Flatten", {"name": "Linear", "out_features": 5}, "BatchNorm1d"]
    net = build(layers, SHAPE)
    assert net.layers[0].in_channels == 3
    assert net.layers[1].num_features == 8
    assert net.layers[2].num_channels == 8
    assert net.layers[6].in_features == 8 * 6 * 5
    assert net.layers[7].num_features == 5
    assert net.output_shapes == ((8, 12, 10),) * 4 + ((8, 6, 5), (240,), (5,), (5,))


def test_a_linear_layer_takes_the_last_dimension_and_a_convolution_the_first():
    net = build([{"name": "Linear", "out_features": 7}, conv(4)], SHAPE)
    assert net.layers[0].in_features == 10
    assert net.layers[1].in_channels == 3
    assert net.output_shapes == ((3, 12, 7), (4, 10, 5))


def test_every_layer_that_needs_an_input_size_gets_one():
    """By trying out all registered layers, with the arguments that only their author can choose."""
    sizes = {"out_channels": 4, "out_features": 5, "kernel_size": 3, "padding": 1, "output_size": 2, "scale_factor": 2}
    counts = {"num_groups": 1, "num_heads": 1, "num_slots": 2, "delay_steps": 1, "voting_size": 2}
    chosen = {**sizes, **counts, "alpha": 1.0, "v_th": 1.0, "reduction": 2, "reduction_t": 2, "reduction_c": 2}
    chosen["quant_params"] = {"bits": 8}
    tried = 0
    for name in registry.names("layer"):
        if name.startswith("MaxUnpool"):
            continue  # takes indices besides
        target = registry.get("layer", name)
        given_ = {key: value for key, value in chosen.items() if key in argument_names(target)}
        shape = (
            (3, 12, 10, 8)[: 1 + int(name[-2])] if name[-1] == "d" else (6,) if name == "DropConnectLinear" else SHAPE
        )
        net = build([{"name": name, **given_}], shape, T=4).eval()
        tried += bool(inferred_arguments(target))
        steps = 4
        out = net(torch.zeros(steps, 3, *shape))
        assert tuple(out.shape[2:]) == net.output_shapes[0], name
    assert tried >= 28


def argument_names(target: Any) -> list[str]:
    import inspect

    return list(inspect.signature(target).parameters)


@pytest.mark.parametrize(
    ("name", "inferred"),
    [
        ("Conv2d", ["in_channels"]),
        ("ConvTranspose1d", ["in_channels"]),
        ("BatchNorm3d", ["num_features"]),
        ("GroupNorm", ["num_channels"]),
        ("Linear", ["in_features"]),
        ("Flatten", []),
        ("MaxPool2d", []),
    ],
)
def test_only_input_sizes_are_inferred(name, inferred):
    assert inferred_arguments(registry.get("layer", name)) == inferred


def test_explicit_sizes_are_kept():
    assert build([conv(4, in_channels=3)], SHAPE).layers[0].in_channels == 3
    assert "model.layers[0]" in refusal([conv(4, in_channels=5)])  # kept, so it does not fit


def test_sizes_may_be_lists_as_yaml_writes_them():
    net = build([{"name": "Conv2d", "out_channels": 4, "kernel_size": [3, 5], "padding": [1, 2]}], list(SHAPE))
    assert net.output_shapes == ((4, 12, 10),)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_inferred_shapes_are_those_of_a_real_forward(data):
    channels, height, width = (data.draw(st.integers(*bounds)) for bounds in ((1, 4), (6, 12), (6, 12)))
    layers: list[Any] = []
    for _ in range(data.draw(st.integers(1, 3))):
        layers.append(
            {
                "name": "Conv2d",
                "out_channels": data.draw(st.integers(1, 6)),
                "kernel_size": data.draw(st.integers(1, 3)),
                "stride": data.draw(st.integers(1, 2)),
                "padding": data.draw(st.integers(0, 2)),
                "bias": data.draw(st.booleans()),
            }
        )
        layers += data.draw(st.lists(st.sampled_from(["BatchNorm2d", "neuron"]), unique=True))
        if data.draw(st.booleans()):
            layers.append({"name": "AvgPool2d", "kernel_size": 2, "ceil_mode": True})
    layers += data.draw(st.sampled_from([[], ["Flatten", {"name": "Linear", "out_features": 5}, "neuron"]]))
    # Written down by the rule of torch's documentation, layer by layer.
    shape, expected = (channels, height, width), []
    for entry in layers:
        shape = shape_after(entry, shape)
        expected.append(shape)
    if min(min(sizes) for sizes in expected) < 1:
        assert "cannot take an input of shape" in refusal(layers, (channels, height, width))
        return
    net = build(layers, (channels, height, width))
    assert list(net.output_shapes) == expected
    assert net(torch.rand(2, 3, channels, height, width)).shape == (2, 3, *expected[-1])


def shape_after(entry: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    if entry == "Flatten":
        return (shape[0] * shape[1] * shape[2],)
    if not isinstance(entry, Mapping):
        return shape
    if entry["name"] == "Linear":
        return (entry["out_features"],)
    if entry["name"] == "AvgPool2d":  # a window may begin inside only
        return (shape[0], *((size + 1) // 2 if size > 0 else 0 for size in shape[1:]))
    sizes = ((size + 2 * entry["padding"] - entry["kernel_size"]) // entry["stride"] + 1 for size in shape[1:])
    return (entry["out_channels"], *sizes)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_a_layer_that_does_not_fit_is_named_with_its_text_and_the_shape_that_reached_it():
    said = refusal([conv(8), "Flatten", conv(8)])
    assert said.startswith(
        "model.layers[2] {name: Conv2d, out_channels: 8, kernel_size: 3} cannot take an input of shape [T, N, 640]: "
    )
    assert "\n" not in said


def test_a_picture_too_small_for_its_layers_is_named_where_it_runs_out():
    said = refusal([{"name": "MaxPool2d", "kernel_size": 8}, {"name": "MaxPool2d", "kernel_size": 2}])
    assert said.startswith(
        "model.layers[1] {name: MaxPool2d, kernel_size: 2} cannot take an input of shape [T, N, 3, 1, 1]"
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("Con2d", ["model.layers[1] Con2d: ", "Did you mean Conv2d?"]),
        ("neurn", ["model.layers[1] neurn: ", "'neurn' is not a registered layer"]),
        ("Linear", ["model.layers[1] Linear: Linear needs the argument out_features"]),
        (
            {"name": "Linear", "out_featurs": 3},
            ["out_featurs is not an argument of Linear", "Did you mean out_features?"],
        ),
        ({"name": "Linear", "out_features": -1}, ["model.layers[1] {name: Linear, out_features: -1}", "negative"]),
        ({"name": "Linear", "out_features": "ten"}, ["model.layers[1] {name: Linear, out_features: ten}"]),
        ({"name": "GroupNorm", "num_groups": 0}, ["model.layers[1] {name: GroupNorm, num_groups: 0}"]),
        ({"name": "GroupNorm", "num_groups": 2}, ["model.layers[1] {name: GroupNorm, num_groups: 2}"]),
        (
            {"name": "neuron", "tau": 0.5},
            ["model.layers[1] {name: neuron, tau: 0.5}", "tau must be a finite number > 1"],
        ),
        ({"name": "neuron", "tua": 2.0}, ["tua is not an argument of LIFNode", "Did you mean tau?"]),
        ({"out_features": 3}, ["model.layers[1] {out_features: 3}: a layer is a name, or a mapping with the key name"]),
        ({"residul": []}, ["model.layers[1] {residul: []}: a layer is a name", "Did you mean residual?"]),
        ({"name": 3}, ["model.layers[1] {name: 3}: a layer is a name"]),
        (3, ["model.layers[1] 3: a layer is a name"]),
        (None, ["model.layers[1] None: a layer is a name"]),
        ({"name": "MaxPool2d", "kernel_size": 2, "return_indices": True}, ["model.layers[1]", "several tensors"]),
    ],
    ids=str,
)
def test_a_wrong_entry_is_named(entry, said):
    message = refusal(["neuron", entry])
    for text in said:
        assert text in message


def test_a_lava_block_is_a_layer_with_rounded_weights_and_its_neuron():
    loihi = {"name": "CubaLIFNode", "current_decay": 0.5, "voltage_decay": 0.25}
    net = build(
        [{"lava_block": [{"name": "Conv2d", "out_channels": 3, "kernel_size": 3, "bias": False}, "neuron"]}],
        (2, 5, 5),
        loihi,
    )
    (block,) = net.layers
    assert isinstance(block, BlockContainer) and net.output_shapes == ((3, 3, 3),)
    x_seq = torch.rand(4, 2, 2, 5, 5).round()
    grid = torch.round(block.synapse.weight * 32) / 32  # even multiples of 1/64
    current = torch.nn.functional.conv2d(x_seq.flatten(0, 1), grid).unflatten(0, (4, 2))
    expected = CubaLIFNode(0.5, 0.25, step_mode="m")(current)
    assert torch.equal(net(x_seq), expected)


@pytest.mark.parametrize("entries", [["neuron"], [{"name": "Linear", "out_features": 2}], ["Flatten", "Flatten"]])
def test_a_lava_block_of_something_else_is_refused(entries):
    assert "it takes two entries, a layer with weights and the neuron" in refusal([{"lava_block": entries}])


def test_a_lava_block_refuses_neurons_that_the_chip_has_not():
    said = refusal(["Flatten", {"lava_block": [{"name": "Linear", "out_features": 2, "bias": False}, "neuron"]}])
    assert said.startswith(
        "model.layers[1] {lava_block: …}: LIFNode: inputs are multiplied by 0.5 (decay_input is True)"
    )


def test_an_empty_list_is_no_model():
    assert "model.layers is empty" in refusal([])


@pytest.mark.parametrize("neuron", ["LIFNod", {"tau": 3.0}, {"name": "LIFNode", "tau": 0.5}, 3, None])
def test_a_wrong_neuron_is_named_at_the_layer_that_asks_for_it(neuron):
    assert refusal(["Flatten", "neuron"], neuron=neuron).startswith("model.layers[1] neuron: ")
    build(["Flatten"], SHAPE, neuron)  # nobody asks


def test_a_layer_of_no_size_to_infer_from_is_named():
    assert "model.layers[0]" in refusal([{"name": "Linear", "out_features": 3}], shape=())


# --- neurons ---------------------------------------------------------------------------------------------------------


def test_the_chosen_neuron_comes_by_name_by_mapping_or_from_a_function():
    layers = ["Flatten", "neuron"]
    assert type(build(layers, SHAPE).layers[1]) is LIFNode
    assert type(build(layers, SHAPE, "IFNode").layers[1]) is IFNode
    mapping = {"name": "ParametricLIFNode", "init_tau": 4.0, "surrogate_function": {"name": "ATan", "alpha": 3.0}}
    node = build(layers, SHAPE, mapping).layers[1]
    assert type(node) is ParametricLIFNode and node.tau == pytest.approx(4.0)
    assert type(node.surrogate_function) is surrogate.ATan and node.surrogate_function.alpha == 3.0
    assert build(layers, SHAPE, lambda: LIFNode(tau=5.0)).layers[1].tau == 5.0
    assert type(build(layers, SHAPE, IFNode).layers[1]) is IFNode


def test_an_entry_overrides_the_neuron_for_its_layer_only():
    chosen = {"name": "LIFNode", "tau": 2.0, "v_threshold": 0.5}
    before = copy.deepcopy(chosen)
    override = {"name": "neuron", "tau": 4.0, "surrogate_function": {"name": "Rect"}}
    net = build(["neuron", override, "neuron"], SHAPE, chosen)
    assert [node.tau for node in net.layers] == [2.0, 4.0, 2.0]
    assert [node.v_threshold for node in net.layers] == [0.5] * 3
    kinds = [type(node.surrogate_function) for node in net.layers]
    assert kinds == [surrogate.Sigmoid, surrogate.Rect, surrogate.Sigmoid]
    assert chosen == before and override["name"] == "neuron"


def test_a_function_leaves_nothing_to_override():
    said = refusal([{"name": "neuron", "tau": 4.0}], neuron=IFNode)
    assert "comes from a function" in said and "tau" in said


def test_every_layer_has_a_neuron_and_a_surrogate_of_its_own():
    mapping = {"name": "ParametricLIFNode", "surrogate_function": {"name": "ATan"}}
    net = build(["neuron", "neuron", "neuron"], SHAPE, mapping)
    assert len({id(node) for node in net.layers}) == 3
    assert len({id(node.surrogate_function) for node in net.layers}) == 3
    assert len({id(node.w) for node in net.layers}) == 3
    assert len({id(node.surrogate_function) for node in build(["neuron", "neuron"], SHAPE).layers}) == 2


def test_build_neuron_makes_a_new_one_each_time():
    first, second = build_neuron("LIFNode"), build_neuron("LIFNode", {"tau": 3.0})
    assert first is not second and (first.tau, second.tau) == (2.0, 3.0)


# --- the network -----------------------------------------------------------------------------------------------------


def test_a_network_takes_sequences_and_is_what_its_layers_are_one_after_the_other():
    torch.manual_seed(0)
    net = build([conv(4), "BatchNorm2d", "neuron", "Flatten", {"name": "Linear", "out_features": 5}], SHAPE, "IFNode")
    net.eval()
    x = torch.rand(6, 2, *SHAPE) * 3
    y = net(x)
    conv_, norm, linear = net.layers[0], net.layers[1], net.layers[4]
    potential, expected = torch.zeros(2, 4, 10, 8), []
    for step in x:
        potential = potential + nn.functional.batch_norm(
            nn.functional.conv2d(step, conv_.weight, conv_.bias), norm.running_mean, norm.running_var
        )
        spike = (potential >= 1.0).float()
        potential = potential * (1 - spike)
        expected.append(nn.functional.linear(spike.flatten(1), linear.weight, linear.bias))
    torch.testing.assert_close(y, torch.stack(expected))
    assert y.std() > 0


def test_a_network_with_neurons_has_state_and_its_twin_of_relus_has_none():
    layers = [conv(4), "neuron", {"name": "neuron", "tau": 4.0}, "Flatten", {"name": "Linear", "out_features": 2}]
    net = build(layers, SHAPE, {"name": "LIFNode", "tau": 2.0})
    twin = build(layers, SHAPE, {"name": "ReLU"})
    assert net.is_stateful and not twin.is_stateful
    assert [type(layer) for layer in twin.layers[1:3]] == [ReLU, ReLU]
    assert [name for name, _ in functional.named_states(twin)] == []
    assert not any(isinstance(module, MemoryModule) for module in twin.modules())
    x = torch.rand(1, 2, *SHAPE)
    both = twin(x.expand(3, -1, -1, -1, -1))
    assert torch.equal(both[0], both[2]) and torch.equal(twin(x)[0], twin(x)[0])


def test_all_layers_run_on_sequences_whatever_the_entry_says():
    net = build([conv(4, step_mode="s"), {"name": "neuron", "step_mode": "s"}], SHAPE)
    assert [layer.step_mode for layer in net.layers] == ["m", "m"]


def test_shape_inference_leaves_statistics_state_mode_and_gradients_alone():
    net = build([conv(4), "BatchNorm2d", "neuron", "Flatten", {"name": "BatchNorm1d"}], SHAPE)
    for norm in (net.layers[1], net.layers[4]):
        assert norm.running_mean.eq(0).all() and norm.running_var.eq(1).all() and norm.num_batches_tracked == 0
    assert net.layers[2].v == 0.0 and isinstance(net.layers[2].v, float)
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_shape_inference_draws_no_random_numbers():
    """The weights are those of the same layers made by hand from the same seed."""
    torch.manual_seed(7)
    net = build([conv(4), "BatchNorm2d", "neuron", "Flatten", {"name": "Linear", "out_features": 5}], SHAPE)
    after = torch.rand(1)
    torch.manual_seed(7)
    by_hand = nn.Conv2d(3, 4, 3), nn.Linear(4 * 10 * 8, 5)
    assert torch.equal(net.layers[0].weight, by_hand[0].weight)
    assert torch.equal(net.layers[4].weight, by_hand[1].weight)
    assert torch.equal(after, torch.rand(1))


def test_normalization_without_running_statistics_can_be_built():
    net = build(["Flatten", {"name": "BatchNorm1d", "track_running_stats": False}], SHAPE)
    assert net.output_shapes == ((360,), (360,))


def test_a_network_keeps_no_state_in_its_state_dict():
    net = build(["neuron", "Flatten", {"name": "Linear", "out_features": 2}], SHAPE)
    net(torch.rand(2, 3, *SHAPE))
    assert list(net.state_dict()) == ["layers.2.weight", "layers.2.bias"]


def test_equal_lists_give_equal_networks_that_share_nothing():
    layers = [conv(4), "BatchNorm2d", "neuron"]
    before = copy.deepcopy(layers)
    first, second = build(layers, SHAPE), build(layers, SHAPE)
    assert layers == before
    assert not {id(tensor) for tensor in first.state_dict(keep_vars=True).values()} & {
        id(tensor) for tensor in second.state_dict(keep_vars=True).values()
    }


def test_a_network_put_together_by_hand_is_the_same_class():
    net = Net([nn.Identity()], [(2,)])
    assert not net.is_stateful and net.output_shapes == ((2,),)
    assert net(torch.ones(1, 1, 2)).tolist() == [[[1.0, 1.0]]]
