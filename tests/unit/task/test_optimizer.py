"""Which parameters decay, and what the optimizer and the schedule are made of."""

import copy

import pytest
import torch
from torch import nn

from snntrain import layer
from snntrain.model import build
from snntrain.neuron import ParametricLIFNode
from snntrain.task.optimizer import configure, parameter_groups

LAYERS = [
    {"name": "Conv2d", "out_channels": 4, "kernel_size": 3},
    "BatchNorm2d",
    "neuron",
    {"name": "Conv2d", "out_channels": 4, "kernel_size": 3, "bias": False},
    {"name": "GroupNorm", "num_groups": 2},
    {"name": "neuron", "init_tau": 3.0},
    "Flatten",
    {"name": "Linear", "out_features": 5},
    "BatchNorm1d",
]
OPTIM = {
    "_target_": "torch.optim.SGD",
    "lr": 0.5,
    "weight_decay": 0.1,
    "schedule": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.1},
}


@pytest.fixture
def net() -> nn.Module:
    return build(LAYERS, (1, 8, 8), {"name": "ParametricLIFNode", "backend": "torch"})


def names_of(net: nn.Module, group: dict) -> set[str]:
    named = {id(parameter): name for name, parameter in net.named_parameters()}
    return {named[id(parameter)] for parameter in group["params"]}


def test_neurons_and_normalization_are_spared_and_everything_else_decays(net):
    decayed, spared = parameter_groups(net)
    assert names_of(net, decayed) == {
        "layers.0.weight",
        "layers.0.bias",
        "layers.3.weight",
        "layers.7.weight",
        "layers.7.bias",
    }
    assert names_of(net, spared) == {
        "layers.1.weight",
        "layers.1.bias",
        "layers.2.w",
        "layers.4.weight",
        "layers.4.bias",
        "layers.5.w",
        "layers.8.weight",
        "layers.8.bias",
    }
    assert spared["weight_decay"] == 0.0


def test_every_parameter_is_trained_exactly_once(net):
    listed = [id(parameter) for group in parameter_groups(net) for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in net.parameters())


def test_a_parameter_of_two_layers_is_trained_once():
    shared = layer.Linear(3, 3)
    net = nn.Sequential(shared, ParametricLIFNode(), shared)
    assert [len(group["params"]) for group in parameter_groups(net)] == [2, 1]


def test_torchs_own_normalization_and_learnable_surrogates_are_spared_too():
    class Learnable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.alpha = nn.Parameter(torch.ones(()))

    net = nn.Sequential(nn.LayerNorm(3), nn.BatchNorm1d(3), ParametricLIFNode(surrogate_function=Learnable()))
    (spared,) = parameter_groups(net)
    assert names_of(net, spared) == {"0.weight", "0.bias", "1.weight", "1.bias", "2.w", "2.surrogate_function.alpha"}


def test_frozen_parameters_are_left_out(net):
    net.layers[0].requires_grad_(False)
    net.layers[2].requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(net)) == 13 - 3


def test_a_step_without_gradient_shrinks_exactly_what_decays(net):
    """SGD: p ← p − lr·wd·p with a gradient of zero."""
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    decayed = names_of(net, parameter_groups(net)[0])
    optimizer = configure(net, OPTIM)["optimizer"]
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in net.named_parameters():
        expected = before[name] - 0.5 * 0.1 * before[name] if name in decayed else before[name]
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=0)


def test_a_weight_decay_that_is_not_given_is_the_optimizers_own(net):
    settings = {key: value for key, value in OPTIM.items() if key != "weight_decay"}
    optimizer = configure(net, {**settings, "_target_": "torch.optim.AdamW"})["optimizer"]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]


def test_an_optimizer_without_weight_decay_works(net):
    settings = {key: value for key, value in OPTIM.items() if key != "weight_decay"}
    optimizer = configure(net, {**settings, "_target_": "torch.optim.Rprop"})["optimizer"]
    net(torch.rand(2, 3, 1, 8, 8)).sum().backward()
    optimizer.step()


def test_optimizer_and_schedule_are_those_of_the_config(net):
    settings = {**OPTIM, "momentum": 0.7, "nesterov": True}
    before = copy.deepcopy(settings)
    made = configure(net, settings)
    assert settings == before
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    assert type(optimizer) is torch.optim.SGD and type(scheduler) is torch.optim.lr_scheduler.StepLR
    assert [(group["lr"], group["momentum"], group["nesterov"]) for group in optimizer.param_groups] == [
        (0.5, 0.7, True)
    ] * 2
    assert made["lr_scheduler"]["interval"] == "epoch"
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.05])


def test_betas_may_be_a_list_as_yaml_writes_them(net):
    optim = {**OPTIM, "_target_": "torch.optim.AdamW", "betas": [0.8, 0.9]}
    optimizer = configure(net, optim)["optimizer"]
    assert tuple(optimizer.param_groups[0]["betas"]) == (0.8, 0.9)
