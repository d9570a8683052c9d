"""A data set for benchmarks with Fashion-MNIST's shapes, which needs no files."""

import torch

from snntrain.data import FashionMNIST, ImageSplit
from snntrain.randomness import generator


class RandomPictures(FashionMNIST):
    """As many pictures of 28×28 random pixels as Fashion-MNIST has, with random labels.

    Args: as in FashionMNIST; root and download have no effect.
    """

    def prepare_data(self) -> None:
        pass

    def load(self) -> dict[str, ImageSplit]:
        return {"train": self._draw(60_000, "train"), "test": self._draw(10_000, "test")}

    def _draw(self, count: int, name: str) -> ImageSplit:
        source = generator(self.seed, "random pictures", name)
        images = torch.randint(0, 256, (count, *self.SAMPLE_SHAPE), generator=source, dtype=torch.uint8)
        return ImageSplit(images, torch.randint(0, len(self.CLASSES), (count,), generator=source))
