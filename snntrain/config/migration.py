"""Configs of earlier formats, brought to the present one on reading."""

from collections.abc import Callable
from typing import Any

from snntrain.error import UsageError

FORMAT = 2
"""Rises with every key that a config gains, loses or gives another meaning; add a step to STEPS then."""


def migrate(config: dict[str, Any], written_in: int, source: str) -> dict[str, Any]:
    """A config as the present program writes it, with every value that it had when it was written.

    Args:
        config: as read, with plain containers; it stays as it is.
        written_in: the format it was written in.
        source: the file it comes from, for the error.

    Raises: UsageError for a format that is newer than this program, or that no step leads on from.
    """
    if written_in > FORMAT:
        raise UsageError(
            f"{source} has format {written_in}; this snntrain reads formats 1 to {FORMAT}. Update snntrain."
        )
    if written_in not in (*STEPS, FORMAT):
        raise UsageError(f"{source} has format {written_in}; known are {', '.join(map(str, STEPS))} and {FORMAT}.")
    for number in range(written_in, FORMAT):
        config = STEPS[number](config)
    return config


def _from_1(config: dict[str, Any]) -> dict[str, Any]:
    """Format 1: until the end of November 2026."""
    config = dict(config)
    if config.get("callbacks"):  # it changes no number, only when a run that diverges ends
        config["callbacks"] = {"finite": {"_target_": "snntrain.callback.Finite", "stop": True}, **config["callbacks"]}
    return config


STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
