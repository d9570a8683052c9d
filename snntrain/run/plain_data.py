"""Plain modules of Lightning: the user's LightningDataModule, or LightningModule, in the place of one of ours."""

import random
from collections.abc import Sequence, Sized
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from snntrain.error import UsageError
from snntrain.terminal import print_line, terminal

_STAGES = {"train": "fit", "val": "validate", "test": "test"}

_OF_CLASSES = (torch.int64, torch.int32)

console = terminal()


class PlainData(pl.LightningDataModule):
    """Asks a LightningDataModule for its loaders, and says what a run has to do without.

    Args:
        source: whose loaders give batches (x, y); x [N, *] as the encoder takes it, y [N].
        num_classes: names to be made up, of the classes or values of the data; None: it says neither.
    """

    def __init__(self, source: pl.LightningDataModule, num_classes: int | None) -> None:
        super().__init__()
        self.source = source
        self.CLASSES = tuple(getattr(source, "CLASSES", map(str, range(num_classes or 0))))
        self.splits: dict[str, Any] = {}
        self.first_batches: dict[str, Any] = {}
        self.batch_size: int | None = None

    def prepare_data(self) -> None:
        self.source.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Set all stages up and read a batch of each loader. Raises: UsageError for one that is missing or fails."""
        if self.splits:
            return
        for name, step in _STAGES.items():
            self.source.setup(step)
            loader = self._loader(name)
            if not isinstance(loader, DataLoader) or not isinstance(loader.dataset, Sized):
                raise UsageError(
                    f"data: {type(self.source).__name__}.{name}_dataloader() must give a torch DataLoader over a data "
                    f"set that has a length, got a {type(loader).__name__}"
                    + (f" over {type(loader.dataset).__name__}." if isinstance(loader, DataLoader) else ".")
                )
            if len(loader.dataset) == 0:
                raise UsageError(f"data: {type(self.source).__name__}.{name}_dataloader() has a data set of 0 samples.")
            self.splits[name] = loader.dataset
            self.first_batches[name] = _first_batch(loader, f"{type(self.source).__name__}.{name}_dataloader()")
            self.batch_size = self.batch_size or _batch_size(loader)
        print_line(
            console,
            f"data: {type(self.source).__name__} is a plain LightningDataModule, so provenance.json has no checksum of "
            "the data, and a resumed run sees the samples in another order.",
        )

    def _loader(self, name: str) -> Any:
        self.source.trainer = self.trainer
        return getattr(self.source, f"{name}_dataloader")()

    def train_dataloader(self) -> Any:
        return self._loader("train")

    def val_dataloader(self) -> Any:
        return self._loader("val")

    def test_dataloader(self) -> Any:
        return self._loader("test")

    def predict_dataloader(self) -> Any:
        return self._loader("test")

    def fingerprint(self) -> dict[str, str]:
        """Nothing: which files were read is not known."""
        return {}

    def splits_record(self) -> dict[str, dict[str, int]]:
        """The number of samples of each split."""
        return {name: {"count": len(split)} for name, split in self.splits.items()}

    def check_first_batches(self, sample_shape: Sequence[int], *, of_classes: bool, of_doubles: bool) -> None:
        """Refuse batches that no run can use, of which training or test would fail.

        Args:
            sample_shape: of x at one step.
            of_classes: whether labels must be numbers of classes, int [N].
            of_doubles: whether x may be float64.

        Raises: UsageError naming the loader and what it gives.
        """
        shape = tuple(sample_shape)
        for name, batch in self.first_batches.items():
            place = f"data: {type(self.source).__name__}.{name}_dataloader() gives"
            if not isinstance(batch, (tuple, list)) or len(batch) < 2:
                raise UsageError(f"{place} {_told(batch)} for a batch. Let it give (x, y), of two tensors.")
            x, y = batch[:2]
            if not (isinstance(x, Tensor) and x.dim() > len(shape) and tuple(x.shape[-len(shape) :]) == shape):
                raise UsageError(
                    f"{place} {_told(x)} as x, which must be [N, …] with the shape {list(shape)} of data.sample_shape "
                    "at its end."
                )
            if not x.is_floating_point() or (x.dtype == torch.float64 and not of_doubles):
                raise UsageError(f"{place} {_told(x)} as x, but weights are float32. Let it give x.float().")
            if of_classes and not (isinstance(y, Tensor) and y.shape == x.shape[:1] and y.dtype in _OF_CLASSES):
                raise UsageError(
                    f"{place} {_told(y)} as y for {len(x)} samples. A classification takes one class number for each, "
                    f"int64 [{len(x)}]; for other labels, bring a task of your own."
                )
            if of_classes and not 0 <= int(y.min()) <= int(y.max()) < len(self.CLASSES):
                raise UsageError(
                    f"{place} labels from {int(y.min())} to {int(y.max())}, but with data.num_classes="
                    f"{len(self.CLASSES)} they are 0 to {len(self.CLASSES) - 1}."
                )


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (list, tuple)) else "")


def _batch_size(loader: DataLoader) -> int | None:
    """Samples of a batch; a loader with a batch sampler of the user's has no size of its own."""
    return loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)


def _first_batch(loader: DataLoader, place: str) -> Any:
    """The first samples as a batch, read in this process; the random numbers to come stay as they were."""
    dataset, size = loader.dataset, _batch_size(loader)
    if size is None:
        raise UsageError(f"data: {place} has no batch_size. Let the DataLoader make the batches, batch_size=….")
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
                return next(iter(loader))
            places = list(range(min(size, len(dataset))))
            several = getattr(dataset, "__getitems__", None)
            samples = several(places) if several else [dataset[place] for place in places]
            return loader.collate_fn(samples)
    except Exception as error:  # whatever a data set of the user's raises
        raise UsageError(f"data: the first batch of {place} cannot be made: {type(error).__name__}: {error}") from error
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
