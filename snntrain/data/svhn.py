"""Street View House Numbers, cropped to single digits."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision import datasets

from snntrain.data.cifar import VerifiedImages
from snntrain.registry import register


@register("data")
class SVHN(VerifiedImages):
    """73,257 + 26,032 color pictures of digits, 32×32 pixels, from <root>/SVHN or <root>.

    Source: Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, NIPS workshop, 2011.
    """

    CLASSES = tuple("0123456789")
    SAMPLE_SHAPE = (3, 32, 32)
    MEAN, STD = (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)

    @property
    def files(self) -> dict[Path, str]:
        return {self._place(split): datasets.SVHN.split_list[split][2] for split in ("train", "test")}

    def read(self, *, train: bool) -> tuple[Tensor, Tensor]:
        split = "train" if train else "test"
        pictures = datasets.SVHN(str(self._place(split).parent), split=split)
        return torch.from_numpy(pictures.data.copy()), torch.from_numpy(pictures.labels)

    def _place(self, split: str) -> Path:
        name = datasets.SVHN.split_list[split][1]
        return next(
            (path for path in (self.root / "SVHN" / name, self.root / name) if path.is_file()),
            self.root / "SVHN" / name,
        )
