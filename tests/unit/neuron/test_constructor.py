"""Constructors of neurons: order and defaults of their arguments, what they refuse, what repr shows."""

import inspect
from typing import Any

import promises
import pytest
import torch
from promises import INF, NAN, NOT_A_FLAG, NOT_AN_INTEGER, NOT_FINITE, in_steps, random
from torch import nn

from snntrain import registry
from snntrain.neuron import (
    AdaptBaseNode,
    ATIFNode,
    BaseNode,
    ComplementaryLIFNode,
    CubaLIFNode,
    EIFNode,
    FloatCubaLIFNode,
    GatedLIFNode,
    IFNode,
    ILIFNode,
    IzhikevichNode,
    KLIFNode,
    LIAFNode,
    LIFNode,
    OTTTLIFNode,
    ParametricLIFNode,
    QIFNode,
    SimpleIFNode,
    SimpleLIFNode,
    SLTTLIFNode,
)
from snntrain.surrogate import ATan, MultiLevelSpikeCount, Rect, Sigmoid

pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")

RESET = {"v_threshold": 1.0, "v_reset": 0.0}
SETTINGS = {"step_mode": "s", "backend": "auto", "store_v_seq": False}
COMMON = {"surrogate_function": None, "detach_reset": False} | SETTINGS
LIF = {"tau": 2.0, "decay_input": True} | RESET
ADAPTATION = {"w_rest": 0.0, "tau_w": 2.0, "a": 0.0, "b": 0.0}
REQUIRED = inspect.Parameter.empty
SIGNATURES = {
    BaseNode: RESET | COMMON,
    IFNode: RESET | COMMON,
    LIFNode: LIF | COMMON,
    ParametricLIFNode: {"init_tau": 2.0, "decay_input": True} | RESET | COMMON,
    AdaptBaseNode: {"v_threshold": 1.0, "v_reset": 0.0, "v_rest": 0.0} | ADAPTATION | COMMON,
    QIFNode: {"tau": 2.0, "v_c": 0.8, "a0": 1.0, "v_threshold": 1.0, "v_rest": 0.0, "v_reset": -0.1} | COMMON,
    EIFNode: {"tau": 2.0, "delta_T": 1.0, "theta_rh": 0.8, "v_threshold": 1.0, "v_rest": 0.0, "v_reset": -0.1} | COMMON,
    IzhikevichNode: {"tau": 2.0, "v_c": 0.8, "a0": 1.0, "v_threshold": 1.0, "v_reset": 0.0, "v_rest": -0.1}
    | ADAPTATION
    | COMMON,
    LIAFNode: {"act": REQUIRED, "threshold_related": REQUIRED} | LIF | COMMON,
    KLIFNode: {"scale_reset": False} | LIF | COMMON,
    FloatCubaLIFNode: {
        "current_decay": 0.5,
        "voltage_decay": 0.25,
        "v_threshold": 1.0,
        "v_reset": 0.0,
        "requires_grad": False,
        **COMMON,
        "store_i_seq": False,
    },
    ComplementaryLIFNode: LIF | {"decay_input": False, "v_reset": None} | COMMON,
    GatedLIFNode: {
        "T": REQUIRED,
        "inplane": None,
        "init_linear_decay": None,
        "init_v_subreset": None,
        "init_tau": 0.25,
        "init_v_threshold": 0.5,
        "init_conduct": 0.5,
        "surrogate_function": None,
        "step_mode": "m",
        "backend": "auto",
    },
    SLTTLIFNode: LIF | COMMON | {"detach_reset": True},
    OTTTLIFNode: LIF | {"decay_input": False, "v_reset": None} | COMMON | {"detach_reset": True},
    SimpleIFNode: RESET | {"surrogate_function": None, "detach_reset": False, "step_mode": "s"},
    SimpleLIFNode: {"tau": REQUIRED, "decay_input": REQUIRED}
    | RESET
    | {"surrogate_function": None, "detach_reset": False, "step_mode": "s"},
    ILIFNode: {"tau": 4 / 3, "v_threshold": 1.0} | COMMON,
    ATIFNode: {"v_threshold": 1.0, "vth_init_l": 0.8, "vth_init_h": 1.0, "alpha": 1.0} | SETTINGS,
    CubaLIFNode: {
        "current_decay": REQUIRED,
        "voltage_decay": REQUIRED,
        **RESET,
        "scale": 64,
        "requires_grad": False,
        "surrogate_function": None,
        "norm": None,
        "detach_reset": False,
        **SETTINGS,
        "store_i_seq": False,
    },
}
FILL = {
    LIAFNode: {"act": "relu", "threshold_related": True},
    GatedLIFNode: {"T": 4},
    SimpleLIFNode: {"tau": 2.0, "decay_input": True},
    CubaLIFNode: {"current_decay": 0.5, "voltage_decay": 0.25},
}
over_classes = pytest.mark.parametrize("node_class", SIGNATURES, ids=lambda node_class: node_class.__name__)


