"""Substeps: layers run several times on every step, and the mean of their outputs."""

import pytest
import torch

from snntrain import functional
from snntrain.layer import Substeps
from snntrain.model.builder import build
from snntrain.neuron import LIFNode


def loop(node: LIFNode, x_seq: torch.Tensor, count: int) -> torch.Tensor:
    """The equation, written out: v goes on through all substeps."""
    means = []
    for x in x_seq:
        means.append(torch.stack([node(x) for _ in range(count)]).mean(0))
    return torch.stack(means)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_both_modes_are_the_loop_and_its_gradient(count):
    x = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(0)).mul_(2).requires_grad_()
    expected = loop(LIFNode(tau=3.0), x, count)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    for mode in ("s", "m"):
        net = Substeps(LIFNode(tau=3.0), count)
        functional.set_step_mode(net, mode)
        found = net(x) if mode == "m" else torch.stack([net(step) for step in x])
        assert torch.equal(found, expected) and torch.equal((found * count).round() / count, found)
        assert torch.allclose(torch.autograd.grad(found.square().sum(), x)[0], gradient, atol=1e-6)


def test_a_sequence_in_two_parts_is_the_whole():
    net = Substeps(LIFNode(tau=3.0), 4)
    functional.set_step_mode(net, "m")
    x = torch.randn(6, 2, 7, generator=torch.Generator().manual_seed(0)).mul_(2)
    whole = net(x)
    functional.reset_net(net)
    assert torch.equal(torch.cat([net(x[:2]), net(x[2:])]), whole)


def test_a_model_has_them_as_an_entry_and_layers_inside_know_their_number_of_steps():
    entry = {"substeps": [{"name": "Linear", "out_features": 6}, "TemporalEffectiveBatchNorm1d", "neuron"], "count": 5}
    net = build([entry, {"name": "Linear", "out_features": 2}], (3,), {"name": "PSN", "T": 4}, T=4)
    assert isinstance(net.layers[0], Substeps) and [layer.T for layer in net.layers[0].net[1:]] == [20, 20]
    assert net(torch.rand(4, 2, 3)).shape == (4, 2, 2)


@pytest.mark.parametrize("count", [0, 2.5, None])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match="count"):
        build([{"substeps": ["neuron"], "count": count}], (3,), {"name": "LIFNode"})
