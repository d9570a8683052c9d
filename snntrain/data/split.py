"""Splits: samples with labels, read a batch at a time. Augmentation depends on (seed, epoch, index)."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from snntrain.arguments import real
from snntrain.data.cache import FrameCache
from snntrain.data.handover import narrowed
from snntrain.data.sampler import Key
from snntrain.randomness import derived_seed, generator


class Split(Dataset):
    """The samples of one split. A subclass defines `read`, which loads them.

    A batch is (x, label, index): x float32 [N, *shape], labels of the data set's kind of targets, int64 [N] as a rule,
    and index int64 [N]. The index is the sample's
    position in its source (the training file, the test file, the folder), whichever split the sample is in.

    Args:
        labels: int64 [n] of classes, or targets [n, *] of another kind, see snntrain.data.target.
        index: int64 [n]; default: 0, 1, … n - 1.

    Attributes:
        augment: (sample, seed) → sample of the same shape, applied to samples requested by (epoch, position), as in
            training; None: samples stay as they are.
        seed: the run's seed, for the augmentation.
        mean, std: what batches are shifted and scaled by, [C, 1, 1]; None: values stay as they are.
        is_compact: whether batches may hold x as the integers that are stored, see `read_compact`; a loader's worker
            sets it in its own copy, and the loader makes float32 of them.
    """

    def __init__(self, labels: Tensor, index: Tensor | None = None) -> None:
        self.labels = labels
        self.index = torch.arange(len(labels)) if index is None else index
        self.augment: Callable[[Tensor, int], Tensor] | None = None
        self.seed = 0
        self.mean: Tensor | None = None
        self.std: Tensor | None = None
        self.is_compact = False

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample in a batch: [C, H, W] of an image, [T, C, H, W] of frames."""

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape of a sample at one time step: the YAML's sample_shape."""
        return self.shape

    @abstractmethod
    def read(self, positions: Sequence[int]) -> Tensor:
        """Samples as they are in the data, float32 [len(positions), *shape]."""

    def read_compact(self, positions: Sequence[int]) -> Tensor:
        """What `read` gives, or the same values in a smaller integer type where the data are stored in one."""
        return self.read(positions)

    def read_augmented(self, positions: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Samples for training, each augmented with its own seed. Called only if is_augmented."""
        return self._augmented(self.read(positions), seeds)

    @property
    def is_augmented(self) -> bool:
        """Whether training changes the samples."""
        return self.augment is not None

    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Make batches (x - mean) / std, per channel and after augmentation, from now on."""
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def subset(self, positions: Tensor) -> Self:
        """The samples at these positions, as a split of their own."""
        part = copy(self)
        part.labels, part.index = self.labels[positions], self.index[positions]
        return part

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """(sample, label) of one position, to look at."""
        x, labels, *_ = self.__getitems__([key])
        return x[0], labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor, Tensor]:
        """A batch (x, label, index).

        Args:
            keys: positions, or (epoch, position) for augmented samples.
        """
        epochs, positions = zip(*((key if isinstance(key, tuple) else (None, key)) for key in keys), strict=True)
        at = torch.tensor(positions)
        labels, index = self.labels[at], self.index[at]
        if epochs[0] is None or not self.is_augmented:
            x = self.read_compact(positions) if self.is_compact else self.read(positions)
        else:
            seeds = [
                derived_seed(self.seed, "augment", epoch, place)
                for epoch, place in zip(epochs, index.tolist(), strict=True)
            ]
            x = self.read_augmented(positions, seeds)
        self._check_finite(x, positions)
        return (x if self.mean is None else (x - self.mean) / self.std), labels, index

    def where(self, position: int) -> str:
        """The name of a sample in errors: its file if it has its own."""
        return f"sample {int(self.index[position])}"

    def _check_finite(self, x: Tensor, positions: Sequence[int]) -> None:
        """Refuse samples that are not finite: one NaN turns every weight into NaN. The sum finds it in one pass."""
        if not x.is_floating_point() or math.isfinite(x.sum()):
            return
        for row, position in zip(x, positions, strict=True):
            strange = row[~row.isfinite()]
            if len(strange):
                raise ValueError(
                    f"data: {self.where(position)} holds {float(strange[0])}, which is no finite number. Correct or "
                    "remove it."
                )

    def _augmented(self, x: Tensor, seeds: Sequence[int]) -> Tensor:
        if self.augment is None:
            return x
        return torch.stack([self.augment(sample, seed) for sample, seed in zip(x, seeds, strict=True)])


class ImageSplit(Split):
    """Images held in memory; a batch is one gather.

    Args:
        images: uint8 [n, C, H, W].
        labels, index: as in Split.
        scale: the value that stands for 1.0 in a batch.
    """

    def __init__(self, images: Tensor, labels: Tensor, scale: float = 255.0, index: Tensor | None = None) -> None:
        super().__init__(labels, index)
        self.images, self.scale = images, scale

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    def read(self, positions: Sequence[int]) -> Tensor:
        return self.images[torch.as_tensor(positions)].float() / self.scale

    def subset(self, positions: Tensor) -> Self:
        part = super().subset(positions)
        part.images = self.images[positions]
        return part


