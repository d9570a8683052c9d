"""Recurrent containers as one function over the sequence, compared with their loop."""

import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recurrent_containers import (
    ATAN,
    CONTAINERS,
    NEURONS,
    assert_fused_is_loop,
    izhikevich,
    joined,
    kept_bytes,
    lif,
    loop,
    outcome,
    plif,
    summed,
)
from seeded_inputs import normal
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional, neuron
from snntrain.hooks import spiking_layers, watching
from snntrain.layer.recurrent import ElementWiseRecurrentContainer, FeedbackSum, LinearRecurrentContainer

# --- what it computes -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@example(container="summed_with_weights", node="PLIF", T=9, leading=[1], F=7, bias=False, cut=0, seed=65535)
@example(container="joined_with_weights", node="PLIF", T=2, leading=[2], F=5, bias=False, cut=0, seed=0)
@given(
    container=st.sampled_from(sorted(CONTAINERS)),
    node=st.sampled_from(sorted(NEURONS)),
    T=st.integers(1, 9),
    leading=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    F=st.integers(1, 7),
    bias=st.booleans(),
    cut=st.integers(0, 8),
    seed=st.integers(0, 2**16),
)
def test_spikes_states_and_gradients_are_those_of_the_loop(container, node, T, leading, F, bias, cut, seed):
    torch.manual_seed(seed)
    channels = F if len(leading) == 1 else leading[1]
    made = CONTAINERS[container](NEURONS[node](channels), F, bias)
    inputs = F + 2 if container == "joined_with_weights" else F
    x = 2.5 * torch.randn(T, *leading, inputs)
    chunks = [cut, T - cut] if 0 < cut < T else None
    assert_fused_is_loop(made, x, chunks)


@pytest.mark.parametrize("name", CONTAINERS)
def test_long_sequences_of_many_neurons_fire_as_in_the_loop(name):
    """Several chunks of steps, several blocks of neurons."""
    F = 150
    container = CONTAINERS[name](plif(), F, True)
    spikes, *_ = assert_fused_is_loop(container, 3 * normal(70, 30, F + 2 if name == "joined_with_weights" else F))
    assert 0.001 < float(spikes.detach().mean()) < 0.6


@pytest.mark.usefixtures("two_threads")
def test_threads_share_the_neurons_of_a_large_step():
    assert_fused_is_loop(CONTAINERS["joined"](plif(), 512, False), 2 * normal(3, 300, 512))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        izhikevich,
        lambda: neuron.GatedLIFNode(T=30, inplane=40, step_mode="s"),
        lambda: neuron.ALIFNode(surrogate_function=ATAN),
        lambda: neuron.AdLIFNode(channels=40, surrogate_function=ATAN),
        lambda: neuron.SEAdLIFNode(channels=40, surrogate_function=ATAN),
        lambda: neuron.TCLIFNode(surrogate_function=ATAN),
    ],
    ids=["Izhikevich", "GLIF", "ALIF", "adLIF", "SE-adLIF", "TC-LIF"],
)
def test_neurons_of_several_states_agree(make):
    spikes, *_ = assert_fused_is_loop(summed(make(), 40, False), 4 * normal(30, 5, 40), [17, 13])
    assert 0 < float(spikes.detach().mean()) < 1


@pytest.mark.slow
def test_double_precision_stays_double():
    container = joined(plif(), 6, True).double()
    ours, gradients = outcome(container, 2 * normal(20, 3, 6).double(), "fused")
    theirs, expected = outcome(container, 2 * normal(20, 3, 6).double(), "torch")
    assert all(map(torch.equal, ours, theirs)) and ours[0].dtype == torch.float64
    assert_close(gradients, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["summed", "joined"])
def test_a_repeated_step_is_read_once_and_its_gradient_summed(name):
    container = CONTAINERS[name](plif(), 5, False)
    x = (2 * normal(3, 5)).requires_grad_()
    found = []
    for backend in ("fused", "torch"):
        functional.set_backend(container, backend)
        functional.reset_net(container)
        y = container(functional.repeat(x, 12))
        weights = torch.linspace(-1, 1, y.numel()).view_as(y)
        found.append([y, *torch.autograd.grad((y * weights).sum(), [x, *container.parameters()])])
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.detach().abs().max()))


