"""Pictures scaled to mean 0 and standard deviation 1 per channel, if a config asks for it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snntrain.data.sampler import Key
from snntrain.data.split import ImageSplit


class Normalized:
    """Makes the batches of a split (x - mean) / std, per channel and after augmentation. List it before Split.

    Attributes:
        mean, std: [C, 1, 1]; None: values stay as they are.
    """

    mean: Tensor | None = None
    std: Tensor | None = None

    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set mean and standard deviation, a number per channel, for batches from now on."""
        self.mean, self.std = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor, Tensor]:
        x, labels, index = super().__getitems__(keys)
        return (x if self.mean is None else (x - self.mean) / self.std), labels, index


class NormalizedImages(Normalized, ImageSplit):
    """Images in memory that can be normalized."""
