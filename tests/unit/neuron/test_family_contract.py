"""What the adaptive, nonlinear, LIAF, KLIF, CUBA, CLIF and GLIF neurons promise besides their equations."""

import inspect
import itertools
from functools import partial
from typing import Any

import promises
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import INF, NAN, NOT_A_FLAG, NOT_AN_INTEGER, NOT_FINITE, in_chunks, in_steps, random
from torch import Tensor, nn

from snntrain import registry
from snntrain.neuron.adaptive import AdaptBaseNode, IzhikevichNode
from snntrain.neuron.clif import ComplementaryLIFNode
from snntrain.neuron.cuba import CubaLIFNode
from snntrain.neuron.glif import GatedLIFNode
from snntrain.neuron.klif import KLIFNode
from snntrain.neuron.liaf import ACTIVATIONS, LIAFNode
from snntrain.neuron.nonlinear import EIFNode, QIFNode
from snntrain.surrogate import ATan, Rect, Sigmoid

pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")

LEAK = {"tau": 3.0, "v_threshold": 0.5}
OTHER = {"surrogate_function": ATan(), "detach_reset": True}
POINTWISE = {  # each also in forms that take the other branches
    "QIF": (QIFNode, {}),
    "QIF detach": (QIFNode, {"tau": 3.0, "v_c": 0.7, "a0": 1.5, "v_rest": 0.1, "v_reset": 0.05, **OTHER}),
    "EIF": (EIFNode, {}),
    "EIF detach": (EIFNode, {"delta_T": 0.5, "theta_rh": 0.7, "v_rest": 0.1, "v_reset": 0.05, **LEAK, **OTHER}),
    "Izhikevich": (IzhikevichNode, {"a": 0.3, "b": 0.4, "w_rest": 0.05}),
    "Izhikevich detach": (IzhikevichNode, {"a": -0.2, "b": 0.4, "v_reset": 0.2, **OTHER}),
    "LIAF": (LIAFNode, {"act": "tanh", "threshold_related": False}),
    "LIAF soft": (LIAFNode, {"act": nn.LeakyReLU(0.2), "threshold_related": True, "v_reset": None, **LEAK}),
    "KLIF": (KLIFNode, {}),
    "KLIF scaled": (KLIFNode, {"scale_reset": True, "v_reset": -0.2, **LEAK, **OTHER}),
    "KLIF scaled soft": (KLIFNode, {"scale_reset": True, "v_reset": None, "decay_input": False}),
    "Cuba": (CubaLIFNode, {}),
    "Cuba learnt": (CubaLIFNode, {"current_decay": 0.3, "v_reset": None, "requires_grad": True}),
    "CLIF": (ComplementaryLIFNode, {"surrogate_function": Sigmoid()}),
    "CLIF hard": (ComplementaryLIFNode, {"decay_input": True, "v_reset": -0.2, **LEAK, **OTHER}),
}
# The kernels have tests of their own.
POINTWISE = {name: partial(kind, **more, backend="torch") for name, (kind, more) in POINTWISE.items()}
NODES = POINTWISE | {"GLIF": partial(GatedLIFNode, 16)}
LEARNT = {"KLIF": ["k"], "Cuba learnt": ["current_decay", "voltage_decay"]}
LEARNT |= {"KLIF scaled": ["k"], "KLIF scaled soft": ["k"]}
LEARNT["GLIF"] = ["alpha", "beta", "gamma", "tau", "v_threshold", "linear_decay", "v_subreset", "conduct"]

over_nodes = pytest.mark.parametrize("make", NODES.values(), ids=NODES)
over_named_nodes = pytest.mark.parametrize("name, make", NODES.items(), ids=NODES)
over_runs = pytest.mark.parametrize("run", [in_steps, in_chunks])


# --- section 2: constructors -----------------------------------------------------------------------------------------