@pytest.mark.parametrize("name", CONTAINERS)
def test_it_repeats_to_the_last_bit_and_twice_through_one_graph(name):
    container = CONTAINERS[name](plif(), 40, True)
    functional.set_backend(container, "fused")
    x = (2 * normal(20, 6, 42 if name == "joined_with_weights" else 40)).requires_grad_()
    wanted, found = [x, *container.parameters()], []
    for _ in range(2):
        functional.reset_net(container)
        y = container(x)
        loss = (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum()
        found += [torch.autograd.grad(loss, wanted, retain_graph=keep) for keep in (True, False)]
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


def test_the_gradient_of_some_inputs_alone():
    container = joined(plif(), 4, True)
    functional.set_backend(container, "fused")
    x = 2 * normal(5, 3, 4)
    (alone,) = torch.autograd.grad(container(x).sum(), container.rc.weight)
    container.reset()
    y = container(x.requires_grad_())
    assert_close(torch.autograd.grad(y.sum(), [container.rc.weight, x])[0], alone, rtol=0, atol=0)
    container.rc.requires_grad_(False)
    container.reset()
    assert torch.autograd.grad(container(x).sum(), x)[0].abs().sum() > 0


# --- life of the states, memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["summed", "joined"])
def test_steps_chunks_and_copies_in_mid_sequence_agree(name):
    container = CONTAINERS[name](plif(), 6, False)
    functional.set_backend(container, "fused")
    x = 2.5 * normal(9, 3, 6)
    whole = container(x)
    functional.reset_net(container)
    first = container(x[:4])
    twin = copy.deepcopy(container)
    twin.step_mode = "s"
    assert torch.equal(torch.stack([twin(step) for step in x[4:]]), whole[4:])
    assert torch.equal(torch.cat([first, container(x[4:])]), whole)
    assert torch.equal(container.y, whole[-1]) and 0 < whole.mean() < 1


def test_detach_cuts_the_gradient_and_reset_the_state():
    container = summed(plif(), 5, False)
    functional.set_backend(container, "fused")
    for cut, is_connected in ((lambda: None, True), (container.detach, False)):
        container.reset()
        first, second = ((2 * normal(4, 3, 5)).requires_grad_() for _ in range(2))
        container(first)
        cut()
        grads = torch.autograd.grad(container(second).sum(), (first, second), allow_unused=True)
        assert [grad is not None and bool(grad.any()) for grad in grads] == [is_connected, True]
    container.reset()
    assert container.y == 0.0 and container.sub_module.v == 0.0
    container(normal(2, 7, 5))  # another batch size


def test_a_backward_through_a_batch_that_is_done_says_what_was_forgotten():
    container = summed(plif(), 5, False)
    functional.set_backend(container, "fused")
    container(normal(3, 2, 5)).sum().backward()
    with pytest.raises(RuntimeError, match=r"left over from an earlier batch.*reset_net"):
        container(normal(3, 2, 5)).sum().backward()


def test_a_second_derivative_is_refused_with_the_way_out():
    container = summed(plif(), 3, False)
    x = normal(4, 2, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(container(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='torch'"):
        torch.autograd.grad(gradient.sum(), x)


@pytest.mark.parametrize("name", ["summed", "joined"])
def test_it_keeps_less_than_half_of_what_the_loop_keeps(name):
    container = CONTAINERS[name](plif(), 32, False)
    x = normal(96, 16, 32).requires_grad_()
    functional.set_backend(container, "fused")
    ours = kept_bytes(container, x)
    functional.set_backend(container, "torch")
    assert ours <= kept_bytes(container, x) / 2
    assert ours <= 1.2 * x.untyped_storage().nbytes()
    functional.set_backend(container, "fused")
    with torch.no_grad():
        assert kept_bytes(container, x) == 0


# --- when it is fused, and why not ------------------------------------------------------------------------------------


def is_fused(container: nn.Module, x: Tensor) -> bool:
    functional.reset_net(container)
    y = container(x.requires_grad_())
    return "Recurrence" in type(y.grad_fn).__name__


def test_auto_fuses_and_torch_does_not():
    container, x = summed(plif(), 4, False), normal(3, 2, 4)
    assert is_fused(container, x)
    functional.set_backend(container, "torch")
    assert not is_fused(container, x)
    container.backend = "auto"
    assert not is_fused(container, x)  # its neuron still has backend 'torch'
    functional.set_backend(container, "fused")
    assert is_fused(container, x) and container.supported_backends == ("torch", "fused")


class OwnCurrent(LinearRecurrentContainer):
    def current(self, x: Tensor) -> Tensor:
        return 2 * super().current(x)


class OwnForward(neuron.IFNode):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: summed(nn.Tanh(), 4, False), "sub_module must be a neuron, or a Linear and a neuron, and is Tanh"),
        (lambda: joined(nn.Sequential(loop(), loop()), 4, False), "and is LIFNode, LIFNode"),
        (lambda: ElementWiseRecurrentContainer(loop(), torch.sub, "m"), "must be operator.add, or FeedbackSum of a Li"),
        (
            lambda: ElementWiseRecurrentContainer(loop(), FeedbackSum(nn.Identity()), "m"),
            "its feedback must be a Linear, and is Identity",
        ),
        (lambda: OwnCurrent(loop(), 4, 4, step_mode="m"), "OwnCurrent replaces current, which only the loop calls"),
        (lambda: joined(OwnForward(backend="torch"), 4, False), "OwnForward has a forward of its own"),
        (lambda: joined(neuron.IFNode(surrogate_function=nn.Sigmoid()), 4, False), "IFNode: its surrogate_function"),
    ],
)
def test_what_cannot_be_fused_runs_as_a_loop_and_is_refused_when_asked_for(make, reason):
    container = make()
    assert container(normal(3, 2, 4)).shape == (3, 2, 4)
    with pytest.raises(ValueError, match=rf"'fused' cannot serve this container: .*{reason}.*Use 'auto' or 'torch'"):
        container.backend = "fused"


def hooked(container: nn.Module) -> None:
    container.sub_module.register_forward_pre_hook(print)


@pytest.mark.parametrize(
    "change, x, reason",
    [
        (lambda c: setattr(c.sub_module, "backend", "torch"), normal(3, 2, 4), "its neuron has backend 'torch'"),
        (hooked, normal(3, 2, 4), "a module in it has hooks, which see single steps"),
        (lambda c: c.double(), normal(3, 2, 4), "x is torch.float32 on cpu, and a weight or a state torch.float64 on"),
        (lambda c: c.bfloat16(), normal(3, 2, 4).bfloat16(), "products in torch.bfloat16 stay with the loop"),
        (lambda c: None, normal(5, 4, 3).transpose(1, 2), "a step must be contiguous and have a batch dim, got shape"),
        (lambda c: None, normal(5, 4), r"a step must be contiguous and have a batch dim, got shape \[4\]"),
    ],
)
def test_a_call_that_cannot_be_fused_is_refused_when_asked_for(change, x, reason):
    container = ElementWiseRecurrentContainer(lif(), FeedbackSum(nn.Linear(4, 4)), "m", "fused")
    change(container)
    with pytest.raises(ValueError, match=f"backend 'fused' cannot serve this container: .*{reason}"):
        container(x)
    functional.set_backend(container, "torch")
    container.reset()
    assert container.to(x.dtype)(x).shape == x.shape


def test_autocast_stays_with_the_loop():
    container = ElementWiseRecurrentContainer(lif(), FeedbackSum(nn.Linear(4, 4)), "m", "fused")
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ValueError, match="container: autocast is on"):
        container(normal(3, 2, 4))


