"""Losses against the formulas of their papers, written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.task import loss

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(2, 5))


def drawn(sizes: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(sizes))
    y_seq = torch.randn(sizes, generator=generator, dtype=torch.double, requires_grad=True)
    return y_seq, torch.randint(0, sizes[2], (sizes[1],), generator=generator)


def plain_cross_entropy(scores: list[float], target: int, smoothing: float = 0.0) -> float:
    """−Σ q log p with q = (1 − ε) one-hot + ε/K (Szegedy et al., 2016)."""
    total = math.log(sum(math.exp(score) for score in scores))
    wanted = [(1 - smoothing) * (k == target) + smoothing / len(scores) for k in range(len(scores))]
    return -sum(q * (score - total) for q, score in zip(wanted, scores, strict=True))


@settings(max_examples=30, deadline=None)
@given(SIZES, st.sampled_from([0.0, 0.1]))
def test_cross_entropy_is_the_mean_over_samples(sizes, smoothing):
    y_seq, target = drawn(sizes)
    scores = y_seq[0]
    expected = [
        plain_cross_entropy(row, int(label), smoothing) for row, label in zip(scores.tolist(), target, strict=True)
    ]
    assert loss.cross_entropy(scores, target, smoothing).item() == pytest.approx(sum(expected) / len(expected))


@settings(max_examples=30, deadline=None)
@given(SIZES)
def test_mse_is_the_distance_from_the_one_hot_target(sizes):
    y_seq, target = drawn(sizes)
    scores = y_seq[0].tolist()
    total = 0.0
    for row, label in zip(scores, target.tolist(), strict=True):
        total += sum((score - (1.0 if k == label else 0.0)) ** 2 for k, score in enumerate(row))
    assert loss.mse(y_seq[0], target).item() == pytest.approx(total / (sizes[1] * sizes[2]))


@settings(max_examples=30, deadline=None)
@given(SIZES, st.floats(0, 1), st.floats(-2, 2), st.sampled_from([0.0, 0.2]))
def test_tet_is_the_loss_of_deng_et_al(sizes, weight, potential, smoothing):
    """L = (1 − λ)·(1/T)·Σ_t CE(O(t), y) + λ·(1/T)·Σ_t MSE(O(t), φ)  (ICLR 2022, eq. 9 to 11)."""
    y_seq, target = drawn(sizes)
    steps, samples, classes = sizes
    entropy = distance = 0.0
    for step in y_seq.tolist():
        for row, label in zip(step, target.tolist(), strict=True):
            entropy += plain_cross_entropy(row, label, smoothing) / (steps * samples)
            distance += sum((value - potential) ** 2 for value in row) / (steps * samples * classes)
    expected = (1 - weight) * entropy + weight * distance
    assert loss.tet(y_seq, target, weight, potential, smoothing).item() == pytest.approx(expected)


def test_tet_differs_from_the_cross_entropy_of_the_mean():
    """The point of the paper: each step has to be right by itself."""
    y_seq, target = torch.tensor([[[4.0, -4.0]], [[-4.0, 4.0]]]), torch.tensor([0])
    assert loss.tet(y_seq, target, 0.0, 1.0) > 1.9 > loss.cross_entropy(y_seq.mean(0), target)


@pytest.mark.parametrize("name", loss.LOSSES)
def test_gradients_reach_every_output(name):
    y_seq, target = drawn((3, 2, 4))
    values = torch.linspace(-1, 1, 8, dtype=y_seq.dtype).reshape(2, 4)
    compute = {
        "mae": lambda y: loss.mae(y.mean(0), values),
        "huber": lambda y: loss.huber(y.mean(0), values, 0.5),
        "bce": lambda y: loss.bce(y.mean(0), (values > 0).to(values)),
        "cross_entropy": lambda y: loss.cross_entropy(y.mean(0), target),
        "mse": lambda y: loss.mse(y.mean(0), target),
        "tet": lambda y: loss.tet(y, target, 0.1, 1.0),
    }[name]
    assert torch.autograd.gradcheck(compute, y_seq)
    assert torch.autograd.grad(compute(y_seq), y_seq)[0].ne(0).all()
