"""Names → classes: what can be built, and what is said to somebody who mistypes."""

import subprocess
import sys
import textwrap
from functools import partial
from typing import Any

import pytest
import torch
from refused import message_of
from torch import nn

from snntrain import neuron, registry
from snntrain.neuron import BaseNode, LIFNode


@pytest.fixture(autouse=True)
def own_entries(monkeypatch):
    """Names registered by a test vanish with it."""
    for kind in registry._HOMES:
        registry.names(kind)  # snntrain's own first
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})


message = partial(message_of, ValueError)


class MyNode(BaseNode):
    """A user's neuron."""

    def __init__(self, slope: float, shift: float = 0.0, **common: Any) -> None:
        super().__init__(**common)
        self.slope, self.shift = slope, shift


class Shy:
    """Takes nothing."""


def test_a_name_gives_its_class_and_build_makes_an_instance():
    assert registry.get("neuron", "LIFNode") is LIFNode
    node = registry.build("neuron", "LIFNode", tau=4.0, v_reset=None)
    assert type(node) is LIFNode and node.tau == 4.0 and node.v_reset is None
    assert type(registry.build("layer", "Flatten")).__module__.startswith("snntrain.layer")


@pytest.mark.parametrize("kind", sorted(registry._HOMES))
def test_every_registered_name_is_that_of_a_documented_class_or_function(kind):
    for name in registry.names(kind):
        target = registry.get(kind, name)
        assert target.__doc__
        assert target.__name__ == name or kind in ("readout", "conversion method", "report section") or name == "nir"


def test_the_neurons_that_users_import_can_be_named_in_yaml():
    exported = {name for name in neuron.__all__ if not name.endswith("BaseNode") and not name.startswith("Simple")}
    assert exported <= set(registry.names("neuron"))


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("LIF*", ["LIFNode"]),
        ("*LIFNode", ["LIFNode", "ParametricLIFNode"]),
        ("?IFNode", ["LIFNode"]),
        ("[IP]*Node", ["IFNode", "ParametricLIFNode"]),
        ("lif*", []),
        ("LIF", []),
    ],
)
def test_names_are_sorted_and_filtered_by_a_shell_pattern(pattern, expected, monkeypatch):
    entries = dict.fromkeys(["ParametricLIFNode", "LIFNode", "IFNode"], LIFNode)
    monkeypatch.setitem(registry._ENTRIES, "neuron", entries)
    assert registry.names("neuron", pattern) == expected
    names = registry.names("surrogate")
    assert names == sorted(names) and {"Sigmoid", "ATan"} <= set(names)


