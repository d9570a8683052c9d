"""Checks of data sets: what the splits share, what they lack, and whose statistics they were scaled by."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snntrain.arguments import integer
from snntrain.audit.finding import Finding, Seen, check, in_order

_BATCH = 256
_SIDE = 8  # a sample becomes 8 × 8 numbers, whose signs are its hash
_BANDS = 4  # of 16 signs each: samples that differ in up to three signs have one in common
_ALIKE = 0.995  # correlation from which on samples are near duplicates
_FEWEST_VALUES = 32  # of a sample; with fewer of them, other samples look alike by chance
_BUCKET = 32  # samples of one hash that a sample is compared with
_SCALED = 0.002  # how far from mean 0 and standard deviation 1 the samples that were scaled by them may be
_ERROR_FROM = 0.01  # share of a split


@dataclass
class Samples:
    """The samples of a split, read once.

    Attributes:
        hashes: of each sample that is not one number throughout: SHA-256 of its values → positions.
        small: each sample as a vector of 64 numbers with mean 0 and length 1, [n, 64]; empty where samples are small.
        labels: int64 [n], or [n, *]; None where there are none.
        mean, std: of all values, for each channel (the first dim of a picture, the last one of a series).
        positions: of the samples that were read, in their order.
        size: how many samples there are.
        split: whose they are.
    """

    hashes: dict[bytes, list[int]]
    small: Tensor
    labels: Tensor | None
    mean: Tensor
    std: Tensor
    positions: list[int]
    size: int
    split: Any

    @property
    def looked_at(self) -> int:
        """How many samples were read."""
        return len(self.positions)

    def whole(self, rows: Sequence[int]) -> Tensor:
        """Some of the samples, read again in full, as vectors with mean 0 and length 1."""
        x = _batch(self.split, [self.positions[row] for row in rows])[0].flatten(1)
        return F.normalize(x - x.mean(1, keepdim=True), dim=1)

    @cached_property
    def signs(self) -> Tensor:
        """The hash of each sample for near duplicates, in bands: int64 [n, 4]."""
        bits = (self.small > 0).long().unflatten(1, (_BANDS, -1))
        return (bits << torch.arange(bits.shape[2])).sum(2)

    @property
    def of_how_many(self) -> str:
        """Whether all samples were looked at, for evidence."""
        return "" if self.looked_at == self.size else f" ({self.looked_at:,} of {self.size:,} were looked at)"


def read_samples(split: Any, most: int = 10_000) -> Samples:
    """Read samples of a split, evenly spaced where there are more than `most`.

    Args:
        split: has a length and, by position, pairs (x, label, …) or tensors; batches of them by __getitems__.
    """
    size = len(split)
    positions = torch.linspace(0, size - 1, min(size, most)).long().unique().tolist()
    hashes: dict[bytes, list[int]] = defaultdict(list)
    small, labels, moments = [], [], _Moments()
    for first in range(0, len(positions), _BATCH):
        places = positions[first : first + _BATCH]
        x, y = _batch(split, places)
        moments.add(x)
        rows = x.reshape(len(x), -1)
        changes = (rows != rows[:, :1]).any(1).tolist() if rows.shape[1] > 1 else [True] * len(rows)
        for place, row, is_something in zip(places, rows.contiguous().numpy(), changes, strict=True):
            if is_something:
                hashes[hashlib.sha256(row.tobytes()).digest()].append(place)
        if rows.shape[1] >= _FEWEST_VALUES:
            small.append(_small(x))
        if y is not None:
            labels.append(y)
    return Samples(
        dict(hashes),
        torch.cat(small) if small else torch.zeros(0, _SIDE**2),
        torch.cat(labels) if labels else None,
        *moments.result(),
        positions,
        size,
        split,
    )


def _batch(split: Any, places: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Samples [n, *] as float32, and their labels."""
    if hasattr(split, "__getitems__"):
        got = split.__getitems__(list(places))
        if isinstance(got, tuple) and isinstance(got[0], Tensor):
            return got[0].float(), got[1] if len(got) > 1 and isinstance(got[1], Tensor) else None
        items = got
    else:
        items = [split[place] for place in places]
    pairs = [item if isinstance(item, (tuple, list)) else (item,) for item in items]
    x = torch.stack([torch.as_tensor(pair[0]).float() for pair in pairs])
    has_labels = all(len(pair) > 1 and isinstance(pair[1], (int, float, Tensor)) for pair in pairs)
    return x, torch.stack([torch.as_tensor(pair[1]) for pair in pairs]) if has_labels else None


