"""scikit-learn's bundled digits: real data that need no download."""

import hashlib

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
        from sklearn.datasets import load_digits  # takes a second to import, and other data sets do not need it

        bunch = load_digits()
        images = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
        digits = ImageSplit(images, torch.from_numpy(bunch.target).long(), scale=16.0)
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
