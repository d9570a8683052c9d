"""Your own torch data sets, one for each split."""

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from snntrain.arguments import invalid
from snntrain.data.datamodule import DataModule
from snntrain.data.split import Split
from snntrain.registry import register


class DatasetSplit(Split):
    """The samples of a torch Dataset whose items are (x, label).

    Args:
        source: with a length and items (x, label); x is a tensor of one shape for all samples.
        name: of the split, for errors.

    Raises: ValueError for a data set without length, an item that is no pair, or a label that is no whole number.
    """

    def __init__(self, source: Dataset, name: str) -> None:
        if not isinstance(source, Sized) or not hasattr(source, "__getitem__"):
            raise ValueError(f"data.{name}: {type(source).__name__} needs a length and items (x, label).")
        self.source, self.name = source, name
        super().__init__(_labels(source, name))
        self._shape = tuple(self._item(0)[0].shape) if len(self) else ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def read(self, positions: Sequence[int]) -> Tensor:
        samples = [self._item(int(self.index[position]))[0] for position in positions]
        for position, sample in zip(positions, samples, strict=True):
            if tuple(sample.shape) != self._shape:
                raise _another_shape(self.name, self.where(position), sample.shape, self._shape)
        return torch.stack(samples).float()

    def _item(self, index: int) -> tuple[Tensor, Any]:
        x, label = _pair(self.source, index, self.name)
        return torch.as_tensor(x), label


def _pair(source: Any, index: int, name: str) -> tuple[Any, Any]:
    item = source[index]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ValueError(f"data.{name}: item {index} must be (x, label), got {type(item).__name__}.")
    return item[0], item[1]


def _labels(source: Any, name: str) -> Tensor:
    """The labels: `targets`, as torchvision's data sets have it, or those of the items, each read once."""
    given = getattr(source, "targets", None)
    labels = given if given is not None else _labels_of_items(source, name)
    found = torch.as_tensor(labels)
    if found.dim() != 1 or len(found) != len(source) or found.is_floating_point():
        raise ValueError(f"data.{name}: labels must be one whole number per sample, got {list(found.shape)} values.")
    return found.long()


def _labels_of_items(source: Any, name: str) -> list[Any]:
    """The label of each item. Raises: ValueError for a sample of another shape, before any training."""
    labels, first = [], None
    for index in range(len(source)):
        x, label = _pair(source, index, name)
        labels.append(label)
        shape = tuple(np.shape(x))
        first = shape if first is None else first
        if shape != first:
            raise _another_shape(name, f"sample {index}", shape, first)
    return labels


def _another_shape(name: str, sample: str, shape: Sequence[int], first: Sequence[int]) -> ValueError:
    return ValueError(
        f"data.{name}: {sample} has the shape {list(shape)}, the first one {list(first)}. All samples need the same "
        "shape."
    )


@register("data")
class Datasets(DataModule):
    """Torch data sets of your own, one per split: `data=custom data.train._target_=my_module.MyDataset`.

    Args:
        train, test: map-style data sets of (x, label); x as the net gets it at one step, label in 0 … num_classes − 1.
        val: for validation; None: val_fraction of the training samples.
        Others as in DataModule.

    Raises: ValueError naming the split whose items are something else.
    """

    def __init__(
        self,
        num_classes: int,
        sample_shape: Sequence[int],
        *,
        train: Dataset,
        test: Dataset,
        val: Dataset | None = None,
        **common: Any,
    ) -> None:
        super().__init__(num_classes, sample_shape, **common)
        self.CLASSES = tuple(map(str, range(self.num_classes)))
        self.sources = {"train": train, "val": val, "test": test}
        for name, source in self.sources.items():
            if source is not None and not isinstance(source, Dataset):
                raise invalid(self, name, "a torch.utils.data.Dataset", source)

    def load(self) -> dict[str, Split]:
        return {name: DatasetSplit(source, name) for name, source in self.sources.items() if source is not None}

    def assumed(self) -> dict[str, str]:
        return {"fingerprint": "none: what a data set of your own reads is not known"} | super().assumed()

    def fingerprint(self) -> dict[str, str]:
        return {}
