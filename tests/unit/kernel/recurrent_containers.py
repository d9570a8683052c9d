"""Recurrent containers of every form with neurons that can be fused, and their comparison with the loop."""

import operator
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional, neuron, surrogate
from snntrain.layer import Linear
from snntrain.layer.recurrent import ElementWiseRecurrentContainer, FeedbackSum, LinearRecurrentContainer
from snntrain.neuron import BaseNode

ATAN = surrogate.ATan(2.0)


class Channels(BaseNode):
    """A leaky neuron with a learnable leak for each channel and a learnable threshold for each step."""

    step_counter = "t"

    def __init__(self, channels: int, T: int = 9) -> None:
        super().__init__(surrogate_function=ATAN)
        self.leak = nn.Parameter(torch.rand(channels))
        self.threshold = nn.Parameter(0.3 + torch.rand(T, 1))
        self.register_memory("t", 0)

    def step_parameters(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.leak.to(dtype), self.threshold.to(dtype)[self.t :]

    def step(self, x: Tensor, v: Tensor, leak: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
        h = v - v * leak + x
        s = self.surrogate_function(h - threshold)
        return s, h - threshold * s


def lif(channels: int = 0, **more: object) -> BaseNode:
    return neuron.LIFNode(surrogate_function=ATAN, **more)


def loop() -> BaseNode:
    return lif(backend="torch")


def plif(channels: int = 0) -> BaseNode:
    return neuron.ParametricLIFNode(init_tau=1.6, surrogate_function=ATAN)


def izhikevich(channels: int = 0) -> BaseNode:
    return neuron.IzhikevichNode(a=0.3, b=0.4, v_reset=0.2, surrogate_function=ATAN)


NEURONS: dict[str, Callable[[int], BaseNode]] = {"PLIF": plif, "per channel and step": Channels}


def add(node: nn.Module, F: int, bias: bool) -> ElementWiseRecurrentContainer:
    return ElementWiseRecurrentContainer(node, operator.add, "m")


def summed(node: nn.Module, F: int, bias: bool) -> ElementWiseRecurrentContainer:
    return ElementWiseRecurrentContainer(node, FeedbackSum(nn.Sequential(Linear(F, F, bias=bias))), "m")


def summed_with_weights(node: nn.Module, F: int, bias: bool) -> ElementWiseRecurrentContainer:
    inner = nn.Sequential(nn.Linear(F, F, bias=bias), node)
    return ElementWiseRecurrentContainer(inner, FeedbackSum(nn.Linear(F, F, bias=not bias)), "m")


def joined(node: nn.Module, F: int, bias: bool) -> LinearRecurrentContainer:
    return LinearRecurrentContainer(nn.Sequential(node), F, F, bias, "m")


def joined_with_weights(node: nn.Module, F: int, bias: bool) -> LinearRecurrentContainer:
    return LinearRecurrentContainer(nn.Sequential(nn.Linear(F + 2, F, bias=bias), node), F + 2, F, not bias, "m")


CONTAINERS = {f.__name__: f for f in (add, summed, summed_with_weights, joined, joined_with_weights)}


def outcome(container: nn.Module, x: Tensor, backend: str, chunks: list[int] | None = None) -> tuple[list[Tensor], ...]:
    """Outputs and states, and the gradients of a random sum of all of them."""
    functional.set_backend(container, backend)
    functional.reset_net(container)
    x = x.detach().requires_grad_()
    outputs = [torch.cat([container(part) for part in x.split(chunks or [len(x)])])]
    outputs += [value for _, value in functional.named_states(container) if isinstance(value, Tensor)]
    source = torch.Generator().manual_seed(1)
    loss = sum((y * torch.randn(y.shape, generator=source, dtype=y.dtype)).sum() for y in outputs)
    return outputs, list(torch.autograd.grad(loss, [x, *container.parameters()]))


def assert_fused_is_loop(container: nn.Module, x: Tensor, chunks: list[int] | None = None) -> list[Tensor]:
    """Every output and state to the last bit, every gradient to 1e-5 of the largest; returns the outputs."""
    ours, our_gradients = outcome(container, x, "fused", chunks)
    theirs, their_gradients = outcome(container, x, "torch", chunks)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other) and one.dtype == other.dtype
    largest = max(float(other.detach().abs().max()) for other in their_gradients)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        # That of a parameter of the whole layer is a sum over all neurons, whose terms may cancel.
        size = largest if other.dim() == 0 else float(other.detach().abs().max())
        assert_close(one, other, rtol=1e-5, atol=1e-5 * size)
    return ours


def kept_bytes(container: nn.Module, x: Tensor, run: Callable[[Tensor], Tensor] | None = None) -> int:
    """What forward keeps for backward beside its input and its output."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    functional.reset_net(container)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = (run or container)(x)
    for tensor in (x, y):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values())
