"""scikit-learn's bundled digits: real data that need no download."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import torch

from snntrain.data.datamodule import ImageDataModule
from snntrain.data.split import ImageSplit, held_out
from snntrain.registry import register


@register("data")
class Digits(ImageDataModule):
    """1,797 handwritten digits of 8×8 pixels with 17 gray levels; a fifth, the same for every seed, is the test set.

    Source: Alpaydin & Kaynak, UCI Optical Recognition of Handwritten Digits, 1998.
    """

    CLASSES = tuple("0123456789")
    SAMPLE_SHAPE = (1, 8, 8)
    TEST_FRACTION = 0.2

    def load(self) -> dict[str, ImageSplit]:
        table = torch.from_numpy(_table())
        digits = ImageSplit(table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].long(), scale=16.0)
        train, test = held_out(digits.labels, self.TEST_FRACTION, "test split")
        return {"train": digits.subset(train), "test": digits.subset(test)}

    def assumed(self) -> dict[str, str]:
        return {
            "values": "v/16 of 17 gray levels",
            "test": f"{self.TEST_FRACTION:.0%} of all samples, drawn once, the same for every seed",
        } | super().assumed()

    def fingerprint(self) -> dict[str, str]:
        return {
            f"{name}.images": hashlib.sha256(split.images.numpy().tobytes()).hexdigest()
            for name, split in self.splits.items()
        }


def _table() -> np.ndarray:
    """Pixels and class of every picture, uint8 [1797, 65]."""
    # Read from scikit-learn's file, because to import scikit-learn takes ten times as long as to read it.
    package = importlib.util.find_spec("sklearn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz" if package else None
    if path is not None and path.is_file():
        return np.loadtxt(path, np.uint8, delimiter=",")
    from sklearn.datasets import load_digits  # a version that keeps the file elsewhere

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.uint8)
