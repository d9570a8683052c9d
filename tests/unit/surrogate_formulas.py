"""The surrogates' formulas as their papers have them, in plain Python."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

INF, NAN = math.inf, math.nan


def logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def logistic_slope(z: float) -> float:
    return logistic(z) * logistic(-z)


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def odd_numbers(n: int) -> range:
    return range(1, 2 * (n - 1), 2)


def turn(x: float, T: float, i: int) -> float:
    """Angle of the i-th harmonic, with whole periods removed exactly."""
    return 2 * math.pi * i * math.fmod(x, T) / T


def q_pseudo_spike(x: float, a: float) -> float:
    z = (1 + 2 * abs(x) / (a - 1)) ** (1 - a) / 2
    return z if x < 0 else 1 - z


@dataclass
class Case:
    """One row of the table: defaults, other valid arguments (dyadic, so that kinks are exact in float32), formulas."""

    defaults: dict[str, Any]
    other: dict[str, Any]
    d: Callable[..., float]
    p: Callable[..., float] | None
    kinks: Callable[..., list[float]] = lambda **arguments: [0.0]
    bad: dict[str, list[Any]] = field(default_factory=dict)
    drawn: dict[str, st.SearchStrategy] = field(default_factory=dict)


POSITIVE = {"drawn": {"alpha": st.floats(0.1, 10)}, "bad": {"alpha": [0, 0.0, -1.0]}}
CASES = {
    "PiecewiseQuadratic": Case(
        {"alpha": 1.0},
        {"alpha": 0.5},
        lambda x, alpha: max(0.0, alpha - alpha**2 * abs(x)),
        lambda x, alpha: (
            0.0 if x < -1 / alpha else 1.0 if x > 1 / alpha else -(alpha**2) / 2 * x * abs(x) + alpha * x + 0.5
        ),
        kinks=lambda alpha: [-1 / alpha, 0.0, 1 / alpha],
        **POSITIVE,
    ),
    "PiecewiseExp": Case(
        {"alpha": 1.0},
        {"alpha": 2.5},
        lambda x, alpha: alpha / 2 * math.exp(-alpha * abs(x)),
        lambda x, alpha: math.exp(alpha * x) / 2 if x < 0 else 1 - math.exp(-alpha * x) / 2,
        **POSITIVE,
    ),
    "Sigmoid": Case(
        {"alpha": 4.0},
        {"alpha": 1.5},
        lambda x, alpha: alpha * logistic_slope(alpha * x),
        lambda x, alpha: logistic(alpha * x),
        **POSITIVE,
    ),
    "SoftSign": Case(
        {"alpha": 2.0},
        {"alpha": 0.75},
        lambda x, alpha: 1 / (2 * alpha * (1 / alpha + abs(x)) ** 2),
        lambda x, alpha: (alpha * x / (1 + abs(alpha * x)) + 1) / 2,
        **POSITIVE,
    ),
    "SuperSpike": Case(
        {"alpha": 1.0},
        {"alpha": 10.0},
        lambda x, alpha: alpha / (1 + abs(x)) ** 2,
        lambda x, alpha: alpha * x / (1 + abs(x)) + 0.5,
        **POSITIVE,
    ),
    "ATan": Case(
        {"alpha": 2.0},
        {"alpha": 0.5},
        lambda x, alpha: (alpha / 2) / (1 + (math.pi * alpha * x / 2) ** 2),
        lambda x, alpha: math.atan(math.pi * alpha * x / 2) / math.pi + 0.5,
        **POSITIVE,
    ),
    "NonzeroSignLogAbs": Case(
        {"alpha": 1.0},
        {"alpha": 3.0},
        lambda x, alpha: 1 / (1 / alpha + abs(x)),
        lambda x, alpha: sign(x) * math.log(alpha * abs(x) + 1),
        **POSITIVE,
    ),
    "Erf": Case(
        {"alpha": 2.0},
        {"alpha": 0.5},
        lambda x, alpha: alpha / math.sqrt(math.pi) * math.exp(-((alpha * x) ** 2)),
        lambda x, alpha: math.erfc(-alpha * x) / 2,
        **POSITIVE,
    ),
    "PiecewiseLeakyReLU": Case(
        {"w": 1.0, "c": 0.01},
        {"w": 0.5, "c": -0.25},
        lambda x, w, c: 1 / (2 * w) if abs(x) < w else c,
        lambda x, w, c: c * x + c * w if x < -w else c * x - c * w + 1 if x > w else x / (2 * w) + 0.5,
        kinks=lambda w, c: [-w, w],
        bad={"w": [0, -0.5], "c": []},
        drawn={"w": st.floats(0.1, 10), "c": st.floats(-1, 1)},
    ),
    "SquarewaveFourierSeries": Case(
        {"n": 2, "T_period": 8.0},
        {"n": 5, "T_period": 4.0},
        lambda x, n, T_period: 4 / T_period * sum(math.cos(turn(x, T_period, i)) for i in odd_numbers(n)),
        lambda x, n, T_period: 0.5 + 2 / math.pi * sum(math.sin(turn(x, T_period, i)) / i for i in odd_numbers(n)),
        bad={"n": [1, 0, -3, 2.5, 3.0], "T_period": [0, -8.0]},
        drawn={"n": st.integers(2, 6), "T_period": st.floats(0.5, 20)},
    ),
    "S2NN": Case(
        {"alpha": 4.0, "beta": 1.0},
        {"alpha": 1.0, "beta": 2.0},
        lambda x, alpha, beta: alpha * logistic_slope(alpha * x) if x < 0 else beta / (x + 1),
        lambda x, alpha, beta: logistic(alpha * x) if x < 0 else beta * math.log(x + 1) + 0.5,
        bad={"alpha": [0, -4.0], "beta": [0, -1.0]},
        drawn={"alpha": st.floats(0.1, 10), "beta": st.floats(0.1, 10)},
    ),
    "QPseudoSpike": Case(
        {"alpha": 2.0},
        {"alpha": 3.5},
        lambda x, alpha: (1 + 2 * abs(x) / (alpha - 1)) ** -alpha,
        lambda x, alpha: q_pseudo_spike(x, alpha),
        bad={"alpha": [1, 1.0, 0.5, -2.0]},
        drawn={"alpha": st.floats(1.1, 10)},
    ),
    "LeakyKReLU": Case(
        {"leak": 0.0, "k": 1.0},
        {"leak": -0.25, "k": 2.5},
        lambda x, leak, k: k if x >= 0 else leak,
        lambda x, leak, k: (k if x >= 0 else leak) * x,
        bad={"leak": [], "k": []},
        drawn={"leak": st.floats(-2, 2), "k": st.floats(-2, 2)},
    ),
    "FakeNumericalGradient": Case(
        {"alpha": 0.3},
        {"alpha": 4.0},
        lambda x, alpha: alpha if x == 0 else min(1 / abs(x), alpha),
        None,
        kinks=lambda alpha: [-1 / alpha, 0.0, 1 / alpha],
        **POSITIVE,
    ),
    "LogTailedReLU": Case(
        {"alpha": 0.0},
        {"alpha": 0.25},
        lambda x, alpha: 1 / x if x > 1 else 1.0 if x > 0 else alpha,
        lambda x, alpha: math.log(x) + 1 if x > 1 else x if x > 0 else alpha * x,
        kinks=lambda alpha: [0.0, 1.0],
        bad={"alpha": []},
        drawn={"alpha": st.floats(-1, 1)},
    ),
    "Rect": Case(
        {"alpha": 1.0},
        {"alpha": 2.0},
        lambda x, alpha: alpha if abs(x) < 0.5 / alpha else 0.0,
        lambda x, alpha: min(1.0, max(0.0, alpha * x + 0.5)),
        kinks=lambda alpha: [-0.5 / alpha, 0.5 / alpha],
        **POSITIVE,
    ),
    "MultiLevelSpikeCount": Case(
        {"max_spike_count": 4},
        {"max_spike_count": 1},
        lambda x, max_spike_count: float(0 <= x <= max_spike_count),
        lambda x, max_spike_count: min(float(max_spike_count), max(0.0, x)),
        kinks=lambda max_spike_count: [0.0, float(max_spike_count)],
        bad={"max_spike_count": [0, -1, 4.0]},
        drawn={"max_spike_count": st.integers(1, 8)},
    ),
}

SMOOTH = [name for name, case in CASES.items() if case.p is not None]
VARIANTS = [(name, arguments) for name, case in CASES.items() for arguments in (case.defaults, case.other)]
SMOOTH_VARIANTS = [(name, arguments) for name, arguments in VARIANTS if name in SMOOTH]
MAGNITUDES = [0.0, 1e-30, 1e-3, 0.125, 0.25, 0.5, 0.7, 1.0, 1.5, 2.0, 3.3, 4.0, 5.7, 20.0, 300.0, 1e4]
POINTS = [s * m for m in MAGNITUDES for s in (1.0, -1.0)]  # holds the kinks of all variants, 0.0 and -0.0