COMMON = {
    "surrogate_function": None,
    "detach_reset": False,
    "step_mode": "s",
    "backend": "auto",
    "store_v_seq": False,
}
LIF = {"tau": 2.0, "decay_input": True, "v_threshold": 1.0, "v_reset": 0.0}
ADAPTATION = {"w_rest": 0.0, "tau_w": 2.0, "a": 0.0, "b": 0.0}
REQUIRED = inspect.Parameter.empty
SIGNATURES = {
    AdaptBaseNode: {"v_threshold": 1.0, "v_reset": 0.0, "v_rest": 0.0} | ADAPTATION | COMMON,
    QIFNode: {"tau": 2.0, "v_c": 0.8, "a0": 1.0, "v_threshold": 1.0, "v_rest": 0.0, "v_reset": -0.1} | COMMON,
    EIFNode: {"tau": 2.0, "delta_T": 1.0, "theta_rh": 0.8, "v_threshold": 1.0, "v_rest": 0.0, "v_reset": -0.1} | COMMON,
    IzhikevichNode: {"tau": 2.0, "v_c": 0.8, "a0": 1.0, "v_threshold": 1.0, "v_reset": 0.0, "v_rest": -0.1}
    | ADAPTATION
    | COMMON,
    LIAFNode: {"act": REQUIRED, "threshold_related": REQUIRED} | LIF | COMMON,
    KLIFNode: {"scale_reset": False} | LIF | COMMON,
    CubaLIFNode: {
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
}
FILL = {LIAFNode: {"act": "relu", "threshold_related": True}, GatedLIFNode: {"T": 4}}
over_classes = pytest.mark.parametrize("node_class", SIGNATURES, ids=lambda node_class: node_class.__name__)


@over_classes
def test_arguments_have_the_order_and_the_defaults_of_the_specification(node_class):
    promises.assert_signature(node_class, SIGNATURES[node_class])


@pytest.mark.parametrize("node_class", [c for c in SIGNATURES if c is not AdaptBaseNode], ids=lambda c: c.__name__)
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
    **dict.fromkeys(["init_tau", "init_v_threshold", "init_conduct"], OPEN_UNIT),
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
    "v_reset": ("a finite number or None", [value for value in NOT_FINITE if value is not None]),
    "surrogate_function": ("a surrogate module", ["Sigmoid", 4.0, Sigmoid, True]),
    "step_mode": ("'s'", ["S", "", None, 1, "sm"]),
    "backend": ("one of 'auto', 'torch', 'fused'", ["numba", "", None, 1, "Torch"]),
    "T": ("an integer ≥ 1", [*NOT_AN_INTEGER, 0, -1]),
    "inplane": ("an integer ≥ 1", [True, 2.0, "2", NAN, 0, -1]),
}
BAD_ACTS = {
    "one of 'relu', 'leaky_relu', 'selu', 'tanh', 'sigmoid', 'identity'": ["ReLU", "", "relu6"],
    "a function such as torch.relu, or the name of one such as 'relu'": [None, 1.0, True, nn.ReLU, [torch.relu]],
}


@pytest.mark.parametrize(
    "node_class, name, wanted, value",
    [
        pytest.param(node_class, name, wanted, value, id=f"{node_class.__name__}-{name}-{str(value)[:12]}")
        for node_class, signature in SIGNATURES.items()
        for name in signature
        for wanted, values in (BAD_ACTS.items() if name == "act" else [BAD_VALUES[name]])
        for value in values
    ],
)
def test_a_bad_value_is_refused_by_class_name_range_and_value(node_class, name, wanted, value):
    fill = FILL.get(node_class, {})
    make = node_class if not fill else lambda **arguments: node_class(**fill | arguments)
    promises.assert_refused(make, name, value, wanted)


