"""MNIST's digits as sequences, pixel by pixel or row by row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from snntrain.arguments import flag, integer, invalid
from snntrain.data.mnist import MNIST
from snntrain.data.picture import PICTURES
from snntrain.data.picture_split import PictureSplit
from snntrain.data.split import Split
from snntrain.data.unlabeled import check_each, files_below, no_labels
from snntrain.randomness import generator
from snntrain.registry import register

SIDE = 28


class PictureSequences(Split):
    """Pictures of one channel as sequences [T, F] of their pixels, line after line.

    Args:
        pictures: [n, 1, H, W].
        features: pixels F of a step, by which H·W is divisible.
        order: of the pixels, int64 [H·W]; None: as they are.
    """

    def __init__(self, pictures: Split, features: int, order: Tensor | None = None) -> None:
        super().__init__(pictures.labels, pictures.index)
        self.pictures, self.features, self.order = pictures, features, order

    @property
    def shape(self) -> tuple[int, ...]:
        _, height, width = self.pictures.shape
        return height * width // self.features, self.features

    @property
    def step_shape(self) -> tuple[int, ...]:
        return (self.features,)

    def read(self, positions: Sequence[int]) -> Tensor:
        pixels = self.pictures.read(positions).flatten(1)
        pixels = pixels if self.order is None else pixels[:, self.order]
        return pixels.unflatten(1, self.shape)

    def subset(self, positions: Tensor) -> Self:
        part = super().subset(positions)
        part.pictures = self.pictures.subset(positions)
        return part

    def where(self, position: int) -> str:
        return self.pictures.where(position)


@register("data")
class SequentialMNIST(MNIST, without=("augment",)):
    """MNIST's digits as sequences: a pixel at each of 784 steps, or a row of 28 pixels at each of 28 steps.

    Args:
        steps: 784, or 28 with `rows`; follows T.
        rows: whether a step is a row of the picture, else a pixel.
        permutation: seed of the order in which the pixels come, the same for all pictures and seeds of a run, ≥ 0;
            None: line by line. Not with rows.
        Others as in MNIST.

    Source: Le, Jaitly & Hinton, arXiv 1504.00941.
    """

    HAS_STEPS = True
    SAMPLE_SHAPE = None  # [1] or [28]

    def __init__(
        self, root: str, *, steps: int, rows: bool = False, permutation: int | None = None, **common: Any
    ) -> None:
        self.rows = flag(self, "rows", rows)
        self.features = SIDE if self.rows else 1
        super().__init__(root=root, **common)
        self._check_facts(None, (self.features,))
        self.steps = integer(self, "steps", steps, at_least=1)
        if self.steps * self.features != SIDE * SIDE:
            wanted = f"{SIDE}, the rows of a picture" if self.rows else f"{SIDE * SIDE}, the pixels of a picture"
            raise invalid(self, "steps", f"{wanted}; set T to it", steps)
        self.permutation = None if permutation is None else integer(self, "permutation", permutation, at_least=0)
        if self.rows and self.permutation is not None:
            raise invalid(self, "permutation", "None where a step is a row: only pixels are permuted", permutation)

    @property
    def order(self) -> Tensor | None:
        """The place in the picture of the pixel of each step, int64 [784]; None: line by line."""
        if self.permutation is None:
            return None
        return torch.randperm(SIDE * SIDE, generator=generator(self.permutation, "order of pixels"))

    def load(self) -> dict[str, PictureSequences]:
        return {name: self._sequences(split) for name, split in super().load().items()}

    def unlabeled(self, folder: Path) -> Split:
        paths = files_below(folder, PICTURES, "pictures")
        split = PictureSplit(paths, no_labels(paths), (1, SIDE, SIDE), crop_ratio=None)
        check_each(split)
        return self._sequences(split)

    def assumed(self) -> dict[str, str]:
        if self.rows:
            steps = "a row of the picture each, from the top"
        elif self.permutation is None:
            steps = "a pixel of the picture each, line by line"
        else:
            first = ", ".join(map(str, self.order[:5].tolist()))
            steps = f"a pixel each, in the order drawn with seed {self.permutation} (data.permutation): {first}, …"
        return {"steps": steps} | super().assumed()

    def _sequences(self, pictures: Split) -> PictureSequences:
        return PictureSequences(pictures, self.features, self.order)
