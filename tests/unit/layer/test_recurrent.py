"""Containers that feed their last output back."""

import copy
import operator
import pickle
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_inputs import normal
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.base import StateMismatchError
from snntrain.layer import Linear
from snntrain.layer.recurrent import ElementWiseRecurrentContainer, FeedbackSum, LinearRecurrentContainer
from snntrain.neuron import IFNode, LIFNode


def lif(**arguments: object) -> LIFNode:
    return LIFNode(backend="torch", **arguments)


def minus_twice(x: Tensor, y: Tensor) -> Tensor:
    return x - 2 * y


def linear_container(**more: object) -> LinearRecurrentContainer:
    torch.manual_seed(1)
    return LinearRecurrentContainer(nn.Sequential(nn.Linear(4, 2), lif()), 4, 2, **more)


def element_wise_container(**more: object) -> ElementWiseRecurrentContainer:
    return ElementWiseRecurrentContainer(nn.Sequential(nn.Identity(), lif()), operator.add, **more)


CONTAINERS = {"ElementWiseRecurrentContainer": element_wise_container, "LinearRecurrentContainer": linear_container}
over_containers = pytest.mark.parametrize("name", CONTAINERS)


# --- equations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["s", "m"])
def test_the_example_with_addition_fires_at_every_step(mode):
    node = IFNode(v_reset=None, backend="torch")
    container = ElementWiseRecurrentContainer(node, operator.add, step_mode=mode)
    x = torch.tensor([1.5, 0, 0, 0, 0, 0, 0, 0])[:, None]
    y = container(x) if mode == "m" else torch.stack([container(step) for step in x])
    assert y.flatten().tolist() == [1] * 8 and node.v.item() == 0.5


@pytest.mark.parametrize("mode", ["s", "m"])
def test_the_function_takes_the_input_first_and_the_output_second(mode):
    container = ElementWiseRecurrentContainer(nn.Identity(), minus_twice, mode)
    x = torch.tensor([1.0, 2, 3])
    assert (container(x) if mode == "m" else torch.stack([container(step) for step in x])).tolist() == [1, 0, 3]


@settings(max_examples=25, deadline=None)
@given(T=st.integers(1, 5), leading=st.lists(st.integers(1, 3), min_size=0, max_size=2), bias=st.booleans())
def test_linear_recurrence_is_the_written_equation_with_its_gradients(T, leading, bias):
    inner = nn.Linear(4, 2).double()
    container = LinearRecurrentContainer(nn.Sequential(inner, nn.Tanh()), 4, 2, bias, step_mode="m").double()
    assert container.rc.weight.shape == (4, 6) and (container.rc.bias is not None) == bias
    x = normal(T, *leading, 4).double().requires_grad_()
    y, expected = torch.zeros(*leading, 2, dtype=torch.double), []
    w_x, w_y = container.rc.weight[:, :4], container.rc.weight[:, 4:]
    for step in x:
        i = step @ w_x.T + y @ w_y.T + (container.rc.bias if bias else 0)
        y = torch.tanh(i @ inner.weight.T + inner.bias)
        expected.append(y)
    out, variables = container(x), [x, *container.parameters()]
    assert out.shape == (T, *leading, 2)
    assert_close(out, torch.stack(expected))
    weights = torch.arange(1.0, out.numel() + 1, dtype=torch.double).view(out.shape)
    found = torch.autograd.grad((out * weights).sum(), variables)
    assert_close(found, torch.autograd.grad((torch.stack(expected) * weights).sum(), variables))


def test_feedback_sum_makes_the_textbook_recurrent_layer():
    """i[t] = x[t] + V·y[t−1] into LIF neurons, as in Cramer et al.: a loop written by hand, values and gradients."""
    V = nn.Linear(3, 3, bias=False)
    container = ElementWiseRecurrentContainer(lif(), FeedbackSum(nn.Sequential(V)), "m")
    assert [name for name, _ in container.named_parameters()] == ["element_wise_function.feedback.0.weight"]
    x, node = 3 * normal(6, 2, 3), lif()
    y, expected = torch.zeros(2, 3), []
    for step in x:
        y = node(step + y @ V.weight.T)
        expected.append(y)
    out = container(x)
    assert torch.equal(out, torch.stack(expected)) and 0 < out.mean() < 1
    weights = normal(6, 2, 3)
    (found,) = torch.autograd.grad((out * weights).sum(), V.weight)
    assert_close(found, torch.autograd.grad((torch.stack(expected) * weights).sum(), V.weight)[0])
    assert found.abs().sum() > 0


