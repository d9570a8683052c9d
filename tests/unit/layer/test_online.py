"""OTTT: weight gradients from traces, and what passes a pair on."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_inputs import normal
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.layer import AvgPool2d, Conv2d, Flatten, Linear
from snntrain.layer.branch import Branches, Residual
from snntrain.layer.container import MultiStepContainer
from snntrain.layer.dropout import DropConnectLinear, Dropout
from snntrain.layer.online import GradwithTrace, OTTTSequential, ReplaceforGrad, SpikeTraceOp, is_pair
from snntrain.neuron import LIFNode, OTTTLIFNode


def pair_of(*shape: int) -> list[Tensor]:
    return [(normal(*shape) > 0).float().requires_grad_(), normal(*shape, seed=1).abs()]


def ottt(**more: object) -> OTTTLIFNode:
    return OTTTLIFNode(backend="torch", **more)


class Counting(nn.Linear):
    """Counts its calls."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


# --- ReplaceforGrad --------------------------------------------------------------------------------------------------


def test_replace_for_grad_gives_the_second_value_and_both_the_gradient():
    x, x_r = normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_()
    out = ReplaceforGrad.apply(x, x_r)
    assert torch.equal(out, x_r)
    g = normal(2, 3, seed=2)
    out.backward(g)
    assert torch.equal(x.grad, g) and torch.equal(x_r.grad, g)


def test_replace_for_grad_serves_one_input_that_needs_no_gradient():
    x, x_r = normal(2).requires_grad_(), normal(2, seed=1)
    out = ReplaceforGrad.apply(x, x_r)
    assert out.requires_grad and not x_r.requires_grad and out.grad_fn is not None
    out.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_replace_for_grad_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match=r"^ReplaceforGrad: .* same shape, got \[2, 3\] and \[2, 1\]\.$"):
        ReplaceforGrad.apply(torch.ones(2, 3), torch.ones(2, 1))


# --- GradwithTrace ---------------------------------------------------------------------------------------------------


def test_the_check_of_the_specification():
    linear = nn.Linear(3, 2, bias=False)
    spike, trace = torch.tensor([1.0, 0, 1], requires_grad=True), torch.tensor([1.5, 0.5, 1.2])
    out = GradwithTrace(linear)([spike, trace])
    assert torch.equal(out, linear(spike))
    out.sum().backward()
    assert_close(linear.weight.grad, trace.expand(2, 3))
    assert_close(spike.grad, linear.weight.detach().sum(0))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), depth=st.integers(1, 2))
def test_weights_learn_as_if_the_trace_had_come_in_and_the_spikes_as_from_the_trace_run(seed, depth):
    torch.manual_seed(seed)
    conv = nn.Sequential(nn.AvgPool2d(2), *(nn.Conv2d(2, 2, 3, padding=1) for _ in range(depth))).double()
    spike = (torch.rand(2, 2, 4, 4) > 0.5).double().requires_grad_()
    trace, g = (torch.rand(2, 2, n, n, dtype=torch.double) for n in (4, 2))
    out = GradwithTrace(conv)([spike, trace])
    assert torch.equal(out, conv(spike))
    found = torch.autograd.grad((out * g).sum(), [*conv.parameters(), spike])
    trace.requires_grad_()
    assert_close(found, torch.autograd.grad((conv(trace) * g).sum(), [*conv.parameters(), trace]))


