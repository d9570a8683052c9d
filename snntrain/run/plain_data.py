"""Plain modules of Lightning: the user's LightningDataModule, or LightningModule, in the place of one of ours."""

from collections.abc import Sized
from typing import Any

import lightning.pytorch as pl
from torch.utils.data import DataLoader

from snntrain.error import UsageError
from snntrain.terminal import terminal

_STAGES = {"train": "fit", "val": "validate", "test": "test"}

console = terminal()


class PlainData(pl.LightningDataModule):
    """Asks a LightningDataModule for its loaders, and says what a run has to do without.

    Args:
        source: whose loaders give batches (x, y); x [N, *] as the encoder takes it, y [N].
        num_classes: of the data, ≥ 1.
    """

    def __init__(self, source: pl.LightningDataModule, num_classes: int) -> None:
        super().__init__()
        self.source = source
        self.CLASSES = tuple(getattr(source, "CLASSES", map(str, range(num_classes))))
        self.splits: dict[str, Any] = {}
        self.batch_size: int | None = None

    def prepare_data(self) -> None:
        self.source.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Set all stages up and look at the loaders. Raises: UsageError for one that is missing or no DataLoader."""
        if self.splits:
            return
        for name, step in _STAGES.items():
            self.source.setup(step)
            loader = self._loader(name)
            if not isinstance(loader, DataLoader) or not isinstance(loader.dataset, Sized):
                raise UsageError(
                    f"data: {type(self.source).__name__}.{name}_dataloader() must give a torch DataLoader over a data "
                    f"set that has a length, got {type(loader).__name__}."
                )
            self.splits[name] = loader.dataset
            self.batch_size = self.batch_size or loader.batch_size
        console.print(
            f"data: {type(self.source).__name__} is a plain LightningDataModule, so provenance.json has no checksum of "
            "the data, and a resumed run sees the samples in another order.",
            soft_wrap=True,
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
