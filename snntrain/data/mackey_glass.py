"""The Mackey-Glass series: learn a stretch of a chaotic series, then tell how it goes on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snntrain.arguments import choice, integer, invalid, real
from snntrain.data.arrays import SequenceSplit
from snntrain.data.datamodule import DataModule
from snntrain.data.standard import Standard
from snntrain.data.target import Target
from snntrain.randomness import generator
from snntrain.registry import register

TAU, BETA, GAMMA = 17.0, 0.2, 0.1
START = 0.7206597
"""Value of the series at all times up to 0."""
LYAPUNOV_TIME, POINTS = 197.0, 75
"""Time in which an error grows by a factor of e, and how many points of the series it has."""
STEPS_PER_DELAY = 170
"""Steps of the integration in the time TAU: a step is 0.1."""
LEARNED = PREDICTED = 10 * POINTS
"""So many points are learned, and so many are predicted after them: ten Lyapunov times."""
OFFSETS = 30
"""So many times the stretch of learned and predicted points moves on, by half a Lyapunov time each."""
VALIDATED = POINTS
"""So many points are predicted in validation."""
TESTED = ("own", "all")


def mackey_glass(points: int) -> Tensor:
    """The series x(0), x(Δ), x(2Δ), … with Δ = 197/75, float64 [points].

        dx/dt = β·x(t − τ)/(1 + x(t − τ)¹⁰) − γ·x(t),   τ = 17, β = 0.2, γ = 0.1, x(t ≤ 0) = 0.7206597

    It is integrated with the Runge-Kutta method of fourth order in steps of 0.1; halfway between two steps, and at the
    points, it is the cubic through the values and slopes on both sides. An error of rounding grows to the size of the
    series within 35 Lyapunov times, which 2,600 points are, so that solvers differ from machine to machine. These are
    sums, products and quotients of Python's floats only, which IEEE 754 rounds in one way everywhere.

    Source: Mackey & Glass, Science 197, 1977; start and Δ as in NeuroBench, Yik et al., Nature Communications 16, 2025.
    """
    step, spacing = TAU / STEPS_PER_DELAY, LYAPUNOV_TIME / POINTS
    x = [START] * (STEPS_PER_DELAY + 1)
    slopes = [0.0] * STEPS_PER_DELAY + [_slope(START, START)]
    for at in range(math.ceil((points - 1) * spacing / step) + 1):
        now, slope, before, after = x[-1], slopes[-1], x[at], x[at + 1]
        # The slope jumps at time 0, up to which the series is constant.
        halfway = START if at < STEPS_PER_DELAY else (before + after) / 2 + step / 8 * (slopes[at] - slopes[at + 1])
        second = _slope(now + step / 2 * slope, halfway)
        third = _slope(now + step / 2 * second, halfway)
        fourth = _slope(now + step * third, after)
        x.append(now + step / 6 * (slope + 2 * second + 2 * third + fourth))
        slopes.append(_slope(x[-1], after))
    return torch.tensor(
        [_between(x, slopes, step, point * spacing / step) for point in range(points)], dtype=torch.float64
    )


def _slope(x: float, delayed: float) -> float:
    square = delayed * delayed
    fifth = square * square * delayed
    return BETA * delayed / (1 + fifth * fifth) - GAMMA * x


def _between(x: list[float], slopes: list[float], step: float, place: float) -> float:
    """The series `place` steps after time 0."""
    at = int(place)
    s, at = place - at, at + STEPS_PER_DELAY
    ahead = 1 - s
    values = ahead * ahead * (1 + 2 * s) * x[at] + s * s * (1 + 2 * ahead) * x[at + 1]
    return values + s * ahead * step * (ahead * slopes[at] - s * slopes[at + 1])


@dataclass(frozen=True)
class InputNoise:
    """Adds Gaussian noise of a standard deviation to a sample, which depends on the seed."""

    deviation: float

    def __call__(self, sample: Tensor, seed: int) -> Tensor:
        return sample + self.deviation * torch.randn(sample.shape, generator=generator(seed))


@register("data")
class MackeyGlass(DataModule, without=("num_classes", "folds", "fold")):
    """The Mackey-Glass series by NeuroBench's protocol: 750 points to learn, the 750 after them to predict.

    x: at each step the last `window` points, the newest one last; its target is the next point. A net learns from every
    stretch of T steps, shifted by `stride`; it is validated on the 75 points, one Lyapunov time, that follow several of
    these, all of them learned ones. In the test it is given the last T steps of the learned points. Where points follow
    what is given, the net has to predict them from its own predictions, see snntrain.task.Forecast.

    All points are shifted and scaled to mean 0 and standard deviation 1 of the learned ones.

    Args:
        num_targets, sample_shape: 1 and [window].
        steps: of a sequence, ≥ 1; follows T. At most 750 − 75 − window.
        window: points that the net sees at a step, ≥ 1; 1: the newest only.
        stride: points from the beginning of a training sequence to that of the next one, ≥ 1.
        noise: standard deviation of the noise on the standardized inputs in training, ≥ 0.
        offset: which of the 30 stretches of the series is learned, 0 to 29; each begins half a Lyapunov time after the
            one before. NeuroBench gives the mean over 30 nets, one for each stretch.
        predicted: points to predict in the test, ≥ 1.
        tested: 'own': the points after the learned ones; 'all': with offset 0, what follows each of the 30 stretches,
            all of it unseen in training, by one net.
        Others as in DataModule; val_fraction is without effect.

    Attributes:
        value_standard: by which the points were scaled, after setup.

    Source: Yik et al., NeuroBench, Nature Communications 16, 2025, arXiv 2304.04640.
    """

    TARGET = Target.STEP_VALUES
    HAS_STEPS = True
    MADE_UP = True
    #: Whether the targets of validation and test come after the inputs.
    FOLLOWS = True
    CLASSES = ("x",)
    value_standard: Standard | None = None

    def __init__(
        self,
        num_targets: int,
        sample_shape: Sequence[int],
        *,
        steps: int,
        window: int = 1,
        stride: int = 5,
        noise: float = 0.0,
        offset: int = 0,
        predicted: int = PREDICTED,
        tested: str = "own",
        **common: Any,
    ) -> None:
        super().__init__(None, sample_shape, num_targets=num_targets, **common)
        self.window = integer(self, "window", window, at_least=1, at_most=LEARNED - VALIDATED - 1)
        self._check_facts(None, (self.window,))
        self.steps = integer(self, "steps", steps, at_least=1, at_most=LEARNED - VALIDATED - self.window)
        self.stride = integer(self, "stride", stride, at_least=1)
        noise = real(self, "noise", noise, at_least=0)
        self.augment = InputNoise(noise) if noise else None
        self.offset = integer(self, "offset", offset, at_least=0, at_most=OFFSETS - 1)
        self.predicted = integer(self, "predicted", predicted, at_least=1)
        self.tested = choice(self, "tested", tested, TESTED)
        if self.tested == "all" and self.offset:
            raise invalid(self, "tested", "'own' where offset is not 0: points of other stretches were learned", tested)

    def load(self) -> dict[str, SequenceSplit]:
        last = OFFSETS - 1 if self.tested == "all" else self.offset
        series = mackey_glass(_begins(last) + LEARNED + self.predicted + 1)
        learned = series[_begins(self.offset) :][: LEARNED + 1]
        self.value_standard = Standard.of(learned[:, None], self.CLASSES, "")
        series, learned = (self.value_standard(points[:, None])[:, 0] for points in (series, learned))
        starts = range(LEARNED - self.steps, self.window - 2, -self.stride)
        places = range(LEARNED - self.steps - VALIDATED + 1, self.window - 2, -VALIDATED)
        offsets = range(OFFSETS) if self.tested == "all" else (self.offset,)
        return {
            "train": self._split(learned, starts, self.steps, ahead=1),
            "val": self._split(learned, places, VALIDATED, ahead=self.steps),
            "test": self._split(
                series,
                [_begins(offset) + LEARNED - self.steps + 1 for offset in offsets],
                self.predicted,
                ahead=self.steps,
            ),
        }

    def _split(self, points: Tensor, starts: Sequence[int], count: int, ahead: int) -> SequenceSplit:
        """Sequences whose first newest point is at these places, and `count` targets from `ahead` points later on."""
        windows = points.unfold(0, self.window, 1)
        x = torch.stack([windows[start - self.window + 1 :][: self.steps] for start in starts])
        return SequenceSplit(x, torch.stack([points[start + ahead :][:count, None] for start in starts]))

    def assumed(self) -> dict[str, str]:
        first = _begins(self.offset)
        return {
            "series": f"tau {TAU:g}, beta {BETA:g}, gamma {GAMMA:g}, n 10, {START} up to time 0",
            "method": f"Runge-Kutta of order 4 in steps of {TAU / STEPS_PER_DELAY:g}; a point every "
            f"{LYAPUNOV_TIME:g}/{POINTS}, {POINTS} in a Lyapunov time",
            "learned": f"points {first} to {first + LEARNED} (data.offset={self.offset})",
            "scale": f"standardized: {self.value_standard} of the learned points",
            "validated": f"the next {VALIDATED} points after stretches of the learned ones, from own predictions",
            "tested": f"the next {self.predicted} points after {len(self.splits.get('test', ())) or 1} stretch(es) "
            f"(data.tested={self.tested}), from own predictions",
        }

    def fingerprint(self) -> dict[str, str]:
        return {name: split.sha256() for name, split in self.splits.items()}


def _begins(offset: int) -> int:
    """The first point of a stretch."""
    return offset * POINTS // 2
