"""The audit: what it refuses, that it leaves the net as it was, nets of other libraries."""

import random

import numpy as np
import pytest
import torch
from faulty_nets import InStep, Leaky, T, WithReset, clean, head, samples
from torch import nn

from snntrain.audit import audit
from snntrain.model import build
from snntrain.neuron import LIFNode

LAYERS = [
    "Flatten",
    {"name": "Linear", "out_features": 12},
    "BatchNorm1d",
    "neuron",
    {"name": "Linear", "out_features": 3},
]


def of_config() -> nn.Module:
    torch.manual_seed(2)
    return build(LAYERS, (1, 4, 4), {"name": "IFNode", "v_threshold": 0.2, "backend": "torch"})


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(3, 1, 6), "N ≥ 2 samples"),
        (torch.zeros(3), "got torch.float32 of shape \\[3\\]"),
        (torch.zeros(3, 4, 6, dtype=torch.int64), "floating-point"),
        (torch.zeros(3, 4, 5), "the net fails on an input of shape \\[3, 4, 5\\]"),
    ],
)
def test_what_the_net_cannot_be_run_on_is_refused(x, said):
    with pytest.raises(ValueError, match=f"audit: .*{said}"):
        audit(clean(), x)


def test_other_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"must be a torch.nn.Module"):
        audit(lambda x: x, samples())
    with pytest.raises(ValueError, match="target must be one of"):
        audit(clean(), samples(), target="int7")
    with pytest.raises(ValueError, match="unit must be a finite number > 0"):
        audit(clean(), samples(), target="int8", unit=0)
    with pytest.raises(ValueError, match=r"must return \[T, N, \*\] or \[N, \*\]"):
        audit(nn.Flatten(0, 1), samples())


def test_the_net_and_all_generators_stay_as_they_were():
    net, x = of_config().train(), samples(1, 4, 4)
    net(x).sum().backward()  # states with a graph, gradients
    calls = []
    handle = net.layers[0].register_forward_hook(lambda *_: calls.append(1))
    drawn = [torch.rand(1), np.random.rand(), random.random()]  # so that generators are somewhere
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    states = dict(net.layers[3].named_memories())
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = [parameter.grad for parameter in net.parameters()]
    kept = [gradient.clone() for gradient in gradients]
    threads = torch.get_num_threads()
    audit(net, x)
    assert drawn and net.training and all(module.training for module in net.modules())
    assert net.layers[3].backend == "torch" and torch.get_num_threads() == threads
    assert all(value is states[name] for name, value in net.layers[3].named_memories())
    assert all(torch.equal(weights[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is gradient for parameter, gradient in zip(net.parameters(), gradients, strict=True))
    assert all(torch.equal(gradient, before) for gradient, before in zip(gradients, kept, strict=True))
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (np.random.get_state()[1] == generators[1]).all() and random.getstate() == generators[2]
    assert list(net.layers[0]._forward_hooks) == [handle.id] and calls


def test_a_state_with_a_graph_in_a_foreign_module_can_be_copied():
    net = head(InStep())
    net(samples())
    assert net[1].v.grad_fn is not None
    assert ("state left over", "1") in [(one.check, one.layer) for one in audit(net, samples())]


def test_under_inference_mode_and_no_grad_it_finds_the_same():
    with torch.inference_mode():
        assert audit(clean(), samples(), trained=True) == []
    with torch.no_grad():
        assert audit(head(WithReset()), samples()) == audit(head(WithReset()), samples())


def test_a_parallel_neuron_is_told_to_need_the_future_and_nothing_worse():
    net = build(LAYERS, (1, 4, 4), {"name": "PSN", "T": T})
    found = {one.check: one.severity for one in audit(net, samples(1, 4, 4))}
    assert found.get("future steps") == "info" and "error" not in found.values()


def test_a_net_in_step_mode_s_is_given_step_by_step():
    net = build(LAYERS, (1, 4, 4), {"name": "IFNode", "v_threshold": 0.2}, step_mode="s")
    found = audit(net, samples(1, 4, 4))
    assert ("batch norm per step", "layers.2") in [(one.check, one.layer) for one in found]
    assert not any(one.severity == "error" for one in found)


def test_a_net_that_reads_itself_out_is_audited_by_samples():
    class Mean(nn.Module):
        def forward(self, y_seq: torch.Tensor) -> torch.Tensor:
            return y_seq.mean(0)

    assert audit(nn.Sequential(clean(), Mean()), samples(), trained=True) == []


def test_dead_neurons_are_told_from_128_steps_of_samples_on():
    net = head(Leaky(0.3))
    nn.init.constant_(net[0].bias, 0.2)
    with torch.no_grad():
        net[0].bias[:4] = -50
    x = torch.rand(4, 32, 6)
    assert [(one.check, one.layer, one.severity) for one in audit(net, x, trained=True)] == [
        ("dead neurons", "1", "info")
    ]


def test_integer_targets_count_potentials_in_units():
    net = nn.Sequential(nn.Linear(6, 3), LIFNode(v_threshold=1e6, decay_input=False, step_mode="m", backend="torch"))
    nn.init.constant_(net[0].bias, 50.0)
    near = [one for one in audit(net, samples(), target="int8") if one.check == "near overflow"]
    assert near[0].severity in ("warning", "error") and "127" in near[0].evidence
    assert not [one for one in audit(net, samples(), target="int8", unit=2.0) if one.check == "near overflow"]


def test_neurons_of_snntorch_that_keep_a_hidden_state_are_named():
    snntorch = pytest.importorskip("snntorch")
    lif = snntorch.Leaky(beta=0.5, init_hidden=True, threshold=0.3)

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.lif = nn.Linear(6, 6), lif

        def forward(self, x_seq: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.lif(self.inner(x)) for x in x_seq])

    found = [(one.check, one.layer) for one in audit(Steps(), samples())]
    assert ("state left over", "lif") in found and ("another reset", "lif") in found