# --- state and step modes --------------------------------------------------------------------------------------------


@over_containers
def test_single_steps_one_call_and_chunks_agree(name):
    container = CONTAINERS[name]()
    x = 4 * normal(8, 3, 4)
    by_step = torch.stack([container(step) for step in x])
    functional.set_step_mode(container, "m")
    container.reset()
    whole = container(x)
    functional.reset_net(container)
    chunks = torch.cat([container(x[:3]), container(x[3:])])
    assert torch.equal(by_step, whole) and torch.equal(whole, chunks)
    assert 0 < whole.mean() < 1
    container.reset()
    repeated = container(functional.repeat(x[0], 5))
    container.reset()
    assert torch.equal(repeated, container(torch.stack([x[0]] * 5)))


@over_containers
def test_reset_clears_y_and_the_modules_inside(name):
    for reset in (lambda container: container.reset(), functional.reset_net):
        container = CONTAINERS[name]()
        container(normal(3, 4))
        assert container.y.shape == (3, 4 if name.startswith("Element") else 2)
        assert list(functional.get_states(container)) == ["y", "sub_module.1.v"]
        reset(container)
        assert container.y == 0.0 and container.sub_module[1].v == 0.0
        container(normal(5, 4))  # another batch size


def test_reset_reaches_a_stateful_function():
    function = FeedbackSum(lif())
    container = ElementWiseRecurrentContainer(nn.Identity(), function)
    container(normal(2, 3))
    container.reset()
    assert function.feedback.v == 0.0


@over_containers
def test_another_batch_size_without_reset_is_a_state_mismatch(name):
    model = nn.Sequential(CONTAINERS[name]())
    model(normal(3, 4))
    with pytest.raises(StateMismatchError, match=rf"^0 \({name}\): state y has shape \[3, .* reset\(\) forgotten"):
        model(normal(5, 4))


@over_containers
def test_gradient_flows_through_y_until_detach(name):
    container = CONTAINERS[name]()
    cuts = [(lambda: None, True), (container.detach, False), (lambda: functional.detach_net(container), False)]
    for cut, is_connected in cuts:
        container.reset()
        first, second = (normal(3, 4).requires_grad_() for _ in range(2))
        container(first)
        cut()
        grads = torch.autograd.grad(container(second).sum(), (first, second), allow_unused=True)
        assert [grad is not None and bool(grad.any()) for grad in grads] == [is_connected, True]


@over_containers
def test_set_step_mode_stops_at_the_container(name):
    model = nn.Sequential(Linear(4, 4), CONTAINERS[name]())
    functional.set_step_mode(model, "m")
    assert [model[0].step_mode, model[1].step_mode, model[1].sub_module[1].step_mode] == ["m", "m", "s"]
    assert model(normal(5, 3, 4)).shape[:2] == (5, 3)
    functional.set_step_mode(model, "s")
    assert model[1].step_mode == "s"


@over_containers
def test_a_module_in_sequence_mode_is_refused_at_forward(name):
    container = CONTAINERS[name]()
    container.sub_module[1] = lif(step_mode="m")
    with pytest.raises(ValueError, match=rf"^{name}: sub_module\.1 \(LIFNode\) is in step_mode 'm'"):
        container(normal(3, 4))


def test_a_module_in_sequence_mode_is_refused_at_construction():
    sub_module = nn.Sequential(Linear(3, 3, step_mode="m"))
    for build in (
        lambda: ElementWiseRecurrentContainer(sub_module, operator.add),
        lambda: LinearRecurrentContainer(sub_module, 3, 3),
    ):
        with pytest.raises(ValueError, match=r"sub_module\.0 \(Linear\) is in step_mode 'm'"):
            build()
    with pytest.raises(ValueError, match=r"element_wise_function\.feedback \(Linear\) is in step_mode 'm'"):
        ElementWiseRecurrentContainer(nn.Identity(), FeedbackSum(sub_module[0]))


@over_containers
def test_copies_and_state_dict_follow_the_state_contract(name):
    container = CONTAINERS[name]()
    container(normal(3, 4).requires_grad_())
    for other in (copy.deepcopy(container), pickle.loads(pickle.dumps(container))):
        assert torch.equal(other.y, container.y) and not other.y.requires_grad
        assert other.y.data_ptr() != container.y.data_ptr()
        assert torch.equal(other(normal(3, 4)), copy.deepcopy(container)(normal(3, 4)))
    keys = [] if name.startswith("Element") else ["sub_module.0.weight", "sub_module.0.bias", "rc.weight", "rc.bias"]
    assert list(container.state_dict()) == keys


