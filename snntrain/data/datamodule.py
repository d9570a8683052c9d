"""What every data set shares: three splits, and batches of them in an order that depends on (seed, epoch)."""

import functools
import hashlib
import os
import sys
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler, get_worker_info

from snntrain.arguments import choice, flag, integer, invalid, real
from snntrain.data.augmentation import Augmentation
from snntrain.data.handover import Parcel, ParcelLoader, handed_over
from snntrain.data.picture import PICTURES
from snntrain.data.picture_split import PictureSplit
from snntrain.data.sampler import SAMPLERS, BalancedSampler, EpochSampler, SharedBatches
from snntrain.data.split import Split, fold_held_out, held_out
from snntrain.data.target import Target, check_targets
from snntrain.data.unlabeled import check_each, files_below, no_labels
from snntrain.randomness import generator
from snntrain.signature import merge_signature

SPLITS = ("train", "val", "test")
# A config written for a larger machine may ask for more workers than this one has cores; a thousand are a mistake.
MOST_WORKERS = max(128, 4 * (os.cpu_count() or 1))


def _whole_batch(batch: tuple[Tensor, Tensor, Tensor], prefetch: int) -> tuple[Tensor, ...] | Parcel:
    return handed_over(batch, prefetch)


def _pair(batch: tuple[Tensor, Tensor, Tensor], prefetch: int) -> tuple[Tensor, ...] | Parcel:
    return handed_over(batch[:2], prefetch)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How the samples of a split become batches: arguments of every data set."""

    batch_size: int = 64
    """Samples per batch and process, ≥ 1."""
    num_workers: int = 0
    """Loader processes, at most 128 or four for each core. The batches do not depend on it."""
    prefetch: int = 2
    """Batches that each worker prepares ahead, ≥ 1."""
    persistent_workers: bool = True
    """Keep the workers from epoch to epoch."""
    drop_last: bool = False
    """Leave out a last training batch that is not full, on which some nets cannot learn."""
    sampler: str | None = None
    """Which samples an epoch of training has: None, each once; 'balanced', as many, but every class equally often."""

    def check(self, owner: "DataModule") -> None:
        """Refuse values out of range, in an error that names the data set."""
        integer(owner, "batch_size", self.batch_size, at_least=1)
        integer(owner, "num_workers", self.num_workers, at_least=0, at_most=MOST_WORKERS)
        integer(owner, "prefetch", self.prefetch, at_least=1)
        flag(owner, "persistent_workers", self.persistent_workers)
        flag(owner, "drop_last", self.drop_last)
        if self.sampler is not None:
            choice(owner, "sampler", self.sampler, SAMPLERS)
            if owner.TARGET is not Target.CLASS:
                allowed = f"None where a sample has {owner.TARGET.value}: only a class per sample can be balanced"
                raise invalid(owner, "sampler", allowed, self.sampler)


class DataModule(pl.LightningDataModule):
    """Base of the data sets: batches (x float32 [N, *shape], targets, index int64 [N]), see Split.

    Targets are classes, int64 [N], unless TARGET says something else.

    A subclass defines `load` and `fingerprint` and says what its data is: CLASSES and SAMPLE_SHAPE on the class where
    they are known beforehand, else CLASSES on the object in `load`. Its constructor states its own arguments and takes
    those of its base class as `**common`; they all appear in its signature.

    Args:
        num_classes, sample_shape: facts about the data set that its YAML states for models to refer to; checked. The
            shape is that of a sample at one time step. From Python, None takes those of a data set whose class knows
            them.
        num_targets: the same for values: how many a sample has. Data have either classes or values.
        val_fraction: part of the training samples held out for validation, in (0, 1), the same for every seed; without
            effect where the data set has a validation split of its own.
        folds, fold: instead of this part, validate on one of so many equal parts, for cross-validation: folds ≥ 2, fold
            1 … folds. Not for a data set with a validation split of its own. Both or neither are given.
        seed: of the order of the training samples and of their augmentation.
        Others as in Loading.

    Attributes:
        splits: "train", "val" and "test", after setup.
        augment: (sample, seed) → sample, for the training split; None: samples stay as they are.
        dt: length of a time step in ms; None: steps have no length in time that is known.
        gives_index: whether batches are (x, label, index), or (x, label) as a plain LightningModule expects them.

    Raises: ValueError naming an argument, or a file that is corrupt; FileNotFoundError naming one that is missing.
    """

    dt: float | None = None
    #: Names of the classes, labels or values.
    CLASSES: tuple[str, ...]
    SAMPLE_SHAPE: tuple[int, ...]
    TARGET: Target = Target.CLASS
    #: Whether the validation split takes the same fraction of every class, or of all samples together.
    VALIDATES_PER_CLASS = False

    def __init__(
        self,
        num_classes: int | None = None,
        sample_shape: Sequence[int] | None = None,
        *,
        num_targets: int | None = None,
        val_fraction: float = 0.1,
        folds: int | None = None,
        fold: int | None = None,
        seed: int = 1,
        **loading: Any,
    ) -> None:
        super().__init__()
        classes, shape = getattr(self, "CLASSES", None), getattr(self, "SAMPLE_SHAPE", None)
        if num_classes is None and num_targets is None and classes is not None:
            num_classes = len(classes)
        sample_shape = shape if sample_shape is None else sample_shape
        if (num_classes is None) == (num_targets is None):
            raise invalid(self, "num_classes", "an integer, or else num_targets", num_classes)
        self._count = ("num_classes", num_classes) if num_targets is None else ("num_targets", num_targets)
        self.num_classes = None if num_classes is None else integer(self, *self._count, at_least=1)
        self.num_targets = None if num_targets is None else integer(self, *self._count, at_least=1)
        if isinstance(sample_shape, str) or not isinstance(sample_shape, Sequence):
            raise invalid(self, "sample_shape", "a list of integers", sample_shape)
        self.sample_shape = tuple(integer(self, "sample_shape", size, at_least=1) for size in sample_shape)
        self._check_facts(classes, shape)
        self.loading = Loading(**loading)
        self.loading.check(self)
        self.val_fraction = real(self, "val_fraction", val_fraction, above=0, below=1)
        if (folds is None) != (fold is None):
            given, missing = ("fold", "folds") if folds is None else ("folds", "fold")
            raise invalid(self, missing, f"an integer where {given} is given", None)
        self.folds = None if folds is None else integer(self, "folds", folds, at_least=2)
        self.fold = None if fold is None else integer(self, "fold", fold, at_least=1, at_most=folds)
        self.seed = integer(self, "seed", seed, at_least=0)
        self.augment: Callable[[Tensor, int], Tensor] | None = None
        self.splits: dict[str, Split] = {}
        self.gives_index = True
        self._has_validation = False

    def __init_subclass__(cls, *, groups: Sequence[type] = (), without: Sequence[str] = (), **more: Any) -> None:
        super().__init_subclass__(**more)
        merge_signature(cls, groups=groups, without=without)

    @property
    def batch_size(self) -> int:
        """Samples per batch and process. Lightning's BatchSizeFinder sets it."""
        return self.loading.batch_size

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        self.loading = replace(self.loading, batch_size=value)

    @property
    def drop_last(self) -> bool:
        """Whether training leaves out a last batch that is not full."""
        return self.loading.drop_last

    @abstractmethod
    def load(self) -> dict[str, Split]:
        """Read and verify the data. Returns the splits "train" and "test", and "val" if the data set comes with one."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """Name → SHA-256 of what was read, for the run's provenance and the keys of caches.

        For a file the hash is of its content, for a folder of all contents or of the listing of its files (see
        snntrain.data.fingerprint).
        """

    def unlabeled(self, folder: Path) -> Split:
        """The files in a folder, which have no labels, read as the samples of this data set are.

        Raises: FileNotFoundError, ValueError naming files that cannot be used, or saying that it cannot read any.
        """
        raise ValueError(
            f"data.folder: {type(self).__name__} does not say how a file becomes a sample. Read the files yourself and "
            "give the samples to snntrain.load(…).predict(x)."
        )

    def assumed(self) -> dict[str, str]:
        """What we assume about the data beyond what its files say, in words; show=data prints it."""
        if self._has_validation:
            return {}
        of_what = "each class" if self.VALIDATES_PER_CLASS else "all training samples"
        if self.folds is not None:
            return {"validation": f"part {self.fold} of {self.folds} equal parts of {of_what} (data.fold, data.folds)"}
        return {"validation": f"{self.val_fraction:.1%} of {of_what}, the same for every seed (data.val_fraction)"}

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        loaded = self.load()
        self._has_validation = "val" in loaded
        for name, split in loaded.items():
            check_targets(self.TARGET, split.labels, self._count[1], split.where, name)
        if not self._has_validation:
            stay, out = self._validated(loaded["train"].labels)
            loaded |= {"train": loaded["train"].subset(stay), "val": loaded["train"].subset(out)}
        elif self.folds is not None:
            raise ValueError(
                f"data.folds: {type(self).__name__} has a validation split of its own, so it cannot be cut into "
                f"{self.folds} folds. Leave out data.folds and data.fold."
            )
        for name in SPLITS:
            if not len(loaded[name]):
                raise ValueError(f"data: the {name} split is empty. Check the files and the fractions of the splits.")
            self._check_facts(self.CLASSES, loaded[name].step_shape)
        self.splits = {name: loaded[name] for name in SPLITS}
        self.splits["train"].augment, self.splits["train"].seed = self.augment, self.seed

    def splits_record(self) -> dict[str, dict[str, Any]]:
        """Which samples of the source each split has: their count, their indices and the SHA-256 of these as int64.

        Indices without gaps are given as {"first", "last"}.
        """
        record = {}
        for name, split in self.splits.items():
            index = split.index.to(torch.int64)
            digest = hashlib.sha256(index.numpy().astype("<i8").tobytes()).hexdigest()
            is_range = bool((index.diff() == 1).all())
            places = {"first": int(index[0]), "last": int(index[-1])} if is_range else index.tolist()
            record[name] = {"count": len(split), "sha256": digest, "index": places}
        return record

    def train_dataloader(self) -> DataLoader:
        split = self.splits["train"]
        if self.trainer is None:
            return self._loader(split, self._sampler(split), self.loading.drop_last)
        if self.trainer.overfit_batches > 0:  # the same batches in each epoch
            return self._loader(split, SequentialSampler(split), self.loading.drop_last)
        sampler = self._sampler(split)
        # Lightning sets the epoch only after the loader's workers have begun to fetch, which on resume is too late.
        sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        return self._loader(split, sampler, self.loading.drop_last)

    def val_dataloader(self) -> DataLoader:
        return self.in_order(self.splits["val"])

    def test_dataloader(self) -> DataLoader:
        return self.in_order(self.splits["test"])

    def predict_dataloader(self) -> DataLoader:
        return self.test_dataloader()

    def in_order(self, split: Split) -> DataLoader:
        """The batches of a split in the order of its samples."""
        return self._loader(split, SequentialSampler(split))

    def _validated(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Positions of the samples to train on, and of those to validate on."""
        how: dict[str, Any] = {"per_class": self.VALIDATES_PER_CLASS, "classes": self.CLASSES}
        if self.folds is None:
            return held_out(labels, self.val_fraction, "validation split", **how)
        return fold_held_out(labels, self.fold, self.folds, **how)

    def _sampler(self, split: Split) -> EpochSampler:
        if self.loading.sampler is None:
            return EpochSampler(len(split), self.seed)
        return BalancedSampler(split.labels, self.seed)

    def _loader(self, split: Split, sampler: EpochSampler | SequentialSampler, drop_last: bool = False) -> DataLoader:
        rank, world, on_gpu = 0, 1, False
        if self.trainer is not None:
            rank, world = self.trainer.global_rank, self.trainer.world_size
            on_gpu = self.trainer.strategy.root_device.type == "cuda"
        loading, has_workers = self.loading, self.loading.num_workers > 0
        return ParcelLoader(
            split,
            # By keyword: for predictions Lightning rebuilds the loader and its sampler from their arguments.
            batch_sampler=SharedBatches(
                sampler=sampler, batch_size=loading.batch_size, drop_last=drop_last, rank=rank, world=world
            ),
            num_workers=loading.num_workers,
            persistent_workers=has_workers and loading.persistent_workers,
            prefetch_factor=loading.prefetch if has_workers else None,
            pin_memory=on_gpu,
            worker_init_fn=_prepare_worker,
            collate_fn=functools.partial(_whole_batch if self.gives_index else _pair, prefetch=loading.prefetch),
            generator=generator(self.seed, "workers"),  # torch's global one would advance with every loader that starts
        )

    def _check_facts(self, classes: Sequence[str] | None, shape: Sequence[int] | None) -> None:
        if classes is not None and self._count[1] != len(classes):
            raise invalid(self, self._count[0], f"{len(classes)}, which is what the data has", self._count[1])
        if shape is not None and self.sample_shape != tuple(shape):
            raise invalid(self, "sample_shape", f"{list(shape)}, which is what the data has", list(self.sample_shape))