def test_weights_keep_their_gradient_under_autocast():
    linear = nn.Linear(3, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = GradwithTrace(linear)(pair_of(4, 3))
    out.float().sum().backward()
    assert linear.weight.grad is not None and linear.weight.grad.any()


def test_without_gradient_the_module_runs_once():
    linear = Counting(3, 2)
    spike, trace = pair_of(4, 3)
    with torch.no_grad():
        assert torch.equal(GradwithTrace(linear)([spike, trace]), nn.Linear.forward(linear, spike))
    assert linear.calls == 1


@pytest.mark.parametrize("kind", [GradwithTrace, SpikeTraceOp])
def test_a_tensor_is_a_plain_call(kind):
    linear = Counting(3, 2)
    x = normal(4, 3)
    assert torch.equal(kind(linear)(x), nn.Linear.forward(linear, x)) and linear.calls == 1
    assert [name for name, _ in kind(linear).named_parameters()] == ["module.weight", "module.bias"]


@pytest.mark.parametrize(
    "module, words",
    [
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), r"GradwithTrace: 1 \(BatchNorm2d\).* updated twice"),
        (nn.Sequential(nn.Linear(1, 1), nn.Dropout()), r"GradwithTrace: 1 \(Dropout\).* drawn twice"),
        (DropConnectLinear(2, 2), r"GradwithTrace: DropConnectLinear .* drawn twice"),
    ],
)
def test_modules_that_cannot_run_twice_unnoticed_draw_one_warning(module, words):
    with pytest.warns(UserWarning) as caught:
        GradwithTrace(module)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match=words):
        GradwithTrace(module)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(2, 2), Dropout(), nn.GroupNorm(1, 2)),
        DropConnectLinear(2, 2, invariant=True),
        nn.InstanceNorm2d(2, affine=True),
    ],
)
def test_modules_that_may_run_twice_draw_no_warning(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GradwithTrace(module)
        OTTTSequential(OTTTLIFNode(), module)


@pytest.mark.parametrize("kind", [GradwithTrace, SpikeTraceOp])
def test_a_stateful_module_is_refused(kind):
    with pytest.raises(ValueError, match=r"^1\.0 \(LIFNode\) is stateful and cannot take a pair"):
        kind(nn.Sequential(nn.Linear(1, 1), nn.Sequential(LIFNode())))


# --- SpikeTraceOp ----------------------------------------------------------------------------------------------------


def test_an_operation_acts_on_spikes_and_trace_alike():
    spike, trace = pair_of(2, 3, 4, 4)
    trace.requires_grad_()
    out = SpikeTraceOp(nn.AvgPool2d(2))([spike, trace])
    assert type(out) is list
    assert_close(out, [nn.AvgPool2d(2)(spike), nn.AvgPool2d(2)(trace)])
    assert out[0].requires_grad and not out[1].requires_grad


def test_our_dropout_silences_the_same_spikes_and_traces():
    dropout = Dropout(0.5)
    out = SpikeTraceOp(dropout)([torch.ones(50), torch.full((50,), 2.0)])
    assert torch.equal(2 * out[0], out[1]) and set(out[0].tolist()) == {0, 2}
    assert_close(OTTTSequential(dropout)([torch.ones(50), torch.full((50,), 2.0)]), out)


@pytest.mark.parametrize("module", [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()])
def test_dropout_of_torch_is_refused(module):
    with pytest.raises(ValueError, match=rf"^{type(module).__name__} would draw different .* snntrain's Dropout"):
        SpikeTraceOp(module)
    model = nn.Sequential(OTTTSequential(nn.Sequential(nn.Flatten(), module)))
    with pytest.raises(ValueError, match=rf"^0\.0\.1 \({type(module).__name__}\) would draw different"):
        model(pair_of(2, 3, 4, 4))


@pytest.mark.parametrize(
    "value", [[torch.ones(2)], [torch.ones(2), torch.ones(3)], [torch.ones(2), 1.0], [torch.ones(2)] * 3, []]
)
def test_other_lists_are_refused(value):
    for module in (GradwithTrace(nn.Linear(2, 2)), SpikeTraceOp(nn.ReLU()), OTTTSequential(nn.ReLU())):
        with pytest.raises(ValueError, match=r"pair \[spikes, trace\] of tensors of one shape, got"):
            module(value)
    assert is_pair([torch.ones(2)] * 2) and not is_pair((torch.ones(2), torch.ones(2))) and not is_pair(torch.ones(2))


# --- OTTTSequential --------------------------------------------------------------------------------------------------


def net() -> OTTTSequential:
    torch.manual_seed(3)
    blocks = [Conv2d(1, 3, 3, padding=1), ottt(), AvgPool2d(2), nn.Sequential(Conv2d(3, 4, 3)), ottt(v_threshold=0.1)]
    return OTTTSequential(*blocks, Flatten(), Linear(16, 2))


def test_training_steps_are_the_wraps_written_by_hand():
    model, steps = net(), 3 * normal(4, 2, 1, 8, 8)
    by_hand = net()
    conv, first, pool, second_conv, second, flatten, linear = by_hand
    for x in steps:
        y = model(x)
        pair = SpikeTraceOp(pool)(first(conv(x)))
        pair = SpikeTraceOp(flatten)(second(GradwithTrace(second_conv)(pair)))
        expected = GradwithTrace(linear)(pair)
        assert torch.equal(y, expected)
        y.square().sum().backward()
        expected.square().sum().backward()
    for (name, mine), (_, theirs) in zip(model.named_parameters(), by_hand.named_parameters(), strict=True):
        assert mine.grad.any() and torch.equal(mine.grad, theirs.grad), name
    assert not torch.equal(model[1].trace, (model[1].trace > 0).float())  # the traces are more than the last spikes


def test_the_weight_gradient_is_the_error_times_the_trace():
    """Xiao et al.: dL/dW = Σ_t (dL[t]/dy[t])·trace[t]ᵀ, with neuron and trace written out."""
    model = OTTTSequential(ottt(tau=4.0), nn.Linear(3, 2))
    v, trace, expected = torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(2, 3)
    for x in 2 * normal(5, 4, 3):
        h = v - v / 4 + x
        s = (h >= 1).float()
        v, trace = h - s, 0.75 * trace + s
        y = model(x)
        assert_close(y, s @ model[1].weight.T + model[1].bias)
        y.square().sum().backward()
        expected += 2 * y.detach().T @ trace
    assert_close(model[1].weight.grad, expected)


def test_in_evaluation_it_is_a_plain_sequence_and_differentiable():
    model = net().eval()
    plain = nn.Sequential(*net()).eval()
    x = (3 * normal(2, 1, 8, 8)).requires_grad_()
    for _ in range(3):
        assert torch.equal(model(x), plain(x))
    (found,) = torch.autograd.grad(model(x).square().sum(), x)
    assert found.any()


def test_a_pair_comes_out_when_no_weights_follow_the_last_neuron():
    model = OTTTSequential(ottt(), nn.Flatten())
    out = model(2 * torch.ones(2, 3, 4))
    assert is_pair(out) and out[0].shape == (2, 12)
    assert torch.equal(out[1], model[0].trace.flatten(1))


@pytest.mark.parametrize("mode", ["s", "m"])
def test_tensors_pass_as_through_a_plain_sequence(mode):
    modules = [Conv2d(1, 3, 3), nn.ReLU(), AvgPool2d(2), nn.Sequential(LIFNode(backend="torch")), Flatten()]
    x = 20 * normal(*((3, 2) if mode == "m" else (2,)), 1, 8, 8)
    outputs = []
    for kind in (OTTTSequential, nn.Sequential):
        model = kind(*modules)
        functional.set_step_mode(model, mode)
        functional.reset_net(model)
        outputs.append(model(x))
    assert torch.equal(*outputs) and outputs[0].any()
    assert list(OTTTSequential(*modules).state_dict()) == list(nn.Sequential(*modules).state_dict())
    assert type(OTTTSequential(*modules)[1:3]) is OTTTSequential


@pytest.mark.parametrize("node", [ottt(), LIFNode(), nn.Sequential(nn.Linear(3, 3), ottt())])
def test_a_neuron_reached_by_a_pair_is_refused(node):
    model = nn.Sequential(OTTTSequential(ottt(), nn.Flatten(), node))
    with pytest.raises(ValueError, match=r"^0\.2(\.1)? \((OTTT)?LIFNode\) is stateful and cannot take a pair"):
        model(torch.ones(2, 3))
    assert node[1].v == 0.0 if isinstance(node, nn.Sequential) else node.v == 0.0
    with pytest.raises(ValueError, match="the input is a pair"):
        ottt()([torch.ones(2), torch.ones(2)])


def test_sequences_residuals_and_branches_pass_pairs_on():
    first, relu, linear, last = ottt(), nn.ReLU(), nn.Linear(3, 3), ottt(v_threshold=0.1)
    inner = OTTTSequential(relu, linear, last)
    model = OTTTSequential(first, inner, Residual(nn.Identity()), Branches([nn.Flatten(), nn.Identity()], "add"))
    x = 2 * normal(4, 3)
    out = model(x)
    functional.reset_net(model)
    s, trace = last(GradwithTrace(linear)(SpikeTraceOp(relu)(first(x))))
    assert is_pair(out) and torch.equal(out[0], 4 * s) and torch.equal(out[1], 4 * trace) and s.any()
    assert_close(torch.autograd.grad(out[0].sum(), linear.weight), torch.autograd.grad(4 * s.sum(), linear.weight))


def test_a_looping_container_stacks_what_a_net_gives_at_each_step():
    x = 3 * normal(4, 2, 1, 8, 8)
    model = net()
    expected = torch.stack([model(step) for step in x])
    functional.reset_net(model)
    assert torch.equal(MultiStepContainer(model)(x), expected)


def test_no_graph_is_kept_from_step_to_step():
    model = net()
    x = (3 * normal(2, 2, 1, 8, 8)).requires_grad_()
    model(x[0])
    (found,) = torch.autograd.grad(model(x[1]).sum(), x)
    assert not found[0].any() and found[1].any()


def test_the_sequence_warns_once_of_what_a_pair_may_reach():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OTTTSequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), ottt(), nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), ottt())
        OTTTSequential(ottt(), GradwithTrace(nn.Linear(1, 1)), nn.BatchNorm1d(1))
        OTTTSequential(nn.Dropout(), nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), ottt()))
    for modules in (
        (ottt(), nn.Flatten(), nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))),
        (Residual(OTTTSequential(nn.Linear(1, 1), ottt())), nn.BatchNorm1d(1)),
    ):
        with pytest.warns(UserWarning, match=r"^OTTTSequential: .*BatchNorm") as caught:
            model = OTTTSequential(*modules)
        assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(torch.ones(2, 1))
