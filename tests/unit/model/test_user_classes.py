"""Layers, neurons, surrogates and models that users register are built by their names."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snntrain import registry, surrogate
from snntrain.base import MemoryModule
from snntrain.layer import FoldedLayer
from snntrain.model import LayerError, build
from snntrain.model.profile import profile
from snntrain.neuron import BaseNode
from snntrain.run.build import build_net

SHAPE = (3, 12, 10)


@pytest.fixture
def own_entries(monkeypatch):
    """Names registered by a test vanish with it."""
    for kind in registry._HOMES:
        registry.names(kind)
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})


def refusal(layers: list[Any]) -> str:
    with pytest.raises(LayerError) as error:
        build(layers, SHAPE)
    return str(error.value)


def test_a_neuron_that_takes_sequences_of_one_length_only_can_be_built(own_entries):
    @registry.register("neuron")
    class WholeSequence(MemoryModule):
        """Sees all T steps at once."""

        def __init__(self, T: int) -> None:
            super().__init__("m")
            self.T = T

        def multi_step_forward(self, x_seq: Tensor) -> Tensor:
            if len(x_seq) != self.T:
                raise ValueError("wrong length")
            return x_seq.cumsum(0)

    net = build(["neuron", "Flatten"], SHAPE, {"name": "WholeSequence", "T": 5})
    assert net.output_shapes == (SHAPE, (360,))


def test_a_user_registers_a_layer_a_neuron_and_a_surrogate(own_entries):
    @registry.register("layer")
    class Gain(FoldedLayer, nn.Module):
        """Multiply each channel."""

        step_shapes = ("N, *",)

        def __init__(self, in_channels: int, gain: float = 2.0) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((in_channels, 1, 1), gain))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    @registry.register("neuron")
    class Threshold(BaseNode):
        """Fires where the input reaches v_threshold; keeps nothing."""

        def charge(self, x: Tensor, v: Tensor) -> Tensor:
            return x

    @registry.register("surrogate", "Steep")
    class MySurrogate(surrogate.Sigmoid):
        """A very steep one."""

    chosen = {"name": "Threshold", "surrogate_function": {"name": "Steep", "alpha": 9.0}}
    net = build([{"name": "Gain", "gain": 3.0}, "neuron"], SHAPE, chosen)
    assert type(net.layers[0]) is Gain and type(net.layers[1].surrogate_function) is MySurrogate
    x = torch.rand(2, 3, *SHAPE)
    assert torch.equal(net(x), (x * 3 >= 1).float())
    assert "Did you mean Gain?" in refusal(["Gein"])


def test_a_user_registers_a_whole_model(own_entries):
    @registry.register("model")
    class TwoLayers(nn.Module):
        """A hidden layer of the chosen neuron."""

        def __init__(self, sample_shape: tuple[int, ...], num_classes: int, neuron: Any, width: int = 4) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(sample_shape[0], width), neuron(), neuron()])
            self.output = nn.Linear(width, num_classes)

        def forward(self, x_seq: Tensor) -> Tensor:
            return torch.stack([self.output(self.layers[1](self.layers[0](x))) for x in x_seq])

    config = {"model": {"name": "TwoLayers", "width": 6}, "data": {"sample_shape": [9], "num_classes": 2}, "seed": 1}
    config |= {"task": {"outputs": 2}, "fuse": "exact"}
    config["encoder"] = {"name": "DirectEncoder"}
    net = build_net({**config, "neuron": {"name": "LIFNode", "tau": 3.0}})
    assert type(net) is TwoLayers
    assert [node.tau for node in net.layers[1:]] == [3.0, 3.0] and net.layers[1] is not net.layers[2]
    assert net(torch.rand(5, 3, 9)).shape == (5, 3, 2)
    rows = profile(net, (9,))
    assert [(row["path"], row["name"], row["parameters"]) for row in rows if row["name"] == "Linear"] == [
        ("layers.0", "Linear", 9 * 6 + 6),
        ("output", "Linear", 6 * 2 + 2),
    ]
    assert [row["name"] for row in rows] == ["Linear", "LIFNode", "LIFNode", "Linear"]
    assert rows[1]["neuron"].startswith("tau=3, ")
    assert sum(row["parameters"] for row in rows) == sum(parameter.numel() for parameter in net.parameters())


def test_a_registered_model_gets_of_the_facts_what_it_names(own_entries):
    @registry.register("model")
    class Plain(nn.Linear):
        """Knows of neither shapes nor neurons: a net written for another library."""

        def __init__(self, features: int = 9, num_classes: int = 3) -> None:
            super().__init__(features, num_classes)

    config = {"data": {"sample_shape": [9]}, "task": {"outputs": 5}, "encoder": {"name": "DirectEncoder"}, "seed": 1}
    net = build_net({**config, "neuron": {"name": "LIFNode"}, "model": {"name": "Plain"}, "fuse": "exact"})
    assert type(net) is Plain and net(torch.rand(2, 3, 9)).shape == (2, 3, 5)


def test_an_error_inside_a_layer_of_the_users_is_named(own_entries):
    @registry.register("layer")
    class Fragile(nn.Module):
        """Breaks where it is told to."""

        def __init__(self, early: bool) -> None:
            super().__init__()
            if early:
                raise KeyError("no such thing")

        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("only for squares")

    assert refusal([{"name": "Fragile", "early": True}]) == (
        "model.layers[0] {name: Fragile, early: True}: 'no such thing'"
    )
    said = refusal(["Flatten", {"name": "Fragile", "early": False}])
    assert said.startswith("model.layers[1] {name: Fragile, early: False} cannot take an input of shape [T, N, 360]")
    assert "only for squares" in said
