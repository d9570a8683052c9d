"""What the test shows beside its metrics equals what one computes of all samples at once, in any batches."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from small_training import Patches, small_task, trainer
from torch import Tensor
from torchmetrics import Metric

from snntrain.layer.padding import padded
from snntrain.task.evidence import (
    MOST_MISTAKES,
    MOST_PAIRS,
    MOST_STEPS,
    AccuracyOverTime,
    Example,
    Instead,
    Mistakes,
    Pairs,
    Steps,
    ValueErrors,
)

SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=5)


def fed(evidence: Metric, scores: Tensor, target: Tensor, sizes: Sequence[int]) -> Metric:
    evidence.reset()
    for part, labels in zip(scores.split(list(sizes)), target.split(list(sizes)), strict=True):
        evidence.update(part, labels)
    return evidence


def together(first: Metric, second: Metric) -> Tensor:
    """What two processes compute that saw different batches: a gather gives the states of both."""
    others = iter([getattr(second, name) for name in second._reductions])

    def gather(state: Tensor, group: object) -> list[Tensor]:
        other = next(others)
        return [state, torch.cat(other) if isinstance(other, list) else other]

    first.sync(dist_sync_fn=gather, distributed_available=lambda: True)
    found = first.compute.__wrapped__()  # compute as it is, without synchronizing again
    first.unsync()
    return found


@settings(deadline=None, max_examples=25)
@given(SIZES, st.integers(1, 3), st.integers(0, 100))
def test_errors_are_scikit_learns(sizes, values, seed):
    source = torch.Generator().manual_seed(seed)
    target = 100 + torch.randn(sum(sizes), values, generator=source)
    scores = target + 0.3 * torch.randn(sum(sizes), values, generator=source)
    found = fed(ValueErrors(values), scores, target, sizes).compute()
    expected = [
        [
            sum(sizes),
            math.sqrt(mean_squared_error(target[:, d], scores[:, d])),
            mean_absolute_error(target[:, d], scores[:, d]),
            r2_score(target[:, d].double(), scores[:, d].double()),
        ]
        for d in range(values)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_errors_of_equal_targets_have_no_share_of_their_variance():
    found = fed(ValueErrors(2), torch.tensor([[1.0, 1.0], [2.0, 2.0]]), torch.tensor([[3.0, 1.0], [3.0, 2.0]]), [2])
    assert found.compute()[:, 3].isnan().tolist() == [True, False]


def test_two_processes_count_together():
    source = torch.Generator().manual_seed(1)
    target = torch.randn(30, 2, generator=source)
    scores = target + torch.randn(30, 2, generator=source)
    halves = [fed(ValueErrors(2), scores[part], target[part], [15]) for part in (slice(15), slice(15, 30))]
    torch.testing.assert_close(together(*halves), fed(ValueErrors(2), scores, target, [30]).compute())
    kept = [fed(Pairs(2), scores[part], target[part], [size]) for part, size in ((slice(20), 20), (slice(20, 30), 10))]
    assert torch.equal(together(*kept), torch.stack([target, scores], 1))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_pairs_are_evenly_spread_and_few(sizes):
    target = torch.arange(sum(sizes)).float()[:, None]
    found = fed(Pairs(1), -target, target, sizes).compute()
    assert len(found) <= MOST_PAIRS and len(found) >= min(sum(sizes), MOST_PAIRS // 2)
    assert torch.equal(found[:, 0], -found[:, 1]) and found[0, 0] == 0
    gaps = found[:, 0, 0].diff().unique()
    assert len(gaps) <= 1 and found[-1, 0, 0] + (gaps[0] if len(gaps) else 1) >= sum(sizes)


def test_pairs_of_many_values_are_fewer():
    assert Pairs(1000).most == 200 and Pairs(10**6).most == 1


def test_labels_that_are_missed_for_others():
    source = torch.Generator().manual_seed(3)
    target, scores = (torch.rand(50, 4, generator=source) > 0.6).int(), torch.rand(50, 4, generator=source)
    found = fed(Instead(4), scores, target, [20, 30]).compute()
    for i in range(4):
        for j in range(4):
            both = [t[i] == 1 and s[i] <= 0.5 and t[j] == 0 and s[j] > 0.5 for t, s in zip(target, scores, strict=True)]
            assert found[i, j] == sum(map(bool, both))


T = 5
LENGTHS = st.lists(st.integers(1, T), min_size=1, max_size=6)


@settings(deadline=None, max_examples=25)
@given(LENGTHS, LENGTHS, st.booleans(), st.integers(0, 100))
def test_steps_are_those_that_sequences_have(first, second, of_classes, seed):
    """Against a loop over sequences and their real steps."""
    source = torch.Generator().manual_seed(seed)
    steps, example = Steps(T, of_classes=of_classes), Example(T, of_classes=of_classes)
    seen: list[list[float]] = [[] for _ in range(T)]
    earliest = None
    for lengths in (first, second):
        scores = torch.randn(len(lengths), T, 3, generator=source)
        target = torch.randn(len(lengths), T, 3, generator=source)
        target = target.argmax(2) if of_classes else target
        with padded(torch.tensor(lengths), T):
            mask = torch.arange(T) < torch.tensor(lengths)[:, None]
            for evidence in (steps, example):
                evidence.update(scores[mask], target[mask])
        for n, length in enumerate(lengths):
            for t in range(length):
                right = float(scores[n, t].argmax() == target[n, t]) if of_classes else 0.0
                seen[t].append(right if of_classes else float((scores[n, t] - target[n, t]).square().mean()))
        said = scores.argmax(2)[..., None].float() if of_classes else scores
        pair = torch.stack([target[..., None].float() if of_classes else target, said], 2)[0, : lengths[0]]
        earliest = pair if earliest is None else earliest
    counts, quality = steps.compute().T
    assert counts.tolist() == [len(values) for values in seen]
    for value, values in zip(quality.tolist(), seen, strict=True):
        expected = np.mean(values) if values else math.nan
        assert value == pytest.approx(expected if of_classes else math.sqrt(expected), rel=1e-5, nan_ok=True)
    assert torch.equal(example.compute(), earliest)


def test_steps_of_sequences_of_one_length_need_no_padding():
    target = torch.tensor([[0, 1, 1], [1, 1, 0]])
    scores = torch.nn.functional.one_hot(torch.tensor([[0, 1, 0], [1, 0, 0]]), 2).float()
    found = fed(Steps(3, of_classes=True), scores.flatten(0, 1), target.flatten(), [6]).compute()
    assert found.tolist() == [[2, 1.0], [2, 0.5], [2, 0.5]]


def test_the_example_of_several_processes_is_that_of_the_first():
    first, second = Example(2, of_classes=True), Example(2, of_classes=True)
    scores = torch.eye(2)
    first.update(scores, torch.tensor([0, 0]))
    second.update(scores, torch.tensor([1, 1]))
    assert together(first, second).squeeze(-1).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("readout", ["rate", "membrane", "last", "max", {"name": "membrane", "readout_tau": 5.0}])
@pytest.mark.parametrize("T", [4, 50])
def test_the_accuracy_over_time_is_that_of_the_first_steps_read_out(readout, T):
    """In batches and by two processes, of summed up populations: the readout of y_seq[:t], for each t."""
    task = small_task(T=T, readout=readout, population=2)
    source = torch.Generator().manual_seed(T)
    y_seq, target = torch.randn(T, 60, 6, generator=source), torch.randint(3, (60,), generator=source)
    parts = []
    for rows in (range(0, 25), range(25, 60)):
        evidence = AccuracyOverTime(T)
        for few in (rows[:10], rows[10:]):
            outputs = y_seq[:, few.start : few.stop]
            evidence.update(task, outputs, task.scores(outputs), target[few.start : few.stop], None)
        parts.append(evidence)
    found = together(*parts)
    assert found[0, 0] == 1 and found[-1, 0] == T and len(found) == min(T, MOST_STEPS)
    for t, share in found.tolist():
        assert share == pytest.approx((task.scores(y_seq[: int(t)]).argmax(1) == target).float().mean().item())


@settings(deadline=None, max_examples=25)
@given(SIZES, st.integers(0, 100))
def test_the_worst_mistakes_are_those_of_all_samples_sorted(sizes, seed):
    source, count = torch.Generator().manual_seed(seed), sum(sizes)
    scores = torch.randint(-3, 4, (count, 4), generator=source).float()  # many are equal
    target, index = torch.randint(4, (count,), generator=source), torch.randperm(1000, generator=source)[:count]
    evidence, start = Mistakes(), 0
    for size in sizes:
        part = slice(start, start := start + size)
        evidence.update(None, scores, scores[part], target[part], index[part])
    wrong = [
        (int(index[n]), int(target[n]), int(scores[n].argmax()), float(scores[n].max()), float(scores[n, target[n]]))
        for n in range(count)
        if scores[n].argmax() != target[n]
    ]
    found = evidence.compute().tolist()
    assert set(map(tuple, found)) <= set(wrong) and len(found) == min(len(wrong), MOST_MISTAKES)
    assert [row[3] for row in found] == sorted((row[3] for row in wrong), reverse=True)[:MOST_MISTAKES]
    evidence.reset()
    evidence.update(None, scores, scores, target, None)
    assert evidence.compute().shape == (0, 5)


def test_the_test_of_a_task_shows_mistakes_and_accuracy_over_time(tmp_path):
    task = small_task()
    (metrics,) = trainer(tmp_path).test(task, datamodule=Patches(), verbose=False)
    arrays = task.test_arrays()
    assert arrays["over_time"][:, 0].tolist() == [1, 2, 3]
    assert arrays["over_time"][-1, 1].item() == pytest.approx(metrics["test/acc"])
    assert len(arrays["mistakes"]) == min(12, round(24 * (1 - metrics["test/acc"]))) > 0
    assert "over_time" not in small_task(T=1).evidence
    assert "over_time" not in small_task(readout=lambda y_seq: y_seq.mean(0)).evidence  # whatever that one reads
