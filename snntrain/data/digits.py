"""scikit-learn's bundled digits: real, and there without a download."""

import hashlib

import torch

from snntrain.data.datamodule import ImageDataModule, Split
from snntrain.randomness import generator


class Digits(ImageDataModule):
    """1,797 handwritten digits of 8×8 pixels with 17 grey levels; a fifth, the same for every seed, is the test set.

    Args: as in ImageDataModule.
    Source: Alpaydin & Kaynak, UCI Optical Recognition of Handwritten Digits, 1998.
    """

    CLASSES = tuple("0123456789")
    SAMPLE_SHAPE = (1, 8, 8)
    TEST_FRACTION = 0.2

    def load(self) -> tuple[Split, Split]:
        from sklearn.datasets import load_digits  # takes a second to import, and other data sets do not need it

        bunch = load_digits()
        images = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
        digits = Split(images, torch.from_numpy(bunch.target).long(), scale=16.0)
        order = torch.randperm(len(digits), generator=generator(0, "test split"))
        held_out = round(self.TEST_FRACTION * len(digits))
        return digits.subset(order[held_out:]), digits.subset(order[:held_out])

    def fingerprint(self) -> dict[str, str]:
        return {
            f"{name}.images": hashlib.sha256(split.images.numpy().tobytes()).hexdigest()
            for name, split in self.splits.items()
        }
