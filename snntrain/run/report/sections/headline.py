"""The headline metric of a task in the words of a report: accuracies in percent, other metrics as numbers."""

from collections.abc import Mapping
from typing import Any

from snntrain.headline import long_name
from snntrain.number_format import is_share, metric


class Headline:
    """Writes the headline metric that a fit-end callback measured.

    Args:
        result: of the callback's JSON file; runs of earlier versions had accuracies only.
    """

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.name = str(result.get("headline", "acc"))
        self.is_share = is_share(self.name)
        long = long_name(self.name)
        self.title = long[:1].upper() + long[1:]

    def value(self, value: float) -> str:
        """93.10 %, or 0.0421."""
        return metric(value, self.name)

    def gap(self, difference: float) -> str:
        """+0.42 points, or +0.0013."""
        return f"{100 * difference:+.2f} points" if self.is_share else f"{difference:+.4g}"