@pytest.mark.parametrize(
    "kind, name, suggestion",
    [
        ("neuron", "LIFnode", " Did you mean LIFNode?"),
        ("neuron", "lifnode", " Did you mean LIFNode?"),
        ("neuron", "ParametricLIF", " Did you mean ParametricLIFNode?"),
        ("surrogate", "Sigmoyd", " Did you mean Sigmoid?"),
        ("layer", "BatchNorm2D", " Did you mean BatchNorm2d?"),
        ("neuron", "xyz", ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_all_known_ones(kind, name, suggestion):
    known = ", ".join(registry.names(kind))
    for function in (registry.get, registry.build):
        assert message(function, kind, name) == (
            f"{name!r} is not a registered {kind}.{suggestion} Known: {known}. "
            f"Your own class: @register({kind!r}) in a module listed in plugins."
        )


def test_an_unknown_kind_is_refused_with_the_nearest_and_all_kinds():
    kinds = ", ".join(registry._HOMES)
    for function in (registry.names, registry.register, lambda kind: registry.get(kind, "LIFNode")):
        text = message(function, "neurons")
        assert text == f"'neurons' is not a kind of the registry. Did you mean neuron? Kinds: {kinds}."
    assert "Did you mean" not in message(registry.names, "xyz")


@pytest.mark.parametrize(
    "word, known, expected",
    [
        ("out_chanels", ["in_channels", "out_channels"], " Did you mean out_channels?"),
        ("TAU", ["tau", "T"], " Did you mean tau?"),
        ("tua", ["tau"], " Did you mean tau?"),
        ("tau", [], ""),
        ("tau", ["v_threshold"], ""),
        (3, ["tau"], ""),
    ],
)
def test_did_you_mean_names_the_nearest_word_or_nothing(word, known, expected):
    assert registry.did_you_mean(word, known) == expected
    assert registry.did_you_mean(word, iter(known)) == expected


# --- a user's class --------------------------------------------------------------------------------------------------


def test_a_users_class_is_returned_unchanged_and_can_be_built():
    assert registry.register("neuron")(MyNode) is MyNode
    node = registry.build("neuron", "MyNode", slope=2.0, v_threshold=0.5)
    assert type(node) is MyNode and (node.slope, node.v_threshold) == (2.0, 0.5)
    assert "MyNode" in registry.names("neuron", "My*") and "MyNode" not in registry.names("layer")


def test_a_class_can_be_registered_under_another_name():
    registry.register("neuron", "mine")(MyNode)
    assert registry.get("neuron", "mine") is MyNode and "MyNode" not in registry.names("neuron")


def test_a_name_that_another_class_holds_is_refused_and_stays_with_its_holder():
    text = message(registry.register("neuron", "LIFNode"), MyNode)
    assert text == ("register: the neuron name 'LIFNode' is held by snntrain.neuron.lif.LIFNode; choose another name.")
    assert registry.get("neuron", "LIFNode") is LIFNode
    registry.register("layer", "LIFNode")(MyNode)  # another kind is another namespace
    assert registry.get("neuron", "LIFNode") is LIFNode


def test_the_same_class_defined_again_replaces_itself():
    def define() -> type:
        @registry.register("neuron")
        class Notebook(BaseNode):
            """Run twice, as a notebook cell is."""

        return Notebook

    first, second = define(), define()
    assert first is not second and registry.get("neuron", "Notebook") is second


@pytest.mark.slow
def test_a_users_class_cannot_take_a_built_in_name_even_before_snntrains_neurons_are_imported():
    """Otherwise the error would come from snntrain's own class, on some later import."""
    script = """
        from snntrain.registry import register

        class LIFNode:
            "A user's."

        try:
            register("neuron")(LIFNode)
        except ValueError as error:
            print(error)
        from snntrain.neuron import LIFNode
        print(LIFNode.__module__)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "register: the neuron name 'LIFNode' is held by snntrain.neuron.lif.LIFNode; choose another name.",
        "snntrain.neuron.lif",
    ], done.stderr


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, arguments, expected",
    [
        (LIFNode, {"tua": 2.0}, "tua is not an argument of LIFNode. Did you mean tau? It takes: tau, decay_input, "),
        (LIFNode, {"xyz": 2.0}, "xyz is not an argument of LIFNode. It takes: tau, "),
        (LIFNode, {"tau": 2.0, "V_reset": 0}, "V_reset is not an argument of LIFNode. Did you mean v_reset? "),
        (LIFNode, {"self": 1}, "self is not an argument of LIFNode."),
        (Shy, {"tau": 2.0}, "tau is not an argument of Shy. It takes: nothing."),
        (MyNode, {}, "MyNode needs the argument slope."),
        (nn.Conv2d, {"stride": 1}, "Conv2d needs the arguments in_channels, out_channels, kernel_size."),
    ],
)
def test_arguments_that_do_not_fit_the_signature_are_refused(target, arguments, expected):
    assert message(registry.check_arguments, target, arguments).startswith(expected)
    if arguments:
        text = message(registry.check_arguments, target, arguments, title="method lif", path="model.layers[3]")
        assert text.startswith("model.layers[3]") and "method lif" in text


def test_arguments_that_fit_pass_and_keyword_arguments_pass_anything():
    registry.check_arguments(LIFNode, {"tau": 2.0, "store_v_seq": True})
    registry.check_arguments(lambda slope, **more: None, {"slope": 1.0, "anything": 2})
    registry.check_arguments(Shy, {})


def test_build_checks_arguments_before_it_constructs():
    constructed = []

    @registry.register("layer")
    class Recorder:
        """Says when it is constructed."""

        def __init__(self, size: int) -> None:
            constructed.append(size)

    assert message(registry.build, "layer", "Recorder", sise=3).startswith("sise is not an argument of Recorder.")
    assert message(registry.build, "layer", "Recorder") == "Recorder needs the argument size."
    assert constructed == []
    registry.build("layer", "Recorder", size=3)
    assert constructed == [3]
    assert message(registry.build, "neuron", "LIFNode", tau=0.5) == "LIFNode: tau must be a finite number > 1, got 0.5."


def test_a_yaml_mapping_is_built_as_it_stands_even_with_an_argument_called_kind():
    @registry.register("layer")
    class Labelled:
        """Takes the word that build itself uses."""

        def __init__(self, kind: str) -> None:
            self.kind = kind

    assert registry.build("layer", **{"name": "Labelled", "kind": "a"}).kind == "a"


def test_a_function_can_be_registered_too():
    @registry.register("layer")
    def halve(scale: float = 0.5) -> nn.Module:
        """A layer made by a function."""
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, scale)
        return layer

    assert registry.build("layer", "halve")(torch.ones(1)).item() == 0.5
