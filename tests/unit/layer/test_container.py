"""Containers over time: folded or looped, always with single steps inside."""

import copy
import re
from collections import OrderedDict

import pytest
import torch
from seeded_inputs import normal
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.layer import Conv2d, Linear, MaxPool2d
from snntrain.layer.container import MultiStepContainer, SeqToANNContainer, StepModeContainer
from snntrain.neuron import PSN, IFNode, LIFNode


def lif() -> LIFNode:
    return LIFNode(backend="torch")


class Seen(nn.Module):
    """Remembers the shapes it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(list(x.shape))
        return x


def test_stateless_modules_run_once_on_the_folded_sequence():
    """The first example of the specification."""
    seen, conv, norm = Seen(), nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
    reference = copy.deepcopy(norm)
    x = normal(4, 2, 3, 8, 8)
    for container in (StepModeContainer(False, seen, conv, norm, step_mode="m"), SeqToANNContainer(seen, conv, norm)):
        norm.reset_running_stats()
        y = container(x)
        assert seen.shapes.pop() == [8, 3, 8, 8] and seen.shapes == []
        assert_close(y, reference(conv(x.reshape(8, 3, 8, 8))).reshape(4, 2, 6, 6, 6))
        assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("kind", ["multi-step", "step mode"])
def test_stateful_modules_run_on_each_step_and_keep_their_state(kind):
    """The second example of the specification: four runs on [2, 5], v carried."""
    seen, linear, node = Seen(), Linear(5, 3), lif()
    modules = (seen, linear, node)
    container = MultiStepContainer(*modules) if kind == "multi-step" else StepModeContainer(True, *modules)
    functional.set_step_mode(container, "m")
    x = 8 * normal(6, 2, 5)
    y = torch.cat([container(x[:4]), container(x[4:])])
    assert seen.shapes == [[2, 5]] * 6
    v, spikes = torch.zeros(2, 3), []
    for step in x:
        h = v + (linear(step) - v) / 2
        spikes.append((h >= 1).float())
        v = torch.where(h >= 1, 0.0, h)
    assert torch.equal(y, torch.stack(spikes)) and 0 < y.mean() < 1
    assert_close(node.v, v)


def test_in_single_steps_a_step_mode_container_is_a_plain_sequence():
    linear = Linear(5, 3)
    x = normal(2, 5)
    for stateful in (True, False):
        container = StepModeContainer(stateful, linear, nn.ReLU())
        assert container.step_mode == "s"
        assert torch.equal(container(x), linear(x).relu())


@pytest.mark.parametrize("build", [MultiStepContainer, lambda *m: StepModeContainer(True, *m, step_mode="m")])
def test_looped_outputs_in_lists_and_tuples_are_stacked_each_by_itself(build):
    x = normal(3, 2, 4, 6, 6)
    y, indices = build(MaxPool2d(2, return_indices=True))(x)
    pool = nn.MaxPool2d(2, return_indices=True)
    assert torch.equal(y, torch.stack([pool(step)[0] for step in x]))
    assert torch.equal(indices, torch.stack([pool(step)[1] for step in x]))


@pytest.mark.parametrize("build", [SeqToANNContainer, lambda *m: StepModeContainer(False, *m, step_mode="m")])
def test_folding_copies_nothing_and_an_empty_batch_stays_one(build):
    x, seen = normal(3, 2, 4), []
    container = build(nn.Identity())
    container[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].data_ptr()))
    assert container(x).data_ptr() == x.data_ptr() and seen == [x.data_ptr()]
    assert container(x[:, :0]).shape == (3, 0, 4)


def test_a_step_that_repeats_gives_what_its_copies_give():
    node = lif()
    for container in (MultiStepContainer(node), SeqToANNContainer(nn.BatchNorm1d(4))):
        x = normal(5, 4).requires_grad_()
        outputs = []
        for x_seq in (functional.repeat(x, 3), torch.stack([x] * 3)):
            functional.reset_net(container)
            outputs.append(container(x_seq))
        grads = [torch.autograd.grad((y * normal(3, 5, 4)).sum(), x)[0] for y in outputs]
        assert_close(*outputs)
        assert_close(*grads)


# --- step modes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MultiStepContainer, SeqToANNContainer])
def test_a_container_that_knows_only_sequences_is_skipped_when_steps_are_asked_for(kind):
    model = nn.Sequential(kind(Linear(3, 3)), Linear(3, 3))
    assert model[0].step_mode == "m"
    for mode in ("m", "s"):
        functional.set_step_mode(model, mode)
        assert [model[0].step_mode, model[0][0].step_mode, model[1].step_mode] == ["m", "s", mode]
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: step_mode 's' is not supported"):
        model[0].step_mode = "s"


def test_set_step_mode_switches_a_step_mode_container_and_not_its_modules():
    model = nn.Sequential(StepModeContainer(True, nn.Sequential(Linear(3, 3), lif()), StepModeContainer(True, lif())))
    functional.set_step_mode(model, "m")
    outer = model[0]
    assert [outer.step_mode, outer[0][0].step_mode, outer[0][1].step_mode] == ["m", "s", "s"]
    assert outer[1].step_mode == outer[1][0].step_mode == "s"
    assert model(normal(4, 2, 3)).shape == (4, 2, 3)


BUILDERS = {
    "MultiStepContainer": MultiStepContainer,
    "SeqToANNContainer": SeqToANNContainer,
    "StepModeContainer": lambda *m: StepModeContainer(False, *m),
}


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(
    "child, path",
    [
        (lambda: nn.Sequential(nn.ReLU(), Conv2d(1, 1, 1, step_mode="m")), r"0\.1 \(Conv2d\)"),
        (lambda: MultiStepContainer(nn.ReLU()), r"0 \(MultiStepContainer\)"),
        (lambda: PSN(4), r"0 \(PSN\)"),
    ],
    ids=["layer", "container", "sequence-only neuron"],
)
def test_a_module_in_sequence_mode_is_refused_at_construction(name, child, path):
    with pytest.raises(ValueError, match=rf"^{name}: {path} is in step_mode 'm', .* must be in 's'\.$"):
        BUILDERS[name](child())


@pytest.mark.parametrize("name", BUILDERS)
def test_a_module_switched_or_added_later_is_refused_at_forward(name):
    container = BUILDERS[name](nn.Sequential(nn.ReLU(), Linear(3, 3)))
    model = nn.Sequential(OrderedDict(head=container))
    container[0][1].step_mode = "m"
    with pytest.raises(ValueError, match=rf"^head \({name}\): 0\.1 \(Linear\) is in step_mode 'm'"):
        model(normal(4, 2, 3))
    container[0][1].step_mode = "s"
    container.append(Linear(3, 3, step_mode="m"))
    with pytest.raises(ValueError, match=rf"^head \({name}\): 1 \(Linear\) is in step_mode 'm'"):
        model(normal(4, 2, 3))


@pytest.mark.parametrize("name", ["SeqToANNContainer", "StepModeContainer"])
def test_a_stateful_module_is_refused_where_time_is_folded(name):
    with pytest.raises(ValueError, match=rf"^{name}: 1\.0 \(IFNode\) is stateful, .* put it into MultiStepContainer"):
        BUILDERS[name](nn.ReLU(), nn.Sequential(IFNode()))
    container = BUILDERS[name](nn.Sequential(nn.ReLU()))
    container[0][0] = IFNode()
    with pytest.raises(ValueError, match=rf"^{name}: 0\.0 \(IFNode\) is stateful"):
        container(normal(4, 2, 3))


@pytest.mark.parametrize("value", [1, 0, None, "True", nn.ReLU()])
def test_stateful_must_be_a_bool(value):
    wanted = re.escape("StepModeContainer: stateful must be True or False, got ")
    with pytest.raises(ValueError, match=f"^{wanted}"):
        StepModeContainer(value, nn.Linear(2, 2))


def test_the_step_mode_argument_is_checked_and_a_keyword():
    assert StepModeContainer(False, nn.ReLU(), step_mode="m").step_mode == "m"
    with pytest.raises(ValueError, match=r"^StepModeContainer: step_mode must be .* got 'x'\.$"):
        StepModeContainer(False, nn.ReLU(), step_mode="x")
    with pytest.raises(TypeError):
        StepModeContainer(False, nn.ReLU(), "m")


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("shape", [(0, 2, 3), ()])
def test_a_sequence_of_no_steps_is_refused(name, shape):
    container = BUILDERS[name](nn.ReLU())
    functional.set_step_mode(container, "m")
    with pytest.raises(ValueError, match=rf"^{name}: .* T ≥ 1 steps, got shape {re.escape(str(list(shape)))}\.$"):
        container(torch.zeros(shape))


# --- what a container shares with nn.Sequential ----------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDERS)
def test_state_dict_keys_slices_and_copies_are_those_of_a_sequence(name):
    modules = OrderedDict(first=nn.Linear(3, 4), norm=nn.BatchNorm1d(4), last=nn.Linear(4, 2))
    container = BUILDERS[name](modules)
    assert list(container.state_dict()) == list(nn.Sequential(modules).state_dict())
    container.eval()
    functional.set_step_mode(container, "m")
    x = normal(4, 2, 3)
    part = container[:2]
    assert type(part) is type(container) and part.step_mode == "m" and list(part._modules) == ["first", "norm"]
    assert_close(container[-1](part(x)), container(x))
    assert torch.equal(copy.deepcopy(container)(x), container(x))
    assert "step_mode=m" in repr(container)


@pytest.mark.parametrize("build", [MultiStepContainer, lambda *m: StepModeContainer(True, *m, step_mode="m")])
def test_reset_and_detach_reach_the_modules_inside(build):
    container = build(nn.Sequential(lif()), StepModeContainer(True, lif()))
    nodes = [container[0][0], container[1][0]]
    for reset in (container.reset, lambda: functional.reset_net(container)):
        container(normal(3, 2).requires_grad_())
        assert all(node.v.requires_grad for node in nodes)
        assert list(functional.get_states(container)) == ["0.0.v", "1.0.v"]
        container.detach()
        assert not any(node.v.requires_grad for node in nodes)
        reset()
        assert [node.v for node in nodes] == [0.0, 0.0]


def test_gradient_goes_back_through_the_state():
    container = MultiStepContainer(IFNode(detach_reset=True, backend="torch"))
    x = torch.full((3, 1), 0.25, requires_grad=True)
    container(x)[-1].sum().backward()
    assert (x.grad > 0).all()
    assert_close(x.grad, x.grad[:1].expand(3, 1))  # no spike, no leak: each input reaches the last step alike