@over_containers
def test_half_precision_and_autocast_run_and_state_survives(name):
    container = CONTAINERS[name](step_mode="m")
    x = 4 * normal(6, 3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = container(x)
        second = container(x)
    assert first.shape == second.shape and first.isfinite().all()
    container.to(torch.bfloat16)
    assert container(x.bfloat16()).dtype == torch.bfloat16


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_output_of_the_wrong_shape_is_refused():
    container = ElementWiseRecurrentContainer(nn.Linear(4, 2), lambda x, y: x)
    message = "sub_module must return a tensor of shape [3, 4] for one step of shape [3, 4], got shape [3, 2]; its"
    with pytest.raises(ValueError, match=f"^ElementWiseRecurrentContainer: {re.escape(message)}"):
        container(normal(3, 4))
    container = LinearRecurrentContainer(nn.Linear(4, 3), 4, 2)
    with pytest.raises(ValueError, match=r"^LinearRecurrentContainer: .* got shape \[3, 3\]; .* out_features = 2 on"):
        container(normal(3, 4))
    with pytest.raises(ValueError, match=r"got a tuple; its output"):
        ElementWiseRecurrentContainer(nn.MaxPool1d(1, return_indices=True), operator.add)(normal(3, 4))
    with pytest.raises(ValueError, match=r"^FeedbackSum: feedback must return .* \[3, 4\], got \[3, 1\]\.$"):
        FeedbackSum(nn.Linear(4, 1))(normal(3, 4), normal(3, 4))


@pytest.mark.parametrize("mode, shape", [("s", (3, 5)), ("m", (6, 3, 5)), ("s", ()), ("m", (4,))])
def test_an_input_of_the_wrong_size_is_refused(mode, shape):
    with pytest.raises(ValueError, match=r"^LinearRecurrentContainer: .* in_features = 4, got shape "):
        linear_container(step_mode=mode)(torch.zeros(shape))


@over_containers
def test_integers_and_empty_sequences_are_refused(name):
    container = CONTAINERS[name](step_mode="m")
    with pytest.raises(ValueError, match=rf"^{name}: .* T ≥ 1 steps, got shape \[0, 3, 4\]"):
        container(torch.zeros(0, 3, 4))
    with pytest.raises(ValueError, match=rf"^{name}: the input has dtype torch.int64"):
        container(torch.zeros(2, 3, 4, dtype=torch.int64))
    assert container(torch.zeros(2, 0, 4)).shape[:2] == (2, 0)


@pytest.mark.parametrize(
    "build, parts",
    [
        (lambda: ElementWiseRecurrentContainer(operator.add, operator.add), "sub_module must be a module"),
        (
            lambda: ElementWiseRecurrentContainer(nn.ReLU(), "add"),
            r"element_wise_function must be a function f\(x, y\)",
        ),
        (lambda: ElementWiseRecurrentContainer(nn.ReLU(), FeedbackSum), "element_wise_function must be .* got <class"),
        (lambda: ElementWiseRecurrentContainer(nn.ReLU(), operator.add, "x"), "step_mode must be"),
        (lambda: LinearRecurrentContainer(nn.ReLU, 4, 4), "sub_module must be a module"),
        (lambda: LinearRecurrentContainer(nn.ReLU(), 0, 4), "in_features must be an integer ≥ 1, got 0"),
        (lambda: LinearRecurrentContainer(nn.ReLU(), 4, 2.5), "out_features must be an integer ≥ 1, got 2.5"),
        (lambda: LinearRecurrentContainer(nn.ReLU(), 4, 4, bias=1), "bias must be True or False, got 1"),
        (lambda: FeedbackSum(operator.neg), "FeedbackSum: feedback must be a module"),
    ],
)
def test_wrong_arguments_are_refused_by_name(build, parts):
    with pytest.raises(ValueError, match=parts):
        build()


def test_repr_tells_the_sizes_the_function_and_the_mode():
    assert "in_features=4, out_features=2, step_mode=m" in repr(linear_container(step_mode="m"))
    assert "element_wise_function=add, step_mode=s" in repr(element_wise_container())
    assert "(feedback): Linear" in repr(ElementWiseRecurrentContainer(nn.Identity(), FeedbackSum(nn.Linear(1, 1))))
