"""reset(), detach(), step_mode and backend are looked for by name: on modules of plugins and of other libraries."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from snntrain import functional
from snntrain.hooks import carries_state
from snntrain.layer import MultiStepContainer, SeqToANNContainer, StepModeContainer
from snntrain.neuron import IFNode, LIFNode


class Foreign(nn.Module):
    """A neuron of somebody else's: a state, modes and backends, none of them from a base class of ours."""

    def __init__(self, backends: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.h: Tensor | None = None
        self.step_mode, self.backend, self.calls = "s", "torch", []
        if backends is not None:
            self.supported_backends = backends

    def forward(self, x: Tensor) -> Tensor:
        self.h = x if self.h is None else self.h + x
        return self.h

    def reset(self) -> None:
        self.h = None
        self.calls.append("reset")

    def detach(self) -> None:
        self.h = self.h.detach()


def test_reset_net_and_detach_net_reach_modules_that_are_not_ours():
    net = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"a": nn.Sequential(Foreign())})["a"], IFNode(backend="torch"))
    for _ in range(3):
        functional.reset_net(net)
        net(torch.rand(3, 2)).sum().backward()
    foreign = net[1][0]
    assert foreign.h.requires_grad
    functional.detach_net(net)
    assert foreign.h is not None and not foreign.h.requires_grad
    functional.reset_net(net)
    assert foreign.h is None and net[2].v == 0.0


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_module_is_reset():
    class Scripted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("h", torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            self.h = self.h + x
            return self.h

        @torch.jit.export
        def reset(self) -> None:
            self.h = torch.zeros(2)

    net = nn.Sequential(torch.jit.script(Scripted()))
    net(torch.ones(2))
    functional.reset_net(net)
    assert net[0].h.tolist() == [0, 0]


def test_metrics_inside_a_module_keep_what_they_have_seen():
    class Loss(MeanMetric):
        pass

    module = nn.ModuleDict({"net": Foreign(), "mean": Loss(), "all": MetricCollection([MeanMetric()])})
    for x in (1.0, 3.0):
        module["mean"].update(x)
        module["all"].update(x)
        functional.reset_net(module)
    assert module["mean"].compute() == 2 and module["all"].compute()["MeanMetric"] == 2
    assert not carries_state(module["mean"]) and module["net"].calls == ["reset"] * 2


@pytest.mark.parametrize("name", ["child", "parameter", "property", "class"])
def test_what_is_called_reset_but_is_no_method_is_left_alone(name):
    kinds: dict[str, Any] = {"child": nn.Linear(1, 1), "parameter": nn.Parameter(torch.ones(1)), "class": nn.Linear}
    module = nn.Module() if name in kinds else type("Odd", (nn.Module,), {"reset": property(lambda self: 1 / 0)})()
    if name in kinds:
        module.reset = kinds[name]
    functional.reset_net(nn.Sequential(module, node := IFNode()))
    assert node.v == 0.0 and not carries_state(module)


def test_a_reset_that_needs_arguments_is_named_and_not_called():
    class Environment(nn.Module):
        def reset(self, batch_size: int) -> None:
            raise AssertionError

    with pytest.warns(UserWarning, match=r"^Environment.reset needs arguments, so it is not called"):
        functional.reset_net(nn.Sequential(Environment(), Foreign()))


def test_a_model_whose_reset_hands_on_to_reset_net_has_the_last_word_and_each_module_is_called_once():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(Foreign(), StepModeContainer(True, StepModeContainer(True, Foreign())))
            self.node = IFNode()

        def reset(self) -> None:
            functional.reset_net(self)
            self.node.v = torch.full((2,), 0.25)

    model = nn.Sequential(Model())
    functional.reset_net(model)
    assert model[0].node.v.tolist() == [0.25, 0.25]
    assert [m.calls for m in model.modules() if isinstance(m, Foreign)] == [["reset"], ["reset"]]
    functional.reset_net(model)
    assert [m.calls for m in model.modules() if isinstance(m, Foreign)] == [["reset"] * 2] * 2


def test_a_module_that_can_be_reset_is_stateful_wherever_that_counts():
    with pytest.raises(ValueError, match=r"SeqToANNContainer: 0 \(Foreign\) is stateful"):
        SeqToANNContainer(Foreign())
    assert carries_state(Foreign()) and not carries_state(nn.ReLU()) and not carries_state(MultiStepContainer())


class MultiStepOnly(Foreign):
    def supported_step_mode(self) -> tuple[str, ...]:
        return ("m",)


class Refusing(Foreign):
    @property
    def step_mode(self) -> str:
        return "s"

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        if value != "s":
            raise NotImplementedError("no sequences here")


def test_set_step_mode_switches_foreign_modules_and_all_or_none():
    net = nn.Sequential(Foreign(), IFNode(), StepModeContainer(True, Foreign()))
    functional.set_step_mode(net, "m")
    assert [net[0].step_mode, net[1].step_mode, net[2].step_mode, net[2][0].step_mode] == ["m", "m", "m", "s"]
    functional.set_step_mode(net, "s")
    for odd, mode, words in (
        (MultiStepOnly(), "s", "MultiStepOnly: step_mode 's' is not supported, it runs in 'm' only."),
        (Refusing(), "m", "Refusing: no sequences here"),
    ):
        net = nn.Sequential(first := Foreign(), node := IFNode(), odd)
        first.step_mode = node.step_mode = before = "s" if mode == "m" else "m"
        with pytest.raises(ValueError, match=rf"^set_step_mode: at 2: {words}$"):
            functional.set_step_mode(net, mode)
        assert first.step_mode == node.step_mode == before


def test_an_attribute_that_is_no_step_mode_is_left_alone():
    module = nn.Module()
    module.step_mode, module.backend = "linear", "flash"
    functional.set_step_mode(net := nn.Sequential(module, IFNode()), "m")
    functional.set_backend(net, "torch")
    assert module.step_mode == "linear" and module.backend == "flash" and net[1].step_mode == "m"


def test_set_backend_gives_foreign_modules_what_they_support():
    net = nn.Sequential(Foreign(), Foreign(("torch", "cupy")), LIFNode())
    functional.set_backend(net, "torch")
    with pytest.warns(UserWarning, match="backend 'cupy' is SpikingJelly's; it is taken as 'auto'") as seen:
        functional.set_backend(net, "cupy")
    assert len(seen) == 1 and [module.backend for module in net] == ["auto", "cupy", "auto"]
    functional.set_backend(net, "auto")
    assert net[1].backend == "cupy"
    with pytest.raises(ValueError, match=r"at 1: Foreign supports the backends 'torch', 'cupy', not 'fused'\."):
        functional.set_backend(net, "fused")


def test_set_backend_may_be_for_some_classes_only():
    net = nn.Sequential(LIFNode(), IFNode(), Foreign())
    functional.set_backend(net, "torch", LIFNode)
    assert [module.backend for module in net] == ["torch", "auto", "torch"]
    functional.set_backend(net, "torch", instance=(IFNode, Foreign))
    assert net[1].backend == "torch"


@pytest.mark.parametrize("backend", ["cupy", "triton"])
def test_neurons_take_its_backends_as_auto(backend):
    with pytest.warns(UserWarning, match=f"LIFNode: backend '{backend}' is SpikingJelly's"):
        assert LIFNode(backend=backend).backend == "auto"


def test_a_net_is_copied_although_a_module_holds_a_graph():
    net = nn.Sequential(nn.Linear(2, 2), Foreign(), IFNode(backend="torch"))
    net(torch.ones(3, 2))
    copied = functional.copy_net(net)
    assert copied[1].h is None and copied[2].v == 0.0 and net[1].h.requires_grad
    assert torch.equal(copied[0].weight, net[0].weight) and copied[0].weight is not net[0].weight