class FrameSplit(Split):
    """Event recordings as frames, taken from a cache or framed on request.

    Args:
        recordings: all recordings of the source, as `frame` takes them: paths or numbers. Subsets share them.
        labels, index: as in Split; the index is the recording's position in `recordings`.
        frame: recording → frames of this shape, of any real dtype.
        shape: [T, C, H, W], or [T, F].
        cache: of all recordings of the source; None: frames are made on every read.

    Attributes:
        frame_augmented: (recording, seed) → frames of augmented events, for training; these are not cached. `augment`
            is applied to them afterwards.
    """

    def __init__(
        self,
        recordings: Sequence[Any],
        labels: Tensor,
        frame: Callable[[Any], np.ndarray],
        *,
        shape: Sequence[int],
        cache: FrameCache | None = None,
        index: Tensor | None = None,
    ) -> None:
        super().__init__(labels, index)
        self.recordings, self.frame, self.cache = recordings, frame, cache
        self.frame_augmented: Callable[[Any, int], np.ndarray] | None = None
        self._shape = tuple(shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def step_shape(self) -> tuple[int, ...]:
        return self._shape[1:]

    @property
    def is_augmented(self) -> bool:
        return self.augment is not None or self.frame_augmented is not None

    def read(self, positions: Sequence[int]) -> Tensor:
        return self._batch(positions, [None] * len(positions))

    def read_compact(self, positions: Sequence[int]) -> Tensor:
        frames = np.stack([self._cached(place) for place in self._places(positions)])
        return narrowed(frames)

    def read_augmented(self, positions: Sequence[int], seeds: Sequence[int]) -> Tensor:
        if self.frame_augmented is None:
            return super().read_augmented(positions, seeds)
        # A second seed, or events and frames would get the same random numbers.
        return self._augmented(self._batch(positions, seeds), [derived_seed(seed, "frames") for seed in seeds])

    def where(self, position: int) -> str:
        recording = self.recordings[int(self.index[position])]
        named = getattr(getattr(self.frame, "read", None), "where", None)  # defined by readers that take numbers
        return str(recording) if named is None else named(recording)

    def _batch(self, positions: Sequence[int], seeds: Sequence[int | None]) -> Tensor:
        x = torch.empty((len(positions), *self._shape))
        for row, place, seed in zip(x.numpy(), self._places(positions), seeds, strict=True):
            row[...] = self._cached(place) if seed is None else self._framed(place, seed)
        return x

    def _places(self, positions: Sequence[int]) -> list[int]:
        """Where the samples stand in `recordings`, and in the cache."""
        return self.index[torch.as_tensor(positions)].tolist()

    def _cached(self, place: int) -> np.ndarray:
        frames = None if self.cache is None else self.cache.get(place)
        if frames is None:
            frames = self._framed(place)
            if self.cache is not None:
                self.cache.put(place, frames)
        return frames

    def _framed(self, place: int, seed: int | None = None) -> np.ndarray:
        recording = self.recordings[place]
        frames = self.frame(recording) if seed is None else self.frame_augmented(recording, seed)
        if frames.shape != self._shape:
            raise ValueError(
                f"data: recording {recording} gives frames of shape {list(frames.shape)}, the data set's are "
                f"{list(self._shape)}. Check the sensor size and the framing."
            )
        return frames


def tested_part(owner: object, split: str | float) -> str | float:
    """The argument `split` of a data set in folders, once it is checked: "folder", or the fraction to test on."""
    if split == "folder":
        return split
    return real(owner, "split", split, above=0, below=1, alternative=", or 'folder'")


def held_out(
    labels: Tensor, fraction: float, *purpose: str, per_class: bool = False, classes: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Hold out a part of the samples, the same for every seed of a run: (positions that stay, positions held out).

    Args:
        fraction: part that is held out, in (0, 1); neither side is ever empty.
        purpose: e.g. "validation split"; each purpose draws different samples.
        per_class: the same fraction of each class, at least one sample on each side.
        classes: their names, for errors.

    Raises: ValueError if per_class and a class has a single sample; if there is one sample at all.
    """
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for order in _shuffled(labels, *purpose, per_class=per_class, classes=classes):
        count = min(max(1, round(fraction * len(order))), len(order) - 1)
        sides[0].append(order[count:])
        sides[1].append(order[:count])
    return torch.cat(sides[0]), torch.cat(sides[1])


def fold_held_out(
    labels: Tensor, fold: int, folds: int, *, per_class: bool = False, classes: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Hold out a fold of a cross-validation, the same for every seed: (positions that stay, positions held out).

    The folds share no sample, hold all samples together, and differ by one sample at most.

    Args:
        fold: which one is held out, 1 … folds.
        folds: how many there are, ≥ 2.
        per_class: the folds' counts of each class differ by one at most, too.
        classes: their names, for errors.

    Raises: ValueError if there are fewer samples than folds; if per_class and a class has a single sample.
    """
    if len(labels) < folds:
        raise ValueError(f"data.folds: {len(labels)} samples cannot make {folds} folds. Lower data.folds.")
    order = torch.cat(_shuffled(labels, "cross-validation", per_class=per_class, classes=classes))
    # Dealt out like cards, one class after the other.
    held = torch.arange(len(order)) % folds == fold - 1
    return order[~held], order[held]


def _shuffled(labels: Tensor, *purpose: str, per_class: bool, classes: Sequence[str] | None) -> list[Tensor]:
    """Positions of the samples in random order, of each class by itself or of all together; two in each at least."""
    groups = [labels.eq(label).nonzero().flatten() for label in labels.unique()] if per_class else None
    source = generator(0, *purpose)
    orders = []
    for group in groups or [torch.arange(len(labels))]:
        if len(group) < 2:
            number = int(labels[group[0]])
            what = f"class {number if classes is None else classes[number]}" if per_class else "the data set"
            raise ValueError(f"data: {what} has {len(group)} sample(s), too few for a {purpose[0]}. Add more.")
        orders.append(group[torch.randperm(len(group), generator=source)])
    return orders