DISTINCT = {
    "tau": 3.0,
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


@over_classes
def test_every_argument_reaches_its_attribute_also_by_position_and_the_repr(node_class):
    values = {name: DISTINCT[name] for name in SIGNATURES[node_class]}
    if "decay_input" in values:
        values["decay_input"] = not SIGNATURES[node_class]["decay_input"]
    values["step_mode"] = "s" if SIGNATURES[node_class]["step_mode"] == "m" else "m"
    for node in (node_class(**values), node_class(*values.values())):
        for name, value in values.items():
            if not name.startswith("init_"):
                actual = getattr(node, name)
                assert actual is value or actual == value, name
            shown = {"act": "act=tanh", "surrogate_function": "ATan(alpha=3.5"}.get(name, f"{name}={value}")
            assert shown in repr(node).replace("(surrogate_function): ", ""), name


@over_classes
def test_ints_are_taken_where_floats_are_meant(node_class):
    ints = {"tau": 2, "v_c": 1, "a0": 1, "v_threshold": 1, "v_rest": 0, "v_reset": 0, "w_rest": 0, "tau_w": 2, "a": 1}
    ints |= {"b": 1, "delta_T": 1, "theta_rh": 1, "current_decay": 1, "voltage_decay": 0}
    ints = {name: value for name, value in ints.items() if name in SIGNATURES[node_class]}
    if node_class in (AdaptBaseNode, GatedLIFNode):  # the one cannot run, the other takes fractions only
        assert all(getattr(node_class(**ints), name) == value for name, value in ints.items()) or not ints
        return
    fill = FILL.get(node_class, {}) | {"backend": "torch"}
    floats = {name: float(value) for name, value in ints.items()}
    a, b = (promises.outcome(node_class(**fill, **values), random(6, 5), in_steps) for values in (ints, floats))
    promises.assert_same(a, b)


@over_classes
def test_the_default_surrogate_is_a_fresh_one_for_each_neuron(node_class):
    first, second = (node_class(**FILL.get(node_class, {})).surrogate_function for _ in range(2))
    kind, alpha = (Rect, 1.0) if node_class is ComplementaryLIFNode else (Sigmoid, 4.0)
    assert type(first) is type(second) is kind and first.alpha == alpha
    first.alpha = 9.0
    assert second.alpha == alpha


def test_an_adaptive_base_without_equations_says_what_to_define():
    with pytest.raises(NotImplementedError, match=r"^AdaptBaseNode must define charge\(x, v, w, tau_w\) or neuronal_"):
        AdaptBaseNode(backend="torch")(torch.zeros(2))


# --- step modes, state, dtypes, copies -------------------------------------------------------------------------------


@over_nodes
@settings(max_examples=4, deadline=None)
@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), seed=st.integers(0, 2**31))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_one_sequence_chunks_and_mixed_modes_agree(make, dtype, sizes, seed):
    promises.assert_modes_agree(make, random(sum(sizes), 2, 3, seed=seed, dtype=dtype), sizes)


@over_nodes
def test_the_sequences_of_these_tests_make_spikes_and_silence(make):
    out = promises.outcome(make(), random(6, 2, 3), in_steps)["out"]
    assert out.unique().tolist() == [0, 1] or out.unique().numel() > 10, "the latter for LIAF"


@over_nodes
def test_any_shape_and_memory_layout_is_taken_by_each_element_on_its_own(make):
    promises.assert_any_shape(make)


@over_nodes
@over_runs
def test_copies_in_mid_sequence_own_detached_clones_and_go_on_alike(make, run):
    promises.assert_copies_go_on_alike(make, run)


@over_nodes
@over_runs
def test_restored_states_continue_a_sequence_bit_for_bit(make, run):
    promises.assert_states_can_be_restored(make, run)


@over_nodes
@over_runs
def test_half_precision_is_computed_in_float32(make, run):
    promises.assert_half_precision_is_computed_in_float32(make, run)


@over_named_nodes
def test_state_dict_holds_the_learnable_parameters_and_nothing_else(name, make):
    promises.assert_state_dict_holds(partial(make, step_mode="m"), LEARNT.get(name, []), random(3, 2))


@over_named_nodes
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_another_batch_size_without_reset_is_an_error_that_explains_itself(name, make, step_mode):
    leading = () if step_mode == "s" else (2,)
    first, second = torch.zeros(*leading, 4, 3), torch.zeros(*leading, 1, 3)
    state = "u" if name == "GLIF" else "v"
    promises.assert_forgotten_reset_is_explained(partial(make, step_mode=step_mode), state, first, second)


@over_nodes
def test_every_state_is_checked_for_its_shape(make):
    node = make(step_mode="s")
    node(torch.zeros(3))
    for name in promises.state_tensors(node):
        kept = getattr(node, name)
        setattr(node, name, torch.zeros(1))
        with pytest.raises(RuntimeError, match=rf"state {name} has shape \[1\], .* has shape \[3\]"):
            node(torch.zeros(3))
        setattr(node, name, kept)


@over_nodes
@over_runs
def test_eval_mode_changes_neither_values_nor_gradients(make, run):
    promises.assert_eval_is_train(make, random(5, 4), run)


