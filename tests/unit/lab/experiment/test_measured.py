"""Tolerances from seeds, and what a repetition is held to."""

import math
import statistics

import pytest

from snntrain.lab.experiment.measured import compare, floor, is_accuracy, is_timed, sizes_of_splits, summary

SIZES = {"train": 1000, "val": 100, "test": 400}


def test_tolerances_follow_the_rule_that_is_written_with_them():
    values = {
        seed: {"test/acc": acc, "test/loss": loss, "qat/mismatches": 0.0, "test/macs": 500.0, "lava/wall_seconds": acc}
        for seed, (acc, loss) in {1: (0.90, 0.5), 2: (0.94, 0.9), 3: (0.98, 0.1)}.items()
    }
    found = summary(values, SIZES)
    assert found.keys() == {"test/acc", "test/loss", "qat/mismatches", "test/macs"}  # time is not compared
    for name in ("test/acc", "test/loss"):
        of_seeds = [metrics[name] for metrics in values.values()]
        assert found[name]["mean"] == pytest.approx(statistics.fmean(of_seeds))
        assert found[name]["std"] == pytest.approx(statistics.stdev(of_seeds))
        assert found[name]["tolerance"] == pytest.approx(3 * statistics.stdev(of_seeds))
    assert found["qat/mismatches"]["tolerance"] == 0
    assert found["test/macs"]["tolerance"] == pytest.approx(500e-6)


def test_three_equal_accuracies_still_leave_room_for_a_sample():
    for accuracy in (0.0, 0.5, 1.0):
        found = summary({seed: {"test/acc": accuracy} for seed in (1, 2, 3)}, SIZES)
        q = (400 * accuracy + 1) / 402
        assert found["test/acc"]["tolerance"] == pytest.approx(3 * math.sqrt(q * (1 - q) / 400))
        assert found["test/acc"]["tolerance"] >= 1 / 400
    assert floor("qat/acc_int", 1.0, SIZES) >= 1 / 400  # stages measure on the test set
    assert floor("test/loss", -2.0, SIZES) == pytest.approx(0.2)


def test_what_is_an_accuracy_and_what_is_time():
    assert all(map(is_accuracy, ["test/acc", "ann2snn/acc_T8", "qat/acc_int", "test/recall/cat"]))
    assert not any(
        map(is_accuracy, ["test/loss", "test/accumulated", "acc", "test/firing_rate", "test/recall", "test/rmse"])
    )
    assert all(map(is_timed, ["lava/wall_seconds", "fit/seconds", "test/latency_ms", "train/images_per_second"]))
    assert not any(map(is_timed, ["lava/lava_samples", "test/sops", "stimes/atoms"]))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {"train": 1294, "test": 359}),
        ({"limit_test_batches": 2}, {"train": 1294, "test": 64}),
        ({"limit_test_batches": 100}, {"train": 1294, "test": 359}),
        ({"limit_train_batches": 0.5}, {"train": 640, "test": 359}),
        ({"limit_test_batches": 1.0, "limit_train_batches": None}, {"train": 1294, "test": 359}),
    ],
)
def test_limited_batches_count_as_many_samples_as_they_hold(limits, expected):
    splits = {"train": {"count": 1294}, "test": {"count": 359}}
    assert sizes_of_splits(splits, {"data": {"batch_size": 32}, "trainer": limits}) == expected


def verdicts(recorded, found, exact, **more):
    tolerances = {"test/acc": 0.01, "test/nan": math.nan}
    return {v.name: (v.agrees, v.rule) for v in compare(recorded, found, tolerances, exact, **more)}


def test_bits_count_on_the_same_machine_and_tolerances_elsewhere():
    recorded, near, far = {"test/acc": 0.9}, {"test/acc": math.nextafter(0.9, 1)}, {"test/acc": 0.92}
    assert verdicts(recorded, recorded, True) == {"test/acc": (True, "exact")}
    assert verdicts(recorded, near, True) == {"test/acc": (False, "exact")}
    assert verdicts(recorded, near, False) == {"test/acc": (True, "± 0.01")}
    assert verdicts(recorded, {"test/acc": 0.91}, False)["test/acc"][0] is True
    assert verdicts(recorded, far, False) == {"test/acc": (False, "± 0.01")}
    assert verdicts(recorded, {"test/acc": math.nan}, False)["test/acc"][0] is False


def test_a_metric_on_one_side_only_is_a_difference_and_time_is_none():
    found = verdicts({"test/acc": 0.9, "lava/seconds": 1.0}, {"test/new": 1.0, "lava/seconds": 9.0}, True)
    assert found["test/acc"] == (False, "missing") and found["test/new"] == (False, "not recorded")
    assert found["lava/seconds"][0] is None


def test_what_lavas_simulator_measured_is_not_asked_for_where_it_is_not_installed():
    recorded = {"lava/lava_mismatches": 0.0, "lava/mismatches": 0.0}
    without = verdicts(recorded, {"lava/mismatches": 0.0}, True, without_lava=True)
    assert without["lava/lava_mismatches"][0] is None and without["lava/mismatches"][0] is True
    assert verdicts(recorded, {"lava/mismatches": 0.0}, True)["lava/lava_mismatches"][0] is False


def test_what_is_no_number_is_compared_as_it_stands():
    nan, inf = {"test/nan": math.nan}, {"test/nan": math.inf}
    assert verdicts(nan, nan, False)["test/nan"][0] is True
    assert verdicts(nan, inf, False)["test/nan"][0] is False


@pytest.mark.parametrize("exact", [True, False])
def test_what_tests_measure_since_a_record_was_made_is_not_held_against_a_repetition(exact):
    found = {"test/neurobench/dense": 5.0, "test/energy_memory_uJ": 1.0, "test/new": 1.0}
    verdicts = {verdict.name: verdict.agrees for verdict in compare({}, found, {}, exact)}
    assert verdicts == {"test/neurobench/dense": None, "test/energy_memory_uJ": None, "test/new": False}
