"""Delays are learned: those of a layer that makes the targets are found again from its inputs and outputs alone."""

import pytest
import torch
from torch import nn

from snntrain import functional
from snntrain.layer import DelaySettings, Linear, delay_lines, with_delay


def layer(inputs: int, outputs: int, **how) -> nn.Module:
    made = with_delay(Linear(inputs, outputs), DelaySettings(**how))
    functional.set_step_mode(made, "m")
    return made


def recovered(kind: str, inputs: int, outputs: int, max: int, T: int, updates: int, seed: int) -> tuple[float, float]:
    """The share of delays found exactly, and the rounded layer's mean squared error over the targets' variance."""
    torch.manual_seed(seed)
    planted = layer(inputs, outputs, max=max, kind=kind, learn=False)
    with torch.no_grad():  # a weight of 0 would have no delay that could be found
        planted.layer.weight.copy_((torch.rand(outputs, inputs) + 0.5) * torch.randn(outputs, inputs).sign())
    learned = layer(inputs, outputs, max=max, kind=kind, start_width=2.0 * max)
    line, of_planted = (next(iter(delay_lines(each).values())) for each in (learned, planted))
    weights = [parameter for parameter in learned.parameters() if parameter is not line.delay]
    optimizer = torch.optim.Adam([{"params": weights}, {"params": [line.delay], "lr": 0.1}], lr=0.05)
    for update in range(updates + 1):
        x = (torch.rand(T, 32, inputs) < 0.1).float()
        functional.reset_net(planted), functional.reset_net(learned)
        with torch.no_grad():
            target = planted(x)
        if update == updates:
            break
        line.anneal(update / updates)
        loss = (learned(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = (learned.eval()(x) - target).square().mean() / target.var()
    return float((line.steps() == of_planted.steps()).float().mean()), float(error)


@pytest.mark.parametrize("kind", ["axonal", "synaptic"])
def test_planted_delays_are_found(kind: str):
    share, error = recovered(kind, inputs=4, outputs=3, max=8, T=24, updates=300, seed=0)
    assert share == 1.0 and error < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["axonal", "synaptic"])
def test_many_planted_delays_are_found(kind: str):
    found = [recovered(kind, inputs=8, outputs=4, max=16, T=40, updates=600, seed=seed) for seed in (1, 2, 3)]
    print(found)
    assert sum(share for share, _ in found) / 3 >= 0.95
