"""Numbers as the report shows them."""

import math
from typing import Any

from snntrain.run.contents import as_number

SHARES = ("acc", "firing_rate", "sparsity", "recall", "precision")
"""Beginnings of the names of metrics that are shown as percentages."""


def is_share(name: str) -> bool:
    """Whether a metric is a share of samples or neurons, by its name."""
    return any(part.startswith(SHARES) for part in name.split("/"))


def percent(value: Any) -> str:
    """0.5 → 50.00%; text stays as it is."""
    share = as_number(value)
    return str(value) if share is None else f"{share:.2%}" if math.isfinite(share) else str(share)


def format_number(value: Any, digits: int = 6) -> str:
    """1234 → 1,234; fractions with so many digits; text stays as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def format_whole(value: float) -> str:
    """1234.4 → 1,234."""
    return f"{value:,.0f}"


def format_metric(value: Any, name: str, digits: int = 6) -> str:
    """A share in percent, any other metric as a number."""
    return percent(value) if is_share(name) else format_number(value, digits)


def duration(seconds: float) -> str:
    """Seconds in words, such as 2 h 05 min."""
    if not seconds >= 60 or seconds == math.inf:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def dotted(path: str) -> Any:
    """A dotted path that may break after each dot, as HTML."""
    from markupsafe import Markup, escape

    return Markup(".<wbr>").join(escape(part) for part in path.split("."))
