"""snntrain.monitor: the spikes and states of every layer of neurons."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snntrain import functional, monitor
from snntrain.layer import Linear
from snntrain.neuron import FloatCubaLIFNode, IFNode, IzhikevichNode, LIFNode, SlidingPSN


def small_net() -> nn.Sequential:
    torch.manual_seed(1)
    izhikevich = IzhikevichNode(tau=5.0, v_c=0.5, v_rest=0.0, a0=4.0, tau_w=20.0, b=0.25)
    net = nn.Sequential(Linear(4, 6), LIFNode(), Linear(6, 5), izhikevich)
    for weights in net.parameters():
        weights.data.abs_().mul_(2)  # so that all of it fires
    return net


def by_hand(net: nn.Sequential, x: Tensor) -> dict[str, dict[str, Tensor]]:
    """Spikes and states of the small net, step by step, from attributes that each step leaves behind."""
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    found: dict[str, dict[str, list[Tensor]]] = {"1": {"spikes": [], "v": []}, "3": {"spikes": [], "v": [], "w": []}}
    for step in x:
        first = net[1](net[0](step))
        second = net[3](net[2](first))
        for path, values in (("1", [first, net[1].v]), ("3", [second, net[3].v, net[3].w])):
            for kept, value in zip(found[path].values(), values, strict=True):
                kept.append(value.detach())
    functional.reset_net(net)
    return {path: {name: torch.stack(values) for name, values in kept.items()} for path, kept in found.items()}


@pytest.mark.parametrize("backend", ["torch", "fused"])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_spikes_and_states_are_those_of_a_loop_over_the_steps(step_mode, backend):
    net, x = small_net(), 4 * torch.rand(12, 3, 4)
    expected = by_hand(net, x)
    functional.set_step_mode(net, step_mode)
    functional.set_backend(net, backend)
    with monitor.recording(net) as seen:
        net(x) if step_mode == "m" else [net(step) for step in x]
    assert list(seen) == ["1", "3"]
    for path, values in expected.items():
        assert seen[path].keys() == values.keys()
        assert torch.equal(seen[path]["spikes"], values["spikes"])
        for name in values.keys() - {"spikes"}:
            torch.testing.assert_close(seen[path][name], values[name])
    assert expected["3"]["spikes"].sum() > 0
    assert expected["3"]["w"].max() > 0


def test_calls_go_on_in_time_until_a_reset_begins_the_next_samples():
    net, x = small_net(), 4 * torch.rand(12, 5, 4)
    functional.set_step_mode(net, "m")
    with monitor.recording(net) as whole:
        net(x)
    functional.reset_net(net)
    with monitor.recording(net) as parts:
        for samples in (x[:, :3], x[:, 3:]):
            functional.reset_net(net)
            net(samples[:7])
            net(samples[7:])
    assert torch.equal(parts["3"]["spikes"], whole["3"]["spikes"])
    torch.testing.assert_close(parts["3"]["w"], whole["3"]["w"])


def test_neurons_without_a_potential_are_recorded_by_their_spikes():
    node, x = SlidingPSN(k=2, step_mode="m"), torch.rand(4, 2, 3)
    with monitor.recording(node) as seen:
        spikes = node(x)
    assert seen[""].keys() == {"spikes"}
    assert torch.equal(seen[""]["spikes"], spikes.detach())


def test_the_net_is_left_as_it_was_and_what_was_recorded_has_no_graph():
    net = nn.Sequential(Linear(2, 2), LIFNode(store_v_seq=True), IFNode())
    functional.set_step_mode(net, "m")
    with pytest.raises(KeyboardInterrupt), monitor.recording(net) as seen:
        net(torch.rand(3, 1, 2))
        raise KeyboardInterrupt
    assert not seen["1"]["v"].requires_grad
    assert [net[1].stored_states, net[2].stored_states] == [("v",), ()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_what_cannot_be_recorded_is_named():
    with pytest.raises(ValueError, match="Linear has no layer of spiking neurons"), monitor.recording(Linear(1, 1)):
        pass
    net = nn.Sequential(IFNode(step_mode="m"))
    with monitor.recording(net) as seen:
        for T in (3, 5):
            functional.reset_net(net)
            net(torch.rand(T, 1, 1))
    with pytest.raises(ValueError, match="sequences of 3 and 5 steps"):
        seen["0"]
    with pytest.raises(KeyError, match="no layer of neurons was called at '7'; recorded are 0"):
        seen["7"]


def test_a_neuron_keeps_the_states_that_it_is_asked_for():
    node = FloatCubaLIFNode(step_mode="m")
    node.stored_states = ("i",)
    node(torch.rand(4, 1, 2))
    assert node.i_seq.shape == (4, 1, 2)
    assert node.store_i_seq
    assert not node.store_v_seq
    with pytest.raises(ValueError, match=r"FloatCubaLIFNode: stored_states are some of v, i, .* got 'w'"):
        node.stored_states = ("v", "w")
    node.stored_states = ()
    assert node.i_seq is None


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_batch_is_recorded_and_the_net_is_left_as_it_was_found(step_mode):
    net, x = small_net(), 4 * torch.rand(12, 3, 4)
    expected = by_hand(net, x)
    net.append(nn.BatchNorm1d(5)).append(nn.Dropout(0.5)).train()
    net[1].eval()
    functional.set_step_mode(net, step_mode)
    net[1].store_v_seq = True
    before = net[:4](x if step_mode == "m" else x[0])
    states, sequence = functional.get_states(net), None if step_mode == "s" else net[1].v_seq.clone()
    statistics = net[4].running_mean.clone()
    net = nn.Sequential(*net[:4], *([] if step_mode == "m" else net[4:]))
    seen = monitor.record(net, x)
    assert {path: set(layer) for path, layer in seen.items()} == {"1": {"spikes", "v"}, "3": {"spikes", "v"}}
    for path, layer in seen.items():
        for name, values in layer.items():
            torch.testing.assert_close(values, expected[path][name])
    assert before.requires_grad
    assert all(torch.equal(value, functional.get_states(net)[name]) for name, value in states.items())
    assert net[3].v.grad_fn is not None  # a training that was under way can go on
    assert step_mode == "s" or torch.equal(net[1].v_seq, sequence)
    assert [module.training for module in net] == [True, False, *[True] * (len(net) - 2)]
    assert step_mode == "m" or torch.equal(net[4].running_mean, statistics)


def test_only_what_is_asked_for_is_recorded():
    net, x = small_net(), 4 * torch.rand(12, 3, 4)
    functional.set_step_mode(net, "m")
    assert {path: list(layer) for path, layer in monitor.record(net, x, ["w"]).items()} == {"1": [], "3": ["w"]}
    assert {path: list(layer) for path, layer in monitor.record(net, x, ["spikes"], ["3"]).items()} == {"3": ["spikes"]}
    with pytest.raises(ValueError, match=r"no layer of neurons at '2'.*Known: 1, 3"):
        monitor.record(net, x, layers=["2"])
    with pytest.raises(ValueError, match=r"what must be some of spikes, v, w, .* got \('u',\)"):
        monitor.record(net, x, what=["u"])
    assert not any(module._forward_hooks for module in net.modules())


def test_rates_and_telling_neurons_are_those_of_the_spikes():
    net, x = small_net(), 4 * torch.rand(12, 3, 4)
    functional.set_step_mode(net, "m")
    seen = monitor.record(net, x)
    rates = monitor.firing_rates(seen)
    assert rates["3"].tolist() == pytest.approx([float(step.mean()) for step in seen["3"]["spikes"]])
    spikes = np.array([[1, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 1]])
    assert monitor.telling_neurons(np.array([[0.0, 0.5, 0.9, 0]] * 3), spikes).tolist() == [0, 3, 2]
