"""Mixing the samples of a batch, and their labels with them."""

import torch
from torch import Tensor
from torchvision.transforms import v2


class Mixing:
    """MixUp, CutMix, or for each batch one of the two, either with probability 1/2.

    MixUp: λ·x + (1 − λ)·x' of each sample x and another one x' of the batch. CutMix: a rectangle of x' in x, the same
    one at every step of a sequence; λ is the share of x that is left. The target is λ·y + (1 − λ)·y' of the one-hot
    labels. λ is drawn from Beta(alpha, alpha), for CutMix in expectation, with torch's CPU generator.

    Args:
        mixup, cutmix: alpha of either, > 0; 0: without it.
        num_classes: number of classes K.

    Shapes: x [N, *], for CutMix [N, *, H, W] with at least one dim between, and labels [N] → x of the same shape,
    targets [N, K].
    Raises: ValueError if CutMix gets data without height and width.
    Source: Zhang et al., ICLR 2018, arXiv 1710.09412; Yun et al., ICCV 2019, arXiv 1905.04899.
    """

    def __init__(self, mixup: float, cutmix: float, num_classes: int) -> None:
        self.mixup = v2.MixUp(alpha=mixup, num_classes=num_classes) if mixup else None
        self.cutmix = v2.CutMix(alpha=cutmix, num_classes=num_classes) if cutmix else None

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        mix = self._one_of_them()
        if mix is self.cutmix and x.dim() < 4:
            raise ValueError(
                f"cutmix: it cuts rectangles out of images [N, C, H, W], but the data has shape {list(x.shape)}. "
                "Use mixup or set cutmix to 0."
            )
        # As images, which is all that torchvision's transforms take: sequences with time among the channels.
        images = x.flatten(1, -3) if x.dim() >= 4 else x.reshape(len(x), 1, 1, -1)
        images, target = mix(images, target)
        return images.reshape(x.shape), target

    def _one_of_them(self) -> v2.MixUp | v2.CutMix:
        if self.mixup and self.cutmix:
            return self.mixup if torch.rand(()) < 0.5 else self.cutmix
        return self.mixup or self.cutmix


def dominant(target: Tensor) -> Tensor:
    """Labels [N]: of targets [N, K] the class with the largest share; labels are returned unchanged."""
    return target.argmax(1) if target.dim() == 2 else target
