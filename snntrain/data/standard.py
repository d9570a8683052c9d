"""Shifts and scales columns of numbers to mean 0 and standard deviation 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

#: What may be standardized: nothing, the numbers that the net gets, or these and the values that it predicts.
STANDARDIZE = ("none", "inputs", "all")


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of columns, float64 [D]."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, values: Tensor, names: Sequence[str], remedy: str) -> Self:
        """Those of rows [n, D].

        Args:
            names: of the columns, for errors.
            remedy: what to do about a column that is constant, a sentence.

        Raises: ValueError naming a column that holds one value only, which cannot be scaled.
        """
        values = values.double()
        for place, name in enumerate(names):
            low, high = values[:, place].aminmax()
            if low == high:
                raise ValueError(
                    f"data: column {name} holds {float(low):g} in all training samples, so it cannot be standardized. "
                    f"{remedy}"
                )
        return cls(values.mean(0), values.std(0))

    def __call__(self, values: Tensor) -> Tensor:
        """Standardized values [*, D], float32."""
        return ((values.double() - self.mean) / self.std).float()

    def inverse(self, values: Tensor) -> Tensor:
        """The values that were standardized."""
        return (values.double() * self.std + self.mean).float()

    def __str__(self) -> str:
        pairs = zip(self.mean.tolist(), self.std.tolist(), strict=True)
        return ", ".join(f"mean {mean:.6g} and deviation {std:.6g}" for mean, std in pairs)


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """The rows of several tables as one."""
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])
