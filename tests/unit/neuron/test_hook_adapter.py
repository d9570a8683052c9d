"""Neurons written with SpikingJelly's hooks, and neurons of this library with hooks or pure parts overridden."""

from functools import partial
from typing import Any

import promises
import pytest
import torch
from cases import HOOKED, OWN, StepIF
from promises import in_chunks, in_steps, one_call, random
from torch import Tensor

from snntrain.neuron import AdaptBaseNode, BaseNode, IFNode, LIAFNode, LIFNode, OTTTLIFNode

pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")

over_modes = pytest.mark.parametrize("step_mode", ["s", "m"])
over_runs = pytest.mark.parametrize("run", [in_steps, in_chunks])


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


@pytest.mark.parametrize("node_class", OWN.values(), ids=OWN)
@pytest.mark.parametrize("v_reset", [None, 0.0, -0.2])
@pytest.mark.parametrize("detach_reset", [False, True])
def test_a_users_integrate_and_fire_neuron_equals_the_built_in_one_in_both_modes(node_class, v_reset, detach_reset):
    x = random(6, 4, dtype=torch.float64)
    arguments = {"v_reset": v_reset, "detach_reset": detach_reset, "store_v_seq": True, "backend": "torch"}
    for run in (in_steps, in_chunks, lambda node, x: in_chunks(node, x, [1, 3, 2])):
        own, built_in = node_class(**arguments), IFNode(**arguments)
        actual, expected = promises.outcome(own, x, run), promises.outcome(built_in, x, run)
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


class Unregistered(LIFNode):
    """Names a state that it never registers."""

    state_names = ("v", "pause")

    def step(self, x: Tensor, v: Tensor, pause: Tensor, tau: Tensor) -> tuple[Tensor, ...]:
        s = self.fire(self.charge(x, v, tau))
        return s, v, s


class Forgetful(StepIF):
    """Does not return its second state."""

    def step(self, x: Tensor, v: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        return super().step(x, v, count)[:2]


@over_modes
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_state_that_is_not_registered_or_not_returned_is_named(backend, step_mode):
    with pytest.raises(
        AttributeError, match=r"^Unregistered: state_names has 'pause'.*register_memory\('pause', 0\.0\)"
    ):
        one_call(Unregistered(backend=backend), torch.zeros(2), step_mode)
    with pytest.raises(ValueError, match=r"^Forgetful: step must return .* the new v, count; it returned 2 values\."):
        one_call(Forgetful(backend=backend), torch.zeros(2), step_mode)
    with pytest.raises(ValueError, match=r"its state pause was not registered with register_memory"):
        one_call(Unregistered(backend="fused"), torch.zeros(2), step_mode)


def test_an_adaptive_base_without_equations_says_what_to_define():
    with pytest.raises(NotImplementedError, match=r"^AdaptBaseNode must define charge\(x, v, w, tau_w\) or neuronal_"):
        AdaptBaseNode(backend="torch")(torch.zeros(2))


HOOKS = ["single_step_forward", "neuronal_charge", "neuronal_fire", "neuronal_reset"]
OVERRIDDEN = [
    pytest.param(make, hook, id=f"{name}-{hook}")
    for name, make in HOOKED.items()
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


@pytest.mark.parametrize("make", HOOKED.values(), ids=HOOKED)
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


@pytest.mark.parametrize("name, make", HOOKED.items(), ids=HOOKED)
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


def test_an_overridden_hook_leaves_the_other_states_of_a_neuron_as_its_step_makes_them():
    class Silent(OTTTLIFNode):
        def neuronal_fire(self) -> Tensor:
            return super().neuronal_fire() * 1.0

    x = random(6, 4)
    node, plain = Silent().eval(), OTTTLIFNode(backend="torch").eval()
    assert torch.equal(in_steps(node, x), in_steps(plain, x)) and torch.equal(node.trace, plain.trace)
    assert plain.trace.any()


def test_resets_as_functions_select_and_subtract():
    v, s = torch.tensor([0.5, float("inf"), 1.5]), torch.tensor([0.0, 1.0, 1.0])
    assert BaseNode.jit_hard_reset(v, s, -0.25).tolist() == [0.5, -0.25, -0.25]
    assert BaseNode.jit_soft_reset(v[[0, 2]], s[[0, 2]], 1.0).tolist() == [0.5, 0.5]
    assert BaseNode.apply_hard_reset is BaseNode.jit_hard_reset


@pytest.mark.parametrize("node_class", [IFNode, LIFNode, *OWN.values()])
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


@pytest.mark.parametrize(
    "node_class", [OWN["neuronal_charge"], OWN["single_step_forward"], ClampedLIF, SilencedLIF, FatiguedLIF]
)
def test_a_neuron_written_on_self_v_has_no_fused_backend(node_class):
    assert node_class().supported_backends == ("torch",)
