"""How pages and tables write numbers: shares in percent with two decimals, everything else with four digits."""

import math
from typing import Any

SHARES = (
    *("acc", "accuracy", "firing_rate", "sparsity", "recall", "precision"),
    *("activation_sparsity", "connection_sparsity", "synaptic_rate", "crossing_rate"),
)
"""Metrics that are shares, by the beginning of a part of their names: acc as in test/acc, qat/acc_int."""


def is_share(name: str) -> bool:
    """Whether a metric is a share of samples or neurons, by its name."""
    return any(part == share or part.startswith(f"{share}_") for part in name.split("/") for share in SHARES)


def percent(value: Any) -> str:
    """0.5 → 50.00 %; text stays as it is."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        return str(value)
    return f"{100 * share:.2f} %" if math.isfinite(share) else str(share)


def number(value: Any, digits: int = 4) -> str:
    """1234 → 1,234; 0.071234 → 0.07123; 0.00001234 → 1.234e-05; text stays as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    is_whole = isinstance(value, int) or value.is_integer()
    return f"{value:,.0f}" if (is_whole or abs(value) >= 10_000) and abs(value) < 1e15 else f"{value:.{digits}g}"


def metric(value: Any, name: str, digits: int = 4) -> str:
    """A share in percent, any other metric as a number."""
    return percent(value) if is_share(name) else number(value, digits)


def binomial_error(share: float, samples: int) -> float:
    """Standard error of a share of so many samples, as another test set of that size would give another share.

    Shares of 0 and 1 are taken as 1 of n + 2 samples away from it, where the formula would say that nothing is unknown.
    """
    q = min(max(share, 1 / (samples + 2)), (samples + 1) / (samples + 2))
    return math.sqrt(q * (1 - q) / samples)


def plus_minus(name: str, mean: float, deviation: float, error: float | None = None) -> str:
    """A metric over repetitions: 93.50 ± 0.50 % (± 1.74), with the binomial error in brackets where it is given.

    Args:
        deviation: NaN for a single run, whose mean stands alone.
    """
    text, unit = metric(mean, name), " %" * (is_share(name) and math.isfinite(mean))
    if not math.isnan(deviation):
        text = f"{text.removesuffix(' %')} ± {metric(deviation, name).removesuffix(' %')}{unit}"
    return text if error is None or math.isnan(mean) else f"{text} (± {metric(error, name).removesuffix(' %')})"


def percent_tick(share: float, _: object = None) -> str:
    """A share at the axis of a figure; pass it to set_major_formatter."""
    return f"{100 * share:g} %".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds in words, such as 2 h 05 min."""
    if not seconds >= 60 or seconds == math.inf:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def step_name(dt: float | None) -> str:
    """The label of a time axis, for steps that are dt ms long; None: their length is not known."""
    return "time step" if dt is None else f"time step, {dt:g} ms each"
