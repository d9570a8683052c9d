"""Constructors of neurons: order and defaults of their arguments, what they refuse, what repr shows."""

import inspect
from typing import Any

import promises
import pytest
import torch
from constructors import BAD_VALUES, COMMON, FILL, LIF, OWN_BAD_VALUES, SIGNATURES, distinct
from promises import in_steps, random

from snntrain import registry
from snntrain.neuron import (
    PSN,
    AdaptBaseNode,
    AdLIFBaseNode,
    ATIFNode,
    BaseNode,
    ComplementaryLIFNode,
    GatedLIFNode,
    IFNode,
    ILIFNode,
    LIFNode,
    MaskedPSN,
    NonSpikingIFNode,
    NonSpikingLIFNode,
    SimpleIFNode,
    SimpleLIFNode,
    SlidingPSN,
    TernaryLIFNode,
)
from snntrain.surrogate import ATan, MultiLevelSpikeCount, Rect, Sigmoid

pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")

over_classes = pytest.mark.parametrize("node_class", SIGNATURES, ids=lambda node_class: node_class.__name__)


@over_classes
def test_arguments_have_the_order_and_the_defaults_of_the_specification(node_class):
    promises.assert_signature(node_class, SIGNATURES[node_class])


BASES = (BaseNode, AdaptBaseNode, AdLIFBaseNode, SimpleIFNode, SimpleLIFNode)


@pytest.mark.parametrize("node_class", [c for c in SIGNATURES if c not in BASES], ids=lambda c: c.__name__)
def test_the_registry_knows_the_neuron_by_the_name_of_its_class(node_class):
    assert registry.get("neuron", node_class.__name__) is node_class
    assert type(registry.build("neuron", node_class.__name__, **FILL.get(node_class, {}))) is node_class


@pytest.mark.parametrize(
    "node_class, name",
    [(kind, name) for kind, signature in SIGNATURES.items() for name in signature],
)
def test_a_bad_value_is_refused_by_class_name_range_and_value(node_class, name):
    fill = FILL.get(node_class, {})
    make = node_class if not fill else lambda **arguments: node_class(**fill | arguments)
    for expected, values in OWN_BAD_VALUES.get((node_class, name)) or [BAD_VALUES[name]]:
        for value in values:
            promises.assert_refused(make, name, value, expected)


def test_the_error_has_the_words_of_the_specification():
    with pytest.raises(ValueError, match=r"^LIFNode: tau must be a finite number > 1, got 0\.5\.$"):
        LIFNode(tau=0.5)


@pytest.mark.parametrize("name", ["step_mode", "backend", "store_v_seq"])
def test_a_setting_keeps_its_value_when_a_later_change_is_refused(name):
    node = LIFNode(step_mode="m", backend="torch", store_v_seq=True)
    before = getattr(node, name)
    with pytest.raises(ValueError, match=f"^LIFNode: {name} must be "):
        setattr(node, name, "nonsense")
    assert getattr(node, name) == before


@over_classes
def test_every_argument_reaches_its_attribute_also_by_position_and_the_repr(node_class):
    """By position as the documentation of SpikingJelly, lava and Qualia has it: users' subclasses call it so."""
    values = distinct(node_class)

    class Subclass(node_class):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)

    nodes = [node_class(**values)]
    kinds = {parameter.kind for parameter in inspect.signature(node_class).parameters.values()}
    if kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD}:
        nodes += [node_class(*values.values()), Subclass(*values.values())]
    for node in nodes:
        text = repr(node).replace("(surrogate_function): ", "")
        for name, value in values.items():
            if name in ("alpha", "norm") or (node_class is ATIFNode and name == "v_threshold"):
                continue  # it is the surrogate's, printed as a child, or drawn
            if not name.startswith("init_") and name != "lambda_init":
                actual = getattr(node, name)
                assert actual is value or actual == value, name
            renamed = {"act": "act=tanh", "init_tau": f"tau={value}", "lambda_init": f"lambda_={value}"}
            shown = renamed.get(name, f"{name}={value}")
            if name == "surrogate_function":
                shown = repr(value)[:14]
            assert shown in text, name