@over_nodes
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_bad_inputs_are_refused(make, step_mode):
    promises.assert_inputs_are_refused(make, step_mode)


@over_nodes
@over_runs
def test_inputs_and_states_are_never_modified_in_place(make, run):
    promises.assert_states_never_change_in_place(make, random(4, 3), run)


@over_nodes
@over_runs
def test_detach_cuts_the_graph_and_keeps_the_values(make, run):
    node, x = make(), random(5, 3).requires_grad_()
    run(node, x[:2])
    before = promises.state_tensors(node)
    node.detach()
    after = promises.state_tensors(node)
    assert all(torch.equal(value, after[name]) and not after[name].requires_grad for name, value in before.items())
    total = run(node, x[2:]).sum() + sum(state.sum() for state in promises.state_tensors(node).values())
    (gradient,) = torch.autograd.grad(total, x)
    assert gradient[:2].abs().max() == 0 and gradient[2:].abs().max() > 0


@over_nodes
def test_moving_a_model_moves_its_states_and_lowering_it_does_not_lower_them(make):
    node = make(step_mode="s")
    node(random(3))
    before = promises.state_tensors(node)
    node.half()
    assert all(torch.equal(value, before[name]) for name, value in promises.state_tensors(node).items())
    assert all(value.dtype == torch.float16 for value in node.parameters())
    out = node(random(3, dtype=torch.float16))
    assert out.dtype == torch.float16
    node.to("meta")
    assert {value.device.type for value in promises.state_tensors(node).values()} == {"meta"}
    assert node(torch.zeros(3, device="meta")).device.type == "meta"
    repr(node)


