"""Losses against the formulas of their papers, written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from snntrain.data.target import Target
from snntrain.error import UsageError
from snntrain.task import loss, spike_loss
from snntrain.task.firing_rates import rate_regularized
from snntrain.task.loss import Loss
from snntrain.task.suited import suited

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
@given(SIZES, st.floats(0.1, 3))
def test_losses_of_values_are_their_formulas(sizes, delta):
    """Huber, 1964: e²/2 up to delta, delta·(|e| − delta/2) beyond."""
    y_seq, _ = drawn(sizes)
    target = y_seq.detach().flip(0)[0].cos()
    error = np.abs((y_seq[0].detach() - target).numpy())
    expected = {
        "mse": (error**2).mean(),
        "mae": error.mean(),
        "huber": np.where(error <= delta, error**2 / 2, delta * (error - delta / 2)).mean(),
    }
    for name, value in expected.items():
        setting = {"name": name, "delta": delta} if name == "huber" else name
        for kind in (Target.VALUES, Target.STEP_VALUES):
            found = Loss(setting, kind, count=sizes[2])(y_seq, lambda y: y[0], target)
            assert found.item() == pytest.approx(value)


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


def one_hot(target: torch.Tensor, classes: int) -> np.ndarray:
    return np.eye(classes)[target.numpy()]


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 3.0, 1.0], dtype=torch.double)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.floats(0, 5), st.sampled_from([0.0, 0.2]), st.booleans())
def test_focal_is_the_loss_of_lin_et_al(sizes, gamma, smoothing, is_weighted):
    """−α_k (1 − p)^γ log p of the class (ICCV 2017, eq. 5), of smoothed shares where there are such."""
    y_seq, target = drawn(sizes)
    weight = WEIGHTS[: sizes[2]] if is_weighted else None
    log_p = log_softmax(y_seq[0].detach().numpy())
    shares = (1 - smoothing) * one_hot(target, sizes[2]) + smoothing / sizes[2]
    alpha = np.ones(sizes[2]) if weight is None else weight.numpy()
    expected = -(alpha * shares * (1 - np.exp(log_p)) ** gamma * log_p).sum(1).mean()
    found = loss.focal(y_seq[0], target, Target.CLASS, gamma, smoothing, weight)
    assert found.item() == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(SIZES, st.floats(0, 5))
def test_focal_of_labels_is_torchvisions(sizes, gamma):
    y_seq, _ = drawn(sizes)
    labels = (y_seq[-1].detach() > 0.3).double()
    expected = sigmoid_focal_loss(y_seq[0], labels, alpha=-1, gamma=gamma, reduction="mean")
    assert loss.focal(y_seq[0], labels, Target.LABELS, gamma).item() == pytest.approx(expected.item())


def test_focal_has_finite_gradients_where_a_sample_is_surely_right():
    for gamma in (0.0, 0.5, 2.0):
        scores = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
        for kind, target in ((Target.CLASS, torch.tensor([0, 0])), (Target.LABELS, torch.eye(2))):
            found = loss.focal(scores, target, kind, gamma)
            assert found.isfinite() and torch.autograd.grad(found, scores)[0].isfinite().all()


@settings(max_examples=30, deadline=None)
@given(SIZES)
def test_a_weighted_cross_entropy_is_the_mean_over_the_samples(sizes):
    """scikit-learn's log loss is divided by the sum of the samples' weights; ours by their number."""
    y_seq, target = drawn(sizes)
    weight = WEIGHTS[: sizes[2]] + 0.25
    of_samples = weight[target].numpy()
    p = y_seq[0].detach().softmax(1).numpy()
    expected = log_loss(target.numpy(), p, labels=range(sizes[2]), sample_weight=of_samples) * of_samples.mean()
    assert loss.cross_entropy(y_seq[0], target, 0.0, weight).item() == pytest.approx(expected)
    shares = F.one_hot(target, sizes[2]).double()
    assert loss.cross_entropy(y_seq[0], shares, 0.0, weight).item() == pytest.approx(expected)
    parts = [loss.cross_entropy(y_seq[0, [n]], target[[n]], 0.0, weight).item() for n in range(sizes[1])]
    assert loss.cross_entropy(y_seq[0], target, 0.0, weight).item() == pytest.approx(np.mean(parts))


@settings(max_examples=20, deadline=None)
@given(SIZES)
def test_bce_and_focal_weigh_labels_that_hold(sizes):
    y_seq, _ = drawn(sizes)
    labels, weight = (y_seq[-1].detach() > 0.3).double(), WEIGHTS[: sizes[2]]
    p, y = y_seq[0].detach().sigmoid().numpy(), labels.numpy()
    for alpha, given_weight in ((1, None), (weight.numpy(), weight)):
        expected = -(alpha * y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
        assert loss.bce(y_seq[0], labels, given_weight).item() == pytest.approx(expected)
    held = weight.numpy() * y * (1 - p) ** 2 * np.log(p)
    assert loss.focal(y_seq[0], labels, Target.LABELS, 2.0, 0.0, weight).item() == pytest.approx(
        -(held + (1 - y) * p**2 * np.log(1 - p)).mean()
    )


@settings(max_examples=30, deadline=None)
@given(SIZES)
def test_losses_of_counts_and_potentials_are_their_formulas(sizes):
    y_seq, target = drawn(sizes)
    _, N, K = sizes
    y, wanted = y_seq.detach().numpy(), one_hot(target, K)
    right = (slice(None), np.arange(N), target.numpy())
    assert spike_loss.ce_rate(y_seq, target).item() == pytest.approx(-log_softmax(y)[right].mean())
    assert spike_loss.ce_count(y_seq, target).item() == pytest.approx(-log_softmax(y.sum(0)[None])[right].mean())
    assert spike_loss.ce_max_membrane(y_seq, target).item() == pytest.approx(-log_softmax(y.max(0)[None])[right].mean())
    expected = ((y - (0.25 + 0.5 * wanted)) ** 2).mean()
    assert spike_loss.mse_membrane(y_seq, target, 0.75, 0.25).item() == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 4))
def test_mse_count_wants_whole_spikes_of_each_population(sizes, population):
    y_seq, target = drawn(sizes)
    T, _, K = sizes
    wanted = np.where(one_hot(target, K), math.floor(0.9 * T * population), math.floor(0.1 * T * population))
    if math.floor(0.9 * T * population) == math.floor(0.1 * T * population):
        with pytest.raises(ValueError, match=f"both want 0 spikes of {population} neurons in T={T} steps"):
            spike_loss.mse_count(y_seq, target, population, 0.9, 0.1)
        return
    expected = ((y_seq.detach().sum(0).numpy() - wanted) ** 2).mean() / T
    assert spike_loss.mse_count(y_seq, target, population, 0.9, 0.1).item() == pytest.approx(expected)


def test_rates_within_the_bounds_cost_nothing_and_others_their_squared_distance():
    rates = torch.tensor([0.05, 0.2, 0.5, 0.9], dtype=torch.double)
    found = rate_regularized(torch.tensor(1.5), rates, strength=2.0, highest=0.5, lowest=0.1)
    assert found.item() == pytest.approx(1.5 + 2.0 * (0.05**2 + 0.4**2) / 4)


@pytest.mark.parametrize("name", loss.LOSSES)
def test_gradients_reach_every_output(name):
    y_seq, target = drawn((3, 2, 4))
    values = torch.linspace(-1, 1, 8, dtype=y_seq.dtype).reshape(2, 4)
    weight = WEIGHTS[[0, 1, 3, 4]]
    compute = {
        "mae": lambda y: loss.mae(y.mean(0), values),
        "huber": lambda y: loss.huber(y.mean(0), values, 0.5),
        "bce": lambda y: loss.bce(y.mean(0), (values > 0).to(values), weight),
        "cross_entropy": lambda y: loss.cross_entropy(y.mean(0), target, 0.0, weight),
        "focal": lambda y: loss.focal(y.mean(0), target, Target.CLASS, 2.0, 0.0, weight),
        "mse": lambda y: loss.mse(y.mean(0), target),
        "tet": lambda y: loss.tet(y, target, 0.1, 1.0),
        "ce_rate": lambda y: spike_loss.ce_rate(y, target, 0.0, weight),
        "ce_count": lambda y: spike_loss.ce_count(y, target, 0.1),
        "ce_max_membrane": lambda y: spike_loss.ce_max_membrane(y, target),
        "mse_count": lambda y: spike_loss.mse_count(y, target),
        "mse_membrane": lambda y: spike_loss.mse_membrane(y, target),
        "rate_regularized": lambda y: rate_regularized(y.sum(), y.mean((1, 2))),
    }[name]
    assert torch.autograd.gradcheck(compute, y_seq)
    reached = torch.autograd.grad(compute(y_seq), y_seq)[0].ne(0)
    assert reached.any(0).all() if name == "ce_max_membrane" else reached.all()


# --- what a setting says ----------------------------------------------------------------------------------------------


def test_a_loss_that_adds_to_another_gets_its_value_and_the_rates():
    y_seq, target = drawn((3, 2, 4))
    rates = torch.tensor([0.5, 0.25], dtype=torch.double)
    setting = {"name": "rate_regularized", "loss": {"name": "focal", "gamma": 1.0, "weight": [1, 2, 3, 4]}}
    made = Loss({**setting, "strength": 0.5}, Target.CLASS, {"label_smoothing": 0.1}, count=4)
    weight = torch.tensor([1.0, 2, 3, 4], dtype=torch.double)
    expected = loss.focal(y_seq.mean(0), target, Target.CLASS, 1.0, 0.1, weight) + 0.5 * (0.25 + 0.0625) / 2
    torch.testing.assert_close(made(y_seq, lambda y: y.mean(0), target, lambda: rates), expected)
    assert made.takes_firing_rates and not Loss("mse", Target.CLASS).takes_firing_rates


@pytest.mark.parametrize(
    ("setting", "kind", "said"),
    [
        ("rate_regularized", Target.CLASS, "task.loss: rate_regularized adds to another loss. Name it"),
        ({"name": "rate_regularized", "loss": "bce"}, Target.CLASS, "task.loss.loss: bce compares with several labels"),
        ({"name": "rate_regularized", "loss": "fokal"}, Target.CLASS, "task.loss.loss: 'fokal' is not a registered"),
        (
            {"name": "rate_regularized", "loss": "mse", "strength": -1},
            Target.VALUES,
            "task.loss.strength must be a finite number ≥ 0, got -1",
        ),
        ({"name": "rate_regularized", "loss": "mse", "firing_rates": 1}, Target.VALUES, "firing_rates is filled in by"),
        ({"name": "focal", "gamma": -1}, Target.CLASS, "task.loss.gamma must be a finite number ≥ 0, got -1"),
        ({"name": "huber", "delta": 0}, Target.VALUES, "task.loss.delta must be a finite number > 0, got 0"),
        ({"name": "mse_count", "correct_rate": 1.5}, Target.CLASS, "correct_rate must be a finite number ≥ 0 and ≤ 1"),
        (
            {"name": "cross_entropy", "weight": [1, 2]},
            Target.CLASS,
            "task.loss.weight must be balanced, or a list of 3 numbers ≥ 0, one for each class and not all of them 0; "
            "got [1, 2]",
        ),
        ({"name": "focal", "weight": "even"}, Target.CLASS, "task.loss.weight must be balanced, or a list of 3"),
        ({"name": "bce", "weight": [1, -1, 0]}, Target.LABELS, "one for each label"),
        ({"name": "focal", "weight": [0, 0, 0]}, Target.STEP_CLASSES, "not all of them 0"),
        ({"name": "mse", "weight": [1, 2, 3]}, Target.CLASS, "task.loss.weight is not an argument of mse"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, kind, said):
    with pytest.raises(UsageError) as error:
        Loss(setting, kind, count=3)
    assert said in str(error.value)


def test_losses_of_several_steps_or_single_neurons_are_refused_where_there_are_none():
    """Of sequences each step is a sample of its own, and a population's neurons are summed up."""
    over_time = {"tet", "ce_rate", "ce_count", "ce_max_membrane", "mse_count", "mse_membrane"}
    for kind in (Target.STEP_CLASSES, Target.STEP_VALUES):
        assert not over_time & set(suited("loss", kind))
        for name in over_time:
            with pytest.raises(UsageError, match=rf"task\.loss: {name} compares with a class"):
                Loss(name, kind)
    assert not (over_time | {"rate_regularized"}) & set(suited("loss", Target.CLASS, "step_by_step"))
    for name in ("ce_max_membrane", "mse_membrane"):
        with pytest.raises(UsageError, match=rf"task\.loss: {name} is of single neurons.*Use .*ce_count, mse_count"):
            Loss(name, Target.CLASS, population=3)