def test_arguments_that_come_after_a_class_of_ours_reach_it_by_name():
    class Neuron(LIFNode):
        def __init__(self, gain: float, **common: Any) -> None:
            super().__init__(**common)
            self.gain = gain

    assert list(inspect.signature(Neuron).parameters) == ["gain", *LIF, *COMMON]
    node = Neuron(2.0, tau=3.0, v_reset=None)
    assert (node.gain, node.tau, node.v_reset) == (2.0, 3.0, None) and "gain=2.0, tau=3.0" in repr(node)
    with pytest.raises(TypeError, match=r"^Neuron: got an unexpected keyword argument 'v_treshold'"):
        Neuron(2.0, v_treshold=0.5)


@pytest.mark.parametrize("name", ["LIFNode", "KLIFNode", "RAFNode"])
def test_a_misspelled_argument_of_the_base_gets_a_suggestion(name):
    with pytest.raises(ValueError, match=rf"^v_treshold is not an argument of {name}\. Did you mean v_threshold\?"):
        registry.build("neuron", name, v_treshold=0.5)
    with pytest.raises(ValueError, match=r"^v_reset is not an argument of RAFNode\."):
        registry.build("neuron", "RAFNode", v_reset=0.0)


def test_a_users_class_may_take_arguments_of_its_own_out_of_the_others():
    class Neuron(LIFNode):
        def __init__(self, tau: float, **more: Any) -> None:
            self.label = more.pop("label")
            super().__init__(tau, **more)

    node = Neuron(3.0, label="first", v_threshold=0.5)
    assert (node.label, node.tau, node.v_threshold) == ("first", 3.0, 0.5)


@over_classes
def test_ints_are_taken_where_floats_are_meant(node_class):
    ints = {"tau": 2, "v_c": 1, "a0": 1, "v_threshold": 1, "v_rest": 0, "v_reset": 0, "w_rest": 0, "tau_w": 2, "a": 1}
    ints |= {"b": 1, "delta_T": 1, "theta_rh": 1, "current_decay": 1, "voltage_decay": 0, "init_tau": 3}
    ints |= {"vth_init_l": 1, "vth_init_h": 1, "alpha": 2, "omega": 1, "b_offset": 1, "dt": 1, "q_decay": 1}
    known = {name for name, default in SIGNATURES[node_class].items() if not isinstance(default, tuple)}
    ints = {name: value for name, value in ints.items() if name in known}
    if not ints or node_class in (*BASES[:3], GatedLIFNode):  # these cannot run, or take fractions only
        ints.pop("init_tau", None)
        assert all(getattr(node_class(**ints), name) == value for name, value in ints.items()) or not ints
        return
    fill = FILL.get(node_class, {}) | ({"backend": "torch"} if "backend" in SIGNATURES[node_class] else {})
    floats = {name: float(value) for name, value in ints.items()}
    a, b = (
        promises.outcome(promises.seeded(lambda v=values: node_class(**fill | v)).eval(), random(6, 5), in_steps)
        for values in (ints, floats)
    )
    promises.assert_same(a, b)


def test_no_order_of_threshold_and_reset_is_demanded():
    node = IFNode(v_threshold=-0.5, v_reset=2.0)
    assert node(torch.tensor([0.0, -3.0])).tolist() == [1, 0]  # h = 2, −1
    assert node.v.tolist() == [2.0, -1.0]


DEFAULT_SURROGATES = {
    **dict.fromkeys(SIGNATURES, (Sigmoid, 4.0)),
    **dict.fromkeys((ComplementaryLIFNode, TernaryLIFNode), (Rect, 1.0)),
    **dict.fromkeys((PSN, MaskedPSN, SlidingPSN), (ATan, 2.0)),
    ATIFNode: (Sigmoid, 1.0),
}


@pytest.mark.parametrize("node_class", [c for c in SIGNATURES if c not in (NonSpikingIFNode, NonSpikingLIFNode)])
def test_the_default_surrogate_is_a_new_one_for_each_neuron(node_class):
    first, second = (node_class(**FILL.get(node_class, {})).surrogate_function for _ in range(2))
    if node_class is ILIFNode:
        assert type(first) is MultiLevelSpikeCount and first.max_spike_count == 4 and first is not second
        return
    kind, alpha = DEFAULT_SURROGATES[node_class]
    assert type(first) is type(second) is kind and first.alpha == alpha
    first.alpha = 9.0
    assert second.alpha == alpha
    assert node_class(**FILL.get(node_class, {})).surrogate_function.alpha == alpha


def test_repr_shows_a_surrogate_that_is_a_plain_function():
    assert "surrogate_function=sigmoid" in repr(IFNode(surrogate_function=torch.sigmoid))
