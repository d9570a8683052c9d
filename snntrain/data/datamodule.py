"""What every image data set shares: three splits held in memory, batches cut from them, order from (seed, epoch)."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from snntrain.arguments import integer, real, refuse
from snntrain.data.sampler import EpochSampler
from snntrain.randomness import generator


@dataclass
class Split(Dataset):
    """Images of one split.

    Attributes:
        images: uint8 [n, C, H, W].
        labels: int64 [n].
        scale: the value that stands for 1.0 in a batch.
    """

    images: Tensor
    labels: Tensor
    scale: float = 255.0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        # A whole batch at once: one gather instead of a Python call per image.
        index = torch.as_tensor(indices)
        return self.images[index].float() / self.scale, self.labels[index]

    def subset(self, indices: Tensor) -> "Split":
        """The images at these indices, as a split of their own."""
        return Split(self.images[indices], self.labels[indices], self.scale)


def _whole_batch(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


class ImageDataModule(pl.LightningDataModule):
    """Base of the image data sets: batches (images [N, C, H, W] float32 in [0, 1], labels [N] int64).

    Args:
        num_classes, sample_shape: facts about the data set that its YAML states for models to refer to; checked.
        batch_size: images per batch, ≥ 1.
        num_workers: loader processes, ≥ 0; the batches do not depend on it.
        val_fraction: part of the training images held out for validation, in (0, 1), the same for every seed.
        seed: of the order of the training images.

    Raises: ValueError naming the argument; FileNotFoundError or ValueError naming a missing or corrupt file.
    """

    #: What the subclass's data is, to check the YAML's statements against.
    CLASSES: tuple[str, ...]
    SAMPLE_SHAPE: tuple[int, ...]

    def __init__(
        self,
        num_classes: int,
        sample_shape: list[int],
        batch_size: int = 64,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        seed: int = 1,
    ) -> None:
        super().__init__()
        if num_classes != len(self.CLASSES):
            raise refuse(self, "num_classes", f"{len(self.CLASSES)}, which is what the data has", num_classes)
        if tuple(sample_shape) != self.SAMPLE_SHAPE:
            raise refuse(self, "sample_shape", f"{list(self.SAMPLE_SHAPE)}, which is what the data has", sample_shape)
        self.batch_size = integer(self, "batch_size", batch_size, at_least=1)
        self.num_workers = integer(self, "num_workers", num_workers, at_least=0)
        self.val_fraction = real(self, "val_fraction", val_fraction, above=0, below=1)
        self.seed = integer(self, "seed", seed, at_least=0)
        self.splits: dict[str, Split] = {}

    @abstractmethod
    def load(self) -> tuple[Split, Split]:
        """Read and verify the data: (all training images, test images)."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """Name → SHA-256 of what was read, for the run's provenance."""

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        train, test = self.load()
        order = torch.randperm(len(train), generator=generator(0, "validation split"))
        held_out = min(max(1, round(self.val_fraction * len(train))), len(train) - 1)
        self.splits = {"train": train.subset(order[held_out:]), "val": train.subset(order[:held_out]), "test": test}

    def train_dataloader(self) -> DataLoader:
        split = self.splits["train"]
        sampler = EpochSampler(len(split), self.seed)
        if self.trainer is not None:
            # Lightning sets the epoch only after the loader's workers have begun to fetch, which on resume is too late.
            sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        return self._loader(split, sampler)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.splits["val"])

    def test_dataloader(self) -> DataLoader:
        return self._loader(self.splits["test"])

    def predict_dataloader(self) -> DataLoader:
        return self.test_dataloader()

    def _loader(self, split: Split, sampler: EpochSampler | None = None) -> DataLoader:
        return DataLoader(
            split,
            batch_size=self.batch_size,  # by name: Lightning builds the loader of predictions anew from its arguments
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=_whole_batch,
            generator=generator(self.seed, "workers"),  # torch's own would be drawn from whenever a loader is started
        )
