"""Nets built from configs, fused and not: equal to the last bit in training and evaluation, whatever looks at them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snntrain import create_model, functional, layer, list_models
from snntrain.callback import SpikeStatistics
from snntrain.encoding import DirectEncoder
from snntrain.kernel import sparse_product
from snntrain.layer import Sequential, sequential
from snntrain.neuron import LIFNode
from snntrain.surrogate import ATan
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


# --- sparse products -------------------------------------------------------------------------------------------------

EVENTS = (8, 32, 2, 12, 12)  # [T, N, polarities, rows, columns]


def event_net() -> Sequential:
    """With dropout, whose random numbers resume as well."""
    torch.manual_seed(0)
    lif = {"v_threshold": 0.05, "detach_reset": True, "surrogate_function": ATan()}
    hidden = [layer.Linear(288, 96), LIFNode(**lif), layer.Dropout(0.2), layer.Linear(96, 64), LIFNode(**lif)]
    net = Sequential(layer.Flatten(), *hidden, layer.Linear(64, 10))
    functional.set_step_mode(net, "m")
    return net


def event_step(net: Sequential, number: int) -> None:
    """One training step on a batch of events, of which 4 % of the pixels have some."""
    torch.manual_seed(number)
    x = torch.poisson(torch.full(EVENTS, 0.04))
    functional.reset_net(net)
    nn.functional.cross_entropy(net(x).mean(0), torch.randint(10, EVENTS[1:2])).backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 0.1 * parameter.grad
            parameter.grad = None


@pytest.fixture
def sparse_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the inputs of products that were sparse."""
    calls = []
    product = sparse_product.linear

    def noting(x: Tensor, *more: Any) -> Tensor | None:
        out = product(x, *more)
        calls.extend([] if out is None else [tuple(x.shape)])
        return out

    monkeypatch.setattr(sparse_product, "linear", noting)
    return calls


def event_nets(fuse: str, steps: int = 2) -> Sequential:
    net = event_net()
    layer.set_fuse(net, fuse)
    for number in range(steps):
        event_step(net, number)
    return net


def test_sparse_products_train_the_same_again_and_from_a_checkpoint(sparse_calls):
    whole, again = event_nets("fast"), event_nets("fast")
    resumed = event_net()
    layer.set_fuse(resumed, "fast")
    resumed.load_state_dict(event_nets("fast", steps=1).state_dict())
    event_step(resumed, 1)
    assert_equal(*([*one.state_dict().values()] for one in (whole, again)))
    assert_equal(*([*one.state_dict().values()] for one in (whole, resumed)))
    assert sparse_calls.count((8, 32, 288)) == 6 and whole.state_dict().keys() == event_net().state_dict().keys()


def test_sparse_products_train_within_rounding_and_the_others_change_no_bit(sparse_calls):
    fast, exact, off = (event_nets(fuse, steps=1) for fuse in ("fast", "exact", "off"))
    assert set(sparse_calls) >= {(8, 32, 288)} and len(sparse_calls) <= 2
    assert_equal(*([*one.state_dict().values()] for one in (exact, off)))
    for a, b in zip(fast.state_dict().values(), exact.state_dict().values(), strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_a_hook_on_a_linear_layer_sees_the_sparse_product(sparse_calls):
    net, seen = event_net().eval(), []
    layer.set_fuse(net, "fast")
    x = torch.poisson(torch.full(EVENTS, 0.04))
    unseen = net[:2](x)
    handle = net[1].register_forward_hook(lambda module, given, output: seen.append(output))
    assert torch.equal(net[:2](x), unseen) and torch.equal(seen[0], unseen)
    handle.remove()
    steps = functional.repeat(x[:1].expand(8, *EVENTS[1:]).flatten(0, 1), 2)  # one step, repeated
    assert torch.equal(net[:2](steps)[0], net[:2](steps)[1])
    assert sparse_calls == [(8, 32, 288)] * 2 + [(256, 288)] * 2


def test_a_slice_of_a_net_keeps_how_it_runs():
    net = built("csnn", NEURONS["if"])
    layer.set_fuse(net, "off")
    assert net.layers[:3].fuse == "off" and net.layers.fuse == "off"


def test_nets_from_configs_are_of_the_container_that_fuses():
    net = create_model("vgg5", (3, 8, 8), 10, features=16)
    containers = {type(module) for module in net.modules() if isinstance(module, nn.Sequential)}
    assert containers == {Sequential} == {type(net.layers)}
