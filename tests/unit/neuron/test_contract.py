"""What every neuron promises besides its equations: constructor, step modes, state, dtypes, copies, subclasses."""

import copy
import inspect
import io
import itertools
import math
import pickle
from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from snntrain import functional, registry
from snntrain.base import StateMismatchError
from snntrain.neuron import BaseNode, IFNode, LIFNode, ParametricLIFNode
from snntrain.surrogate import ATan, Rect, Sigmoid

INF, NAN = math.inf, math.nan


# --- user subclasses, which must behave like the built-in neurons ----------------------------------------------------


class HookIF(BaseNode):
    """In the older style: only the charge, on self.v."""

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + x


class ChargeIF(BaseNode):
    """Only the charge, as a pure function."""

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x


class ForwardIF(BaseNode):
    """A whole step of its own, on self.v."""

    def single_step_forward(self, x: Tensor) -> Tensor:
        h = self.v + x
        s = self.surrogate_function(h - self.v_threshold)
        s_d = s.detach() if self.detach_reset else s
        self.v = h - s_d * self.v_threshold if self.v_reset is None else s_d * self.v_reset + (1 - s_d) * h
        return s


class StepIF(BaseNode):
    """A pure step with a second state: the number of spikes so far."""

    state_names = ("v", "count")

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.register_memory("count", 0.0)

    def step(self, x: Tensor, v: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        h = self.charge(x, v)
        s = self.fire(h)
        return s, self.reset_potential(h, s), count + s.detach()

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x


class ClampedLIF(LIFNode):
    """Its potential stays above −1."""

    def neuronal_charge(self, x: Tensor) -> None:
        super().neuronal_charge(x)
        self.v = self.v.clamp(min=-1.0)


class SilencedLIF(LIFNode):
    """Fires only at twice the threshold."""

    def neuronal_fire(self) -> Tensor:
        return self.surrogate_function(self.v - 2 * self.v_threshold)


class FatiguedLIF(LIFNode):
    """Halves its potential after every step."""

    def neuronal_reset(self, s: Tensor) -> None:
        super().neuronal_reset(s)
        self.v = self.v * 0.5


class UserTheta(torch.autograd.Function):
    """A user's own surrogate, which knows nothing of `spiking`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 0.5 * grad


BUILT_IN = {"IF": IFNode, "LIF": LIFNode, "PLIF": ParametricLIFNode}
OWN = {"neuronal_charge": HookIF, "charge": ChargeIF, "single_step_forward": ForwardIF, "step": StepIF}
VARIANTS = [
    (name, {"v_reset": v_reset, "detach_reset": detach, **({} if name == "IF" else {"decay_input": decay})})
    for name, v_reset, detach, decay in itertools.product(BUILT_IN, (None, 0.0, -0.2), (False, True), (True, False))
    if name != "IF" or decay
]
over_nodes = pytest.mark.parametrize("node_class", BUILT_IN.values(), ids=BUILT_IN)
over_all_nodes = pytest.mark.parametrize("node_class", [*BUILT_IN.values(), *OWN.values()], ids=[*BUILT_IN, *OWN])
over_modes = pytest.mark.parametrize("step_mode", ["s", "m"])
over_variants = pytest.mark.parametrize(
    "name, arguments", VARIANTS, ids=["-".join([n, *map(str, a.values())]) for n, a in VARIANTS]
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Inputs that make about a third of the steps spikes."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).mul(1.5).to(dtype)


def in_steps(node: nn.Module, x_seq: Tensor) -> Tensor:
    node.step_mode = "s"
    return torch.stack([node(x) for x in x_seq.unbind(0)])


def in_chunks(node: nn.Module, x_seq: Tensor, sizes: list[int]) -> Tensor:
    node.step_mode = "m"
    return torch.cat([node(chunk) for chunk in x_seq.split(sizes)])


def one_call(node: nn.Module, x: Tensor, step_mode: str) -> Tensor:
    """x is one step [N, *]; in 'm' it is run as a sequence of one."""
    node.step_mode = step_mode
    return node(x[None])[0] if step_mode == "m" else node(x)


def inside_a_model(node: nn.Module) -> nn.Module:
    """A model whose neuron has the path block.neuron."""
    return nn.Sequential(OrderedDict(block=nn.Sequential(OrderedDict(first=nn.Identity(), neuron=node))))


# --- section 2: constructors -----------------------------------------------------------------------------------------

COMMON = {
    "v_threshold": 1.0,
    "v_reset": 0.0,
    "surrogate_function": None,
    "detach_reset": False,
    "step_mode": "s",
    "backend": "auto",
    "store_v_seq": False,
}
SIGNATURES = {
    BaseNode: COMMON,
    IFNode: COMMON,
    LIFNode: {"tau": 2.0, "decay_input": True} | COMMON,
    ParametricLIFNode: {"init_tau": 2.0, "decay_input": True} | COMMON,
}


@pytest.mark.parametrize("node_class", SIGNATURES)
def test_arguments_have_the_order_and_the_defaults_of_the_specification(node_class):
    actual = {name: p.default for name, p in inspect.signature(node_class).parameters.items()}
    assert list(actual.items()) == list(SIGNATURES[node_class].items())


@over_nodes
def test_positional_arguments_reach_their_places(node_class):
    leading = [] if node_class is IFNode else [3.0, False]
    surrogate = ATan(3.0)
    node = node_class(*leading, 0.75, -0.5, surrogate, True, "m", "torch", True)
    assert (node.v_threshold, node.v_reset, node.detach_reset, node.step_mode) == (0.75, -0.5, True, "m")
    assert node.surrogate_function is surrogate and node.backend == "torch" and node.store_v_seq is True
    if leading:
        assert node.tau == pytest.approx(3.0) and node.decay_input is False


NOT_FINITE = [True, False, "1.0", NAN, INF, -INF, 10**400, 1j, [1.0], torch.tensor(1.0)]
NOT_A_FLAG = [0, 1, None, "True", 1.0]
NOT_ABOVE_ONE = [*NOT_FINITE, None, 1, 1.0, 0.5, 0, -2.0]
BAD_VALUES = {
    "v_threshold": ("a finite number", [*NOT_FINITE, None]),
    "v_reset": ("a finite number or None", NOT_FINITE),
    "surrogate_function": ("a surrogate module", ["Sigmoid", 4.0, Sigmoid, True]),
    "detach_reset": ("True or False", NOT_A_FLAG),
    "step_mode": ("'s'", ["S", "", None, 1, "sm"]),
    "backend": ("one of 'auto', 'torch', 'fused'", ["numba", "", None, 1, "Torch"]),
    "store_v_seq": ("True or False", NOT_A_FLAG),
    "decay_input": ("True or False", NOT_A_FLAG),
    "tau": ("a finite number > 1", NOT_ABOVE_ONE),
    "init_tau": ("a finite number > 1", NOT_ABOVE_ONE),
}


@pytest.mark.parametrize(
    "node_class, name, value",
    [
        pytest.param(node_class, name, value, id=f"{node_class.__name__}-{name}-{str(value)[:12]}")
        for node_class in BUILT_IN.values()
        for name in SIGNATURES[node_class]
        for value in BAD_VALUES[name][1]
    ],
)
def test_a_bad_value_is_refused_by_class_name_range_and_value(node_class, name, value):
    with pytest.raises(ValueError) as error:
        node_class(**{name: value})
    text = str(error.value)
    assert text.startswith(f"{node_class.__name__}: {name} must be {BAD_VALUES[name][0]}")
    assert text.endswith(f", got {value!r}.")


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


@pytest.mark.parametrize(
    "node_class, ints",
    [
        (IFNode, {"v_threshold": 1, "v_reset": -1}),
        (LIFNode, {"tau": 3, "v_threshold": 2, "v_reset": 0}),
        (ParametricLIFNode, {"init_tau": 3, "v_threshold": 2, "v_reset": 0}),
    ],
)
def test_ints_are_taken_where_floats_are_meant(node_class, ints):
    x = random(6, 5)
    with_ints, with_floats = (
        node_class(**arguments, step_mode="m", store_v_seq=True)
        for arguments in (ints, {name: float(value) for name, value in ints.items()})
    )
    assert torch.equal(with_ints(x), with_floats(x)) and torch.equal(with_ints.v_seq, with_floats.v_seq)


def test_no_order_of_threshold_and_reset_is_demanded():
    node = IFNode(v_threshold=-0.5, v_reset=2.0)
    assert node(torch.tensor([0.0, -3.0])).tolist() == [1, 0]  # h = 2, −1
    assert node.v.tolist() == [2.0, -1.0]


def test_the_default_surrogate_is_a_fresh_sigmoid_of_4_for_each_neuron():
    nodes = [LIFNode(), LIFNode(), IFNode(), ParametricLIFNode()]
    surrogates = [node.surrogate_function for node in nodes]
    assert len({id(surrogate) for surrogate in surrogates}) == len(nodes)
    assert all(type(surrogate) is Sigmoid and surrogate.alpha == 4.0 for surrogate in surrogates)
    surrogates[0].alpha = 1.0
    assert [surrogate.alpha for surrogate in surrogates[1:]] == [4.0, 4.0, 4.0]
    assert LIFNode().surrogate_function.alpha == 4.0


@over_all_nodes
@over_modes
def test_every_supported_backend_can_be_set_and_every_other_is_refused_with_a_reason(node_class, step_mode):
    node = node_class(step_mode=step_mode)
    assert isinstance(node.supported_backends, tuple) and "torch" in node.supported_backends
    for backend in ("auto", "torch", "fused"):
        if backend in ("auto", *node.supported_backends):
            node.backend = backend
            assert node.backend == backend
            continue
        reason = f"^{node_class.__name__}: backend 'fused' cannot serve this neuron: .{{10,}}"
        with pytest.raises(ValueError, match=reason):
            node.backend = backend
        with pytest.raises(ValueError, match=reason):
            node_class(backend=backend)
        assert node.backend == "torch"


@pytest.mark.parametrize("node_class", [HookIF, ForwardIF, ClampedLIF, SilencedLIF, FatiguedLIF])
def test_a_neuron_written_on_self_v_has_no_fused_backend(node_class):
    assert node_class().supported_backends == ("torch",)


@over_nodes
def test_repr_shows_every_constructor_value(node_class):
    arguments = {"v_threshold": 0.75, "v_reset": -0.5, "surrogate_function": ATan(3.5), "detach_reset": True}
    arguments |= {"step_mode": "m", "backend": "torch", "store_v_seq": True}
    leak = {} if node_class is IFNode else {"tau": 3.0, "decay_input": False}
    node = node_class(*leak.values(), **arguments)
    for name, value in (leak | arguments).items():
        shown = "ATan(alpha=3.5" if name == "surrogate_function" else f"{name}={value}"
        assert shown in repr(node).replace("(surrogate_function): ", ""), name


def test_repr_shows_a_surrogate_that_is_a_plain_function():
    assert "surrogate_function=<built-in method sigmoid" in repr(IFNode(surrogate_function=torch.sigmoid))


@pytest.mark.parametrize("w, shown", [(0.0, "tau=2.0,"), (-1e4, "tau=inf,"), (1e4, "tau=1.0,")])
def test_parametric_lif_prints_its_current_tau_whatever_w_became(w, shown):
    node = ParametricLIFNode(init_tau=1.5)
    with torch.no_grad():
        node.w.fill_(w)
    assert shown in repr(node)


def test_a_parametric_lif_without_data_can_be_printed():
    assert "tau=nan" in repr(ParametricLIFNode().to("meta"))


# --- the threshold ---------------------------------------------------------------------------------------------------


@over_all_nodes
@over_modes
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_reaching_the_threshold_fires_and_nan_does_not(node_class, step_mode, dtype):
    """The parameters make h = x exactly: tau does not touch v = r = 0 and the input is not decayed."""
    arguments = {"decay_input": False} if node_class in (LIFNode, ParametricLIFNode) else {}
    for threshold in (1.0, 0.5, -0.25, 0.0):
        node = node_class(v_threshold=threshold, **arguments)
        at = torch.tensor(threshold, dtype=dtype)
        x = torch.stack([at, at - 1 / 128, at + 1 / 128, torch.full_like(at, NAN)])
        assert one_call(node, x, step_mode).tolist() == [1, 0, 1, 0]
        assert node.v[1] == x[1] and node.v[3].isnan()


def test_the_threshold_in_float32_is_the_float32_nearest_to_the_argument():
    x = torch.tensor([0.1], dtype=torch.float32)
    assert IFNode(v_threshold=0.1)(x).item() == 1
    assert IFNode(v_threshold=0.1)(x.nextafter(torch.tensor(0.0))).item() == 0


@over_modes
@pytest.mark.parametrize("surrogate", [None, UserTheta.apply, Rect()])
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("v_reset", [0.0, -0.2])
def test_hard_reset_selects_so_that_an_overflowing_potential_resets(step_mode, surrogate, detach_reset, v_reset):
    node = IFNode(v_reset=v_reset, surrogate_function=surrogate, detach_reset=detach_reset)
    s = one_call(node, torch.tensor([INF, 3e38, 0.5, -INF]), step_mode)
    assert s.tolist() == [1, 1, 0, 0]
    expected = torch.tensor([v_reset, v_reset, torch.tensor(v_reset) + 0.5, -INF])
    assert torch.equal(node.v, expected)


@pytest.mark.parametrize("surrogate", [torch.sigmoid, Sigmoid(1.0, spiking=False)])
def test_an_output_between_0_and_1_mixes_reset_value_and_potential(surrogate):
    node = IFNode(v_threshold=0.5, v_reset=-2.0, surrogate_function=surrogate)
    y = node(torch.tensor([2.5, 3.0], dtype=torch.float64))  # h = 0.5, 1
    assert y.tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-0.5))])
    assert node.v.tolist() == pytest.approx([float(p * -2 + (1 - p) * h) for p, h in zip(y, (0.5, 1.0), strict=True)])


@over_modes
def test_a_users_own_surrogate_gives_value_and_gradient(step_mode):
    node = IFNode(surrogate_function=UserTheta.apply)
    x = torch.tensor([0.5, 1.5], requires_grad=True)
    s = one_call(node, x, step_mode)
    (s.sum() + node.v.sum()).backward()
    assert s.tolist() == [0, 1]
    assert x.grad.tolist() == [0.5 + (1 - 0.5 * 0.5), 0.5 + (0 - 1.5 * 0.5)]  # sg + (1 − s) + (r − h)·sg


# --- step modes ------------------------------------------------------------------------------------------------------


def trace_of(node: BaseNode, x: Tensor, run: Any) -> dict[str, Tensor]:
    """Outputs, final states and gradients of a run."""
    x = x.detach().requires_grad_()
    weights = random(*x.shape, seed=99, dtype=x.dtype)
    out = run(node, x)
    loss = (out * weights).sum() + (node.v * weights[0]).sum()
    gradients = torch.autograd.grad(loss, [x, *node.parameters()])
    names = ["x.grad", *(f"{name}.grad" for name, _ in node.named_parameters())]
    states = {name: value.detach() for name, value in functional.named_states(node)}
    return {"out": out.detach(), **states, **dict(zip(names, gradients, strict=True))}


@over_variants
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=3, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 2**31))
def test_steps_one_sequence_and_chunks_agree_in_outputs_states_and_gradients(name, arguments, dtype, sizes, seed):
    x = random(sum(sizes), 2, 3, seed=seed, dtype=dtype)
    runs = [in_steps, lambda node, x: in_chunks(node, x, [len(x)]), lambda node, x: in_chunks(node, x, sizes)]
    by_step, by_sequence, by_chunk = (trace_of(BUILT_IN[name](**arguments), x, run) for run in runs)
    assert by_step["out"].unique().tolist() in ([0, 1], [0], [1])
    for other in (by_sequence, by_chunk):
        for key, value in by_step.items():
            if key == "w.grad":  # equal up to the order of summation
                torch.testing.assert_close(value, other[key], rtol=1e-4, atol=1e-4)
            else:
                assert torch.equal(value, other[key]), key


@pytest.mark.parametrize("node_class", OWN.values(), ids=OWN)
@pytest.mark.parametrize("v_reset", [None, 0.0, -0.2])
@pytest.mark.parametrize("detach_reset", [False, True])
def test_a_users_integrate_and_fire_neuron_equals_the_built_in_one_in_both_modes(node_class, v_reset, detach_reset):
    x = random(6, 4, dtype=torch.float64)
    arguments = {"v_reset": v_reset, "detach_reset": detach_reset, "store_v_seq": True}
    for run in (in_steps, lambda node, x: in_chunks(node, x, [6]), lambda node, x: in_chunks(node, x, [1, 3, 2])):
        own, built_in = node_class(**arguments), IFNode(**arguments)
        actual, expected = trace_of(own, x, run), trace_of(built_in, x, run)
        for key, value in expected.items():
            torch.testing.assert_close(actual[key], value, rtol=1e-12, atol=1e-12)
        if own.step_mode == "m":
            torch.testing.assert_close(own.v_seq, built_in.v_seq, rtol=1e-12, atol=1e-12)
        if node_class is StepIF:
            assert torch.equal(own.count, expected["out"].sum(0))


@over_modes
@pytest.mark.parametrize(
    "node_class, expected_s, expected_v",
    [  # x = −9, 4.5, 0.5 in a soft-reset LIF of tau 2 without decay_input: h = v/2 + x
        (ClampedLIF, [0, 1, 1], [-1.0, 3.0, 1.0]),
        (SilencedLIF, [0, 0, 0], [-9.0, 0.0, 0.5]),
        (FatiguedLIF, [0, 1, 0], [-4.5, 0.625, 0.40625]),
    ],
)
def test_a_single_replaced_hook_of_a_built_in_neuron_is_used(node_class, expected_s, expected_v, step_mode):
    node = node_class(2.0, False, v_reset=None, step_mode=step_mode, store_v_seq=True)
    x = torch.tensor([-9.0, 4.5, 0.5])
    if step_mode == "m":
        assert node(x).tolist() == expected_s and node.v_seq.tolist() == expected_v
    else:
        assert [(node(step).item(), node.v.item()) for step in x] == [*zip(expected_s, expected_v, strict=True)]


@over_modes
def test_a_base_node_without_equations_says_what_to_define(step_mode):
    with pytest.raises(NotImplementedError, match=r"^BaseNode must define charge\(x, v\) or neuronal_charge\(x\)\.$"):
        one_call(BaseNode(), torch.zeros(2), step_mode)


@over_all_nodes
def test_a_sequence_may_go_on_in_the_other_step_mode(node_class):
    x = random(5, 3)
    expected = in_steps(node := node_class(), x)
    v = node.v
    for sizes in ([3, 1, 1], [1, 4], [4, 1]):
        for modes in ("sms", "msm"):
            node, outputs = node_class(), []
            for mode, chunk in zip(modes, x.split(sizes), strict=False):
                outputs.append(in_steps(node, chunk) if mode == "s" else in_chunks(node, chunk, [len(chunk)]))
            assert torch.equal(torch.cat(outputs), expected) and torch.equal(node.v, v)


@over_variants
def test_eval_mode_changes_neither_values_nor_gradients(name, arguments):
    x = random(6, 4)
    traces = []
    for training in (True, False):
        node = BUILT_IN[name](**arguments).train(training)
        traces += [trace_of(node, x, in_steps), trace_of(copy.deepcopy(node).train(training), x, in_steps)]
        node.reset()
        traces.append(trace_of(node, x, lambda node, x: in_chunks(node, x, [6])))
    in_train, in_eval = traces[:3], traces[3:]
    assert in_train[0]["x.grad"].abs().sum() > 0
    for expected, actual in zip(in_train, in_eval, strict=True):
        assert all(torch.equal(value, actual[key]) for key, value in expected.items())


# --- shapes ----------------------------------------------------------------------------------------------------------


@over_all_nodes
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 3), (2, 0, 4), (2, 3, 4, 5), (1, 2, 1, 2, 1, 2)])
def test_any_shape_is_taken_by_each_element_on_its_own(node_class, shape):
    x_seq = random(4, *shape)
    expected = in_steps(node_class(), x_seq.reshape(4, -1)).reshape(4, *shape)
    for mode in "sm":
        node = node_class(store_v_seq=True)
        out = in_steps(node, x_seq) if mode == "s" else in_chunks(node, x_seq, [4])
        assert out.shape == (4, *shape) and node.v.shape == shape and torch.equal(out, expected)
        if mode == "m":
            assert node.v_seq.shape == (4, *shape)


@over_all_nodes
@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 2, 3, 4, 4), ()])
def test_a_sequence_without_steps_is_refused(node_class, shape):
    model = inside_a_model(node_class(step_mode="m"))
    with pytest.raises(ValueError) as error:
        model(torch.zeros(shape))
    text = str(error.value)
    assert text.startswith(f"block.neuron ({node_class.__name__}): ")
    assert "T ≥ 1" in text and str(list(shape)) in text


def other_memory_layouts(x: Tensor) -> dict[str, Tensor]:
    """The same values as x [T, N, C, H, W], otherwise laid out."""
    return {
        "channels last": x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
        "reversed": x.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0),
        "every second": torch.stack([x, x + 1], -1).flatten(-2)[..., ::2],
    }


@over_all_nodes
@pytest.mark.parametrize("layout", ["channels last", "reversed", "every second"])
def test_the_memory_layout_of_the_input_does_not_matter(node_class, layout):
    x = random(3, 2, 4, 3, 5, dtype=torch.float64)
    otherwise = other_memory_layouts(x)[layout]
    assert torch.equal(x, otherwise) and not otherwise.is_contiguous()
    assert otherwise[0].is_contiguous(memory_format=torch.channels_last) == (layout == "channels last")
    runs = [in_steps, lambda node, x: in_chunks(node, x, [3]), lambda node, x: in_chunks(node, x, [1, 2])]
    for run in runs:
        expected, actual = trace_of(node_class(), x, run), trace_of(node_class(), otherwise, run)
        assert all(torch.allclose(value, actual[key], rtol=1e-12) for key, value in expected.items())


@over_all_nodes
def test_a_time_broadcast_input_gets_the_summed_gradient(node_class):
    x = random(3, 4, dtype=torch.float64).requires_grad_()
    copied = x.detach().clone().requires_grad_()
    for leaf, sequence in ((x, x.expand(5, 3, 4)), (copied, torch.stack([copied] * 5))):
        node = node_class(step_mode="m")
        (node(sequence).sum() + node.v.sum()).backward()
        assert leaf.grad.abs().sum() > 0
    torch.testing.assert_close(x.grad, copied.grad)


@over_all_nodes
@over_modes
def test_inputs_and_states_are_never_modified_in_place(node_class, step_mode):
    x, v_init = random(4, 3), random(3, seed=1)
    originals = x.clone(), v_init.clone()
    node = node_class(store_v_seq=True)
    node.v = v_init
    x.requires_grad_()
    kept = []
    for chunk in x.split(1):
        out = one_call(node, chunk[0], step_mode)
        kept.append((node.v, node.v.detach().clone(), out, out.detach().clone()))
    (kept[0][0].sum() + kept[-1][0].sum() + out.sum()).backward()
    node.detach()
    node.reset()
    assert torch.equal(x, originals[0]) and torch.equal(v_init, originals[1])
    assert x._version == v_init._version == 0
    assert all(torch.equal(v, v_then) and torch.equal(s, s_then) for v, v_then, s, s_then in kept)


# --- section 7: the state --------------------------------------------------------------------------------------------


@over_all_nodes
@pytest.mark.parametrize("v_reset, start", [(None, 0.0), (0.0, 0.0), (-0.2, -0.2), (0.5, 0.5)])
def test_v_is_its_reset_value_until_the_first_step_makes_it_a_tensor(node_class, v_reset, start):
    node = node_class(v_reset=v_reset, v_threshold=2.0)
    for step_mode, shape in (("s", (2, 3)), ("m", (4,))):
        assert isinstance(node.v, float) and node.v == start
        x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        node.materialise(x)
        assert torch.equal(node.v, torch.full_like(x, start)) and not node.v.requires_grad
        one_call(node, x, step_mode)
        assert node.v.shape == shape and node.v.requires_grad
        node.reset()


@over_all_nodes
def test_after_reset_a_neuron_is_as_new(node_class):
    x = random(5, 3)
    node = node_class(step_mode="m", store_v_seq=True)
    expected, v_seq = node(x), node.v_seq
    node.reset()
    assert node.v_seq is None and all(isinstance(value, float) for _, value in node.named_memories())
    assert torch.equal(node(x), expected) and torch.equal(node.v_seq, v_seq)


@over_all_nodes
@over_modes
def test_gradient_reaches_an_initial_potential_set_by_the_user(node_class, step_mode):
    node = node_class(v_reset=-0.2)
    node.v = v_init = random(3, seed=4).requires_grad_()
    one_call(node, random(3), step_mode)
    (gradient,) = torch.autograd.grad(node.v.sum(), v_init)
    assert gradient.abs().min() > 0


@over_all_nodes
@over_modes
@pytest.mark.parametrize("first, second", [((4, 3), (2, 3)), ((4, 3), (1, 3)), ((1, 3), (4, 3)), ((4, 3), (12,))])
def test_another_batch_size_without_reset_is_an_error_that_explains_itself(node_class, step_mode, first, second):
    node = node_class()
    model = inside_a_model(node)
    node.step_mode = step_mode
    leading = () if step_mode == "s" else (2,)
    model(torch.zeros(*leading, *first))
    before = node.v
    with pytest.raises(StateMismatchError) as error:
        model(torch.zeros(*leading, *second))
    text = str(error.value)
    assert isinstance(error.value, RuntimeError)
    assert text.startswith(f"block.neuron ({node_class.__name__}): state v ")
    assert str(list(first)) in text and str(list(second)) in text and "reset()" in text
    assert node.v is before
    functional.reset_net(model)
    assert model(torch.zeros(*leading, *second)).shape == (*leading, *second)


def test_the_error_of_a_neuron_outside_any_model_names_its_class_only():
    node = LIFNode()
    node(torch.zeros(4))
    with pytest.raises(StateMismatchError, match=r"^LIFNode: state v has shape \[4\], .* has shape \[3\]\."):
        node(torch.zeros(3))


def test_a_state_that_would_broadcast_is_refused():
    node = LIFNode()
    node.v = torch.zeros(1)
    with pytest.raises(StateMismatchError):
        node(torch.zeros(3))


@over_all_nodes
@over_modes
def test_state_and_input_on_different_devices_are_an_error_naming_both(node_class, step_mode):
    node = node_class()
    model = inside_a_model(node)
    one_call(node, torch.zeros(3), step_mode)
    x = torch.zeros((1, 3) if step_mode == "m" else (3,), device="meta")
    with pytest.raises(RuntimeError) as error:
        model(x)
    text = str(error.value)
    assert text.startswith(f"block.neuron ({node_class.__name__}): state v is on cpu, the input on meta")
    assert not isinstance(error.value, StateMismatchError)


@over_nodes
@over_modes
def test_moving_a_model_moves_its_states(node_class, step_mode):
    node = node_class(store_v_seq=True)
    model = inside_a_model(node)
    one_call(node, torch.zeros(3), step_mode)
    model.to("meta")
    assert node.v.device.type == "meta"
    out = one_call(node, torch.zeros(3, device="meta"), step_mode)
    assert out.device.type == "meta" and out.shape == (3,)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("node_class, leak", [(IFNode, {}), (LIFNode, {"tau": 49.0, "decay_input": True})])
@pytest.mark.parametrize("v_reset", [None, -0.2])
def test_cpu_and_cuda_agree_bit_for_bit_and_a_sequence_may_move_between_them(node_class, leak, v_reset):
    x = torch.cat([random(8, 1000), torch.full((1, 1000), 49.0), random(8, 1000, seed=1)])
    on_cpu, moved = (node_class(**leak, v_reset=v_reset, step_mode="m", store_v_seq=True) for _ in range(2))
    expected = on_cpu(x)
    outputs, potentials = [], []
    for chunk, device in zip(x.split([6, 6, 5]), ("cuda", "cpu", "cuda"), strict=True):
        moved.to(device)
        outputs.append(moved(chunk.to(device)).cpu())
        potentials.append(moved.v_seq.cpu())
    assert torch.equal(torch.cat(outputs), expected) and torch.equal(torch.cat(potentials), on_cpu.v_seq)
    with pytest.raises(RuntimeError, match="state v is on cuda:0, the input on cpu"):
        moved(x)


HALF_TO_STATE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}


@over_all_nodes
@over_modes
@pytest.mark.parametrize("dtype", HALF_TO_STATE)
def test_state_is_at_least_float32_and_output_and_gradient_have_the_dtype_of_the_input(node_class, step_mode, dtype):
    kept = HALF_TO_STATE[dtype]
    x = random(6, 8, dtype=dtype).requires_grad_()
    node, in_full = node_class(store_v_seq=True), node_class(store_v_seq=True)
    wide = x.detach().to(kept).requires_grad_()
    if step_mode == "s":
        out, expected = in_steps(node, x), in_steps(in_full, wide)
    else:
        out, expected = in_chunks(node, x, [6]), in_chunks(in_full, wide, [6])
        assert node.v_seq.dtype == kept and torch.equal(node.v_seq, in_full.v_seq)
    assert out.dtype == dtype and torch.equal(out.to(kept), expected)
    assert node.v.dtype == kept and torch.equal(node.v, in_full.v)
    out.sum().backward()
    expected.sum().backward()
    assert x.grad.dtype == dtype and torch.equal(x.grad, wide.grad.to(dtype))


class ProjectingIF(BaseNode):
    """Its charge contains an operation that autocast would run in half precision."""

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + nn.functional.linear(x, torch.full((x.shape[-1], x.shape[-1]), 0.3001))


@over_modes
@pytest.mark.parametrize("node_class", [*BUILT_IN.values(), ProjectingIF])
def test_autocast_does_not_reach_into_a_neuron(node_class, step_mode):
    x = random(5, 4)
    run = in_steps if step_mode == "s" else lambda node, x: in_chunks(node, x, [5])
    expected = run(reference := node_class(), x)
    node = node_class()
    with torch.autocast("cpu", torch.bfloat16):
        out = run(node, x)
        assert torch.is_autocast_enabled("cpu")
    assert out.dtype == torch.float32 and torch.equal(out, expected)
    assert node.v.dtype == torch.float32 and torch.equal(node.v, reference.v)


@over_nodes
def test_under_autocast_a_layer_hands_half_precision_to_a_neuron_that_keeps_float32(node_class):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), node := node_class(step_mode="m", store_v_seq=True), nn.Linear(8, 2))
    seen = []
    node.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        out = model(random(5, 3, 4))
    assert seen == [(torch.bfloat16, torch.bfloat16)] and node.v.dtype == node.v_seq.dtype == torch.float32
    out.float().sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    if node_class is ParametricLIFNode:
        assert node.w.grad.dtype == torch.float32 and node.w.grad != 0


@over_nodes
@pytest.mark.parametrize("lower", [nn.Module.half, nn.Module.bfloat16, lambda model: model.to(torch.float16)])
def test_lowering_a_model_in_mid_sequence_keeps_its_states_as_they_are(node_class, lower):
    node = node_class()
    in_steps(node, random(3, 5))
    before = node.v.clone()
    lower(inside_a_model(node))
    assert node.v.dtype == torch.float32 and torch.equal(node.v, before)
    out = node(random(5, dtype=torch.float16))
    assert out.dtype == torch.float16 and node.v.dtype == torch.float32
    assert all(p.dtype in (torch.float16, torch.bfloat16) for p in node.parameters())


@over_nodes
def test_raising_a_model_to_float64_in_mid_sequence_goes_on_in_float64(node_class):
    node = node_class()
    in_steps(node, random(3, 5))
    before = node.v.double()
    inside_a_model(node).to(torch.float64)
    assert node.v.dtype == torch.float64 and torch.equal(node.v, before)
    other = node_class().double()
    other.v = before
    x = random(4, 5, dtype=torch.float64)
    assert torch.equal(in_steps(node, x), in_steps(other, x)) and torch.equal(node.v, other.v)
    assert node.half().v.dtype in (torch.float32, torch.float64)


@over_all_nodes
@over_modes
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64, torch.complex64])
def test_an_input_that_is_not_floating_point_is_refused(node_class, step_mode, dtype):
    node = node_class(step_mode=step_mode)
    with pytest.raises(ValueError) as error:
        inside_a_model(node)(torch.ones(2, 3).to(dtype))
    text = str(error.value)
    assert text.startswith(f"block.neuron ({node_class.__name__}): ")
    assert "cast spikes to a float dtype" in text and str(dtype) in text
    assert isinstance(node.v, float)


def test_v_seq_holds_the_potentials_after_reset_of_the_last_sequence():
    node = IFNode(v_reset=None, step_mode="m", store_v_seq=True)
    assert node.v_seq is None
    node(torch.tensor([[0.5], [0.75], [2.0]]))
    assert node.v_seq.tolist() == [[0.5], [0.25], [1.25]]
    node(torch.tensor([[0.0]]))
    assert node.v_seq.tolist() == [[0.25]] and node.v.tolist() == [0.25]


@over_all_nodes
def test_v_seq_lives_only_in_mode_m_while_switched_on(node_class):
    x = random(3, 2)

    def filled(**arguments: Any) -> BaseNode:
        node = node_class(step_mode="m", store_v_seq=True, **arguments)
        node(x)
        assert node.v_seq.shape == x.shape
        return node

    node = filled()
    node.reset()
    assert node.v_seq is None

    node = filled()
    node.store_v_seq = False
    assert node.v_seq is None
    node(x)
    assert node.v_seq is None
    node.store_v_seq = True
    assert node.v_seq is None
    node(x)
    assert node.v_seq is not None

    node = filled()
    functional.set_step_mode(node, "s")
    assert node.v_seq is None
    node(x[0])
    assert node.v_seq is None

    node = node_class(step_mode="m")
    node(x)
    assert node.v_seq is None and "v_seq" not in dict(node.named_memories())


@over_nodes
def test_v_seq_carries_gradient(node_class):
    node = node_class(step_mode="m", store_v_seq=True)
    x = random(3, 2).requires_grad_()
    node(x)
    node.v_seq[1].sum().backward()
    assert x.grad[:2].abs().min() > 0 and x.grad[2].abs().max() == 0


@over_all_nodes
def test_detach_cuts_the_graph_keeps_the_values_and_leaves_earlier_tensors_alone(node_class):
    node = node_class(step_mode="m", store_v_seq=True)
    x = random(4, 3).requires_grad_()
    node(x[:2])
    v, v_seq = node.v, node.v_seq
    node.detach()
    assert not node.v.requires_grad and not node.v_seq.requires_grad and v.requires_grad and v_seq.requires_grad
    assert torch.equal(node.v, v) and torch.equal(node.v_seq, v_seq)
    out = node(x[2:])
    (gradient,) = torch.autograd.grad(out.sum() + node.v.sum(), x)
    assert gradient[:2].abs().max() == 0 and gradient[2:].abs().min() > 0


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "torch.save": lambda value: torch.load(io.BytesIO(saved(value)), weights_only=False),
}


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@over_all_nodes
@over_modes
@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
def test_a_copy_in_mid_sequence_owns_detached_clones_and_goes_on_alike(node_class, step_mode, make_copy):
    node = node_class(step_mode=step_mode, store_v_seq=True)
    model = inside_a_model(node)
    x = random(6, 3).requires_grad_()
    out = in_steps(node, x[:3]) if step_mode == "s" else in_chunks(node, x[:3], [3])
    assert node.v.requires_grad and not node.v.is_leaf

    twin_model = make_copy(model)
    twin = twin_model.block.neuron
    pairs = [*zip(node.named_memories(), twin.named_memories(), strict=True)]
    pairs += [(("v_seq", node.v_seq), ("v_seq", twin.v_seq))] if step_mode == "m" else []
    pairs += [*zip(node.named_parameters(), twin.named_parameters(), strict=True)]
    for (name, value), (twin_name, twin_value) in pairs:
        assert name == twin_name and torch.equal(value, twin_value)
        assert value.data_ptr() != twin_value.data_ptr() and twin_value.grad_fn is None
    assert twin.surrogate_function is not node.surrogate_function
    assert twin.step_mode == step_mode and twin.store_v_seq is True

    rest = x.detach()[3:]
    before = node.v
    expected_v = twin.v.clone()
    twin_out = in_steps(twin, rest)
    assert node.v is before and torch.equal(before, expected_v), "the original does not see the copy's steps"
    assert torch.equal(in_steps(node, rest), twin_out) and torch.equal(node.v, twin.v)
    twin.reset()
    assert isinstance(node.v, Tensor) and isinstance(twin.v, float)
    (out.sum() + node.v.sum()).backward()  # the graph of the original is intact
    assert x.grad.abs().sum() > 0


@over_all_nodes
def test_a_replica_of_data_parallel_owns_its_states(node_class):
    node = node_class()
    node(torch.full((2,), 0.25))
    before = node.v
    replica = node._replicate_for_data_parallel()  # what torch.nn.DataParallel makes per device
    replica._parameters = dict(node._parameters)  # and then fills
    replica._modules = dict(node._modules)
    replica(torch.full((2,), 0.25))
    assert node.v is before and not torch.equal(replica.v, before)


@over_all_nodes
def test_state_dict_holds_parameters_only_and_loading_leaves_the_states_alone(node_class):
    expected = ["w"] if node_class is ParametricLIFNode else []
    node = node_class(step_mode="m", store_v_seq=True)
    assert list(node.state_dict()) == [name for name, _ in node.named_parameters()] == expected
    assert list(node.buffers()) == []
    node(random(3, 2))
    v, v_seq = node.v, node.v_seq
    assert list(node.state_dict()) == expected
    model = inside_a_model(node)
    result = model.load_state_dict(inside_a_model(node_class()).state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert node.v is v and node.v_seq is v_seq


@over_all_nodes
@pytest.mark.parametrize("at", [0, 1, 3])
def test_restored_states_continue_a_sequence_bit_for_bit(node_class, at):
    x = random(6, 3)
    model = inside_a_model(node_class(step_mode="m"))
    if at:
        model(x[:at])
    kept = functional.get_states(model)
    assert set(kept) == {f"block.neuron.{name}" for name in model.block.neuron._memories}
    expected = model(x[at:])
    final = functional.get_states(model)

    other = inside_a_model(node_class(step_mode="m"))
    other(random(2, 5, 7))  # of another shape
    functional.set_states(other, kept)
    for _ in range(2):
        assert torch.equal(other(x[at:]), expected)
        assert all(torch.equal(value, final[name]) for name, value in functional.get_states(other).items())
        functional.set_states(other, kept)


# --- ParametricLIF ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init_tau", [1.01, 1.5, 2.0, 4, 100.0])
def test_w_starts_at_minus_log_of_tau_minus_one(init_tau):
    node = ParametricLIFNode(init_tau)
    assert isinstance(node.w, nn.Parameter) and node.w.shape == () and node.w.requires_grad
    assert node.w.item() == pytest.approx(-math.log(init_tau - 1), rel=1e-6, abs=1e-7)
    assert node.tau == pytest.approx(init_tau, rel=1e-6)


def test_every_layer_learns_a_time_constant_of_its_own():
    first, second = ParametricLIFNode(), ParametricLIFNode()
    with torch.no_grad():
        first.w.fill_(5.0)
    assert second.w.item() == 0.0 and first.tau == pytest.approx(1 + math.exp(-5))


def test_tau_never_falls_below_one():
    node = ParametricLIFNode()
    for w in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            node.w.fill_(w)
        assert node.tau >= 1


def test_a_checkpoint_with_the_reference_librarys_key_loads():
    model = inside_a_model(ParametricLIFNode())
    model.load_state_dict({"block.neuron.w": torch.tensor(0.25)})
    assert model.block.neuron.w.item() == 0.25


@over_modes
def test_p_is_computed_in_the_state_dtype(step_mode):
    node = ParametricLIFNode(init_tau=3.0, v_threshold=9.0)
    p = torch.sigmoid(node.w.detach().double())
    one_call(node, torch.ones(1, dtype=torch.float64), step_mode)
    assert node.v.item() == p.item()


def test_without_decay_input_or_with_it_lif_and_parametric_lif_of_the_same_tau_agree():
    x = random(6, 4, dtype=torch.float64)
    for decay in (True, False):
        for v_reset in (None, 0.0, -0.3):
            lif = LIFNode(2.0, decay, v_reset=v_reset, step_mode="m")  # 1/2 is exact
            plif = ParametricLIFNode(2.0, decay, v_reset=v_reset, step_mode="m")
            assert torch.equal(lif(x), plif(x)) and torch.equal(lif.v, plif.v)


# --- what compilers see ----------------------------------------------------------------------------------------------


def surrogates() -> list[nn.Module]:
    arguments = {"MultiLevelSpikeCount": {"max_spike_count": 1}}
    return [registry.build("surrogate", name, **arguments.get(name, {})) for name in registry.names("surrogate")]


TRACED = [
    *[(name, arguments, Sigmoid()) for name, arguments in VARIANTS],
    *[("LIF", {}, surrogate) for surrogate in surrogates()],
    ("PLIF", {}, ATan(spiking=False)),
]


@pytest.mark.parametrize(
    "name, arguments, surrogate",
    TRACED,
    ids=["-".join([n, *map(str, a.values()), type(s).__name__]) for n, a, s in TRACED],
)
def test_a_step_and_its_gradient_are_traced_to_pointwise_graphs(name, arguments, surrogate):
    """Kernels are generated from these two graphs."""
    node = BUILT_IN[name](**arguments, surrogate_function=surrogate)

    def gradients(g_s: Tensor, g_v: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        return torch.func.vjp(node.step, *inputs)[1]((g_s, g_v))

    def inputs(seed: int) -> list[Tensor]:
        leak = [] if name == "IF" else [torch.tensor(0.625 + seed)]
        return [random(5, seed=seed), random(5, seed=seed + 10), *leak]

    cotangents = [random(5, seed=20), random(5, seed=21)]
    forward = make_fx(node.step)(*inputs(0))
    backward = make_fx(gradients)(*cotangents, *inputs(0))
    for graph in (forward, backward):
        calls = [n for n in graph.graph.nodes if n.op not in ("placeholder", "output")]
        constants = [n for n in calls if n.op == "get_attr"]
        assert calls and not constants
        assert all(isinstance(n.target, torch._ops.OpOverload) and n.target.namespace == "aten" for n in calls)
    others = inputs(1)
    leaves = [value.clone().requires_grad_() for value in others]
    out = node.step(*leaves)
    expected = torch.autograd.grad(out, leaves, cotangents)
    assert all(torch.equal(a, b) for a, b in zip(forward(*others), out, strict=True))
    for actual, wanted in zip(backward(*cotangents, *others), expected, strict=True):
        torch.testing.assert_close(actual, wanted)


@over_nodes
@over_modes
def test_a_neuron_compiles_without_a_graph_break(node_class, step_mode):
    torch.compiler.reset()
    x = random(2, 3)
    node, compiled = node_class(step_mode=step_mode), node_class(step_mode=step_mode)
    compiled.compile(backend="eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(compiled(x), node(x)) and torch.equal(compiled.v, node.v)
