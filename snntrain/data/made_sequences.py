"""Sequences that are made up, with something to tell at every step: no download."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from snntrain.arguments import integer, invalid, real
from snntrain.data.arrays import SequenceSplit
from snntrain.data.datamodule import DataModule
from snntrain.data.target import Target
from snntrain.functional import real_steps
from snntrain.randomness import generator
from snntrain.registry import register


class MadeSequences(DataModule):
    """Base of made-up sequences: training and test samples are drawn once, the same for every seed of a run.

    Args:
        steps: of a sequence, ≥ 1; follows T.
        shortest: sequences have from this to `steps` steps, all lengths equally likely; None: all have `steps`.
        samples, test_samples: how many are drawn, ≥ 2 and ≥ 1.
        Others as in DataModule.
    """

    TARGET = Target.STEP_CLASSES
    HAS_STEPS = True
    #: Whether the samples come from a formula, so that there is no license to tell.
    MADE_UP = True

    def __init__(
        self,
        *,
        steps: int,
        shortest: int | None = None,
        samples: int = 2000,
        test_samples: int = 1000,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.steps = integer(self, "steps", steps, at_least=1)
        self.shortest = None if shortest is None else integer(self, "shortest", shortest, at_least=1, at_most=steps)
        self.samples = integer(self, "samples", samples, at_least=2)
        self.test_samples = integer(self, "test_samples", test_samples, at_least=1)

    @abstractmethod
    def draw(self, samples: int, source: Generator) -> tuple[Tensor, Tensor]:
        """Sequences float32 [n, T, F] and their targets [n, T] or [n, T, D]."""

    def load(self) -> dict[str, SequenceSplit]:
        return {
            name: self._split(name, count) for name, count in (("train", self.samples), ("test", self.test_samples))
        }

    def _split(self, name: str, samples: int) -> SequenceSplit:
        source = generator(0, type(self).__name__, name)
        x, targets = self.draw(samples, source)
        if self.shortest is None:
            return SequenceSplit(x, targets)
        lengths = torch.randint(self.shortest, self.steps + 1, (samples,), generator=source)
        beyond = ~real_steps(lengths, self.steps).T
        x[beyond], targets[beyond] = 0, 0
        return SequenceSplit(x, targets, lengths)

    def assumed(self) -> dict[str, str]:
        return {"sequences": "drawn once, the same for every seed"} | super().assumed()

    def fingerprint(self) -> dict[str, str]:
        return {name: split.sha256() for name, split in self.splits.items()}


@register("data")
class Copy(MadeSequences):
    """Remember symbols: `length` symbols are shown, then nothing, and the net must name them at the last steps.

    x: one-hot of a symbol, or of the signal to tell; the class of a step is a symbol from 1 on, or 0 for silence.

    Args:
        length: symbols to remember, ≥ 1; at most half of the steps.
        Others as in MadeSequences; the sequences all have `steps` steps.

    Source: Hochreiter & Schmidhuber, Neural Computation 9(8), 1997; Graves et al., arXiv 1410.5401.
    """

    def __init__(self, *, length: int = 5, shortest: None = None, **common: Any) -> None:
        super().__init__(**common)
        self.length = integer(self, "length", length, at_least=1)
        if 2 * self.length > self.steps:
            raise invalid(self, "length", f"at most half of the {self.steps} steps", length)
        symbols = self.num_classes - 1
        self.CLASSES = ("silence", *(f"symbol {number}" for number in range(1, symbols + 1)))
        self._check_facts(self.CLASSES, (symbols + 1,))

    def draw(self, samples: int, source: Generator) -> tuple[Tensor, Tensor]:
        symbols = torch.randint(1, self.num_classes, (samples, self.length), generator=source)
        shown, told = torch.zeros(2, samples, self.steps, dtype=torch.long)
        shown[:, : self.length], told[:, -self.length :] = symbols, symbols
        x = F.one_hot(shown, self.num_classes).float()
        x[..., 0] = 0
        x[:, self.steps - self.length, 0] = 1  # now tell
        return x, told


@register("data")
class Parity(MadeSequences):
    """Count in the head: at each step, whether the ones so far are odd in number.

    Args:
        As in MadeSequences.

    Source: Minsky & Papert, Perceptrons, 1969; as a sequence: Graves, arXiv 1603.08983.
    """

    CLASSES = ("even", "odd")
    SAMPLE_SHAPE = (2,)

    def draw(self, samples: int, source: Generator) -> tuple[Tensor, Tensor]:
        bits = torch.randint(2, (samples, self.steps), generator=source)
        return F.one_hot(bits, 2).float(), bits.cumsum(1) % 2


@register("data")
class NoisySine(MadeSequences, without=("num_classes",)):
    """Tell a sine from noise: at each step the clean value of the next one.

    Args:
        noise: standard deviation of the noise on the input, ≥ 0; the sine has amplitude 1.
        Others as in MadeSequences.
    """

    TARGET = Target.STEP_VALUES
    CLASSES = ("value",)
    SAMPLE_SHAPE = (1,)

    def __init__(self, *, num_targets: int, noise: float = 0.2, **common: Any) -> None:
        self.noise = real(self, "noise", noise, at_least=0)
        super().__init__(num_classes=None, num_targets=num_targets, **common)

    def draw(self, samples: int, source: Generator) -> tuple[Tensor, Tensor]:
        period = 8 + 16 * torch.rand(samples, 1, generator=source)
        phase = 2 * math.pi * torch.rand(samples, 1, generator=source)
        sine = torch.sin(2 * math.pi * torch.arange(self.steps + 1) / period + phase)
        noise = self.noise * torch.randn(samples, self.steps, generator=source)
        return (sine[:, :-1] + noise)[..., None], sine[:, 1:, None].clone()


@register("data")
class BinaryAdding(MadeSequences):
    """Add up marked bits: at each step a bit and whether it is marked; the class of a sequence is the marked sum.

    All sums from 0 to `marked` are equally frequent: among 20 sequences and 9 marks each sum comes twice. Which steps
    are marked is drawn anew for each sequence, evenly; bits that are not marked are 0 or 1, each with probability ½.

    Args:
        marked: bits to add up, from 1 to the number of steps; the classes are the sums, marked + 1.
        val_samples: sequences to validate on, which are drawn besides, ≥ 1.
        Others as in MadeSequences; the sequences all have `steps` steps. There is nothing for val_fraction to hold out.

    Source: Ma et al., arXiv 2502.09449, after the adding problem of Hochreiter & Schmidhuber, Neural Computation 9(8),
        1997.
    """

    TARGET = Target.CLASS
    SAMPLE_SHAPE = (2,)

    def __init__(
        self,
        *,
        marked: int = 9,
        val_samples: int = 2000,
        samples: int = 50_000,
        test_samples: int = 2000,
        shortest: None = None,
        **common: Any,
    ) -> None:
        super().__init__(samples=samples, test_samples=test_samples, **common)
        self.marked = integer(self, "marked", marked, at_least=1, at_most=self.steps)
        self.val_samples = integer(self, "val_samples", val_samples, at_least=1)
        self.CLASSES = tuple(map(str, range(marked + 1)))
        self._check_facts(self.CLASSES, None)

    def load(self) -> dict[str, SequenceSplit]:
        return super().load() | {"val": self._split("val", self.val_samples)}

    def draw(self, samples: int, source: Generator) -> tuple[Tensor, Tensor]:
        sums = (torch.arange(samples) % (self.marked + 1))[torch.randperm(samples, generator=source)]
        bits = torch.randint(2, (samples, self.steps), generator=source).float()
        marks = torch.rand(samples, self.steps, generator=source).argsort(1)[:, : self.marked]  # in random order
        bits.scatter_(1, marks, (torch.arange(self.marked) < sums[:, None]).float())
        return torch.stack([bits, torch.zeros_like(bits).scatter_(1, marks, 1.0)], 2), sums