def _small(x: Tensor) -> Tensor:
    """Samples [n, *] as vectors [n, 64] with mean 0 and length 1: what stays of them when their details are gone."""
    if x.dim() < 3:
        pooled = F.adaptive_avg_pool1d(x.reshape(len(x), 1, -1), _SIDE**2).flatten(1)
    else:
        pooled = F.adaptive_avg_pool2d(x.reshape(len(x), -1, *x.shape[-2:]), _SIDE).mean(1).flatten(1)
    return F.normalize(pooled - pooled.mean(1, keepdim=True), dim=1)


class _Moments:
    """Mean and standard deviation of each channel, added up batch by batch."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        # Pictures and frames [n, …, C, H, W], series [n, T, C], vectors [n, C]
        channel = x.dim() - 3 if x.dim() >= 4 else x.dim() - 1
        values = x.double().movedim(channel, 0).flatten(1)
        self.count += values.shape[1]
        self.sum = self.sum + values.sum(1)
        self.squares = self.squares + values.square().sum(1)

    def result(self) -> tuple[Tensor, Tensor]:
        mean = self.sum / self.count
        return mean, (self.squares / self.count - mean.square()).clamp(min=0).sqrt()


def audit_data(splits: Mapping[str, Any], *, classes: int | None = None, most: int = 10_000) -> list[Finding]:
    """Look for faults of a data set that make results look better than they are.

    Args:
        splits: "train", "val" and "test", or some of them → samples: a length and, by position, (x, label, …).
        classes: how many there are; None: those of all splits together. For labels int64 [n] only.
        most: samples of a split that are looked at, ≥ 1.

    Returns: the findings, errors first.
    """
    most = integer("audit_data", "most", most, at_least=1)
    read = {name: read_samples(split, most) for name, split in splits.items()}
    found = shared_samples(read) + near_duplicates(read) + missing_classes(read, classes)
    return in_order(found + statistics_of_the_test(read))


@check(
    "shared samples",
    severity="error",
    remedy="Split before anything else, and by what samples have in common (recording, person), not by sample.",
    source="github.com/fangwei123456/spikingjelly/issues/390",
)
def shared_samples(read: Mapping[str, Samples]) -> Iterator[Seen]:
    """Samples that lie in two splits, value for value."""
    for a, b in _pairs(read):
        common = _common(read[a], read[b])
        if not common:
            continue
        count = sum(map(len, common))
        share = count / read[b].looked_at
        place = common[0][0]
        yield Seen(
            f"data.{b}",
            f"{count:,} samples ({share:.1%}) of {b} are in {a}, too, such as number {place}{_how_many(read, a, b)}.",
            severity=None if share >= _ERROR_FROM else "warning",
        )


@check(
    "near duplicates",
    severity="warning",
    remedy="Look at these pairs; split by what samples have in common (recording, person), not by sample.",
    source="github.com/fangwei123456/spikingjelly/issues/297",
)
def near_duplicates(read: Mapping[str, Samples]) -> Iterator[Seen]:
    """Samples of two splits that are nearly the same: their values correlate by 0.995 or more."""
    for a, b in _pairs(read):
        one, other = read[a], read[b]
        if not len(one.small) or not len(other.small):
            continue
        count = len(_alike(one, other)) - sum(map(len, _common(one, other)))
        if count > 0 and count / other.looked_at >= _ERROR_FROM:
            yield Seen(
                f"data.{b}",
                f"{count:,} more samples ({count / other.looked_at:.1%}) of {b} are nearly the same as one of {a}"
                f"{_how_many(read, a, b)}.",
            )


def _common(one: Samples, other: Samples) -> list[list[int]]:
    """Places of the other samples that are equal to one of the first, together those that are equal."""
    return [other.hashes[digest] for digest in one.hashes.keys() & other.hashes.keys()]


def _alike(one: Samples, other: Samples) -> set[int]:
    """Rows of the other samples that have a near duplicate among the first ones."""
    pairs: dict[int, int] = {}
    for band in range(_BANDS):
        buckets: dict[int, list[int]] = defaultdict(list)
        for row, sign in enumerate(one.signs[:, band].tolist()):
            if len(buckets[sign]) < _BUCKET:
                buckets[sign].append(row)
        for row, sign in enumerate(other.signs[:, band].tolist()):
            if row not in pairs and sign in buckets:
                likeness, best = (one.small[buckets[sign]] @ other.small[row]).max(0)
                if float(likeness) >= _ALIKE:
                    pairs[row] = buckets[sign][int(best)]
    found: set[int] = set()
    for first in range(0, len(pairs), _BATCH):  # alike when they are small need not be alike in full
        rows = list(pairs)[first : first + _BATCH]
        likeness = (one.whole([pairs[row] for row in rows]) * other.whole(rows)).sum(1)
        found.update(row for row, alike in zip(rows, (likeness >= _ALIKE).tolist(), strict=True) if alike)
    return found


@check(
    "missing classes",
    severity="error",
    remedy="Split each class by itself (stratified), or leave the class out of the task.",
    source="github.com/alteryx/evalml/issues/760",
)
def missing_classes(read: Mapping[str, Samples], classes: int | None = None) -> Iterator[Seen]:
    """Classes without a sample in a split."""
    labels = {
        name: samples.labels
        for name, samples in read.items()
        if samples.labels is not None and samples.labels.dim() == 1 and not samples.labels.is_floating_point()
    }
    if not labels:
        return
    known = set(range(classes)) if classes else set(torch.cat(list(labels.values())).tolist())
    for name, found in labels.items():
        missing = sorted(known - set(found.tolist()))
        if missing and read[name].looked_at == read[name].size:
            shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
            yield Seen(
                f"data.{name}",
                f"{len(missing)} of {len(known)} classes have no sample in {name}: {shown}.",
                severity=None if name == "train" else "warning",
            )


@check(
    "statistics of the test",
    severity="warning",
    remedy="Take mean and standard deviation from the training samples alone, and scale all splits by them.",
    source="github.com/laiguokun/LSTNet/issues/18; github.com/deepchem/deepchem/issues/51",
)
def statistics_of_the_test(read: Mapping[str, Samples]) -> Iterator[Seen]:
    """Samples that were scaled by statistics which the test samples went into."""
    complete = all(samples.looked_at == samples.size for samples in read.values())
    if not complete or not {"train", "test"} <= read.keys():
        return
    train, test = read["train"], read["test"]
    if test.mean.shape != train.mean.shape or _is_scaled(train.mean, train.std):
        if _is_scaled(train.mean, train.std) and _is_scaled(test.mean, test.std):
            yield Seen("data.test", "The test samples have mean 0 and standard deviation 1 by themselves.")
        return
    weights = {name: samples.size for name, samples in read.items()}
    total = sum(weights.values())
    mean = sum(read[name].mean * (weight / total) for name, weight in weights.items())
    square = sum(
        (read[name].std.square() + read[name].mean.square()) * (weight / total) for name, weight in weights.items()
    )
    if _is_scaled(mean, (square - mean.square()).clamp(min=0).sqrt()):
        yield Seen(
            "data",
            "Mean 0 and standard deviation 1 are those of all splits together, and not of the training samples "
            f"(mean {float(train.mean.abs().max()):.3g}, standard deviation {float(train.std.max()):.3g}).",
        )


def _is_scaled(mean: Tensor, std: Tensor) -> bool:
    return float(mean.abs().max()) < _SCALED and float((std - 1).abs().max()) < _SCALED


def _pairs(read: Mapping[str, Samples]) -> Iterator[tuple[str, str]]:
    """The pairs of splits that must not share samples, the one that is learned from, or chosen by, first."""
    return ((a, b) for a, b in (("train", "val"), ("train", "test"), ("val", "test")) if a in read and b in read)


def _how_many(read: Mapping[str, Samples], a: str, b: str) -> str:
    return read[b].of_how_many or read[a].of_how_many