@pytest.mark.parametrize("make", POINTWISE.values(), ids=POINTWISE)
def test_autocast_does_not_reach_into_a_neuron(make):
    x = random(5, 4)
    expected = promises.outcome(make(), x, in_steps)
    with torch.autocast("cpu", torch.bfloat16):
        actual = promises.outcome(make(), x, in_steps)
    promises.assert_same(actual, expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@over_named_nodes
def test_cpu_and_cuda_agree(name, make):
    x = random(12, 4, 50)
    on_cpu = promises.outcome(promises.seeded(make), x, in_chunks)
    on_gpu = promises.outcome(promises.seeded(make).cuda(), x.cuda(), in_chunks)
    for key, value in on_cpu.items():
        if key in ("out", "v", "w", "i") and name.split()[0] in ("QIF", "Izhikevich", "KLIF", "Cuba"):
            assert torch.equal(value, on_gpu[key].cpu()), key
        elif isinstance(value, Tensor):
            torch.testing.assert_close(value, on_gpu[key].cpu(), rtol=1e-4, atol=1e-4)


# --- graphs ----------------------------------------------------------------------------------------------------------

TRACED = {
    **POINTWISE,
    **{
        f"{name} {v_reset} {detach_reset}": partial(POINTWISE[name], v_reset=v_reset, detach_reset=detach_reset)
        for name, v_reset, detach_reset in itertools.product(
            ("Izhikevich", "KLIF", "KLIF scaled soft", "Cuba", "CLIF"), (None, -0.2), (False, True)
        )
    },
    **{f"LIAF {act}": partial(LIAFNode, act, True, backend="torch") for act in ACTIVATIONS},
}


@pytest.mark.parametrize("name, make", TRACED.items(), ids=TRACED)
def test_a_step_and_its_gradient_are_traced_to_pointwise_graphs(name, make):
    """Kernels are generated from these two graphs. With scale_reset, k comes a second time, as the divisor."""
    node = make()
    learnable = len(list(node.parameters())) + getattr(node, "scale_reset", False)
    promises.assert_traceable(node, learnable)


@pytest.mark.parametrize("name", ["QIF", "EIF", "Izhikevich", "LIAF", "KLIF scaled soft", "Cuba learnt", "CLIF"])
def test_a_neuron_compiles_without_a_graph_break(name):
    torch.compiler.reset()
    x = random(2, 3)
    node, compiled = (POINTWISE[name](step_mode="m") for _ in range(2))
    compiled.compile(backend="eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(compiled(x), node(x)) and torch.equal(compiled.v, node.v)


# --- hooks -----------------------------------------------------------------------------------------------------------

HOOKS = ["single_step_forward", "neuronal_charge", "neuronal_fire", "neuronal_reset"]
OVERRIDDEN = [
    pytest.param(make, hook, id=f"{name}-{hook}")
    for name, make in POINTWISE.items()
    for hook in HOOKS + ["neuronal_adaptation"] * name.startswith("Izhikevich")
]


def overriding(make: partial, hook: str, replacement: Any) -> partial:
    """A subclass of the neuron with one hook replaced; the replacement gets the inherited method first."""
    inherited = getattr(make.func, hook)
    subclass = type(make.func.__name__, (make.func,), {hook: lambda self, *a: replacement(inherited, self, *a)})
    return partial(subclass, **make.keywords)


@pytest.mark.parametrize("make, hook", OVERRIDDEN)
def test_a_hook_that_only_delegates_is_called_at_every_step_and_changes_nothing(make, hook):
    called = []

    def delegate(inherited: Any, self: Any, *arguments: Any) -> Any:
        called.append(hook)
        return inherited(self, *arguments)

    x = random(5, 4, dtype=torch.float64)
    expected = promises.outcome(make(), x, in_steps)
    for run in (in_steps, in_chunks, lambda node, x: in_chunks(node, x, [2, 3])):
        called.clear()
        node = overriding(make, hook, delegate)()
        actual = promises.outcome(node, x, run)
        assert len(called) == 5
        promises.assert_same(actual, expected, exact=False)
        assert node.supported_backends == ("torch",)


@pytest.mark.parametrize("make", POINTWISE.values(), ids=POINTWISE)
@over_runs
def test_a_replaced_hook_is_used(make, run):
    x = random(6, 4, dtype=torch.float64)

    def silent(inherited: Any, self: Any) -> Tensor:
        return torch.zeros_like(inherited(self))

    node = overriding(make, "neuronal_fire", silent)()
    out, v = run(node, x), node.v
    never = make(v_threshold=1e9) if isinstance(node, LIAFNode) else make(surrogate_function=torch.zeros_like)
    expected = run(never, x)
    assert torch.equal(v, never.v)
    if not isinstance(node, LIAFNode):
        assert torch.equal(out, expected) and out.abs().max() == 0

    def lifted(inherited: Any, self: Any, x: Tensor) -> None:
        inherited(self, x)
        self.v = self.v + 0.25

    node, unchanged = overriding(make, "neuronal_charge", lifted)(), make()
    run(node, x), run(unchanged, x)
    assert not torch.equal(node.v, unchanged.v)


@pytest.mark.parametrize("name, make", POINTWISE.items(), ids=POINTWISE)
def test_a_subclass_may_replace_a_pure_part_and_stays_pure(name, make):
    class Shifted(make.func):
        def charge(self, *arguments: Tensor) -> Tensor:
            return super().charge(*arguments) + 0.25

    node = Shifted(**make.keywords)
    assert not node.overrides_hooks()
    unchanged, x = make(), random(6, 4, dtype=torch.float64)
    in_chunks(node, x), in_chunks(unchanged, x)
    assert not torch.equal(node.v, unchanged.v)


class OldStyleAdaptive(AdaptBaseNode):
    """As older code writes an adaptive neuron: the charge only, on self.v and self.w."""

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + (x - self.v - self.w) / 2.0


class PureAdaptive(AdaptBaseNode):
    """The same as a pure function."""

    def charge(self, x: Tensor, v: Tensor, w: Tensor, *parameters: Tensor) -> Tensor:
        return v + (x - v - w) / 2.0


@over_runs
def test_a_users_adaptive_neuron_may_be_written_in_either_style(run):
    x = random(6, 4, dtype=torch.float64)
    arguments = {"a": 0.5, "b": 0.25, "v_rest": 0.125, "tau_w": 3.0, "v_threshold": 0.5, "backend": "torch"}
    by_hook, pure = (promises.outcome(kind(**arguments), x, run) for kind in (OldStyleAdaptive, PureAdaptive))
    assert pure["out"].unique().tolist() == [0, 1]
    promises.assert_same(by_hook, pure, exact=False)
    assert OldStyleAdaptive(**arguments).supported_backends == ("torch",)
