"""Two digits of MNIST side by side; the labels say which digits they are."""

import torch

from snntrain.data.mnist import MNIST
from snntrain.data.split import ImageSplit
from snntrain.data.target import Target
from snntrain.randomness import generator
from snntrain.registry import register


@register("data")
class MNISTPairs(MNIST):
    """35,000 pairs of MNIST's digits, 28×56 pixels, 5,000 of them for testing; ten labels, one or two of which hold.

    Each picture is in one pair. The pairs are drawn once, the same for every seed of a run.

    Args:
        As in MNIST.
    """

    SAMPLE_SHAPE = (1, 28, 56)
    TARGET = Target.LABELS

    def load(self) -> dict[str, ImageSplit]:
        return {name: _paired(split, len(self.CLASSES), name) for name, split in super().load().items()}

    def assumed(self) -> dict[str, str]:
        return {"pairs": "drawn once, the same for every seed; each picture is in one pair"} | super().assumed()


def _paired(split: ImageSplit, classes: int, name: str) -> ImageSplit:
    order = torch.randperm(len(split), generator=generator(0, "MNIST pairs", name))
    left, right = order[: len(order) // 2], order[len(order) // 2 : 2 * (len(order) // 2)]
    images = torch.cat([split.images[left], split.images[right]], 3)
    labels = torch.zeros(len(left), classes)
    for side in (left, right):
        labels[torch.arange(len(left)), split.labels[side]] = 1
    return ImageSplit(images, labels)
