"""results.json: how a run ended and its metrics, exactly. And which epoch of a run was the best."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snntrain.error import UsageError
from snntrain.files import read_json
from snntrain.terminal import print_line, terminal

MONITOR = ("val/acc", "max")  # of runs whose config does not say it

_PARTS = ("metrics", "hex", "seconds", "throughput", "memory")

Row = Mapping[str, float]


def monitor_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """The metric that chooses the best epoch of a run, and whether its largest ("max") or smallest ("min") is best."""
    monitor = config.get("monitor")
    monitor = monitor if isinstance(monitor, Mapping) else {}
    mode = monitor.get("mode", MONITOR[1])
    return str(monitor.get("metric", MONITOR[0])), mode if mode in ("min", "max") else MONITOR[1]


def best_epoch(rows: Sequence[Row], metric: str, mode: str) -> Row:
    """The row of metrics of the best epoch, the first one of equals: the epoch of best.ckpt.

    Args:
        rows: metrics of each epoch.
        metric: the monitored one. Epochs in which it is missing, NaN or infinite are skipped, and so are those with
            such a loss: the accuracy of a net that is broken may be a lucky one.
        mode: 'max' or 'min'.

    Returns: the last row if no epoch has such a value; {} if there is no row.
    """
    scored = [row for row in rows if math.isfinite(row.get(metric, math.nan)) and _has_finite_losses(row)]
    if not scored:
        return rows[-1] if rows else {}
    sign = 1 if mode == "max" else -1
    return max(scored, key=lambda row: sign * row[metric])


def metrics_of(row: Row) -> dict[str, float]:
    """The metrics of an epoch, without its number and its learning rate."""
    return {name: value for name, value in row.items() if "/" in name}


def _has_finite_losses(row: Row) -> bool:
    return all(math.isfinite(value) for name, value in row.items() if name.endswith("/loss"))


def parse_results(path: Path) -> dict[str, Any]:
    """The content of results.json; its parts metrics, hex, seconds, throughput and memory are {} where missing.

    Raises: what damage does to its reader.
    """
    content = read_json(path)
    for part in _PARTS:
        content[part] = {} if content.get(part) is None else content[part]
        if not isinstance(content[part], dict):
            raise TypeError(f"{part} is {type(content[part]).__name__}, not a mapping")
    if not isinstance(content.get("status", ""), str):
        raise TypeError(f"status is {content['status']!r}")
    for name, size in content["memory"].items():
        if not 0 <= _number(name, size) < math.inf:
            raise ValueError(f"the memory {name!r} is {size!r} bytes")
    for name, seconds in content["seconds"].items():
        if not math.isfinite(_number(name, seconds)):
            raise ValueError(f"{name} took {seconds!r} seconds")
    exact_metrics(content)
    return content


def exact_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """Metric → value to the last bit, from the content of results.json."""
    decimal, hexadecimal = results["metrics"], results["hex"]
    plain = {name: _number(name, value) for name, value in decimal.items() if value is not None}
    return {**plain, **{str(name): float.fromhex(value) for name, value in hexadecimal.items()}}


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, not a number")
    return float(value)


def in_both_forms(metrics: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Metrics as files hold them: as decimals and, under "hex", as float.hex, which loses nothing."""
    exact = {name: float(value) for name, value in sorted(metrics.items())}
    # JSON has no NaN and no infinity; under "hex" they stand by name.
    decimals = {name: value if math.isfinite(value) else None for name, value in exact.items()}
    return {"metrics": decimals, "hex": {name: value.hex() for name, value in exact.items()}}


@contextlib.contextmanager
def even_on_a_full_disk(status: str) -> Iterator[None]:
    """Let the block conclude a run that ended early; if that fails, print why instead of raising.

    The user has to learn of the error or signal that ended the run, which an error of the block would hide.
    """
    try:
        yield
    except (OSError, UsageError) as error:
        print_line(terminal(), f"this run {status}, but that could not be recorded: {error}")
