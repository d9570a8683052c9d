"""results.json: how a run ended and its metrics, exactly."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from snntrain.error import UsageError
from snntrain.files import damage, read_json, write_json
from snntrain.terminal import terminal

_PARTS = ("metrics", "hex", "seconds", "throughput")

Row = TypeVar("Row", bound=Mapping[str, Any])


def best_epoch(rows: Sequence[Row], metric: str, mode: str) -> Row | dict[str, Any]:
    """The row of metrics of the best epoch, the first one of equals, as best.ckpt.

    Args:
        rows: of the epochs, values as numbers or as their text in metrics.csv.
        metric: that is monitored. Epochs in which it is missing, NaN or infinite are passed over, as are those whose
            loss is: the accuracy of a net that is broken can be a lucky one.
        mode: 'max' or 'min'.

    Returns: the last row if no epoch has such a value; {} if there is no row.
    """
    scored = [row for row in rows if math.isfinite(_number(row.get(metric))) and _has_finite_losses(row)]
    if not scored:
        return rows[-1] if rows else {}
    sign = 1 if mode == "max" else -1
    return max(scored, key=lambda row: sign * _number(row[metric]))


def _has_finite_losses(row: Mapping[str, Any]) -> bool:
    losses = [value for name, value in row.items() if name.endswith("/loss") and value not in (None, "")]
    return all(math.isfinite(float(loss)) for loss in losses)


def _number(value: Any) -> float:
    return float("nan") if value in (None, "") else float(value)


def write_results(folder: Path, status: str, metrics: Mapping[str, float], **more: Any) -> None:
    """Write results.json.

    Args:
        folder: the run folder.
        status: finished, interrupted, pruned or failed.
        metrics: name → value; written as decimal and, under "hex", as float.hex, which loses nothing.
        more: further entries, such as seconds or message.
    """
    exact = {name: float(value) for name, value in sorted(metrics.items())}
    hexadecimal = {name: value.hex() for name, value in exact.items()}
    # JSON has no NaN and no infinity; under "hex" they stand by name.
    values = {name: value if math.isfinite(value) else None for name, value in exact.items()}
    write_json(folder / "results.json", {"status": status, "metrics": values, "hex": hexadecimal, **more})


@contextlib.contextmanager
def even_on_a_full_disk(status: str) -> Iterator[None]:
    """Let the block conclude a run that ended early; if that fails, print why.

    The user is to hear of the error or the signal that ended the run, which the block must not replace by its own.
    """
    try:
        yield
    except (OSError, UsageError) as error:
        terminal().print(f"this run {status}, but that could not be recorded: {error}", soft_wrap=True)


def read_results(folder: Path) -> dict[str, Any]:
    """The content of results.json, {} if there is none.

    Raises: DamagedFile naming a file that cannot be read or is none of ours.
    """
    path = folder / "results.json"
    try:
        content = read_json(path)
    except FileNotFoundError:
        return {}
    with damage(path):
        for part in _PARTS:
            if not isinstance(content.get(part, {}), dict):
                raise TypeError(f"{part} is {type(content[part]).__name__}, not a mapping")
        for value in content.get("hex", {}).values():
            float.fromhex(value)
    return content


def results_or_none(folder: Path) -> dict[str, Any]:
    """The content of results.json, {} if there is none or it is damaged: for callers that are about to rewrite it."""
    try:
        return read_results(folder)
    except UsageError:
        return {}
