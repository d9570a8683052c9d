"""Pruning: every epoch is told, a hopeless run ends early, the last epoch is never cut."""

import math

import pytest
from small_training import Patches, small_task, trainer

from snntrain.callback import Pruned, Pruning


def fit(tmp_path, metric: str, answers: dict[int, bool], **settings: object) -> list[tuple[int, float]]:
    """What the callback told; answers: epoch → stop?"""
    told: list[tuple[int, float]] = []

    def is_hopeless(epoch: int, value: float) -> bool:
        told.append((epoch, value))
        return answers.get(epoch, False)

    try:
        trainer(tmp_path, Pruning(metric, is_hopeless), **settings).fit(small_task(), Patches())
    finally:
        fit.told = told
    return told


def test_every_epoch_is_told_once_with_its_value(tmp_path):
    told = fit(tmp_path, "val/loss", {}, max_epochs=3)
    assert [epoch for epoch, _ in told] == [1, 2, 3]
    assert len({value for _, value in told}) == 3


def test_a_hopeless_run_ends_after_that_epoch(tmp_path):
    with pytest.raises(Pruned, match=r"after epoch 2 of 5: val/loss \d\.\d+ is behind the other runs"):
        fit(tmp_path, "val/loss", {2: True}, max_epochs=5)
    assert [epoch for epoch, _ in fit.told] == [1, 2]


def test_the_last_epoch_is_not_pruned(tmp_path):
    assert len(fit(tmp_path, "val/loss", {2: True}, max_epochs=2)) == 2


def test_an_epoch_without_validation_tells_nothing(tmp_path):
    told = fit(tmp_path, "val/loss", {}, max_epochs=4, check_val_every_n_epoch=2)
    assert [epoch for epoch, _ in told] == [2, 4]


def test_a_value_that_is_not_finite_ends_the_run_whatever_the_answer(tmp_path):
    task = small_task()
    with pytest.raises(Pruned, match="in epoch 1 of 2: val/loss is nan"):
        pruning = Pruning("val/loss", lambda epoch, value: False)
        pruning.metrics_of_epoch = lambda trainer: {"val/loss": math.nan}
        trainer(tmp_path, pruning).fit(task, Patches())


def test_an_unknown_metric_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"'val/los' is not a metric of an epoch\. Did you mean val/loss\?"):
        fit(tmp_path, "val/los", {})
