"""A reset that was forgotten is named, and not only torch's second backward."""

import pytest
import torch
from torch import Tensor, nn

from snntrain import functional
from snntrain.base import StateMismatchError
from snntrain.leftover import LeftoverStateError, naming_what_was_not_reset
from snntrain.neuron import IFNode, LIFNode, ParametricLIFNode

NODES = {
    "if": lambda **kw: IFNode(**kw),
    "soft": lambda **kw: IFNode(v_reset=None, **kw),
    "lif": lambda **kw: LIFNode(detach_reset=True, **kw),
    "plif": lambda **kw: ParametricLIFNode(**kw),
}
every_net = pytest.mark.parametrize("node, backend", [*((node, "torch") for node in NODES), ("if", "fused")])
every_mode = pytest.mark.parametrize("mode", ["s", "m"])


def net_and_input(node: str, backend: str, mode: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), NODES[node](backend=backend, step_mode=mode), nn.Linear(4, 2))
    return net, torch.rand(3, 2, 3) if mode == "m" else torch.rand(2, 3)


@every_net
@every_mode
def test_a_backward_into_the_last_batch_names_reset_net(node, backend, mode):
    net, x = net_and_input(node, backend, mode)
    net(x).sum().backward()
    y = net(x)  # an evaluation without a backward goes on as ever
    words = r"^1 \(\w+\): state v was left over from an earlier batch, .* functional\.reset_net\(model\) .*detach_net"
    with pytest.raises(StateMismatchError, match=words):
        y.sum().backward()


@pytest.mark.parametrize("backend", ["torch", "fused"])
@every_mode
def test_what_may_be_carried_on_is(backend, mode):
    net, x = net_and_input("if", backend, mode)
    net(x).sum().backward(retain_graph=True)
    net(x).sum().backward()
    functional.reset_net(net)
    net(x).sum().backward()
    functional.detach_net(net)
    net(x).sum().backward()
    x.requires_grad_()  # the gradient of the new input alone needs nothing of the old graph
    assert torch.autograd.grad(net(x).sum(), x)[0].shape == x.shape
    functional.reset_net(net)
    (net(x) + net(x)).sum().backward()


@every_net
@every_mode
def test_a_state_from_inference_mode_names_reset_net(node, backend, mode):
    net, x = net_and_input(node, backend, mode)
    with torch.inference_mode():
        net(x)
        net(x)
    with torch.no_grad():
        net(x)
    functional.reset_net(net)
    with torch.inference_mode():
        net(x)
    with pytest.raises(StateMismatchError, match=r"^1 \(\w+\): state v was left over from torch\.inference_mode\(\).*"):
        net(x)
    functional.reset_net(net)
    net(x).sum().backward()


class Stubborn(nn.Module):
    """Keeps a state that nobody can reset."""

    def __init__(self) -> None:
        super().__init__()
        self.h: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.h = x if self.h is None else self.h * x
        return self.h


@pytest.mark.parametrize("inference", [False, True])
def test_a_module_without_reset_is_named(inference):
    net = nn.Sequential(nn.Linear(2, 2), Stubborn())
    words = r"^1 \(Stubborn\.h\) keeps a state from one batch to the next\. Give the module a method reset\(\)"
    if inference:
        with torch.inference_mode():
            net(torch.ones(2))
    else:
        net(torch.ones(2)).sum().backward()
    with pytest.raises(LeftoverStateError, match=words), naming_what_was_not_reset(net):
        net(torch.ones(2)).sum().backward()
    with pytest.raises(RuntimeError, match=r"^something else$"), naming_what_was_not_reset(net):
        raise RuntimeError("something else")