merge_signature(
    DataModule, groups=(Loading,), inherits=False
)  # __init_subclass__ does not see the class that defines it


class ValuesDataModule(DataModule, without=("num_classes",)):
    """Base of the data sets whose samples have values instead of a class, float32 [n, num_targets].

    Args:
        num_targets: values of a sample, ≥ 1.
        Others as in DataModule.
    """

    TARGET = Target.VALUES

    def __init__(self, num_targets: int, sample_shape: Sequence[int], **common: Any) -> None:
        super().__init__(None, sample_shape, num_targets=num_targets, **common)


class ImageDataModule(DataModule):
    """Base of the image data sets: x [N, C, H, W] with values in [0, 1].

    Args:
        augment: random changes of the training images, see Augmentation; None: none.
        Others as in DataModule.
    """

    def __init__(self, *, augment: Augmentation | None = None, **common: Any) -> None:
        super().__init__(**common)
        if augment:
            augment.check(self.sample_shape)
            self.augment = augment

    def unlabeled(self, folder: Path) -> Split:
        if self.sample_shape[0] not in (1, 3):
            raise ValueError(f"data.folder: samples of {list(self.sample_shape)} are no gray or color pictures.")
        paths = files_below(folder, PICTURES, "pictures")
        split = PictureSplit(paths, no_labels(paths), self.sample_shape, crop_ratio=None)
        check_each(split)
        return split


def _prepare_worker(worker: int) -> None:
    """Let a worker's copy of the split hand over stored values, and keep it quiet when its parent goes."""
    get_worker_info().dataset.is_compact = True
    _silence_disconnects(worker)


def _silence_disconnects(worker: int) -> None:
    """Keep a worker from printing a traceback when its parent has closed the connection.

    A worker sends its batches from a thread that prints every error. When a run is interrupted, the parent exits while
    batches are under way, and the worker would print a connection error that the user can do nothing about. A parent
    that still waits for the batch raises an error of its own.
    """
    before = sys.excepthook

    def print_unless_disconnected(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        in_thread = threading.current_thread() is not threading.main_thread()
        if not (in_thread and issubclass(kind, (ConnectionError, EOFError))):
            before(kind, error, traceback)

    sys.excepthook = print_unless_disconnected