def test_sizes_that_do_not_fit_are_named_as_by_the_loop():
    container = ElementWiseRecurrentContainer(lif(), FeedbackSum(nn.Linear(4, 1)), "m", "fused")
    with pytest.raises(ValueError, match=r"^FeedbackSum: feedback must return .* \[3, 4\], got \[3, 1\]\.$"):
        container(normal(2, 3, 4))


def test_a_neuron_with_parameters_for_too_few_steps_says_so():
    container = summed(neuron.GatedLIFNode(T=3, step_mode="s"), 4, False)
    container.backend = "fused"
    with pytest.raises(ValueError, match="cannot serve this container: GatedLIFNode has parameters for fewer steps"):
        container(normal(5, 2, 4))


@pytest.mark.slow
def test_a_compiler_sees_the_loop():
    container, x = summed(plif(), 4, False), 2 * normal(3, 2, 4)
    expected = container(x)
    container.reset()
    assert torch.equal(torch.compile(container, backend="eager")(x), expected)


def test_what_counts_spikes_sees_those_of_a_fused_call_with_their_gradient():
    container, x = summed(plif(), 6, False), (2 * normal(7, 3, 6)).requires_grad_()
    seen: list[Tensor] = []

    def see(path: str, layer: nn.Module, y: Tensor) -> None:
        seen.append(y)

    with watching(spiking_layers(container), see, at_once=True):
        y = container(x)
    assert len(seen) == 1 and torch.equal(seen[0], y) and "Recurrence" in type(y.grad_fn).__name__
    (found,) = torch.autograd.grad(seen[0].sum(), x)
    container.reset()
    container.sub_module.backend = "torch"
    with watching(spiking_layers(container), see):
        expected = container(x)
    assert torch.equal(torch.stack(seen[1:]), expected) and torch.equal(y, expected)
    assert_close(found, torch.autograd.grad(expected.sum(), x)[0])


def test_what_looks_at_single_steps_or_states_gets_the_loop():
    container, x = ElementWiseRecurrentContainer(lif(), FeedbackSum(nn.Linear(4, 4)), "m", "fused"), normal(3, 2, 4)
    with (
        watching(spiking_layers(container), lambda *_: None),
        pytest.raises(ValueError, match="a module in it has hooks, which see single steps"),
    ):
        container(x)
    with (
        watching({"": container.element_wise_function.feedback}, lambda *_: None, at_once=True),
        pytest.raises(ValueError, match="a module in it has hooks, which see single steps"),
    ):
        container(x)