@over_classes
def test_arguments_have_the_order_and_the_defaults_of_the_specification(node_class):
    promises.assert_signature(node_class, SIGNATURES[node_class])


BASES = (BaseNode, AdaptBaseNode, SimpleIFNode, SimpleLIFNode)


@pytest.mark.parametrize("node_class", [c for c in SIGNATURES if c not in BASES], ids=lambda c: c.__name__)
def test_the_registry_knows_the_neuron_by_the_name_of_its_class(node_class):
    assert registry.get("neuron", node_class.__name__) is node_class
    assert type(registry.build("neuron", node_class.__name__, **FILL.get(node_class, {}))) is node_class


FINITE = ("a finite number", NOT_FINITE)
ABOVE_ONE = ("a finite number > 1", [*NOT_FINITE, 1, 1.0, 0.5, 0, -2.0])
ABOVE_ZERO = ("a finite number > 0", [*NOT_FINITE, 0, 0.0, -1.0, -INF])
UNIT = ("a finite number ≥ 0 and ≤ 1", [*NOT_FINITE, -0.01, 1.01, 2])
OPEN_UNIT = ("a finite number > 0 and < 1", [*NOT_FINITE, 0, 1, 0.0, 1.0, -0.5, 2])
FLAG = ("True or False", NOT_A_FLAG)
BAD_VALUES = {
    **dict.fromkeys(["v_threshold", "v_rest", "w_rest", "a", "b", "v_c", "theta_rh"], FINITE),
    **dict.fromkeys(["tau_w", "a0", "delta_T"], ABOVE_ZERO),
    **dict.fromkeys(["current_decay", "voltage_decay"], UNIT),
    **dict.fromkeys(["init_v_threshold", "init_conduct"], OPEN_UNIT),
    **dict.fromkeys(
        ["init_linear_decay", "init_v_subreset"],
        (OPEN_UNIT[0] + " or None", [value for value in OPEN_UNIT[1] if value is not None]),
    ),
    **dict.fromkeys(
        [
            "decay_input",
            "detach_reset",
            "threshold_related",
            "scale_reset",
            "requires_grad",
            "store_v_seq",
            "store_i_seq",
        ],
        FLAG,
    ),
    "tau": ABOVE_ONE,
    "init_tau": ABOVE_ONE,
    "v_reset": ("a finite number or None", [value for value in NOT_FINITE if value is not None]),
    "surrogate_function": ("a surrogate module", ["Sigmoid", 4.0, Sigmoid, True]),
    "step_mode": ("'s'", ["S", "", None, 1, "sm"]),
    "backend": ("one of 'auto', 'torch', 'fused'", ["numba", "", None, 1, "Torch"]),
    "scale": ("an integer ≥ 1", [*NOT_AN_INTEGER, 0, -1]),
    "T": ("an integer ≥ 1", [*NOT_AN_INTEGER, 0, -1]),
    "inplane": ("an integer ≥ 1", [True, 2.0, "2", NAN, 0, -1]),
}
BAD_ACTS = {
    "one of 'relu', 'leaky_relu', 'selu', 'tanh', 'sigmoid', 'identity'": ["ReLU", "", "relu6"],
    "a function such as torch.relu, or the name of one such as 'relu'": [None, 1.0, True, nn.ReLU, [torch.relu]],
}


def refused_by(node_class: type, name: str) -> list[tuple[str, list]]:
    """(what is accepted, values that are not) for an argument."""
    if name == "act":
        return list(BAD_ACTS.items())
    if name == "init_tau" and node_class is GatedLIFNode:
        return [OPEN_UNIT]
    return [BAD_VALUES[name]]


# Tested with their neurons: arguments whose ranges are their own.
ELSEWHERE = (SLTTLIFNode, OTTTLIFNode, ILIFNode, ATIFNode, CubaLIFNode)


