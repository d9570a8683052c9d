"""Modules of plugins that carry a state of their own, in a task."""

import pytest
import torch
from torch import Tensor, nn

from snntrain.encoding import DirectEncoder, LatencyEncoder
from snntrain.leftover import LeftoverStateError
from snntrain.model.builder import Net
from snntrain.task import Classification


class Kept(nn.Module):
    """A leaky sum that is kept from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.h: Tensor | float = 0.0

    def forward(self, x_seq: Tensor) -> Tensor:
        outputs = []
        for x in x_seq:
            self.h = torch.sigmoid(x) * self.h + x
            outputs.append(self.h)
        return torch.stack(outputs)


class Resettable(Kept):
    def reset(self) -> None:
        self.h = 0.0


def task(state: nn.Module, **more: object) -> Classification:
    net = Net([nn.Linear(4, 3), state], [(3,), (3,)])
    return Classification(net, DirectEncoder(), T=2, num_classes=3, optim={}, **more)


def test_a_plugins_state_is_forgotten_before_each_batch():
    classification, x = task(Resettable()), torch.rand(5, 4)
    assert classification.net.is_stateful
    assert torch.equal(classification(x), classification(x))
    with torch.inference_mode():
        classification(x[:2])
    classification(x).sum().backward()


@pytest.mark.parametrize("inference", [False, True])
def test_a_state_that_cannot_be_reset_is_named(inference):
    classification, x = task(Kept()), torch.rand(5, 4)
    with torch.inference_mode(inference):
        first = classification(x).sum()
    if not inference:
        classification.backward(first)
    with pytest.raises(LeftoverStateError, match=r"^layers\.1 \(Kept\.h\) keeps a state .* reset\(\)"):
        classification.backward(classification(x).sum())


@pytest.mark.parametrize("gradient", ["exact", "truncated"])
def test_chunks_refuse_a_state_that_they_cannot_carry(gradient):
    with pytest.raises(ValueError, match=rf"={gradient} cannot carry the state of layers\.1 \(Resettable\)"):
        task(Resettable(), chunk=1, chunk_gradient=gradient)


def test_an_encoder_begins_anew_with_each_batch():
    classification = Classification(Net([nn.Linear(4, 3)], [(3,)]), LatencyEncoder(2), 2, 3, optim={})
    classification.encoder(torch.rand(5, 4))
    assert classification(torch.rand(2, 4)).shape == (2, 2, 3)
    assert classification.encoder(torch.rand(2, 4)).shape == (2, 4)
