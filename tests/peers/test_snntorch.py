"""Losses of spike counts and membrane potentials beside snnTorch's functional ones: the same values and gradients."""

from types import ModuleType

import pytest
import torch

from snntrain.task import spike_loss

pytestmark = pytest.mark.optional
T, N, K, POPULATION = 10, 6, 4, 3


@pytest.fixture(scope="module")
def functional() -> ModuleType:
    return pytest.importorskip("snntorch.functional", reason="snntorch is not installed")


def outputs(width: int, *, spikes: bool) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(width)
    y = torch.rand(T, N, width, generator=source)
    return ((y > 0.6).float() if spikes else 3 * y - 1).requires_grad_(), torch.randint(K, (N,), generator=source)


def equal(ours: torch.Tensor, theirs: torch.Tensor, y: torch.Tensor) -> None:
    torch.testing.assert_close(ours.reshape(()), theirs.reshape(()))
    torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), y, retain_graph=True)[0] for loss in (ours, theirs)))


WEIGHT = torch.tensor([0.5, 2.0, 1.0, 3.0])


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
@pytest.mark.parametrize("name", ["ce_rate", "ce_count", "ce_max_membrane"])
def test_cross_entropies_are_snntorchs(functional, name, weight):
    y, target = outputs(K, spikes=name != "ce_max_membrane")
    theirs = getattr(functional, f"{name}_loss")(weight=weight)
    equal(getattr(spike_loss, name)(y, target, 0.0, weight), theirs(y, target), y)


@pytest.mark.parametrize(("correct", "incorrect"), [(1.0, 0.0), (0.75, 0.25), (0.8, 0.1), (0.29, 0.0)])
def test_mse_count_is_snntorchs(functional, correct, incorrect):
    y, target = outputs(K, spikes=True)
    theirs = functional.mse_count_loss(correct_rate=correct, incorrect_rate=incorrect)
    equal(spike_loss.mse_count(y, target, 1, correct, incorrect), theirs(y, target), y)


@pytest.mark.parametrize(("on", "off"), [(1.0, 0.0), (1.5, 0.25), (0.2, 0.8)])
def test_mse_membrane_is_snntorchs(functional, on, off):
    y, target = outputs(K, spikes=False)
    theirs = functional.mse_membrane_loss(on_target=on, off_target=off)
    equal(spike_loss.mse_membrane(y, target, on, off), theirs(y, target), y)


def test_snntorch_takes_an_off_target_below_zero_for_zero(functional):
    y, target = outputs(K, spikes=False)
    theirs = functional.mse_membrane_loss(on_target=1.5, off_target=-0.25)(y, target)
    equal(spike_loss.mse_membrane(y, target, 1.5, 0.0), theirs, y)
    assert not torch.isclose(spike_loss.mse_membrane(y, target, 1.5, -0.25), theirs)


def test_populations_are_snntorchs(functional):
    y, target = outputs(K * POPULATION, spikes=True)
    sums = y.unflatten(-1, (K, POPULATION)).sum(-1)
    theirs = functional.ce_count_loss(population_code=True, num_classes=K)
    equal(spike_loss.ce_count(sums, target), theirs(y, target), y)
    theirs = functional.mse_count_loss(0.75, 0.2, population_code=True, num_classes=K)
    equal(spike_loss.mse_count(sums, target, POPULATION, 0.75, 0.2), theirs(y, target), y)


def test_a_bound_of_zero_on_rates_is_the_square_of_snntorchs_penalty(functional):
    """l1_rate_sparsity is linear in the spikes of one layer; the mean of a layer is that, divided by its size."""
    from snntrain.task.firing_rates import rate_regularized

    y, _ = outputs(K, spikes=True)
    theirs = functional.l1_rate_sparsity(1 / y.numel())(y)
    equal(rate_regularized(torch.zeros(()), y.mean()[None]), theirs.square(), y)
