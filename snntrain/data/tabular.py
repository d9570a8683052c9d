"""Tables of scikit-learn to predict values from: no download."""

import torch
from torch import Tensor

from snntrain.arguments import integer, real
from snntrain.data.arrays import ArraySplit
from snntrain.data.datamodule import ValuesDataModule
from snntrain.data.split import held_out
from snntrain.data.standard import Standard
from snntrain.registry import register

TEST_FRACTION = 0.2


class Table(ValuesDataModule):
    """Base of tables: a row of features, one value to predict; a fifth of the rows, the same for every seed, is tested.

    Features and values are shifted and scaled to mean 0 and standard deviation 1 of the rows that are not tested.

    Attributes:
        value_standard: by which the values were scaled, after setup.
    """

    CLASSES = ("value",)
    value_standard: Standard | None = None

    def rows(self) -> tuple[Tensor, Tensor]:
        """All features [n, F] and values [n], float64."""
        raise NotImplementedError

    def load(self) -> dict[str, ArraySplit]:
        features, values = self.rows()
        stay, out = held_out(values, TEST_FRACTION, "test split")
        of_features, self.value_standard = (_standard(numbers[stay]) for numbers in (features, values[:, None]))
        whole = ArraySplit(of_features(features), self.value_standard(values[:, None]))
        return {"train": whole.subset(stay), "test": whole.subset(out)}

    def assumed(self) -> dict[str, str]:
        return {
            "features, values": "standardized: mean 0 and standard deviation 1 of the rows that are not tested",
            "test": f"{TEST_FRACTION:.0%} of all rows, drawn once, the same for every seed",
        } | super().assumed()

    def fingerprint(self) -> dict[str, str]:
        return {name: split.sha256() for name, split in self.splits.items()}


def _standard(numbers: Tensor) -> Standard:
    return Standard.of(numbers, [f"number {place}" for place in range(numbers.shape[1])], "Draw more samples.")


@register("data")
class Diabetes(Table):
    """442 patients with 10 features: how far the disease has progressed a year later.

    Source: Efron, Hastie, Johnstone & Tibshirani, Annals of Statistics 32(2), 2004.
    """

    SAMPLE_SHAPE = (10,)

    def rows(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes(scaled=False)
        return torch.from_numpy(bunch.data), torch.from_numpy(bunch.target)


@register("data")
class Friedman1(Table):
    """A made-up function of ten features: y = 10 sin(π x₀ x₁) + 20 (x₂ − ½)² + 10 x₃ + 5 x₄ + noise.

    Args:
        samples: rows, ≥ 10.
        noise: standard deviation of the noise, ≥ 0.
        draw: seed of the rows, ≥ 0; a run's own seed does not change them.
        Others as in DataModule.

    Source: Friedman, Annals of Statistics 19(1), 1991.
    """

    SAMPLE_SHAPE = (10,)
    MADE_UP = True

    def __init__(self, *, samples: int = 2000, noise: float = 1.0, draw: int = 0, **common: object) -> None:
        super().__init__(**common)
        self.samples = integer(self, "samples", samples, at_least=10)
        self.noise = real(self, "noise", noise, at_least=0)
        self.draw = integer(self, "draw", draw, at_least=0)

    def rows(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import make_friedman1

        x, y = make_friedman1(self.samples, noise=self.noise, random_state=self.draw)
        return torch.from_numpy(x), torch.from_numpy(y)
