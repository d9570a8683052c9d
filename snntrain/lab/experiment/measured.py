"""Metrics of several seeds: their means, the tolerance of a repetition, and whether one is within it."""

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Three seeds give only a rough spread, hence the floor. For accuracies it is at least the weight of one sample: a
# training that rounds differently ends with other weights, as another seed would.
_FLOOR = (
    "accuracies 3 · sqrt(q · (1 − q) / samples) with q = (right + 1) / (samples + 2), which is never less than a "
    "sample; everything else 10 % of the value"
)
RULE = f"max(3 · standard deviation over the seeds, floor); floor: 1e-6 of what is the same for every seed, {_FLOOR}"
RULE_OF_ONE_RUN = f"floor, as one run has no spread: {_FLOOR}"
_TIMED = re.compile(r"(^|_)(seconds|time|wall|ms|throughput|latency|per_second)(_|$)")
_CONSTANT = 1e-6
# What tests measure since records were made that are still compared.
_MEASURED_SINCE = (
    *("test/neurobench/", "test/energy_memory_", "test/energy_moved_", "test/energy_int8_"),
    *("test/synaptic_rate", "test/crossing_rate"),
)


@dataclass
class Verdict:
    """One metric of a repetition compared with the recorded one.

    Attributes:
        name: of the metric.
        recorded, found: values; None if missing.
        rule: 'exact', '± <tolerance>', or why it was not compared.
        agrees: None if it was not compared.
    """

    name: str
    recorded: float | None
    found: float | None
    rule: str
    agrees: bool | None


def is_timed(metric: str) -> bool:
    """Whether a metric measures time, which no two runs share."""
    return any(_TIMED.search(part) for part in metric.lower().split("/"))


def is_accuracy(metric: str) -> bool:
    """Whether a metric is a share of samples: test/acc, ann2snn/acc_T8, qat/acc_int, test/recall/cat.

    test/recall is none: it is the mean over the classes or labels.
    """
    _, *parts = metric.split("/")
    return "recall" in parts[:-1] or any(part.split("_")[0] == "acc" for part in parts)


def samples_behind(metric: str, sizes: Mapping[str, int]) -> int:
    """How many samples an accuracy is computed from; stages measure on the test set."""
    split = metric.split("/")[0]
    return sizes[split if split in sizes else "test"]


def sizes_of_splits(splits: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, int]:
    """How many samples of each split of artifacts/splits.json a run uses, given the limits of its trainer."""
    batch_size, sizes = config["data"].get("batch_size", 1), {}
    for name, split in splits.items():
        count, limit = int(split["count"]), config["trainer"].get(f"limit_{name}_batches")
        if isinstance(limit, float):
            limit = int(limit * math.ceil(count / batch_size))
        sizes[name] = max(1, count if limit is None else min(count, limit * batch_size))
    return sizes


def summary(values: Mapping[int, Mapping[str, float]], sizes: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Metric → mean, std and tolerance, from the metrics of at least two seeds."""
    found: dict[str, dict[str, float]] = {}
    for name in next(iter(values.values())):
        if is_timed(name):
            continue
        of_seeds = [metrics[name] for metrics in values.values()]
        finite = all(math.isfinite(value) for value in of_seeds)
        mean = statistics.fmean(of_seeds) if finite else math.nan
        std = statistics.stdev(of_seeds) if finite else math.nan
        tolerance = max(3 * std, floor(name, mean, sizes)) if finite else math.nan
        if std == 0 and not is_accuracy(name):
            tolerance = _CONSTANT * abs(mean)
        found[name] = {"mean": mean, "std": std, "tolerance": tolerance}
    return found


def floor(name: str, value: float, sizes: Mapping[str, int]) -> float:
    """The smallest tolerance of a repetition elsewhere, by RULE_OF_ONE_RUN."""
    if not is_accuracy(name):
        return 0.1 * abs(value)
    samples = samples_behind(name, sizes)
    q = (min(max(value, 0.0), 1.0) * samples + 1) / (samples + 2)
    return max(3 * math.sqrt(q * (1 - q) / samples), 1 / samples)


def compare(
    recorded: Mapping[str, float],
    found: Mapping[str, float],
    tolerances: Mapping[str, float],
    exact: bool,
    without_lava: bool = False,
) -> list[Verdict]:
    """Compare every metric that either side has.

    Args:
        recorded, found: metrics.
        tolerances: of each metric, used unless `exact`.
        exact: whether all bits have to be equal.
        without_lava: whether Lava is not installed here, so that its simulator could not be run.
    """
    return [
        _verdict(name, recorded.get(name), found.get(name), tolerances.get(name), exact, without_lava)
        for name in sorted({*recorded, *found})
    ]


def _verdict(
    name: str, recorded: float | None, found: float | None, tolerance: float | None, exact: bool, without_lava: bool
) -> Verdict:
    if is_timed(name):
        return Verdict(name, recorded, found, "time: not compared", None)
    if found is None and without_lava and name.startswith("lava/lava_"):
        return Verdict(name, recorded, found, "Lava is not installed: not measured", None)
    if recorded is None and name.startswith(_MEASURED_SINCE):
        return Verdict(name, recorded, found, "the record is older: not compared", None)
    if recorded is None or found is None:
        return Verdict(name, recorded, found, "not recorded" if recorded is None else "missing", False)
    if exact:
        return Verdict(name, recorded, found, "exact", recorded.hex() == found.hex())
    if not math.isfinite(recorded) or tolerance is None or not math.isfinite(tolerance):
        return Verdict(name, recorded, found, "exact, as it is no finite number", recorded.hex() == found.hex())
    near = abs(found - recorded) <= tolerance * (1 + 1e-6) + 1e-12  # accuracies are kept in float32
    return Verdict(name, recorded, found, f"± {tolerance:.3g}", near)
