"""Fused recurrence of a sequence that is cut into chunks."""

import pytest
import torch
from recurrent_containers import CONTAINERS, kept_bytes, plif, summed
from seeded_inputs import normal
from torch import Tensor
from torch.testing import assert_close

from snntrain import functional
from snntrain.task.chunk import run_in_chunks


def weighted(y: Tensor) -> Tensor:
    return (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum()


@pytest.mark.parametrize("name", ["summed", "joined"])
@pytest.mark.parametrize("chunk", [1, 7, 10])
def test_exact_chunks_are_the_whole_sequence(name, chunk):
    container = CONTAINERS[name](plif(), 12, True)
    functional.set_backend(container, "fused")
    x = (2.5 * normal(30, 4, 12)).requires_grad_()
    wanted, found = [x, *container.parameters()], []
    for run in (container, lambda x: run_in_chunks(container, x, chunk)):
        functional.reset_net(container)
        y = run(x)
        found.append([y, *torch.autograd.grad(weighted(y), wanted)])
    whole, chunks = found
    assert torch.equal(whole[0], chunks[0]) and 0 < float(whole[0].detach().mean()) < 1
    for one, other in zip(whole[1:], chunks[1:], strict=True):
        tolerance = 1e-6 if one.dim() else 1e-5  # the one of the neurons is what is left of a sum with both signs
        assert_close(other, one, rtol=0, atol=tolerance * float(one.abs().max()))


@pytest.mark.parametrize("name", ["summed", "joined"])
def test_truncated_chunks_are_a_loop_that_detaches(name):
    container = CONTAINERS[name](plif(), 12, True)
    x = (2.5 * normal(30, 4, 12)).requires_grad_()
    wanted = [x, *container.parameters()]
    functional.set_backend(container, "fused")
    y = run_in_chunks(container, x, 8, "truncated")
    ours = torch.autograd.grad(weighted(y), wanted)
    functional.set_backend(container, "torch")
    functional.reset_net(container)
    container.step_mode, steps = "s", []
    for t, step in enumerate(x):
        if t % 8 == 0:
            functional.detach_net(container)
        steps.append(container(step))
    expected = torch.stack(steps)
    assert torch.equal(y, expected)
    for one, other in zip(ours, torch.autograd.grad(weighted(expected), wanted), strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_exact_chunks_keep_only_the_states_between_them():
    container = summed(plif(), 32, False)
    functional.set_backend(container, "fused")
    state = 4 * 16 * 32  # bytes
    for T in (100, 1600):
        kept = kept_bytes(container, normal(T, 16, 32).requires_grad_(), lambda x: run_in_chunks(container, x, 50))
        assert kept <= 4 * state * T / 50
