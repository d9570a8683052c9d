"""The headline metric of a task in the words of a report: accuracies in percent, other metrics as numbers."""

from collections.abc import Mapping
from typing import Any

from snntrain.headline import SHARES, long_name
from snntrain.run.report.number_format import format_number, percent


class Headline:
    """Writes the headline metric that a fit-end callback measured.

    Args:
        result: of the callback's JSON file; runs of earlier versions had accuracies only.
    """

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.name = str(result.get("headline", "acc"))
        self.is_share = self.name in SHARES
        long = long_name(self.name)
        self.title = long[:1].upper() + long[1:]

    def value(self, value: float) -> str:
        """93.1 %, or 0.0421."""
        return percent(value) if self.is_share else format_number(value, digits=4)

    def gap(self, difference: float) -> str:
        """+0.42 points, or +0.0013."""
        return f"{100 * difference:+.2f} points" if self.is_share else f"{difference:+.4g}"