@pytest.mark.parametrize(
    "node_class, name",
    [(kind, name) for kind, signature in SIGNATURES.items() if kind not in ELSEWHERE for name in signature],
)
def test_a_bad_value_is_refused_by_class_name_range_and_value(node_class, name):
    fill = FILL.get(node_class, {})
    make = node_class if not fill else lambda **arguments: node_class(**fill | arguments)
    for expected, values in refused_by(node_class, name):
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


DISTINCT = {
    "tau": 3.0,
    "scale": 32,
    "vth_init_l": 0.25,
    "vth_init_h": 0.75,
    "alpha": 3.0,
    "tau_w": 4.0,
    "delta_T": 0.75,
    "theta_rh": 0.625,
    "v_c": 0.875,
    "a0": 1.25,
    "a": 0.25,
    "b": -0.5,
    "v_threshold": 1.75,
    "v_reset": -0.375,
    "v_rest": 0.125,
    "w_rest": 0.0625,
    "act": torch.tanh,
    "threshold_related": False,
    "scale_reset": True,
    "decay_input": None,  # the opposite of the default
    "current_decay": 0.375,
    "voltage_decay": 0.6875,
    "requires_grad": True,
    "T": 3,
    "inplane": 5,
    "surrogate_function": ATan(3.5),
    "detach_reset": True,
    "step_mode": None,  # the opposite of the default
    "backend": "torch",
    "store_v_seq": True,
    "store_i_seq": True,
    "init_linear_decay": 0.1875,
    "init_v_subreset": 0.4375,
    "init_tau": 0.3125,
    "init_v_threshold": 0.5625,
    "init_conduct": 0.8125,
}


def distinct(node_class: type) -> dict[str, Any]:
    """A value for each argument that is not its default."""
    signature = SIGNATURES[node_class]
    values = {name: DISTINCT[name] for name in signature if name != "norm"}
    values |= {name: not signature[name] for name in ("decay_input",) if name in signature}
    if "step_mode" in values:
        values["step_mode"] = "m" if signature["step_mode"] == "s" else "s"
    special = {
        ParametricLIFNode: {"init_tau": 3.0},
        SLTTLIFNode: {"detach_reset": False, "step_mode": "s"},
        OTTTLIFNode: {"detach_reset": False, "step_mode": "s"},
        ILIFNode: {"surrogate_function": MultiLevelSpikeCount(3)},
        CubaLIFNode: {"v_reset": 0.0, "norm": nn.Identity()},
    }
    values |= special.get(node_class, {})
    return {name: values[name] for name in signature}


@over_classes
def test_every_argument_reaches_its_attribute_also_by_position_and_the_repr(node_class):
    """By position as the documentation of SpikingJelly, lava and Qualia has it: users' subclasses call it so."""
    values = distinct(node_class)

    class Subclass(node_class):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)

    for node in (node_class(**values), node_class(*values.values()), Subclass(*values.values())):
        text = repr(node).replace("(surrogate_function): ", "")
        for name, value in values.items():
            if name in ("alpha", "norm") or (node_class is ATIFNode and name == "v_threshold"):
                continue  # it is the surrogate's, printed as a child, or drawn
            if not name.startswith("init_"):
                actual = getattr(node, name)
                assert actual is value or actual == value, name
            shown = {"act": "act=tanh", "init_tau": f"tau={value}"}.get(name, f"{name}={value}")
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
    ints |= {"vth_init_l": 1, "vth_init_h": 1, "alpha": 2}
    ints = {name: value for name, value in ints.items() if name in SIGNATURES[node_class]}
    if node_class in (BaseNode, AdaptBaseNode, GatedLIFNode):  # these cannot run, or take fractions only
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


@over_classes
def test_the_default_surrogate_is_a_new_one_for_each_neuron(node_class):
    first, second = (node_class(**FILL.get(node_class, {})).surrogate_function for _ in range(2))
    if node_class is ILIFNode:
        assert type(first) is MultiLevelSpikeCount and first.max_spike_count == 4 and first is not second
        return
    kind, alpha = (
        (Rect, 1.0) if node_class is ComplementaryLIFNode else (Sigmoid, 1.0 if node_class is ATIFNode else 4.0)
    )
    assert type(first) is type(second) is kind and first.alpha == alpha
    first.alpha = 9.0
    assert second.alpha == alpha
    assert node_class(**FILL.get(node_class, {})).surrogate_function.alpha == alpha


def test_repr_shows_a_surrogate_that_is_a_plain_function():
    assert "surrogate_function=sigmoid" in repr(IFNode(surrogate_function=torch.sigmoid))
