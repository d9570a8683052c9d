"""Splits of picture files, decoded each time they are read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as images

from snntrain.data.picture import BadPicture, decode
from snntrain.data.split import Split


class PictureSplit(Split):
    """Decodes picture files, resizes them and crops a square each time they are read.

    Args:
        paths: all files of the source; subsets share them.
        labels, index: as in Split; the index is the file's position in `paths`.
        shape: [C, H, W] with C = 3, or 1 for gray; H = W unless crop_ratio is None.
        crop_ratio: the square's side as a fraction of the shorter side. A picture of the right size is not resized.
            None: no picture is; one of another size is an error.
        background: color behind transparent pixels, see snntrain.data.picture.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Tensor,
        shape: Sequence[int],
        *,
        crop_ratio: float | None = 0.875,
        background: tuple[int, int, int] | None = (0, 0, 0),
        index: Tensor | None = None,
    ) -> None:
        super().__init__(labels, index)
        self.paths, self.crop_ratio, self.background, self._shape = paths, crop_ratio, background, tuple(shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def read(self, positions: Sequence[int]) -> Tensor:
        return torch.stack([_from_0_to_1(self._fitted(position)) for position in positions])

    def read_augmented(self, positions: Sequence[int], seeds: Sequence[int]) -> Tensor:
        if not getattr(self.augment, "takes_any_size", False):
            return super().read_augmented(positions, seeds)
        # The random crop is taken from the whole picture, not from the square that evaluation sees.
        pictures = (self._values(self._picture(position)) for position in positions)
        cut = [self.augment(picture, seed) for picture, seed in zip(pictures, seeds, strict=True)]
        return torch.stack([_from_0_to_1(picture) for picture in cut])

    def where(self, position: int) -> str:
        return str(self.paths[int(self.index[position])])

    def _picture(self, position: int) -> Image.Image:
        return decode(self.paths[int(self.index[position])], self._shape[0], self.background)

    def _fitted(self, position: int) -> Tensor:
        """The picture, resized and cropped to the shape where it has another one."""
        picture, (_, height, width) = self._picture(position), self._shape
        if picture.size == (width, height):
            return self._values(picture)
        if self.crop_ratio is None:
            found = "×".join(map(str, picture.size))
            raise BadPicture(
                self.paths[int(self.index[position])],
                f"has {found} pixels, but those of this data set have {width}×{height} (width × height)",
            )
        resized = images.resize(picture, [max(width, round(width / self.crop_ratio))], antialias=True)
        return self._values(images.center_crop(resized, [height, width]))

    def _values(self, picture: Image.Image) -> Tensor:
        """uint8 from 0 to 255, or float32 from 0 to 1 of a picture of more than 8 bits."""
        if picture.mode != "F":
            return images.pil_to_tensor(picture)
        values = torch.from_numpy(np.array(picture, np.float32)).clamp_(0, 1)  # resizing may exceed 1 by rounding
        return values.expand(self._shape[0], *values.shape)


def _from_0_to_1(picture: Tensor) -> Tensor:
    return picture if picture.is_floating_point() else picture.float() / 255
