"""Residual and Branches: paths joined by a sum, a product or side by side."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_inputs import normal
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.layer import BatchNorm2d, Conv2d, Linear
from snntrain.layer.branch import JOINS, Branches, Residual
from snntrain.layer.online import GradwithTrace, OTTTSequential, SpikeTraceOp
from snntrain.neuron import LIFNode, OTTTLIFNode

BODY = torch.tensor([[0.0, 1, 0, 1]])
SHORTCUT = torch.tensor([[0.0, 0, 1, 1]])


class Gives(nn.Module):
    """Gives its tensor whatever comes in."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value


class Counting(Linear):
    """Counts its calls and the rows of each."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.shapes: list[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(list(x.shape))
        return super().forward(x)


def ottt() -> OTTTLIFNode:
    return OTTTLIFNode(backend="torch")


# --- joins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "join, expected",
    [
        ("add", [[0.0, 1, 1, 2]]),
        ("and", [[0.0, 0, 0, 1]]),
        ("iand", [[0.0, 0, 1, 0]]),
        ("concat", [[0.0, 1, 0, 1, 0, 0, 1, 1]]),
    ],
)
def test_joins_of_spikes_are_the_tables_of_sew(join, expected):
    """Fang et al., NeurIPS 2021, table 1."""
    assert Residual(Gives(BODY), Gives(SHORTCUT), join)(BODY).tolist() == expected
    assert Residual(Gives(BODY), join=join)(SHORTCUT).tolist() == expected
    if join != "iand":
        assert Branches([Gives(BODY), Gives(SHORTCUT)], join)(BODY).tolist() == expected


@settings(max_examples=25, deadline=None)
@given(join=st.sampled_from(list(JOINS)), mode=st.sampled_from("sm"), spatial=st.integers(0, 2))
def test_values_and_gradients_are_those_of_the_written_expression(join, mode, spatial):
    leading = (3, 2) if mode == "m" else (2,)
    sizes = [2] * spatial
    x = normal(*leading, 4, *sizes).double().requires_grad_()
    found = Residual(nn.Tanh(), nn.Sigmoid(), join, step_mode=mode)(x)
    a, b = x.tanh(), x.sigmoid()
    expected = {
        "add": lambda: a + b,
        "and": lambda: a * b,
        "iand": lambda: b - a * b,
        "concat": lambda: torch.cat([a, b], 2 if mode == "m" else 1),
    }[join]()
    assert_close(found, expected)
    g = torch.arange(1.0, found.numel() + 1, dtype=torch.double).view(found.shape)
    assert_close(torch.autograd.grad((found * g).sum(), x), torch.autograd.grad((expected * g).sum(), x))


def test_branches_join_any_number_in_order():
    values = [normal(2, n, 3) for n in (1, 4, 2)]
    joined = Branches([Gives(value) for value in values])(values[0])
    assert torch.equal(joined, torch.cat(values, 1))
    same = [normal(2, 3) + n for n in range(4)]
    paths = [Gives(value) for value in same]
    assert_close(Branches(paths, "add")(same[0]), torch.stack(same).sum(0))
    assert_close(Branches(paths, "and")(same[0]), torch.stack(same).prod(0))


def test_set_step_mode_switches_the_paths_too():
    model = Residual(nn.Sequential(Conv2d(2, 2, 3, padding=1), LIFNode()), Branches([Conv2d(2, 1, 1), Conv2d(2, 1, 1)]))
    functional.set_step_mode(model, "m")
    modules = [model, model.residual[0], model.residual[1], model.shortcut, model.shortcut.branch[1]]
    assert [module.step_mode for module in modules] == ["m"] * 5
    assert model(normal(4, 3, 2, 5, 5)).shape == (4, 3, 2, 5, 5)


def test_a_sequence_is_what_its_steps_are():
    model = Residual(nn.Sequential(Conv2d(2, 3, 1), LIFNode(backend="torch")), Conv2d(2, 1, 1), "concat").eval()
    x = 3 * normal(4, 2, 2, 3, 3)
    by_step = torch.stack([model(step) for step in x])
    functional.reset_net(model)
    functional.set_step_mode(model, "m")
    assert_close(model(x), by_step)


# --- static sequences ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("join", JOINS)
def test_paths_that_repeat_one_step_are_joined_once(join):
    paths = [nn.Sequential(Conv2d(2, 2, 1), BatchNorm2d(2)), Conv2d(2, 2, 1)]
    model = Residual(*paths, join).eval()
    functional.set_step_mode(model, "m")
    x = normal(3, 2, 4, 4)
    found = model(functional.repeat(x, 5))
    step = functional.repeated_step(found)
    assert step is not None and step.shape == (3, 4 if join == "concat" else 2, 4, 4)
    assert torch.equal(found[0], step)
    assert_close(found, model(torch.stack([x] * 5)))


def test_the_identity_keeps_a_repeated_step_and_the_next_layer_runs_once():
    counting = Counting(4, 4)
    model = nn.Sequential(Residual(Linear(4, 4)), counting)
    functional.set_step_mode(model, "m")
    assert functional.repeated_step(model(functional.repeat(normal(3, 4), 5))) is not None
    assert functional.repeated_step(model(torch.stack([normal(3, 4)] * 5))) is None


def test_one_path_that_changes_over_time_makes_the_output_a_true_sequence():
    model = Residual(nn.Sequential(Linear(4, 4), LIFNode(backend="torch")))
    functional.set_step_mode(model, "m")
    x = 3 * normal(3, 4)
    found = model(functional.repeat(x, 5))
    assert functional.repeated_step(found) is None
    functional.reset_net(model)
    assert_close(found, model(torch.stack([x] * 5)))


# --- pairs of OTTT neurons -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("join", ["add", "concat"])
def test_pairs_are_joined_part_by_part(join):
    pair = [BODY.clone().requires_grad_(), BODY * 1.5]
    model = Residual(OTTTSequential(nn.Flatten()), nn.Identity(), join)
    spikes, trace = model(pair)
    expected = (lambda part: 2 * part) if join == "add" else (lambda part: torch.cat([part, part], 1))
    assert torch.equal(spikes, expected(BODY)) and torch.equal(trace, expected(1.5 * BODY))
    assert spikes.requires_grad and not trace.requires_grad
    spikes, trace = Branches([nn.ReLU(), nn.Identity()], join)(pair)
    assert torch.equal(spikes, expected(BODY)) and torch.equal(trace, expected(1.5 * BODY))


def test_weights_on_a_path_learn_from_the_trace():
    body, skip = nn.Linear(4, 3), nn.Linear(4, 3)
    pair = [BODY.clone().requires_grad_(), normal(1, 4).abs()]
    out = Residual(OTTTSequential(nn.ReLU(), body), skip)(pair)
    expected = GradwithTrace(body)(SpikeTraceOp(nn.ReLU())(pair)) + GradwithTrace(skip)(pair)
    assert torch.equal(out, expected)
    variables = [body.weight, skip.weight, pair[0]]
    assert_close(torch.autograd.grad(out.sum(), variables), torch.autograd.grad(expected.sum(), variables))


def test_of_a_pair_and_a_current_the_spikes_are_joined():
    """Identity shortcut around a body that ends in weights: what the next neuron gets is W·s + s."""
    linear, pair = nn.Linear(4, 4), [BODY.clone().requires_grad_(), 1.5 * BODY]
    out = Residual(linear)(pair)
    assert torch.equal(out, linear(BODY) + BODY)
    out.sum().backward()
    assert_close(pair[0].grad, linear.weight.detach().sum(0, keepdim=True) + 1)
    assert_close(linear.weight.grad, (1.5 * BODY).expand(4, 4))


def test_a_residual_net_trains_and_evaluates_alike():
    block = Residual(OTTTSequential(nn.Linear(4, 4), ottt(), nn.Linear(4, 4)))
    model = OTTTSequential(nn.Linear(4, 4), ottt(), block, ottt(), nn.Linear(4, 2))
    steps = 4 * normal(5, 3, 4)
    training = torch.stack([model(x) for x in steps])
    functional.reset_net(model.eval())
    assert_close(torch.stack([model(x) for x in steps]), training)
    training.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("join", ["and", "iand"])
def test_products_of_pairs_are_refused(join):
    pair = [BODY, 1.5 * BODY]
    with pytest.raises(ValueError, match=rf"^Residual: join '{join}' cannot take a pair .* not a product of traces"):
        Residual(nn.ReLU(), join=join)(pair)
    assert Residual(nn.ReLU(), join=join)(BODY).shape == (1, 4)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("mode, shapes", [("s", ([2, 3, 4], [2, 3, 1])), ("m", ([3, 2, 3, 4], [1, 2, 3, 4]))])
def test_shapes_that_would_broadcast_are_refused(join, mode, shapes):
    paths = [Gives(torch.zeros(shape)) for shape in shapes]
    model = nn.Sequential(Residual(*paths, join, mode))
    expected = f"0 (Residual): cannot join ({join}) outputs of shape {shapes[0]} and {shapes[1]}: "
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        model(torch.zeros(shapes[0]))
    if join != "iand":
        with pytest.raises(ValueError, match=r"^Branches: cannot join"):
            Branches(paths, join, mode)(torch.zeros(shapes[0]))


@pytest.mark.parametrize("mode, shape", [("s", (4,)), ("m", (3, 4))])
def test_what_has_no_channels_cannot_be_put_side_by_side(mode, shape):
    with pytest.raises(ValueError, match=r"cannot join \(concat\)"):
        Residual(nn.ReLU(), join="concat", step_mode=mode)(torch.zeros(shape))


def test_repeated_steps_of_different_length_are_refused():
    paths = [Gives(functional.repeat(torch.zeros(2, 3), T)) for T in (4, 5)]
    for join in JOINS:
        with pytest.raises(ValueError, match=r"\[4, 2, 3\] and \[5, 2, 3\]"):
            Residual(*paths, join, "m")(paths[0].value)


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: Residual(nn.ReLU(), join="or"), r"Residual: join must be one of 'add', 'and', 'iand', 'concat', got"),
        (lambda: Residual(None), "Residual: residual must be a module .* got None"),
        (lambda: Residual(nn.ReLU(), torch.relu), "Residual: shortcut must be a module"),
        (lambda: Residual(nn.ReLU(), step_mode="x"), "Residual: step_mode must be"),
        (
            lambda: Branches([nn.ReLU()] * 2, "iand"),
            r"Branches: join must be one of 'add', 'and', 'concat', got 'iand'",
        ),
        (lambda: Branches([nn.ReLU()]), "Branches: branches must be at least two modules"),
        (lambda: Branches([nn.ReLU(), torch.relu]), "Branches: branches must be at least two modules"),
        (lambda: Branches([nn.ReLU()] * 2, step_mode="x"), "Branches: step_mode must be"),
    ],
)
def test_wrong_arguments_are_refused_by_name(build, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        build()


def test_names_of_the_paths():
    model = Residual(nn.Linear(1, 1), Branches([nn.Linear(1, 1), nn.Identity()]))
    assert [name for name, _ in model.named_parameters()] == [
        f"{path}.{parameter}" for path in ("residual", "shortcut.branch.0") for parameter in ("weight", "bias")
    ]
    assert "join=add, step_mode=s" in repr(model) and "join=concat" in repr(model)
