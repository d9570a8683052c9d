"""Nets built from configs, fused and not: equal to the last bit in training and evaluation, whatever looks at them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snntrain import create_model, functional, layer, list_models
from snntrain.callback import SpikeStatistics
from snntrain.encoding import DirectEncoder
from snntrain.layer import Sequential, sequential
from snntrain.task.chunk import run_in_chunks

T = 4
ATAN = {"name": "ATan", "alpha": 2.0}
NEURONS = {
    "if": {"name": "IFNode"},
    "lif": {"name": "LIFNode", "detach_reset": True},
    "plif": {"name": "ParametricLIFNode", "detach_reset": True},
    "alif": {"name": "ALIFNode", "tau": 2.0, "tau_a": 10.0, "beta": 0.5},
    "qif": {"name": "QIFNode"},
}
PICTURE = (3, 16, 16)
#: Models in which a pooling follows a neuron.
POOLED = ("csnn", "csnn_sew", "plif_net", "plif_net_dvs", "vgg5", "vgg9", "vgg11", "vgg16")
SHAPES = {"recurrent": (20,), "dense2": (2,), "recurrent2": (2,), "dense3": (1,), "recurrent3": (1,), "forecast": (20,)}
SHAPES |= {"plif_net_dvs": (2, 32, 32), "csnn": (1, 9, 9)}  # of 9 rows and columns one is left over
SMALLER = {"vgg5": {"features": 64}, "vgg9": {"features": 64}, "plif_net": {"features": 64, "channels": 16}}
SMALLER |= {"csnn": {"channels": 4, "features": 16}}


def built(model: str, neuron: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    often = {"v_threshold": 0.2, "surrogate_function": ATAN}
    return create_model(model, SHAPES.get(model, PICTURE), 10, {**often, **neuron}, T=T, **SMALLER.get(model, {}))


def trained(model: str, net: nn.Module, fuse: str, chunk: int = T, watched: bool = False) -> list[Tensor]:
    """What two training steps and an evaluation leave: losses, gradients, parameters, statistics, scores, rates."""
    torch.manual_seed(0)
    net, shape = functional.copy_net(net), SHAPES.get(model, PICTURE)
    layer.set_fuse(net, fuse)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    found, rates = [], SpikeStatistics()
    if watched:
        rates._watch(net)
    for _ in range(2):
        x, target = torch.rand(3, *shape) * 2, torch.randint(10, (3,))
        functional.reset_net(net)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(run_in_chunks(net, DirectEncoder()(x, T), chunk).mean(0), target)
        loss.backward()
        optimizer.step()
        found += [loss.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]
    functional.reset_net(net)
    with torch.no_grad():
        found.append(net.eval()(torch.rand(T, 2, *shape)))
    if watched:
        overall, layers = rates._rates()
        rates._stop()
        found.append(torch.tensor([overall, *layers.values()], dtype=torch.float64))
    states = [value for _, value in functional.named_states(net) if isinstance(value, Tensor)]
    return [*found, *states, *net.state_dict().values()]


def assert_equal(one: list[Tensor], other: list[Tensor]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The neurons that ran together with their pooling."""
    calls = []
    run = sequential.run_pooled_node

    def noting(node: nn.Module, *more: Any) -> Tensor | None:
        out = run(node, *more)
        calls.extend([] if out is None else [node])
        return out

    monkeypatch.setattr(sequential, "run_pooled_node", noting)
    return calls


def test_the_csnn_trains_the_same_with_firing_rates_and_in_chunks(fused_calls):
    net = built("csnn", NEURONS["lif"])
    assert_equal(*(trained("csnn", net, fuse, watched=True) for fuse in ("exact", "off")))
    assert len(fused_calls) == 2 * 3
    assert_equal(*(trained("csnn", net, fuse, chunk=3) for fuse in ("exact", "off")))


@pytest.mark.slow
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("model", [model for model in list_models() if model not in ("csnn_loihi", "ottt_vgg")])
def test_every_model_trains_the_same_with_every_neuron(model, neuron, fused_calls):
    net = built(model, NEURONS[neuron])
    assert_equal(*(trained(model, net, fuse) for fuse in ("exact", "off")))
    assert bool(fused_calls) == (model in POOLED)


def stepped(net: nn.Module, fuse: str, x: Tensor) -> nn.Module:
    """A copy of a net after a training step."""
    net = functional.copy_net(net)
    layer.set_fuse(net, fuse)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    nn.functional.cross_entropy(net(DirectEncoder()(x, T)).mean(0), torch.arange(len(x))).backward()
    optimizer.step()
    return net


@pytest.mark.slow
def test_fast_kernels_train_the_same_again_and_from_a_checkpoint(fused_calls):
    net, (first, second) = built("csnn", NEURONS["plif"]), torch.rand(2, 3, *SHAPES["csnn"])
    whole, again = (stepped(stepped(net, "fast", first), "fast", second) for _ in range(2))
    resumed = built("csnn", NEURONS["plif"])
    resumed.load_state_dict(stepped(net, "fast", first).state_dict())
    resumed = stepped(resumed, "fast", second)
    assert_equal(*([*one.state_dict().values()] for one in (whole, again)))
    assert_equal(*([*one.state_dict().values()] for one in (whole, resumed)))
    assert len(fused_calls) == 2 * 6


def test_fast_kernels_train_the_csnn_within_rounding(fused_calls):
    net, x = built("csnn", NEURONS["lif"]), torch.rand(3, *SHAPES["csnn"])
    fast, off = (stepped(net, fuse, x) for fuse in ("fast", "off"))
    for a, b in zip(fast.state_dict().values(), off.state_dict().values(), strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()
    assert len(fused_calls) == 2


def test_a_slice_of_a_net_keeps_how_it_runs():
    net = built("csnn", NEURONS["if"])
    layer.set_fuse(net, "off")
    assert net.layers[:3].fuse == "off" and net.layers.fuse == "off"


def test_nets_from_configs_are_of_the_container_that_fuses():
    net = create_model("vgg5", (3, 8, 8), 10, features=16)
    containers = {type(module) for module in net.modules() if isinstance(module, nn.Sequential)}
    assert containers == {Sequential} == {type(net.layers)}
